"""The methods: names, and the parts that each is made of."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from gailfe_jax.config.parts import Part, bound, setting, settings_of, subpart
from gailfe_jax.config.tree import without_unread
from gailfe_jax.errors import GailfeError, expect
from gailfe_jax.learners.adversarial import Adversarial, LikelihoodTerm, TrueReward
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.cloning import BC
from gailfe_jax.learners.dagger import DAgger
from gailfe_jax.learners.self_imitation import SelfImitation
from gailfe_jax.learners.sources import Failures, SelfDemonstrations
from gailfe_jax.policies.actor_critic import ActorCritic
from gailfe_jax.policies.base import PolicyUpdate
from gailfe_jax.policies.mail import MAIL
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.policies.registry import POLICY_UPDATES
from gailfe_jax.policies.sac import SAC
from gailfe_jax.policies.td3 import TD3
from gailfe_jax.rewards.base import Reward
from gailfe_jax.rewards.constraint import FailureConstraint
from gailfe_jax.rewards.discriminator import Discriminator
from gailfe_jax.rewards.registry import REWARDS


class ReinforcementLearning(Adversarial):
    """The environment's own reward, maximised by the policy step that the method is named after."""

    choices: ClassVar[tuple[str, ...] | None] = ()

    likelihood: LikelihoodTerm | None = subpart(LikelihoodTerm())
    self_imitation: SelfImitation | None = subpart(SelfImitation())


class Imitation(Adversarial):
    """A policy against a fitted reward, after which the method is named."""

    reward: Reward = subpart(Discriminator())
    true_reward: TrueReward | None = subpart(TrueReward())
    likelihood: LikelihoodTerm | None = subpart(LikelihoodTerm())
    self_imitation: SelfImitation | None = subpart(SelfImitation())


class GAIL(Imitation):
    """Imitation against a discriminator (Ho & Ermon 2016)."""

    name: str = bound("gail")
    self_demonstrations: SelfDemonstrations | None = subpart(SelfDemonstrations())


class GAILFE(GAIL):
    """GAIL whose discriminator is constrained by failures (Zhu et al. 2020)."""

    summary = "GAIL whose discriminator is constrained by failures"
    source = "Zhu et al. 2020"

    name: str = bound("gailfe")
    failures: Failures | None = subpart(Failures())
    constraint: FailureConstraint | None = subpart(FailureConstraint())


class ModelBasedGAIL(GAIL):
    """GAIL whose policy step is the discriminator's gradient through a learned model (Baram et al. 2016)."""

    summary = "GAIL whose policy step is the discriminator's gradient through a learned model"
    source = "Baram et al. 2016"
    choices: ClassVar[tuple[str, ...] | None] = ()

    name: str = bound("mail")
    policy: PolicyUpdate = subpart(MAIL())


class OwnEpisodes(SelfDemonstrations):
    """The agent's own good episodes in the place of demonstrations."""

    use: Literal["none", "both", "alone"] = setting("alone")
    """What counts as good: the agent's own episodes alone."""


class GASIL(GAIL):
    """Imitation of the agent's own best episodes, alone or beside the true reward (Guo et al. 2018)."""

    summary = "imitation of the agent's own best episodes"
    source = "Guo et al. 2018"

    name: str = bound("gasil")
    policy: PolicyUpdate = subpart(PPO())
    self_demonstrations: SelfDemonstrations | None = subpart(OwnEpisodes())

    def unread(self) -> dict[str, str]:
        return super().unread() | {"self_demonstrations.use": "gasil learns from the agent's own episodes alone"}


class Methods(Mapping[str, Learner]):
    """The table of methods by name: the built-in ones, and one for every reward and policy step that a user registered.

    A policy step stands for itself on the true reward, as `ppo` and `trpo` do.
    """

    def __init__(self) -> None:
        built_in = (
            ReinforcementLearning(
                name="ppo", about="PPO on the true reward (how experts are made)", paper="Schulman et al. 2017",
                policy=PPO(),
            ),
            ReinforcementLearning(name="trpo", about="TRPO on the true reward", paper="Schulman et al. 2015"),
            ReinforcementLearning(
                name="sac", about="SAC on the true reward", paper="Haarnoja et al. 2018", policy=SAC()
            ),
            ReinforcementLearning(
                name="td3", about="TD3 on the true reward", paper="Fujimoto et al. 2018", policy=TD3()
            ),
            GAIL(),
            GAILFE(),
            ModelBasedGAIL(),
            GASIL(),
            *(self._of_reward(name) for name in ("fem", "gtal", "irlf", "constant")),
            BC(),
            DAgger(),
        )  # fmt: skip
        self._built_in = {method.name: method for method in built_in}

    @staticmethod
    def _of_reward(name: str) -> Imitation:
        reward = REWARDS.find(name)()
        failures = Failures() if reward.learns_from_failures else None
        return Imitation(name=name, reward=reward, failures=failures)

    def __getitem__(self, name: str) -> Learner:
        if name in self._built_in:
            return self._built_in[name]
        if name in self._rewards():
            return self._of_reward(name)
        if name in self._policies():
            kind = POLICY_UPDATES[name]
            return ReinforcementLearning(name=name, about=f"{name} on the true reward", policy=kind())
        raise KeyError(name)

    def _rewards(self) -> list[str]:
        return [name for name in REWARDS if name not in self._built_in and name != "discriminator"]

    def _policies(self) -> list[str]:
        taken = {*self._built_in, *REWARDS}
        return [name for name, kind in POLICY_UPDATES.items() if name not in taken and not kind.model_based]

    def __iter__(self) -> Iterator[str]:
        yield from (*self._built_in, *self._rewards(), *self._policies())

    def __len__(self) -> int:
        return len(list(iter(self)))


METHODS = Methods()


def find_method(name: str) -> Learner:
    """The method called `name`, with the defaults of its parts.

    Raises:
      GailfeError: no such method.
    """
    expect("algo", name, str, "the name of a method")
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(METHODS)}"
        raise GailfeError(f"algo: unknown algorithm {name!r}; {hint}")
    return METHODS[name]


def policy_choices(method: Learner) -> tuple[str, ...]:
    """The policy steps that can be chosen for a method; none where it stands for one."""
    if not isinstance(method, Adversarial) or method.choices is not None:
        return ()
    through = method.reward is not None and method.reward.differentiable
    return tuple(name for name, kind in POLICY_UPDATES.items() if through or not kind.model_based)


def policy_name(method: Learner) -> str:
    """The name of a method's policy step."""
    return POLICY_UPDATES.name_of(type(method.policy)) if isinstance(method, Adversarial) else "likelihood"


def with_policy(method: Learner, name: str) -> Learner:
    """`method` with another policy step: what all steps have stays, the rest is at the new one's defaults.

    Raises:
      GailfeError: no such step, or the method does without a choice.
    """
    if isinstance(method, Adversarial) and name == policy_name(method):
        return method
    choices = policy_choices(method)
    if name not in choices:
        expected = f"one of {', '.join(choices)}" if choices else f"none: {method.name} stands for its own"
        raise GailfeError(f"policy: got {name!r} for {method.name}; expected {expected}")
    kind = POLICY_UPDATES[name]
    # Two steps from the newest unroll have a lot in common; a step from replay starts from its own defaults.
    both = issubclass(kind, ActorCritic) and isinstance(method.policy, ActorCritic)
    shared = {s.name: getattr(method.policy, s.name) for s in settings_of(ActorCritic)} if both else {}
    return without_unread(method.replace(policy=kind(**shared)))


def about(method: Learner) -> tuple[str, str]:
    """`(what it does in one line, paper)`."""
    reward: Part | None = getattr(method, "reward", None)
    summary = method.about or type(method).summary or (reward.summary if isinstance(reward, Reward) else "")
    source = method.paper or type(method).source or (reward.source if isinstance(reward, Reward) else "")
    return summary, source
