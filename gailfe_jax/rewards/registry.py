"""The table of rewards, to which users add theirs; each is a method of its name."""

from __future__ import annotations

from gailfe_jax.config.registry import METHOD_NAMES, Registry
from gailfe_jax.rewards.base import Reward
from gailfe_jax.rewards.constant import ConstantReward
from gailfe_jax.rewards.discriminator import Discriminator
from gailfe_jax.rewards.linear import FailureAware, FeatureMatching, GameTheoretic

REWARDS: Registry[type[Reward]] = Registry(
    "reward",
    {
        "discriminator": Discriminator,
        "fem": FeatureMatching,
        "gtal": GameTheoretic,
        "irlf": FailureAware,
        "constant": ConstantReward,
    },
    reserved=METHOD_NAMES,
)


def register_reward(name: str, kind: type[Reward]) -> None:
    """Makes `kind` a reward, and `gailfe train NAME` the method that fits and maximises it, in this process.

    Args:
      name: one word; a later registration replaces an earlier one, but not a built-in one.
      kind: a subclass of `Reward`.

    Raises:
      GailfeError: the name is taken or no word, `kind` is no reward, lacks a function or has a setting that
        cannot be.
    """
    REWARDS.add(name, kind, Reward)
