"""The table of policy steps, to which users add theirs."""

from __future__ import annotations

from gailfe_jax.config.registry import METHOD_NAMES, Registry
from gailfe_jax.policies.actor_critic import ActorCritic
from gailfe_jax.policies.mail import MAIL
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.policies.trpo import TRPO

POLICY_UPDATES: Registry[type[ActorCritic]] = Registry(
    "policy", {"trpo": TRPO, "ppo": PPO, "mail": MAIL}, "register_policy_update", METHOD_NAMES
)


def register_policy_update(name: str, kind: type[ActorCritic]) -> None:
    """Makes `kind` what `--policy NAME` means in this process, for every method whose policy step can be chosen.

    `gailfe train NAME` maximises the true reward by it.

    Args:
      name: one word; a later registration replaces an earlier one, but not a built-in one.
      kind: a subclass of `ActorCritic` that defines `update`.

    Raises:
      GailfeError: the name is taken or no word, `kind` is no policy step, lacks a function or has a setting that
        cannot be.
    """
    POLICY_UPDATES.add(name, kind, ActorCritic)
