"""Combinations of source, reward, constraint and policy step that are worth a name; there are more."""

from __future__ import annotations

import dataclasses
from typing import Any

from gailfe_jax.config.tree import set_values
from gailfe_jax.config.values import show_value
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.methods import find_method, with_policy


@dataclasses.dataclass(frozen=True)
class Combination:
    """Parts that go together, by configuration alone.

    Attributes:
      name: for people.
      summary: one line for people.
      method: what the command line calls the method.
      policy: its policy step, where it is not the method's own.
      settings: of its parts, by full name.
    """

    name: str
    summary: str
    method: str
    policy: str | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def flags(self) -> str:
        """What to say to `gailfe train`."""
        words = [self.method] + ([] if self.policy is None else [f"--policy {self.policy}"])
        for name, value in self.settings.items():
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                path, dot, last = flag.rpartition(".")
                words.append(f"--{flag}" if value else f"--{path}{dot}no-{last}")
            else:
                words.append(f"--{flag} {show_value(value)}")
        return " ".join(words)

    def build(self, start: Learner | None = None) -> Learner:
        """The method with these settings, on top of `start` or of its parts' defaults."""
        method = find_method(self.method) if start is None else start
        method = method if self.policy is None else with_policy(method, self.policy)
        return set_values(method, self.settings)


COMBINATIONS = (
    Combination("PPO", "the true reward by PPO", "ppo"),
    Combination("TRPO", "the true reward by TRPO", "trpo"),
    Combination("SAC", "the true reward by SAC, from replay", "sac"),
    Combination("TD3", "the true reward by TD3, from replay", "td3"),
    Combination(
        "PPO+BC", "the true reward beside the demonstrations' likelihood", "ppo", settings={"likelihood.add": True}
    ),
    Combination(
        "PPO+SIL", "the true reward beside the agent's own past (Oh et al. 2018)", "ppo",
        settings={"self_imitation.updates": 10},
    ),
    Combination("GAIL by TRPO", "as in its paper", "gail"),
    Combination("GAIL by PPO", "first-order steps", "gail", "ppo"),
    Combination("GAIL by SAC", "steps from replay, for scarce interactions", "gail", "sac"),
    Combination("GAIL by TD3", "the same by a deterministic policy (Kostrikov et al. 2019)", "gail", "td3"),
    Combination("GAIL+BC", "GAIL beside the demonstrations' likelihood", "gail", settings={"likelihood.add": True}),
    Combination("GAIL+reward", "the true reward, shaped by demonstrations", "gail", settings={"true_reward.add": True}),
    Combination(
        "GAIL from observations", "demonstrations without actions (GAIfO, Torabi et al. 2018)", "gail",
        settings={"reward.inputs": "transitions"},
    ),
    Combination(
        "GAIL from states by SAC", "the same of states alone, from replay", "gail", "sac", {"reward.inputs": "states"}
    ),
    Combination("GAILFE", "failures constrain the discriminator", "gailfe"),
    Combination("GAILFE by PPO", "the same by first-order steps", "gailfe", "ppo"),
    Combination("GAILFE by SAC", "the constraint with steps from replay", "gailfe", "sac"),
    Combination(
        "GAILFE+successes", "its own successes join the demonstrations", "gailfe",
        settings={"self_demonstrations.use": "both", "self_demonstrations.episodes": "return_above:0.9"},
    ),
    Combination(
        "GAILFE+best", "its own best join the demonstrations", "gailfe", settings={"self_demonstrations.use": "both"}
    ),
    Combination(
        "GAILFE from observations", "demonstrations and failures without actions", "gailfe", "ppo",
        {"reward.inputs": "transitions"},
    ),
    Combination("GAILFE x MAIL", "the constraint with the step through a model", "gailfe", "mail"),
    Combination("MAIL", "the gradient through a learned model along real steps", "mail"),
    Combination(
        "MAIL in the model", "the same along the model's own rollouts", "mail",
        settings={"policy.rollouts": "model", "policy.model.ensemble": 3},
    ),
    Combination(
        "MAIL from observations", "the gradient of the model's next state, without actions", "mail",
        settings={"reward.inputs": "transitions"},
    ),
    Combination("MAIL by Adam", "no trust region", "mail", settings={"policy.step": "adam"}),
    Combination("MAIL from replay", "the same from replayed states, critics behind it", "gail", "svg"),
    Combination(
        "MAIL along replay", "along replayed steps, with targets and experience of the model's", "gail", "svg",
        {"policy.rollouts": "real", "policy.value_expansion": 1, "policy.imagined": 0.25},
    ),
    Combination(
        "MAIL+best", "its own best join the demonstrations", "mail", settings={"self_demonstrations.use": "both"}
    ),
    Combination(
        "GASIL+PPO", "the true reward beside a discriminator that knows the agent's own best", "gasil",
        settings={"true_reward.add": True},
    ),
    Combination("GASIL+TRPO", "the same by TRPO", "gasil", "trpo", {"true_reward.add": True}),
    Combination("GASIL+SAC", "the same by SAC, from replay", "gasil", "sac", {"true_reward.add": True}),
    Combination("GASIL alone", "without the true reward", "gasil", settings={"true_reward.add": False}),
    Combination("GASIL x MAIL", "the agent's own best, the step through a model", "gasil", "mail"),
    Combination("FEM by TRPO", "as in Ho & Ermon 2016", "fem"),
    Combination("FEM x MAIL", "the linear reward's gradient through a learned model", "fem", "mail"),
    Combination("FEM by TD3", "the linear reward by steps from replay", "fem", "td3"),
    Combination("GTAL by TRPO", "as in Ho & Ermon 2016", "gtal"),
    Combination("IRLF", "a linear reward with a term for failures", "irlf"),
    Combination("constant reward", "what staying alive alone is worth", "constant"),
    Combination("BC", "the demonstrations' likelihood alone", "bc"),
    Combination("DAgger", "the expert labels what the policy visits", "dagger"),
)  # fmt: skip
