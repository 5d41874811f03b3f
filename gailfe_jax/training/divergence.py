"""Seeds whose numbers are no longer finite: noticed after each chunk, named, and held at their last finite state."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.envs import resets_nonfinite, task_of
from gailfe_jax.envs.meaning import meaning_of
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.base import Learner
from gailfe_jax.parallel import distributed
from gailfe_jax.types import Array, PyTree, is_key

_SHOWN = 3  # Observations that a message names.


@dataclasses.dataclass(frozen=True)
class Divergence:
    """Where a seed's training has diverged.

    Attributes:
      step: environment steps of the seed at the evaluation that found it.
      quantity: what was not finite first, as far as that can be told.
      also: what else was not finite by then.
    """

    step: int
    quantity: str
    also: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """What people are told, behind the seed."""
        also = f" (then {', '.join(self.also)})" if self.also else ""
        verb = "are" if self.quantity.startswith("observations") else "is"
        return f"has diverged by step {self.step:,}: {self.quantity} {verb} not finite{also}"

    def record(self, seed: int) -> dict[str, Any]:
        """For records of a run."""
        return {"seed": seed, "step": self.step, "quantity": self.quantity, "also": list(self.also)}


class Found(NamedTuple):
    """Which leaves of a state are not finite.

    Attributes:
      names: `L` leaves of floating point that training goes on from: observations, agent, reward, multiplier.
      nan, inf: `[L, S]` bool.
    """

    names: tuple[str, ...]
    nan: np.ndarray
    inf: np.ndarray


def learned(state: Any) -> Any:
    """A state without its buffers, which may be larger than the device could hold twice: what is held of a seed."""
    return state.replace(sources=None)


@jax.jit
def copied(tree: PyTree) -> PyTree:
    """The same in memory of its own, which outlives a program that takes over the original's."""
    return jax.tree.map(jnp.copy, tree)


@functools.partial(jax.jit, donate_argnums=0)
def put_back(tree: PyTree, kept: PyTree, which: Array) -> PyTree:
    """`kept` for the seeds `which [S]`, `tree` for the others, bit for bit; leaves are `[S, ...]`."""

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(which.reshape(-1, *(1,) * (new.ndim - 1)), old, new)

    return jax.tree.map(choose, tree, kept)


def watched(state: Any) -> dict[str, Array]:
    """What has to be finite: the observations, and the numbers of agent, reward and multiplier."""
    obs = getattr(state.env, "obs", None)
    parts = {"agent": state.agent, "reward": state.reward, "dual": state.dual}
    found = {} if obs is None else {"observations": obs}
    for path, leaf in jax.tree_util.tree_leaves_with_path(parts):
        if not is_key(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating):
            found[jax.tree_util.keystr(path, simple=True, separator=".")] = leaf
    return found


@jax.jit
def nonfinite(leaves: list[Array]) -> tuple[Array, Array]:
    """`(nan [L, S], inf [L, S])` of leaves `[S, ...]`."""
    seen = [leaf.reshape(leaf.shape[0], -1) for leaf in leaves]
    return (
        jnp.stack([jnp.isnan(leaf).any(axis=1) for leaf in seen]),
        jnp.stack([jnp.isinf(leaf).any(axis=1) for leaf in seen]),
    )


def read_divergences(records: Any, names: Sequence[int]) -> dict[int, Divergence]:
    """`position -> where it diverged`, of what a checkpoint says in `Divergence.record`.

    Raises:
      GailfeError: it speaks of a seed that the run has not.
    """
    places = {name: i for i, name in enumerate(names)}
    found = {}
    for record in records or ():
        also = tuple(str(other) for other in record["also"])
        if record["seed"] not in places:
            raise GailfeError(f"checkpoint: seed {record['seed']} has diverged there; expected one of {list(names)}")
        found[places[record["seed"]]] = Divergence(int(record["step"]), str(record["quantity"]), also)
    return found


def agreed_divergences(found: Mapping[int, Divergence], seeds: int) -> dict[int, Divergence]:
    """Process 0's, without their words in the others."""
    if jax.process_count() == 1:
        return dict(found)
    steps = np.array([found[i].step if i in found else -1 for i in range(seeds)])
    steps = distributed.from_first(steps)
    return {i: found.get(i, Divergence(int(steps[i]), "")) for i in range(seeds) if steps[i] >= 0}


class Guard:
    """Watches the seeds of a run. What it does changes no bit of a seed whose numbers are finite.

    Args:
      trainer: the run's programs.
      names: `[S]` what the seeds are called.
      gone: the seeds that have diverged before, by position.
      fresh: whether the run begins now: infinities that a reward of the user's starts from are then known to be meant.

    Attributes:
      gone: those that have diverged so far.
      new: those that did in the last chunk.
    """

    def __init__(self, trainer: Any, names: Sequence[int], gone: Mapping[int, Divergence], fresh: bool):
        self._trainer, self._names, self._fresh = trainer, list(names), fresh
        self.gone = dict(gone)
        self.new: list[int] = []
        self._meant: np.ndarray = np.zeros((0, len(names)), bool)
        self._before: dict[str, np.ndarray] = {}
        self._resets: Any = 0

    @property
    def rows(self) -> np.ndarray:
        """`[S]` bool, which seeds have diverged."""
        return np.isin(np.arange(len(self._names)), list(self.gone))

    @property
    def everywhere(self) -> bool:
        """Whether no seed is left."""
        return len(self.gone) == len(self._names)

    def records(self) -> list[dict[str, Any]]:
        """What records say of the seeds that have diverged."""
        return [found.record(self._names[i]) for i, found in sorted(self.gone.items())]

    def lines(self, rows: Sequence[int]) -> list[str]:
        """What people are told of some seeds."""
        return [f"seed {self._names[i]} {self.gone[i].line}" for i in rows]

    def keep(self, state: Any) -> Any:
        """What `after` needs of the state before a chunk."""
        if not len(self._meant):
            self.resets(state)  # From here on.
            found = self._trainer.nonfinite(state)
            own = np.array([name.startswith("reward.") for name in found.names])[:, None]
            # Inside the package no state starts from a number that is not finite.
            self._meant = found.inf | (found.nan & own & self._fresh)
        return copied(learned(state))

    def after(self, state: Any, kept: Any, metrics: Mapping[str, np.ndarray], step: int) -> Any:
        """The state after a chunk, with the seeds that have diverged put back to their last finite state.

        Args:
          state: `[S]` after the chunk.
          kept: what `keep` gave before it.
          metrics: of the chunk, `[chunk, S]`.
          step: environment steps of each seed.
        """
        found = self._trainer.nonfinite(state)
        bad = (found.nan | found.inf) & ~self._meant
        first = [self._first_metric(metrics, i) for i in range(len(self._names))]
        losses = [self._first_metric(metrics, i, "loss") for i in range(len(self._names))]
        rows = [i for i in range(len(self._names)) if i not in self.gone and (bad[:, i].any() or losses[i])]
        if rows:
            numbers = self._features(state)
            for i in rows:
                names = [name for name, is_bad in zip(found.names, bad[:, i], strict=True) if is_bad]
                self.gone[i] = self._told(i, names, first[i], len(next(iter(metrics.values()))), numbers, step)
        self.new = rows
        self._before = {name: value[-1] for name, value in metrics.items()}
        return self._trainer.put_back(state, kept, self.rows) if self.gone else state

    def _first_metric(self, metrics: Mapping[str, np.ndarray], seed: int, word: str = "") -> tuple[int, str] | None:
        """The iteration and the name of the first metric with `word` in it that ceases to be finite.

        Some are nan by right, while nothing is learned yet or no episode has ended: they count from their first number
        on, or where they are infinite.
        """
        found: list[tuple[int, str]] = []
        for name, value in metrics.items():
            if word not in name or name.startswith(("train_", "best_")):
                continue
            series = value[:, seed]
            before = self._before[name][seed] if name in self._before else np.nan
            # Whether it was a number in any iteration before.
            known = np.maximum.accumulate(np.isfinite([before, *series[:-1]]))
            bad = np.isinf(series) | (np.isnan(series) & known)
            if bad.any():
                found.append((int(bad.argmax()), name))
        return min(found, key=lambda pair: pair[0]) if found else None

    def _features(self, state: Any) -> np.ndarray | None:
        """`[S, o]` bool, which numbers of an observation are not finite, or were not when statistics saw them."""
        obs = getattr(state.env, "obs", None)
        size = None if obs is None else obs.shape[-1]
        seen = [] if obs is None else [obs]
        for part, name in ((state.agent, "obs_stats"), (state.reward, "stats")):
            mean = getattr(getattr(part, name, None), "mean", None)
            if mean is not None and size is not None and mean.shape[-1] >= size:
                seen.append(mean[:, None, :size])
        if not seen:
            return None
        bad = [~np.isfinite(np.asarray(x)) for x in self._trainer.gather(seen)]
        return np.asarray(np.concatenate(bad, axis=1).any(axis=1))

    def _told(
        self, seed: int, names: list[str], first: tuple[int, str] | None, chunk: int, numbers: Any, step: int
    ) -> Divergence:
        learner: Learner = self._trainer.learner
        groups = dict.fromkeys(_group(name) for name in names)
        row = None if numbers is None else numbers[seed]
        observed = None if row is None or not row.any() else _observations(learner, row)
        # Where the physics is reset once it is not finite, nothing but its own expression makes an observation so. Else
        # a policy that has diverged may have done it, which a chunk's end tells by the chunk's last iteration alone.
        sure = getattr(learner.env, "resets_nonfinite", False) or "the policy" not in groups
        if observed is not None and (sure or first is None or first[0] == chunk - 1):
            quantity = observed
        elif observed is None and _reward_is_bad(learner, names):
            quantity = _reward_name(learner)
        else:
            quantity = first[1] if first else (observed or next(iter(groups), "a loss"))
        told = {} if observed is None else {"observations", "the observations' statistics"}
        others = ([observed] if observed else []) + [group for group in groups if group not in told]
        return Divergence(step, quantity, tuple(other for other in others if other != quantity))

    def resets(self, state: Any) -> np.ndarray | None:
        """`[S]` how many environments were reset since the last call because their physics was not finite; None where
        none would be."""
        counts = None if state.env is None else resets_nonfinite(state.env)
        if counts is None:
            return None
        total = np.asarray(self._trainer.gather(counts)).astype(np.int64).sum(axis=1)
        before, self._resets = self._resets, total
        return total - before


def _group(name: str) -> str:
    """What people call a leaf: `the policy` of `agent.policy.params.mean.kernel`."""
    part, _, rest = name.partition(".")
    if part == "observations":
        return part
    if part == "reward":
        return "the fitted reward"
    if part == "dual":
        return "the multiplier"
    inner = rest.partition(".")[0]
    known = {"policy": "the policy", "average": "the policy", "policy_opt": "the policy"}
    known |= dict.fromkeys(("value", "value_opt", "return_scale", "critics", "critics_opt"), "the value network")
    known |= {"obs_stats": "the observations' statistics", "reward_scale": "the reward's scale"}
    return known.get(inner, f"agent.{inner}")


def _observations(learner: Any, row: np.ndarray) -> str:
    """What people call the numbers of an observation that `row [o]` marks."""
    if row.all():
        return "observations"
    task = task_of(learner.env)
    if task is not None and task.labels:
        names, of = task.labels, f" of {pathlib.Path(task.source or task.name).name}"
    else:
        names, of = [name for name, _ in meaning_of(learner.env).obs], ""
    shown = list(dict.fromkeys(f"{names[k]!r}" for k in np.flatnonzero(row)))
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return f"observation{'s' if len(shown) > 1 else ''} {', '.join(shown[:_SHOWN])}{more}{of}"


def _reward_is_bad(learner: Learner, names: list[str]) -> bool:
    """Whether the environment's own reward, which the method maximises, was not finite."""
    own = getattr(learner, "reward", None) is None or getattr(learner, "_adds_reward", False)
    return own and any(name.startswith("agent.reward_scale") for name in names)


def _reward_name(learner: Learner) -> str:
    task = task_of(learner.env)
    return "the reward" if task is None or task.source is None else f"the reward of {pathlib.Path(task.source).name}"
