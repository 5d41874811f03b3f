"""Demonstrations and failures: whole trajectories, where they came from, and what they must hold.

Host side and NumPy only. Files are the business of `gailfe_jax.data.formats`.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gailfe_jax.data.validation import FIELDS, PARTS, STEP_FIELDS, check_trajectories
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.provenance import package_versions

if TYPE_CHECKING:
    # Its module imports JAX, and this one is NumPy only.
    from gailfe_jax.types import EnvSpec

FORMAT_VERSION = 1
"""Of what our own files hold, see `gailfe_jax.data.formats.arrays`."""

FAILURE_SOURCES = ("none", "expert snapshots", "noised expert", "expert", "recorded")
"""How the failures of a file were produced; `expert`: the expert failed by itself, `recorded`: they were imported."""

ACTION_MODES = ("stochastic", "deterministic")
"""How the expert's actions were drawn."""

_PACKAGES = ("gailfe-jax", "jax", "numpy", "mujoco", "gymnasium")


@dataclasses.dataclass(frozen=True, eq=False)
class StateActionPairs:
    """`m` state-action pairs that remember where they came from.

    Attributes:
      obs: `[m, o]` f32.
      action: `[m, a]` f32.
      next_obs: `[m, o]` f32, where the action led, before any reset.
      terminated: `[m]` bool, whether the task ended there.
      trajectory: `[m]` int64, index of the trajectory.
      step: `[m]` int64, time step within it.
    """

    obs: np.ndarray
    action: np.ndarray
    next_obs: np.ndarray
    terminated: np.ndarray
    trajectory: np.ndarray
    step: np.ndarray

    def __len__(self) -> int:
        return len(self.obs)


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectories:
    """`k` whole trajectories, `n` steps in all, stored one after the other.

    Attributes:
      obs: `[n, o]` f32, observation each action was chosen on.
      action: `[n, a]` f32, action the environment received (within its bounds); `[n, 0]` where nobody recorded any.
      next_obs: `[n, o]` f32, observation after the step, before any reset.
      reward: `[n]` f32, the environment's true reward, or None where nobody recorded it; for evaluation, learners do
        not see it.
      terminated: `[n]` bool, the task ended the episode with this step.
      truncated: `[n]` bool, the time limit did.
      offsets: `[k + 1]` int64, trajectory `i` is rows `offsets[i]` to `offsets[i + 1]`.
      simulator_state: `[n, s]` f64, the simulator's full state before each step, or None.
    """

    obs: np.ndarray
    action: np.ndarray
    next_obs: np.ndarray
    reward: np.ndarray | None
    terminated: np.ndarray
    truncated: np.ndarray
    offsets: np.ndarray
    simulator_state: np.ndarray | None = None

    @classmethod
    def empty(cls, obs_size: int, action_size: int) -> Trajectories:
        """No trajectories, of the given sizes."""
        return cls(
            obs=np.zeros((0, obs_size), np.float32),
            action=np.zeros((0, action_size), np.float32),
            next_obs=np.zeros((0, obs_size), np.float32),
            reward=np.zeros((0,), np.float32),
            terminated=np.zeros((0,), np.bool_),
            truncated=np.zeros((0,), np.bool_),
            offsets=np.zeros((1,), np.int64),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Trajectories]) -> Trajectories:
        """All trajectories of the parts, in order; without rewards or simulator states that a part with steps lacks.

        Raises:
          GailfeError: no parts, or different observation or action sizes.
        """
        if not parts:
            raise GailfeError("trajectories: nothing to concatenate, expected one set or more")
        sizes = {(part.obs.shape[1], part.action.shape[1]) for part in parts}
        if len(sizes) > 1:
            raise GailfeError(f"trajectories: expected one (observation, action) size, got {sorted(sizes)}")
        filled = [part for part in parts if part.num_transitions] or [parts[0]]
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in filled])
            for name in STEP_FIELDS
            if all(getattr(part, name) is not None for part in filled)
        }
        lengths = np.concatenate([part.lengths for part in filled])
        return cls(offsets=offsets_of(lengths), **{"reward": None, **joined})

    @property
    def num_trajectories(self) -> int:
        """`k`."""
        return len(self.offsets) - 1

    @property
    def num_transitions(self) -> int:
        """`n`."""
        return len(self.obs)

    @property
    def acted(self) -> bool:
        """Whether actions are known."""
        return self.action.shape[1] > 0

    @property
    def lengths(self) -> np.ndarray:
        """`[k]` int64, steps of each trajectory."""
        return np.diff(self.offsets)

    @property
    def returns(self) -> np.ndarray:
        """`[k]` f64, undiscounted true return of each trajectory.

        Raises:
          GailfeError: nobody recorded the reward.
        """
        if self.reward is None:
            raise GailfeError("trajectories: hold no reward, so their returns are unknown")
        return np.array([self.reward[rows].sum(dtype=np.float64) for rows in self._rows()], np.float64)

    def _rows(self) -> Iterator[slice]:
        for start, stop in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield slice(int(start), int(stop))

    def trajectory(self, i: int) -> Trajectories:
        """Trajectory `i` alone (views, not copies).

        Raises:
          GailfeError: no such trajectory.
        """
        if not 0 <= i < self.num_trajectories:
            raise GailfeError(f"trajectories: no number {i}, expected 0 to {self.num_trajectories - 1}")
        rows = slice(int(self.offsets[i]), int(self.offsets[i + 1]))
        fields = {name: None if (array := getattr(self, name)) is None else array[rows] for name in STEP_FIELDS}
        return Trajectories(offsets=offsets_of(self.lengths[i : i + 1]), **fields)  # type: ignore[arg-type]

    def select(self, indices: Sequence[int] | np.ndarray) -> Trajectories:
        """The trajectories with the given indices, in that order.

        Raises:
          GailfeError: no such trajectory.
        """
        indices = np.asarray(indices)
        if indices.dtype == np.bool_:
            indices = np.flatnonzero(indices)
        if not indices.size:
            return Trajectories.empty(self.obs.shape[1], self.action.shape[1])
        return Trajectories.concatenate([self.trajectory(int(i)) for i in indices])

    def take(self, n: int, seed: int | None = None) -> Trajectories:
        """The first `n` trajectories; with a seed, `n` different ones at random.

        Raises:
          GailfeError: fewer than `n` are there, or `n` is not positive.
        """
        if not 1 <= n <= self.num_trajectories:
            raise GailfeError(f"trajectories: asked for {n}, expected 1 to {self.num_trajectories} (all there are)")
        if seed is None:
            return self.select(np.arange(n))
        return self.select(np.random.default_rng(seed).choice(self.num_trajectories, n, replace=False))

    def subsample(self, k: int, seed: int = 0) -> StateActionPairs:
        """Every `k`-th pair of each trajectory, starting at a random phase per trajectory.

        As Ho & Ermon (2016) do with `k = 20`, to make demonstrations scarce without favouring a part of the gait. The
        phase is uniform over `0..k-1`, or over the whole trajectory where that is shorter, so none is left out.

        Raises:
          GailfeError: `k` is not positive.
        """
        if k < 1:
            raise GailfeError(f"subsample: k is {k}, expected 1 or more")
        rng = np.random.default_rng(seed)
        steps = [np.arange(rng.integers(min(k, length)), length, k) for length in self.lengths]
        if not steps:
            steps = [np.zeros((0,), np.int64)]
        step = np.concatenate(steps)
        trajectory = np.repeat(np.arange(self.num_trajectories), [len(s) for s in steps][: self.num_trajectories])
        rows = self.offsets[trajectory] + step
        return StateActionPairs(
            obs=self.obs[rows],
            action=self.action[rows],
            next_obs=self.next_obs[rows],
            terminated=self.terminated[rows],
            trajectory=trajectory,
            step=step,
        )

    def pairs(self) -> StateActionPairs:
        """All `n` state-action pairs."""
        return self.subsample(1)


@dataclasses.dataclass(frozen=True, eq=False)
class Demonstrations:
    """An expert's trajectories, the failed attempts that belong to them, and where both came from.

    Attributes:
      env_id: the environment: what `--env` takes. A Gymnasium id may stand without `gym:` and its module (`Hopper-v5`,
        `MyEnv-v0` for `gym:my_env:MyEnv-v0`). For a task file it is the task's name, for an object its `spec.name`.
      expert: at least one trajectory.
      failures: labelled as failed by the annotator that `provenance` names; may be empty.
      provenance: JSON-serialisable, see `make_provenance`.
    """

    env_id: str
    expert: Trajectories
    failures: Trajectories
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)

    def validate(
        self,
        name: str = "demonstrations",
        *,
        expect_env: str | None = None,
        action_low: float | np.ndarray = -np.inf,
        action_high: float | np.ndarray = np.inf,
        tolerance: float = 1e-5,
        discrete: bool = False,
    ) -> None:
        """Checks what `load` promises of a file; `name` opens the messages.

        Args:
          name: what to call these demonstrations, usually the file.
          expect_env: the Gymnasium id that they must be for; any if None.
          action_low, action_high: action bounds, one number or one per dimension; none are checked by default.
          tolerance: how far beyond its bounds an action may be (rounding).
          discrete: whether actions are choices, rows with 1 at the choice and 0 elsewhere.

        Raises:
          GailfeError: another environment, wrong dtype, shape or length, NaN or infinity, an action out of bounds or
            that is no choice, boundaries that `terminated` and `truncated` contradict, observations that do not follow
            on one another, no expert.
        """
        if expect_env is not None and self.env_id != expect_env:
            raise GailfeError(f"{name}: field 'env_id': demonstrations of {self.env_id!r}, expected {expect_env!r}")
        for part in PARTS:
            where = f"{name}: field '{part}/"
            check_trajectories(getattr(self, part), where, action_low, action_high, tolerance, discrete)
        if self.expert.num_trajectories == 0:
            raise GailfeError(f"{name}: field 'expert/offsets': no expert trajectories, expected one or more")
        for field in ("obs", "action"):
            sizes = [getattr(getattr(self, part), field).shape[1] for part in PARTS]
            if sizes[0] != sizes[1]:
                raise GailfeError(
                    f"{name}: field 'failures/{field}': size {sizes[1]}, expected the expert's {sizes[0]}"
                )

    def cast(self) -> Demonstrations:
        """The same with numbers in the types that a file has; what is no array of numbers stays."""
        parts = {}
        for part in PARTS:
            held = getattr(self, part)
            changes = {}
            for field, (dtype, _) in FIELDS.items():
                value = getattr(held, field)
                if hasattr(value, "dtype") and value.dtype != dtype and _casts(np.dtype(value.dtype), np.dtype(dtype)):
                    # A number beyond float32 becomes infinite, which is refused as such.
                    with np.errstate(over="ignore"):
                        changes[field] = np.asarray(value, dtype)
                elif hasattr(value, "dtype") and not isinstance(value, np.ndarray):
                    changes[field] = np.asarray(value)
            parts[part] = dataclasses.replace(held, **changes)
        return dataclasses.replace(self, **parts)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a file in the format that its name chooses, whole or not at all.

        The same content gives the same `.npz` or `.h5`/`.hdf5` bytes.

        Raises:
          GailfeError: no format has that name, content that `load` would refuse (the bounds of actions apart),
            provenance that JSON cannot hold, or a file that cannot be written.
        """
        from gailfe_jax.data.formats import write_demonstrations

        write_demonstrations(path, self)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        expect_env: str | None = None,
        action_low: float | np.ndarray = -np.inf,
        action_high: float | np.ndarray = np.inf,
        tolerance: float = 1e-5,
        discrete: bool = False,
    ) -> Demonstrations:
        """Reads and validates demonstrations.

        Args:
          path: a `.npz`, `.h5` or `.hdf5` file, `minari:<dataset id>`, or what a registered format reads (see
            `gailfe_jax.register_demonstration_format`).
          expect_env, action_low, action_high, tolerance, discrete: see `validate`.

        Raises:
          GailfeError: a missing, damaged or foreign file, or anything that `validate` refuses; the message names the
            file and the field.
        """
        from gailfe_jax.data.formats import read_demonstrations

        return read_demonstrations(
            path, expect_env=expect_env, action_low=action_low, action_high=action_high, tolerance=tolerance,
            discrete=discrete,
        )  # fmt: skip

    @classmethod
    def from_episodes(
        cls,
        episodes: Iterable[Any],
        *,
        env_id: str,
        failures: Iterable[Any] = (),
        spec: EnvSpec | None = None,
        ends: str | None = None,
        clip: bool = False,
        name: str = "episodes",
    ) -> Demonstrations:
        """Demonstrations of recorded episodes, in any dtype of numbers; docs/data.md says what is derived.

        An episode is a `gailfe_jax.Episode`, or a mapping with `obs` (`[T, o]` or `[T + 1, o]`) and `action` (`[T, a]`,
        or None where nobody recorded any), and perhaps `next_obs`, `reward`, `simulator_state`, `failed`, and
        `terminated` and `truncated`: a bool each, or one a step. Episodes that failed go to the failures.
        `provenance["notes"]` says what was derived, cast and left out.

        Args:
          episodes: in their order.
          env_id: see `Demonstrations`.
          failures: episodes that failed, besides.
          spec: of the environment, where it is known: sizes, bounds, time limit and whether actions are choices.
          ends: `terminated` or `truncated`, for episodes that do not say.
          clip: whether actions beyond the bounds of `spec` are clipped, instead of refused.
          name: what messages call the episodes.

        Raises:
          GailfeError: what an episode lacks or holds, or anything that `validate` refuses.
        """
        from gailfe_jax.data.iterable import demonstrations_of

        demonstrations = demonstrations_of(name, episodes, failures, env_id=env_id, spec=spec, ends=ends, clip=clip)
        low, high, discrete = (-np.inf, np.inf, False) if spec is None else bounds_of(spec)
        demonstrations.validate(name, action_low=low, action_high=high, discrete=discrete)
        return demonstrations

    @classmethod
    def from_minari(
        cls,
        dataset: Any,
        *,
        expect_env: str | None = None,
        action_low: float | np.ndarray = -np.inf,
        action_high: float | np.ndarray = np.inf,
        tolerance: float = 1e-5,
        discrete: bool = False,
    ) -> Demonstrations:
        """The episodes of a Minari dataset as expert trajectories, without failures or simulator states.

        Args:
          dataset: a `minari.MinariDataset`, or the id of one that is stored on this machine.
          expect_env, action_low, action_high, tolerance, discrete: see `validate`.

        Raises:
          GailfeError: no such dataset, observations or actions that are not flat vectors, or
            anything that `validate` refuses.
        """
        from gailfe_jax.data.formats import minari

        known = isinstance(dataset, str)
        demonstrations = minari.read(dataset) if known else minari.convert(dataset)
        demonstrations.validate(
            f"minari:{dataset if known else dataset.spec.dataset_id}",
            expect_env=expect_env,
            action_low=action_low,
            action_high=action_high,
            tolerance=tolerance,
            discrete=discrete,
        )
        return demonstrations


def make_provenance(
    *,
    env_id: str,
    expert: str,
    failure_source: str,
    engine: str | None = None,
    expert_sha256: str | None = None,
    seed: int | None = None,
    command: str | None = None,
    annotator: str | None = None,
    noise: float | None = None,
    action_mode: str | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """What `Demonstrations.provenance` should say; adds package versions, format version and the time (UTC).

    Args:
      env_id: Gymnasium id.
      expert: name or file of the expert.
      failure_source: one of `FAILURE_SOURCES`.
      engine: physics engine that produced the trajectories.
      expert_sha256: digest of the expert's file, see `gailfe_jax.io.digests.file_sha256`.
      seed: seed of the rollouts.
      command: command line that made the file.
      annotator: name of the annotator that labelled the failures.
      noise: scale of the noise on the expert's actions, for `noised expert`.
      action_mode: one of `ACTION_MODES`.
      extra: further JSON values.

    Raises:
      GailfeError: an unknown `failure_source` or `action_mode`.
    """
    if failure_source not in FAILURE_SOURCES:
        raise GailfeError(f"provenance: failure_source is {failure_source!r}, expected one of {FAILURE_SOURCES}")
    if action_mode is not None and action_mode not in ACTION_MODES:
        raise GailfeError(f"provenance: action_mode is {action_mode!r}, expected one of {ACTION_MODES}")
    return {
        "env_id": env_id,
        "engine": engine,
        "expert": expert,
        "expert_sha256": expert_sha256,
        "seed": seed,
        "command": command,
        "annotator": annotator,
        "failure_source": failure_source,
        "noise": noise,
        "action_mode": action_mode,
        "versions": {"python": platform.python_version()} | package_versions(_PACKAGES),
        "format_version": FORMAT_VERSION,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **extra,
    }


def _casts(given: np.dtype, wanted: np.dtype) -> bool:
    return given.kind in "fiu" and wanted.kind in "fi" and (wanted.kind == "f" or given.kind != "f")


def bounds_of(spec: EnvSpec) -> tuple[np.ndarray, np.ndarray, bool]:
    """`(low, high, discrete)` of an environment's actions, as `Demonstrations.validate` takes them."""
    low, high = (
        np.asarray(bound * spec.action_size if len(bound) == 1 else bound, np.float64)
        for bound in (spec.action_low, spec.action_high)
    )
    return low, high, spec.discrete


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """`[k + 1]` int64 where trajectories of `lengths [k]` begin and end, stored one after the other."""
    return np.concatenate([np.zeros((1,), np.int64), np.cumsum(lengths, dtype=np.int64)])
