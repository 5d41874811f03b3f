"""One table: a method's name and the parts it is made of."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeAlias

from gailfe_jax.buffers.labelled import LabelledTrajectories
from gailfe_jax.buffers.prioritized_episodes import PrioritizedEpisodes
from gailfe_jax.buffers.replay import Replay
from gailfe_jax.buffers.top_k import TopK
from gailfe_jax.config.flat import Config
from gailfe_jax.data.annotators import Annotator, terminated
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.adversarial import Learner
from gailfe_jax.learners.cloning import Cloning, Dagger
from gailfe_jax.policies.mail import MAIL
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.policies.trpo import TRPO
from gailfe_jax.rewards.discriminator import Discriminator
from gailfe_jax.rewards.linear import ConstantReward, FailureAware, FeatureMatching, GameTheoretic, find_features
from gailfe_jax.types import Env

AnyLearner: TypeAlias = Learner | Cloning | Dagger
"""One seed's functions: `init` and `step`, and the parts that evaluation and the policy files need."""


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """A line of the table.

    Attributes:
      name: what `--algo` takes.
      summary: one line for people.
      source: paper.
      cost: what the policy steps on; None for the true reward.
      constrained: whether failures constrain the discriminator.
      own: whether the agent's own good episodes stand for demonstrations, which it then does without.
      generator: the policy step it stands for; None leaves the choice to `Config.generator`.
      interactive: whether it asks the expert's policy instead of imitating demonstrations.
    """

    name: str
    summary: str
    source: str
    cost: Literal["discriminator", "fem", "gtal", "irlf", "constant"] | None = None
    constrained: bool = False
    own: bool = False
    generator: str | None = None
    interactive: bool = False

    @property
    def clones(self) -> bool:
        """Whether the demonstrations' likelihood is all it goes by."""
        return self.generator == "likelihood" and not self.interactive

    @property
    def imitates(self) -> bool:
        """Whether it is fitted to what is shown for good."""
        return self.clones or self.cost not in (None, "constant")

    @property
    def fails(self) -> bool:
        """Whether it learns from failures: as a constraint, or as a term of a linear cost."""
        return self.constrained or self.cost == "irlf"

    @property
    def generators(self) -> tuple[str, ...]:
        """The policy steps to choose from."""
        if self.generator is not None:
            return (self.generator,)
        # A constant has no gradient to carry back.
        return ("trpo", "ppo") if self.cost == "constant" else ("trpo", "ppo", "backprop")


ALGORITHMS: dict[str, Algorithm] = {
    a.name: a
    for a in (
        Algorithm("ppo", "PPO on the true reward (how experts are made)", "Schulman et al. 2017", generator="ppo"),
        Algorithm("trpo", "TRPO on the true reward", "Schulman et al. 2015", generator="trpo"),
        Algorithm("gail", "imitation against a discriminator", "Ho & Ermon 2016", cost="discriminator"),
        Algorithm(
            "gailfe",
            "GAIL whose discriminator is constrained by failures",
            "Zhu et al. 2020",
            cost="discriminator",
            constrained=True,
        ),
        Algorithm(
            "mail",
            "GAIL whose policy step is the discriminator's gradient through a learned model",
            "Baram et al. 2016",
            cost="discriminator",
            generator="backprop",
        ),
        Algorithm(
            "gasil",
            "imitation of the agent's own best episodes",
            "Guo et al. 2018",
            cost="discriminator",
            own=True,
        ),
        Algorithm("fem", "matches the demonstrations' mean features", "Abbeel & Ng 2004", cost="fem"),
        Algorithm("gtal", "matches the feature that is matched worst", "Syed et al. 2008", cost="gtal"),
        Algorithm(
            "irlf",
            "towards the demonstrations' mean features, away from the failures'",
            "Shiarlis et al. 2016",
            cost="irlf",
        ),
        Algorithm("constant", "control: the same reward in every step, no demonstrations", "", cost="constant"),
        Algorithm(
            "bc", "maximum likelihood on demonstrations, stopped early", "Pomerleau 1991", generator="likelihood"
        ),
        Algorithm(
            "dagger",
            "maximum likelihood on visited states that the expert labels",
            "Ross et al. 2011",
            generator="likelihood",
            interactive=True,
        ),
    )
}


@dataclasses.dataclass(frozen=True)
class Combination:
    """Parts that go together, by configuration alone.

    Attributes:
      name: for people.
      summary: one line for people.
      settings: fields of `Config` that make it, `algo` among them.
    """

    name: str
    summary: str
    settings: dict[str, Any]

    @property
    def flags(self) -> str:
        """What to say to `gailfe train`."""
        words = []
        for name, value in self.settings.items():
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                words.append(f"--{flag} {value}")
        return " ".join(words)


COMBINATIONS = tuple(
    Combination(*line)
    for line in (
        ("PPO", "the true reward by PPO", {"algo": "ppo"}),
        ("TRPO", "the true reward by TRPO", {"algo": "trpo"}),
        ("PPO+BC", "the true reward beside the demonstrations' likelihood", {"algo": "ppo", "bc_auxiliary": True}),
        ("PPO+SIL", "the true reward beside the agent's own past (Oh et al. 2018)", {"algo": "ppo", "sil_updates": 10}),
        ("GAIL by TRPO", "as in its paper", {"algo": "gail"}),
        ("GAIL by PPO", "first-order steps", {"algo": "gail", "generator": "ppo"}),
        ("GAIL+BC", "GAIL beside the demonstrations' likelihood", {"algo": "gail", "bc_auxiliary": True}),
        ("GAIL+reward", "the true reward, shaped by demonstrations", {"algo": "gail", "env_reward": True}),
        ("GAILFE", "failures constrain the discriminator", {"algo": "gailfe"}),
        ("GAILFE by PPO", "the same by first-order steps", {"algo": "gailfe", "generator": "ppo"}),
        (
            "GAILFE+successes",
            "its own successes join the demonstrations",
            {"algo": "gailfe", "positives": "both", "own_episodes": "return_above:0.9"},
        ),
        ("GAILFE+best", "its own best join the demonstrations", {"algo": "gailfe", "positives": "both"}),
        ("GAILFE x MAIL", "the constraint with the step through a model", {"algo": "gailfe", "generator": "backprop"}),
        ("MAIL", "the gradient through a learned model along real steps", {"algo": "mail"}),
        (
            "MAIL in the model",
            "the same along the model's own rollouts",
            {"algo": "mail", "model_rollouts": "model", "model_ensemble": 3},
        ),
        ("MAIL by Adam", "no trust region", {"algo": "mail", "model_step": "adam"}),
        ("MAIL+best", "its own best join the demonstrations", {"algo": "mail", "positives": "both"}),
        (
            "GASIL+PPO",
            "the true reward beside a discriminator that knows the agent's own best",
            {"algo": "gasil", "generator": "ppo", "env_reward": True},
        ),
        (
            "GASIL+TRPO",
            "the same by TRPO",
            {"algo": "gasil", "generator": "trpo", "env_reward": True},
        ),
        ("GASIL alone", "without the true reward", {"algo": "gasil", "generator": "ppo", "env_reward": False}),
        (
            "GASIL x MAIL",
            "the agent's own best, the step through a model",
            {"algo": "gasil", "generator": "backprop", "env_reward": False},
        ),
        ("FEM by TRPO", "as in Ho & Ermon 2016", {"algo": "fem"}),
        ("FEM x MAIL", "the linear cost's gradient through a learned model", {"algo": "fem", "generator": "backprop"}),
        ("GTAL by TRPO", "as in Ho & Ermon 2016", {"algo": "gtal"}),
        ("IRLF", "a linear cost with a term for failures", {"algo": "irlf"}),
        ("constant reward", "what staying alive alone is worth", {"algo": "constant"}),
        ("BC", "the demonstrations' likelihood alone", {"algo": "bc"}),
        ("DAgger", "the expert labels what the policy visits", {"algo": "dagger"}),
    )
)
"""Combinations of source, cost, constraint and generator that are worth a name; there are more."""
_GENERATORS = {"ppo": PPO, "trpo": TRPO, "backprop": MAIL}
_COSTS = {
    "discriminator": Discriminator,
    "fem": FeatureMatching,
    "gtal": GameTheoretic,
    "irlf": FailureAware,
    "constant": ConstantReward,
}


def find_algorithm(name: str) -> Algorithm:
    """The algorithm called `name`.

    Raises:
      GailfeError: no such algorithm.
    """
    if name not in ALGORITHMS:
        raise GailfeError(f"algo: unknown algorithm {name!r}; expected one of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def needs_demos(config: Config) -> bool:
    """Whether training needs a demonstration file."""
    shown = find_algorithm(config.algo).imitates and config.positives != "own"
    return shown or config.bc_steps > 0 or config.bc_auxiliary


def asks_expert(config: Config) -> bool:
    """Whether training asks the expert's policy."""
    return find_algorithm(config.algo).interactive


def resolve_config(config: Config) -> Config:
    """`config` with what its algorithm stands for, and running statistics where no demonstrations are imitated.

    Raises:
      GailfeError: unknown algorithm, or parts that do not go together.
    """
    algorithm = find_algorithm(config.algo)
    changes: dict[str, Any] = {} if algorithm.generator is None else {"generator": algorithm.generator}
    if algorithm.own:
        changes["positives"] = "own"
    config = dataclasses.replace(config, **changes)
    if config.generator == "likelihood":
        _check_supervised(config, algorithm)
    if algorithm.cost != "discriminator":
        for name in ("positives", "env_reward", "disc_reward", "disc_replay"):
            # The true reward goes beside any cost.
            if getattr(config, name) != getattr(Config, name) and (name != "env_reward" or algorithm.cost is None):
                raise GailfeError(f"{name}: --algo {config.algo} has no discriminator; expected an adversarial one")
        if algorithm.cost is not None and config.multiplier != Config.multiplier:
            raise GailfeError(f"multiplier: --algo {config.algo} has none; expected gailfe, or irlf_lambda for irlf")
    if algorithm.cost in ("fem", "gtal", "irlf"):
        find_features(config.features)
    else:
        for name in ("features", "linear_offset"):
            if getattr(config, name) != getattr(Config, name):
                raise GailfeError(f"{name}: --algo {config.algo} has no linear cost; expected fem, gtal or irlf")
    if config.generator not in algorithm.generators and algorithm.cost is not None:
        raise GailfeError("generator: a constant reward has no gradient through a model; expected trpo or ppo")
    if config.sil_updates and config.generator != "ppo":
        raise GailfeError(f"sil_updates: --generator {config.generator} has no optimiser for them; expected ppo")
    if config.sil_updates and algorithm.cost is not None and not config.env_reward:
        raise GailfeError("sil_updates: they go by the true reward; expected --algo ppo, or env_reward beside the cost")
    if config.env_reward and config.generator == "backprop":
        raise GailfeError(
            "env_reward: the true reward has no gradient through a model; expected generator trpo or ppo, or none of it"
        )
    if config.positives == "demonstrations" and config.own_episodes != Config.own_episodes:
        raise GailfeError("own_episodes: nothing is done with them; expected positives own or both beside it")
    if algorithm.clones:
        return dataclasses.replace(config, obs_normaliser="demonstrations")
    if not algorithm.imitates or config.positives == "own":
        config = dataclasses.replace(config, obs_normaliser="running")
    return config


def _check_supervised(config: Config, algorithm: Algorithm) -> None:
    """Refuses what does not go with maximum likelihood alone.

    Raises:
      GailfeError: names the field.
    """
    if algorithm.generator != "likelihood":
        raise GailfeError(f"generator: --algo {config.algo} has more than a likelihood; expected trpo, ppo or backprop")
    for name in ("bc_steps", "bc_auxiliary", "warmup_iterations", "warm_restarts"):
        if getattr(config, name):
            raise GailfeError(f"{name}: --algo {config.algo} is maximum likelihood from the start; expected none")
    if algorithm.clones and config.policy_average:
        raise GailfeError("policy_average: --algo bc evaluates and saves its best snapshot; expected none")
    if algorithm.clones and config.batch_size % config.bc_minibatch:
        raise GailfeError(
            f"bc_minibatch: got {config.bc_minibatch}; expected a divisor of num_envs * unroll_length = "
            f"{config.batch_size}, the pairs of an iteration"
        )


def make_learner(
    config: Config,
    env: Env,
    *,
    total_iterations: int = 1,
    annotator: Annotator | None = None,
    success: Annotator | None = None,
) -> AnyLearner:
    """Composes the learner that `config` names.

    Args:
      config: static settings.
      env: the environment.
      total_iterations: length of the run, for annealed learning rates.
      annotator: what counts as a failure; `terminated` if None. Unused where nothing is
        learned from failures.
      success: what counts as a success among its own episodes; None takes the best ones. Unused without those.

    Raises:
      GailfeError: unknown algorithm, or parts that do not go together.
    """
    algorithm = find_algorithm(config.algo)
    config = resolve_config(config)
    spec = env.spec
    if config.generator == "likelihood":
        return (Dagger if algorithm.interactive else Cloning)(config, env, total_iterations)
    generator = _GENERATORS[config.generator](config, spec)
    sizes: dict[str, Any] = {
        "max_length": spec.max_episode_steps,
        "num_envs": config.num_envs,
        "obs_size": spec.obs_size,
        "action_size": spec.action_size,
    }
    episodes = PrioritizedEpisodes(capacity=config.sil_capacity, **sizes) if config.sil_updates else None
    if algorithm.cost is None:
        return Learner(config, env, generator, episodes=episodes, total_iterations=total_iterations)
    failures = None
    if algorithm.fails:
        failures = LabelledTrajectories(
            capacity=config.failure_capacity,
            annotator=annotator or terminated(),
            last_steps=config.failure_last_steps,
            collect=config.failure_source != "collected",
            **sizes,
        )
    own = None
    if config.positives != "demonstrations":
        if success is None:
            own = TopK(capacity=config.own_capacity, **sizes)
        else:
            own = LabelledTrajectories(capacity=config.own_capacity, annotator=success, **sizes)
    replay = Replay(config.disc_replay) if config.disc_replay else None
    experience = Replay(config.model_capacity) if config.generator == "backprop" else None
    cost = _COSTS[algorithm.cost](config, spec)
    return Learner(config, env, generator, cost, failures, own, replay, experience, episodes, total_iterations)
