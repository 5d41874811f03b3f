"""The table of policy steps, to which users add theirs."""

from __future__ import annotations

from gailfe_jax.config.registry import METHOD_NAMES, Registry
from gailfe_jax.policies.base import PolicyUpdate
from gailfe_jax.policies.mail import MAIL
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.policies.sac import SAC
from gailfe_jax.policies.svg import SVG
from gailfe_jax.policies.td3 import TD3
from gailfe_jax.policies.trpo import TRPO

POLICY_UPDATES: Registry[type[PolicyUpdate]] = Registry(
    "policy",
    {"trpo": TRPO, "ppo": PPO, "mail": MAIL, "sac": SAC, "td3": TD3, "svg": SVG},
    "register_policy_update",
    METHOD_NAMES,
)


def register_policy_update(name: str, kind: type[PolicyUpdate]) -> None:
    """Makes `kind` what `--policy NAME` means in this process, for every method whose policy step can be chosen.

    `gailfe train NAME` maximises the true reward by it.

    Args:
      name: one word; a later registration replaces an earlier one, but not a built-in one.
      kind: a subclass of `ActorCritic`, or of `PolicyUpdate`, that defines `update`.

    Raises:
      GailfeError: the name is taken or no word, `kind` is no policy step, lacks a function or has a setting that
        cannot be.
    """
    POLICY_UPDATES.add(name, kind, PolicyUpdate)
