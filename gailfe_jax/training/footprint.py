"""What a run holds on a device at least, from shapes alone, and whether that fits: before anything is compiled. And
whether the compiled program fits."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import jax

from gailfe_jax.config.tree import leaves
from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.learners.base import Learner
from gailfe_jax.parallel.devices import ENVS, SEEDS
from gailfe_jax.parallel.memory import free_bytes, tree_bytes
from gailfe_jax.training.plan import Plan
from gailfe_jax.types import PyTree

# What makes each part smaller. A method has some of these settings.
_LOWER = {
    "failures": ("failures.capacity",),
    "own episodes": ("self_demonstrations.capacity",),
    "replay": ("reward.replay",),
    "experience": ("policy.model.capacity",),
    "labels": ("aggregate_capacity",),
    "past episodes": ("self_imitation.capacity",),
    "environments": ("rollout.num_envs",),
    "evaluation": ("eval_episodes",),
    "unroll": ("rollout.num_envs", "rollout.unroll_length"),
    "replayed steps": ("policy.replay",),
    "draws": (
        "reward.minibatch",
        "policy.model.minibatch",
        "reward.steps",
        "policy.model.fit_steps",
        "policy.minibatch",
        "policy.update_ratio",
    ),
    "networks": ("policy.hidden", "reward.hidden", "policy.model.hidden"),
    "copy of both": ("rollout.num_envs", "policy.hidden"),
    "demonstrations": ("trajectories",),
}
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"
"""XLA's word where a device has no more memory."""
_WORTH_NAMING = 0.1  # Share of the whole from which on it helps to make a part smaller.


@dataclasses.dataclass(frozen=True)
class Footprint:
    """What a run holds on each of its devices at the same time. What the compiler needs besides comes on top.

    Attributes:
      seeds: of the device.
      parts: `name -> bytes`, all its seeds together, largest first.
      free: bytes that a program may take there; infinity where unknown.
      settings: those of the method.
    """

    seeds: int
    parts: dict[str, int]
    free: float
    settings: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts.values())

    @property
    def line(self) -> str:
        """One line for people."""
        of = "" if self.free == float("inf") else f" of {in_words(self.free)} free"
        return f"memory: at least {in_words(self.total)}{of} ({self._listed()})"

    def check(self) -> None:
        """Refuses what cannot fit.

        Raises:
          GailfeError: names the parts, and the settings that make the largest of them smaller.
        """
        if self.total <= self.free:
            return
        raise GailfeError(
            f"memory: {self.seeds} seed(s) need at least {in_words(self.total)} ({self._listed()}) and "
            f"{in_words(self.free)} are free; expected less of {self.lower}"
        )

    @property
    def lower(self) -> str:
        """The settings that make the largest parts smaller."""
        large = [name for name, size in self.parts.items() if size >= _WORTH_NAMING * self.total]
        lower = dict.fromkeys(setting for name in large for setting in _LOWER.get(name, ()) if setting in self.settings)
        # What has no setting of its own, as draws of a whole unroll, grows with the unroll.
        lower = lower or dict.fromkeys(_LOWER["unroll"])
        lower |= {"seeds": None} if self.seeds > 1 else {}
        return ", ".join(lower)

    def _listed(self) -> str:
        return ", ".join(f"{name} {in_words(size)}" for name, size in self.parts.items())


def in_words(size: float) -> str:
    """Bytes for people: `640 KiB`, `12.5 MiB`, `3.2 GiB`."""
    for unit in ("KiB", "MiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.3g} {unit}" if size < 999.5 else f"{size:.0f} {unit}"
    return f"{size / 1024:,.4g} GiB"


def footprint(plan: Plan) -> Footprint:
    """What the run of `plan` holds on one device, and what is free there."""
    trainer, learner, demos = plan.trainer, plan.learner, plan.inputs.demos
    shards, slices = (1, 1) if trainer.mesh is None else (trainer.mesh.shape[SEEDS], trainer.mesh.shape[ENVS])
    seeds = len(plan.names) // shards
    state = trainer.template(demos)
    environments = tree_bytes(state.env) // shards
    buffers = {name: seeds * size for name, size in learner.buffer_bytes().items()}
    networks = tree_bytes(state) // shards - environments - sum(buffers.values())
    worlds = learner.rollout.num_envs
    parts = buffers | {
        # Each device steps its own environments, and learns from those of all.
        "environments": environments // slices,
        "networks": networks,
        # Beside the training's own, in as many environments as there are episodes.
        "evaluation": environments * plan.run.eval_episodes // worlds,
        # What a seed that diverges is put back to.
        "copy of both": environments // slices + networks,
        "unroll": seeds * learner.unroll_bytes(),
        "draws": seeds * learner.drawn_bytes(),
        "demonstrations": tree_bytes(demos),
    }
    parts = {name: size for name, size in sorted(parts.items(), key=lambda part: -part[1]) if size > 0}
    return Footprint(seeds, parts, free_bytes(plan.device), _settings(learner))


def compile_within(plan: Plan, state: PyTree) -> None:
    """Compiles the program of a run that stands at `state`, if it is not yet, and refuses one that takes more than is
    free: where a host's memory is used up, it kills the process without a word.

    Raises:
      GailfeError: names the settings that make the largest parts smaller.
    """
    trainer = plan.trainer
    if trainer.further_bytes is not None:
        return
    trainer.compiled(state, plan.inputs.demos)
    further, free = trainer.further_bytes, free_bytes(plan.device)
    if further is not None and further > free:
        raise GailfeError(
            f"memory: the program takes {in_words(further)} more while it runs, and {in_words(free)} are free; "
            f"expected less of {footprint(plan).lower}"
        )


@contextlib.contextmanager
def within_memory(plan: Plan) -> Iterator[None]:
    """Inside, a device that has no more memory ends the run in a line that says what takes less.

    Raises:
      GailfeError: instead of JAX's own error.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if OUT_OF_MEMORY not in str(error):
            raise
        said = one_line(error, first=True)
        raise GailfeError(f"memory: used up ({said}); expected less of {footprint(plan).lower}") from error


def _settings(learner: Learner) -> tuple[str, ...]:
    return (*leaves(learner), "eval_episodes", *(("trajectories",) if learner.needs_demonstrations else ()))
