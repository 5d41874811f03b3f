"""Demonstrations and failures on disk: whole trajectories, validated on the way in.

Host side and NumPy only. Three formats are read, none of which can run code: `.npz` (without pickle), `.h5`/`.hdf5`
and Minari datasets.

A file holds `format`, `format_version`, `env_id`, `provenance` (a JSON object as a string), and the arrays of
`Trajectories` twice, as `expert/<field>` and `failures/<field>`; `simulator_state` may be missing from either. HDF5
files open with a user block of 512 bytes that holds the SHA-256 of everything after it. Checksums catch damage, not
malice: take HDF5 files, whose library is not hardened, from people you trust.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import importlib
import importlib.metadata
import io
import json
import os
import platform
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.io.atomic import replacing

FORMAT = "gailfe-demonstrations"
FORMAT_VERSION = 1

FAILURE_SOURCES = ("none", "expert snapshots", "noised expert")
"""How the failures of a file were produced."""

ACTION_MODES = ("stochastic", "deterministic")
"""How the expert's actions were drawn."""

# Per field: dtype, and the number of dimensions.
_FIELDS: dict[str, tuple[Any, int]] = {
    "obs": (np.float32, 2),
    "action": (np.float32, 2),
    "next_obs": (np.float32, 2),
    "reward": (np.float32, 1),
    "terminated": (np.bool_, 1),
    "truncated": (np.bool_, 1),
    "simulator_state": (np.float64, 2),
    "offsets": (np.int64, 1),
}
_STEP_FIELDS = tuple(name for name in _FIELDS if name != "offsets")
_PARTS = ("expert", "failures")
_HEADER = ("format", "format_version", "env_id", "provenance")

# Deflate cannot shrink by more than 1032 to 1: a data set that claims more is lying about its size.
_MAX_COMPRESSION = 1032

_USER_BLOCK = 512


@dataclasses.dataclass(frozen=True, eq=False)
class StateActionPairs:
    """`m` state-action pairs that remember where they came from.

    Attributes:
      obs: `[m, o]` f32.
      action: `[m, a]` f32.
      next_obs: `[m, o]` f32, where the action led, before any reset.
      trajectory: `[m]` int64, index of the trajectory.
      step: `[m]` int64, time step within it.
    """

    obs: np.ndarray
    action: np.ndarray
    next_obs: np.ndarray
    trajectory: np.ndarray
    step: np.ndarray

    def __len__(self) -> int:
        return len(self.obs)


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectories:
    """`k` whole trajectories, `n` steps in all, stored one after the other.

    Attributes:
      obs: `[n, o]` f32, observation each action was chosen on.
      action: `[n, a]` f32, action the environment received (within its bounds).
      next_obs: `[n, o]` f32, observation after the step, before any reset.
      reward: `[n]` f32, the environment's true reward; for evaluation, learners do not see it.
      terminated: `[n]` bool, the task ended the episode with this step.
      truncated: `[n]` bool, the time limit did.
      offsets: `[k + 1]` int64, trajectory `i` is rows `offsets[i]` to `offsets[i + 1]`.
      simulator_state: `[n, s]` f64, the simulator's full state before each step, or None.
    """

    obs: np.ndarray
    action: np.ndarray
    next_obs: np.ndarray
    reward: np.ndarray
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
        """All trajectories of the parts, in order; without simulator states unless every part with steps has them.

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
            for name in _STEP_FIELDS
            if all(getattr(part, name) is not None for part in filled)
        }
        lengths = np.concatenate([part.lengths for part in filled])
        return cls(offsets=_offsets(lengths), **joined)

    @property
    def num_trajectories(self) -> int:
        """`k`."""
        return len(self.offsets) - 1

    @property
    def num_transitions(self) -> int:
        """`n`."""
        return len(self.obs)

    @property
    def lengths(self) -> np.ndarray:
        """`[k]` int64, steps of each trajectory."""
        return np.diff(self.offsets)

    @property
    def returns(self) -> np.ndarray:
        """`[k]` f64, undiscounted true return of each trajectory."""
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
        fields = {name: None if (array := getattr(self, name)) is None else array[rows] for name in _STEP_FIELDS}
        return Trajectories(offsets=_offsets(self.lengths[i : i + 1]), **fields)  # type: ignore[arg-type]

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
      env_id: Gymnasium id, e.g. `Hopper-v5`.
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
        action_low: float | np.ndarray = -1.0,
        action_high: float | np.ndarray = 1.0,
        tolerance: float = 1e-5,
    ) -> None:
        """Checks what `load` promises of a file; `name` opens the messages.

        Args:
          name: what to call these demonstrations, usually the file.
          action_low, action_high: action bounds, one number or one per dimension.
          tolerance: how far beyond its bounds an action may be (rounding).

        Raises:
          GailfeError: wrong dtype, shape or length, NaN or infinity, an action outside the bounds, boundaries that
            `terminated` and `truncated` contradict, observations that do not follow on one another, no expert.
        """
        for part in _PARTS:
            trajectories: Trajectories = getattr(self, part)
            _check_arrays(trajectories, f"{name}: field '{part}/")
            _check_boundaries(trajectories, f"{name}: field '{part}/")
            _check_actions(trajectories, f"{name}: field '{part}/", action_low, action_high, tolerance)
        if self.expert.num_trajectories == 0:
            raise GailfeError(f"{name}: field 'expert/offsets': no expert trajectories, expected one or more")
        for field in ("obs", "action"):
            sizes = [getattr(getattr(self, part), field).shape[1] for part in _PARTS]
            if sizes[0] != sizes[1]:
                raise GailfeError(
                    f"{name}: field 'failures/{field}': size {sizes[1]}, expected the expert's {sizes[0]}"
                )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a `.npz` or `.h5`/`.hdf5` file, whole or not at all; the same content gives the same bytes.

        Raises:
          GailfeError: unknown suffix, content that `load` would refuse (the bounds of actions apart), provenance that
            JSON cannot hold, or a file that cannot be written.
        """
        path = Path(path)
        write = _format_of(path, {".npz": _write_npz, ".h5": _write_hdf5, ".hdf5": _write_hdf5})
        self.validate(str(path), action_low=-np.inf, action_high=np.inf)
        try:
            provenance = json.dumps(self.provenance, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise GailfeError(f"{path}: field 'provenance': expected JSON values ({error})") from None
        arrays = {
            "format": np.array(FORMAT),
            "format_version": np.array(FORMAT_VERSION, np.int64),
            "env_id": np.array(self.env_id),
            "provenance": np.array(provenance),
        }
        for part in _PARTS:
            for field in _FIELDS:
                array = getattr(getattr(self, part), field)
                if array is not None:
                    arrays[f"{part}/{field}"] = np.ascontiguousarray(array)
        try:
            with replacing(path, suffix=path.suffix) as draft:
                write(draft, arrays)
        except OSError as error:
            raise GailfeError(f"{path}: cannot write ({error.strerror or one_line(error)})") from error

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        expect_env: str | None = None,
        action_low: float | np.ndarray = -1.0,
        action_high: float | np.ndarray = 1.0,
        tolerance: float = 1e-5,
    ) -> Demonstrations:
        """Reads and validates a file that `save` wrote.

        Args:
          path: a `.npz`, `.h5` or `.hdf5` file.
          expect_env: the Gymnasium id that the file must be for; any if None.
          action_low, action_high, tolerance: see `validate`.

        Raises:
          GailfeError: a missing, damaged or foreign file, another environment, or anything that `validate` refuses;
            the message names the file and the field.
        """
        path = Path(path)
        read = _format_of(path, {".npz": _read_npz, ".h5": _read_hdf5, ".hdf5": _read_hdf5})
        if not path.is_file():
            raise GailfeError(f"{path}: no such file")
        arrays = read(path)
        env_id, provenance = _check_header(path, arrays)
        if expect_env is not None and env_id != expect_env:
            raise GailfeError(f"{path}: field 'env_id': demonstrations of {env_id!r}, expected {expect_env!r}")
        parts = {}
        for part in _PARTS:
            fields = {field: arrays.get(f"{part}/{field}") for field in _FIELDS}
            for field, array in fields.items():
                if array is None and field != "simulator_state":
                    raise GailfeError(f"{path}: field '{part}/{field}': missing")
            parts[part] = Trajectories(**fields)  # type: ignore[arg-type]
        demonstrations = cls(env_id=env_id, provenance=provenance, **parts)
        demonstrations.validate(str(path), action_low=action_low, action_high=action_high, tolerance=tolerance)
        return demonstrations

    @classmethod
    def from_minari(
        cls,
        dataset: Any,
        *,
        expect_env: str | None = None,
        action_low: float | np.ndarray = -1.0,
        action_high: float | np.ndarray = 1.0,
        tolerance: float = 1e-5,
    ) -> Demonstrations:
        """The episodes of a Minari dataset as expert trajectories, without failures or simulator states.

        An episode that its collector cut off, so that its last step is neither terminated nor truncated, counts as
        truncated there. Observations and actions are rounded to float32.

        Args:
          dataset: a `minari.MinariDataset`, or the id of one that is stored on this machine.
          expect_env, action_low, action_high, tolerance: see `load`.

        Raises:
          GailfeError: minari is not installed, no such dataset, observations or actions that are not flat vectors,
            another environment, or anything that `validate` refuses.
        """
        if isinstance(dataset, str):
            try:
                minari = importlib.import_module("minari")
            except ImportError:
                raise GailfeError(f"minari:{dataset}: needs the package minari (pip install 'minari[hdf5]')") from None
            try:
                dataset = minari.load_dataset(dataset)
            except Exception as error:  # Minari documents no error type of its own.
                raise GailfeError(f"minari:{dataset}: {one_line(error)}") from None
        name = f"minari:{dataset.spec.dataset_id}"
        env_spec = dataset.spec.env_spec
        env_id = "" if env_spec is None else str(env_spec.id)
        if expect_env is not None and env_id != expect_env:
            raise GailfeError(f"{name}: field 'env_id': demonstrations of {env_id!r}, expected {expect_env!r}")
        episodes = [_from_episode(episode, name) for episode in dataset.iterate_episodes()]
        if not episodes:
            raise GailfeError(f"{name}: no episodes, expected one or more")
        expert = Trajectories.concatenate(episodes)
        demonstrations = cls(
            env_id=env_id,
            expert=expert,
            failures=Trajectories.empty(expert.obs.shape[1], expert.action.shape[1]),
            provenance=make_provenance(env_id=env_id, expert=name, failure_source="none"),
        )
        demonstrations.validate(name, action_low=action_low, action_high=action_high, tolerance=tolerance)
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
        "versions": _versions(),
        "format_version": FORMAT_VERSION,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **extra,
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("gailfe-jax", "jax", "numpy", "mujoco", "gymnasium"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((1,), np.int64), np.cumsum(lengths, dtype=np.int64)])


def _format_of(path: Path, formats: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    try:
        return formats[path.suffix.lower()]
    except KeyError:
        raise GailfeError(f"{path}: suffix {path.suffix!r}, expected one of {', '.join(formats)}") from None


def _from_episode(episode: Any, name: str) -> Trajectories:
    where = f"{name}: episode {episode.id}"
    for field in ("observations", "actions"):
        array = getattr(episode, field)
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f":
            raise GailfeError(f"{where}: field '{field}': expected one vector of floats per step")
    length = len(episode.rewards)
    if length == 0 or len(episode.observations) != length + 1:
        raise GailfeError(
            f"{where}: field 'observations': {len(episode.observations)}, expected {length} steps and one"
        )
    obs = np.asarray(episode.observations, np.float32)
    terminated = np.array(episode.terminations, np.bool_)
    truncated = np.array(episode.truncations, np.bool_)
    truncated[-1] |= not terminated[-1]
    return Trajectories(
        obs=obs[:-1],
        action=np.asarray(episode.actions, np.float32),
        next_obs=obs[1:],
        reward=np.asarray(episode.rewards, np.float32),
        terminated=terminated,
        truncated=truncated,
        offsets=_offsets(np.array([length])),
    )


# Validation. `where` ends inside the quoted field name, e.g. "demos.npz: field 'expert/".


def _check_header(path: Path, arrays: Mapping[str, np.ndarray]) -> tuple[str, dict[str, Any]]:
    if "format" not in arrays or _text(path, arrays, "format") != FORMAT:
        raise GailfeError(f"{path}: field 'format': not a demonstration file of gailfe, expected {FORMAT!r}")
    for field in _HEADER:
        if field not in arrays:
            raise GailfeError(f"{path}: field '{field}': missing")
    version = arrays["format_version"]
    if version.shape != () or version.dtype.kind not in "iu":
        raise GailfeError(f"{path}: field 'format_version': {version.dtype} {version.shape}, expected one integer")
    if int(version) != FORMAT_VERSION:
        raise GailfeError(f"{path}: field 'format_version': {int(version)}, expected {FORMAT_VERSION}")
    known = {*_HEADER, *(f"{part}/{field}" for part in _PARTS for field in _FIELDS)}
    foreign = sorted(set(arrays) - known)
    if foreign:
        raise GailfeError(f"{path}: field '{foreign[0]}': not part of the format")
    try:
        provenance = json.loads(_text(path, arrays, "provenance"))
    except (json.JSONDecodeError, RecursionError):
        provenance = None
    if not isinstance(provenance, dict):
        raise GailfeError(f"{path}: field 'provenance': expected a JSON object")
    return _text(path, arrays, "env_id"), provenance


def _text(path: Path, arrays: Mapping[str, np.ndarray], field: str) -> str:
    array = arrays[field]
    if array.shape != () or array.dtype.kind != "U":
        raise GailfeError(f"{path}: field '{field}': {array.dtype} of shape {array.shape}, expected one string")
    return str(array)


def _check_arrays(trajectories: Trajectories, where: str) -> None:
    for field, (dtype, dimensions) in _FIELDS.items():
        array = getattr(trajectories, field)
        if array is None and field == "simulator_state":
            continue
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            raise GailfeError(f"{where}{field}': dtype {getattr(array, 'dtype', None)}, expected {np.dtype(dtype)}")
        if array.ndim != dimensions or (dimensions == 2 and array.shape[1] == 0):
            expected = "[n, size]" if dimensions == 2 else "one dimension"
            raise GailfeError(f"{where}{field}': shape {array.shape}, expected {expected}")
    steps = trajectories.num_transitions
    for field in _STEP_FIELDS:
        array = getattr(trajectories, field)
        if array is None:
            continue
        if len(array) != steps:
            raise GailfeError(f"{where}{field}': {len(array)} steps, expected the {steps} of 'obs'")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            raise GailfeError(f"{where}{field}': NaN or infinity at step {row}, expected finite numbers")
    if trajectories.next_obs.shape != trajectories.obs.shape:
        shapes = f"{trajectories.next_obs.shape}, expected the {trajectories.obs.shape} of 'obs'"
        raise GailfeError(f"{where}next_obs': shape {shapes}")


def _check_boundaries(trajectories: Trajectories, where: str) -> None:
    offsets, steps = trajectories.offsets, trajectories.num_transitions
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != steps or (np.diff(offsets) <= 0).any():
        raise GailfeError(f"{where}offsets': expected increasing numbers from 0 to {steps}, the number of steps")
    done = trajectories.terminated | trajectories.truncated
    last = np.zeros((steps,), np.bool_)
    last[offsets[1:] - 1] = True
    if (done & ~last).any():
        row = int(np.flatnonzero(done & ~last)[0])
        field = "terminated" if trajectories.terminated[row] else "truncated"
        raise GailfeError(f"{where}{field}': the episode ends at step {row}, inside a trajectory")
    if (last & ~done).any():
        row = int(np.flatnonzero(last & ~done)[0])
        raise GailfeError(f"{where}truncated': a trajectory stops at step {row}, neither terminated nor truncated")
    broken = (trajectories.next_obs[:-1] != trajectories.obs[1:]).any(axis=-1) & ~last[:-1]
    if broken.any():
        row = int(np.flatnonzero(broken)[0])
        raise GailfeError(f"{where}next_obs': step {row} differs from 'obs' at step {row + 1} of the same trajectory")


def _check_actions(trajectories: Trajectories, where: str, low: Any, high: Any, tolerance: float) -> None:
    action = trajectories.action
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if low.ndim and low.shape != action.shape[1:]:
        raise GailfeError(f"{where}action': size {action.shape[1]}, expected the {low.size} that have bounds")
    outside = (action < low - tolerance) | (action > high + tolerance)
    if outside.any():
        row = int(np.argwhere(outside)[0][0])
        raise GailfeError(f"{where}action': outside the bounds [{low.min():g}, {high.max():g}] at step {row}")


# Files.


def _write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            # A fixed date keeps the bytes a function of the content.
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, buffer.getvalue())


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    member = None
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.filename.endswith(".npy"):
                    raise GailfeError(f"{path}: member {info.filename!r}: expected .npy arrays only")
                member = info.filename.removesuffix(".npy")
                if info.file_size > _MAX_COMPRESSION * max(info.compress_size, 1):
                    raise GailfeError(f"{path}: field '{member}': declares more data than the file holds")
                if member in arrays:
                    raise GailfeError(f"{path}: field '{member}': stored twice")
                # Read to the end before parsing: only then has zipfile compared the checksum.
                arrays[member] = _parse_npy(path, member, archive.read(info))
    # Damage surfaces as any of these, depending on the byte that was hit.
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, zlib.error) as error:
        where = f"{path}: field '{member}'" if member else f"{path}"
        raise GailfeError(f"{where}: not a readable .npz file, damaged or foreign ({one_line(error)})") from None
    return arrays


def _parse_npy(path: Path, field: str, data: bytes) -> np.ndarray:
    buffer = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(buffer)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read_header[version](buffer)
    except (KeyError, ValueError, TypeError, SyntaxError) as error:
        raise GailfeError(f"{path}: field '{field}': not a readable array ({one_line(error)})") from None
    if dtype.hasobject:
        raise GailfeError(f"{path}: field '{field}': holds Python objects (pickle), expected plain numbers")
    # Before anything is allocated: what the header declares is what follows it.
    if min(shape, default=0) < 0 or dtype.itemsize * _product(shape) != len(data) - buffer.tell():
        raise GailfeError(f"{path}: field '{field}': declares shape {shape}, which is not what the file holds")
    buffer.seek(0)
    return np.lib.format.read_array(buffer, allow_pickle=False)


def _product(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= int(size)
    return product


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError:
        raise GailfeError("HDF5 demonstrations need the package h5py (pip install h5py)") from None


def _write_hdf5(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with _h5py().File(path, "w", userblock_size=_USER_BLOCK) as file:
        for name, array in arrays.items():
            if array.dtype.kind == "U":
                file[name] = str(array)
            elif array.size and array.ndim:
                file.create_dataset(name, data=array, compression="gzip", shuffle=True)
            else:
                file.create_dataset(name, data=array)
    _sign_hdf5(path)


def _sign_hdf5(path: Path) -> None:
    with open(path, "rb+") as file:
        signature = _hdf5_signature(file)
        file.seek(0)
        file.write(signature)


def _hdf5_signature(file: Any) -> bytes:
    """The user block: the bytes ahead of an HDF5 file that the format leaves to its users."""
    file.seek(_USER_BLOCK)
    return f"{FORMAT} sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode().ljust(_USER_BLOCK, b"\0")


def _read_hdf5(path: Path) -> dict[str, np.ndarray]:
    h5py = _h5py()
    arrays: dict[str, np.ndarray] = {}
    field = None
    try:
        # The HDF5 library can crash on a damaged file, so it only gets to see a whole one.
        with open(path, "rb") as file:
            found = file.read(_USER_BLOCK)
            if not found.startswith(FORMAT.encode()):
                raise OSError("no checksum of demonstrations in its user block")
            if found != _hdf5_signature(file):
                raise OSError("the content does not match its checksum")
        with h5py.File(path, "r") as file:
            for field in _hdf5_fields(h5py, path, file, ""):
                arrays[field] = _read_dataset(h5py, path, field, file[field])
    except (OSError, KeyError, RuntimeError, UnicodeDecodeError, TypeError, MemoryError) as error:
        where = f"{path}: field '{field}'" if field else f"{path}"
        raise GailfeError(f"{where}: not a readable HDF5 file, damaged or foreign ({one_line(error)})") from None
    return arrays


def _hdf5_fields(h5py: Any, path: Path, group: Any, prefix: str) -> Iterator[str]:
    """Names of the data sets; an HDF5 file can point into other files, and none of those pointers is followed."""
    for key in group:
        name = f"{prefix}{key}"
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise GailfeError(f"{path}: field '{name}': a soft or external link, expected data")
        item = group.get(key, getclass=True)
        if item is h5py.Dataset:
            yield name
        elif item is h5py.Group and not prefix:
            yield from _hdf5_fields(h5py, path, group[key], f"{name}/")
        else:
            raise GailfeError(f"{path}: field '{name}': not part of the format")


def _read_dataset(h5py: Any, path: Path, field: str, dataset: Any) -> np.ndarray:
    if dataset.is_virtual or dataset.external:
        raise GailfeError(f"{path}: field '{field}': virtual or external data, expected data in the file itself")
    text = h5py.check_string_dtype(dataset.dtype)
    if text is not None:
        if dataset.shape != ():
            raise GailfeError(f"{path}: field '{field}': strings of shape {dataset.shape}, expected one string")
        return np.array(dataset.asstr()[()])
    if dataset.dtype.kind not in "fiub":
        raise GailfeError(f"{path}: field '{field}': dtype {dataset.dtype}, expected plain numbers")
    if dataset.shape is None or dataset.nbytes > _MAX_COMPRESSION * dataset.id.get_storage_size():
        raise GailfeError(f"{path}: field '{field}': declares more data than the file holds")
    return np.asarray(dataset[()])
