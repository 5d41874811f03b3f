"""The kinds of input: where a valid one comes from, how one part of it is changed, and what reading it must give."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.fuzz import arrays, tables
from benchmarks.fuzz.raw import changed
from benchmarks.fuzz.words import COMMANDS, command, filled, outcome_of
from gailfe_jax.artifacts.confidence import Confidence
from gailfe_jax.artifacts.policy import Policy, load_expert
from gailfe_jax.cli.main import main
from gailfe_jax.data.episodes import build
from gailfe_jax.data.recordings import read_recording
from gailfe_jax.data.recordings.fields import Request
from gailfe_jax.data.trajectories import Demonstrations, Trajectories
from gailfe_jax.errors import GailfeError
from gailfe_jax.foreign.registry import read_expert
from gailfe_jax.io.user_modules import import_user_module
from gailfe_jax.sweep.study import read_point
from gailfe_jax.training.checkpoint import CheckpointManager
from gailfe_jax.training.resuming import check_seal
from gailfe_jax.training.run_folder import load_run, read_record
from gailfe_jax.training.sweep_record import load_sweep
from tests.data.recordings.write_files import FILES
from tests.foreign.specs import CHOICES, LIFT, MODELS

Mutator = Callable[[pathlib.Path, np.random.Generator], str]
SUFFIXES: dict[str, Mutator] = {
    ".npz": arrays.npz, ".npy": arrays.npy, ".hdf5": arrays.hdf5_file, ".h5": arrays.hdf5_file,
    ".safetensors": arrays.safetensors_file, ".parquet": tables.arrow, ".arrow": tables.arrow,
    ".csv": tables.comma_separated, ".json": tables.json_file, ".jsonl": tables.json_lines, ".toml": tables.toml,
    ".zip": tables.model_zip, ".onnx": tables.onnx_file,
}  # fmt: skip
"""How one part of a file is changed, by its suffix."""
RAW = 3
"""One input in so many is changed byte by byte."""


class Wrong(Exception):
    """Something was read that is not valid, or refused in other than one line that names it."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
      name: of the kind.
      source: of the valid file or folder, below the folder of all sources.
      read: reads it, and may say what came of it; raises `GailfeError` or `Wrong`.
      count: how many are read by default.
      files: which files of a folder are changed, as a pattern.
    """

    name: str
    source: str
    read: Callable[[pathlib.Path], str | None]
    count: int
    files: str = "**/*"

    def mutate(self, sources: pathlib.Path, work: pathlib.Path, rng: np.random.Generator) -> tuple[pathlib.Path, str]:
        """A changed copy, and what of it was changed."""
        source = sources / self.source
        target = copied(source, work)
        files = [target] if source.is_file() else sorted(p for p in target.glob(self.files) if p.is_file())
        path = files[int(rng.integers(len(files)))]
        mutator = SUFFIXES.get(path.suffix)
        if mutator is None or rng.integers(RAW) == 0:
            if source.is_dir() and rng.integers(12) == 0:
                return target, f"{path.relative_to(target)}: {tables.removed(path)}"
            path.write_bytes(changed(path.read_bytes(), rng))
            said = "bytes changed"
        else:
            said = mutator(path, rng)
        return target, f"{path.relative_to(target.parent)}: {said}"


def demonstrations(path: pathlib.Path) -> None:
    """Reads one of our own demonstration files."""
    found = Demonstrations.load(path)
    for part in (found.expert, found.failures):
        for field in (part.obs, part.action, part.next_obs):
            _hold(bool(np.isfinite(np.asarray(field)).all()), "numbers that are not finite")
    found.validate(str(path))


def by_minari(path: pathlib.Path) -> None:
    """Reads a data set through the library of its own."""
    os.environ["MINARI_DATASETS_PATH"] = str(path)
    try:
        Demonstrations.load("minari:tiny/hdf5-v0").validate("minari")
    except GailfeError as error:
        raise GailfeError(f"{path}: {error}") from None


def recording(path: pathlib.Path, words: tuple[str, ...] = ()) -> None:
    """Reads a recording as `gailfe demos import` does."""
    found = read_recording(path, Request.of_words(words))
    left = build(found.name, found.episodes, ends="truncated").trajectories
    nothing = Trajectories.empty(left.obs.shape[1], left.action.shape[1])
    Demonstrations("x", left, nothing).validate(found.name)


def policy(path: pathlib.Path) -> None:
    """Reads a policy, and acts."""
    found = Policy.load(path)
    obs = np.random.default_rng(0).normal(size=(4, found.obs_size))
    action = np.asarray(found.act(obs))
    _hold(len(action) == 4 and bool(np.isfinite(action).all()), "actions that are not finite")
    if found.log_std is not None:
        low, high = np.asarray(found.action_low), np.asarray(found.action_high)
        _hold(bool(((action >= low) & (action <= high)).all()), "actions beyond their bounds")


def discriminator(path: pathlib.Path) -> None:
    """Reads a discriminator, and judges."""
    found = Confidence.load(path)
    obs = np.random.default_rng(0).normal(size=(4, found.obs_size))
    judged = found(obs, np.zeros((4, found.action_size)), obs)
    inside = judged.shape == (4,) and bool(((judged >= 0) & (judged <= 1)).all())
    _hold(inside, "what is no probability")


def expert(path: pathlib.Path, spec: Any) -> None:
    """Reads a model of another package, and acts."""
    action = np.asarray(read_expert(str(path), spec).act(np.random.default_rng(0).normal(size=(4, spec.obs_size))))
    _hold(len(action) == 4 and bool(np.isfinite(action).all()), "actions that are not finite")


def run_record(path: pathlib.Path) -> None:
    """Reads a run's config.json as `--resume` does."""
    with in_file(path / "config.json"):
        held = read_record(load_run(path))
        check_seal(path)
        held.method.verify()


def sweep_record(path: pathlib.Path) -> str:
    """Reads a sweep's record and its points, and then as `--resume` does, up to what would be trained."""
    with in_file(path):
        for record in load_sweep(path)["settings"].values():
            read_point(record)
    return outcome_of(["sweep", "--out", str(path), "--resume"])


def checkpoint(path: pathlib.Path) -> None:
    """Restores the newest checkpoint that verifies; its numbers are those that were saved."""
    state = state_of(0)
    step, restored = CheckpointManager(path).restore(state)
    _hold(digest(restored) == digest(state_of(step)), f"step {step} with other numbers")


def records(path: pathlib.Path) -> str:
    """Reads a run's measurements as `gailfe doctor` and `gailfe report` do."""
    ends = [outcome_of(["doctor", str(path)]), outcome_of(["report", str(path), "--out", f"{path}.html"])]
    return max(ends)


def configuration(path: pathlib.Path) -> str:
    """Reads settings from a TOML file."""
    return outcome_of(["train", "gail", "--config", str(path), "--print-config"])


def settings_file(path: pathlib.Path) -> str:
    """Reads the settings of a sweep."""
    return outcome_of(["sweep", "ppo", "--env", "cliff", "--settings", str(path), "--out", str(path.parent / "out")])


def task(path: pathlib.Path) -> None:
    """Reads a task of a user's own."""
    from gailfe_jax.envs import make_env

    with in_file(path):
        env = make_env(str(path / "arm.toml"))
        _hold(env.spec.obs_size > 0, "no observation")


def state_of(fill: int) -> dict[str, np.ndarray]:
    """What the checkpoints of the sources hold."""
    return {
        "a": np.full((5, 3), fill, np.float32),
        "b": np.arange(4) + fill,
        "c": np.zeros((0, 2), np.float32),
        "d": np.random.default_rng(fill).integers(0, 2**32, (40,), np.uint32),
    }


def digest(state: dict[str, np.ndarray]) -> str:
    """Of names, types, shapes and numbers."""
    sha = hashlib.sha256()
    for name in sorted(state):
        array = np.asarray(state[name])
        sha.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return sha.hexdigest()


@contextlib.contextmanager
def in_file(path: pathlib.Path) -> Iterator[None]:
    """Messages about fields of a record do not all repeat the file's name."""
    try:
        yield
    except GailfeError as error:
        raise GailfeError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def _hold(good: bool, what: str) -> None:
    if not good:
        raise Wrong(f"read: {what}")


_CSV = ("obs=x,y,speed", "action=left,right")
_RECORDINGS = {
    "d4rl": "d4rl.hdf5", "robomimic": "robomimic.hdf5", "minari": "minari/tiny/hdf5-v0",
    "minari in Arrow": "minari/tiny/arrow-v0", "imitation": "imitation", "lerobot 2.1": "lerobot_v2.1",
    "lerobot 3.0": "lerobot_v3.0", "npz": "plain.npz", "npy": "npy", "npz each": "folder", "csv": "plain.csv",
}  # fmt: skip
ARROW = ("minari in Arrow", "imitation", "lerobot 2.1", "lerobot 3.0")
_EACH, _MANY = 120, 250

KINDS = {
    kind.name: kind
    for kind in (
        Kind("demonstrations npz", "own.npz", demonstrations, _MANY),
        Kind("demonstrations HDF5", "own.h5", demonstrations, _MANY),
        Kind("minari library", "minari", by_minari, 60, "tiny/hdf5-v0/**/*"),
        *(
            Kind(
                f"import {name}",
                f"recordings/{file}",
                functools.partial(recording, words=_CSV * (name == "csv")),
                _EACH,
            )
            for name, file in _RECORDINGS.items()
        ),
        Kind("import gailfe", "own.npz", recording, _EACH),
        Kind("import gailfe HDF5", "own.h5", recording, _EACH),
        Kind("policy", "policy.safetensors", policy, _MANY),
        Kind("discriminator", "discriminator.safetensors", discriminator, _MANY),
        Kind("config.json", "run", run_record, _MANY, "config.json"),
        Kind("run records", "run", records, 60, "*.json*"),
        Kind("sweep.json", "sweep", sweep_record, 150, "sweep.json"),
        Kind("checkpoint", "checkpoints", checkpoint, _MANY),
        Kind("expert ONNX", "policy.onnx", functools.partial(expert, spec=LIFT), _EACH),
        Kind("expert sb3", "models/ppo.zip", functools.partial(expert, spec=LIFT), _EACH),
        Kind("expert sb3 choices", "models/dqn.zip", functools.partial(expert, spec=CHOICES), 60),
        Kind("settings TOML", "settings.toml", configuration, 60),
        Kind("settings CSV", "settings.csv", settings_file, 60),
        Kind("settings JSON lines", "settings.jsonl", settings_file, 60),
        Kind("task TOML", "arm", task, 60, "arm.toml"),
    )
}
"""By name. Command lines, which are no files, are a kind of their own."""
COMMAND_LINE = "command line"
COMMAND_LINES = 300


def prepare(sources: pathlib.Path) -> None:
    """Writes the valid inputs; in a process of its own, for it trains."""
    from gailfe_jax.export.onnx import to_onnx
    from gailfe_jax.learners.setup import build_setup
    from tests.data.made import make_demonstrations

    root = pathlib.Path(__file__).resolve().parent.parent.parent
    for suffix in ("npz", "h5"):
        make_demonstrations().save(sources / f"own.{suffix}")
    shutil.copytree(FILES, sources / "recordings")
    shutil.copytree(FILES / "minari", sources / "minari")
    shutil.copytree(MODELS, sources / "models")
    shutil.copytree(root / "examples" / "arm", sources / "arm")
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=(3, 8)), rng.normal(size=8)), (rng.normal(size=(8, 2)), np.zeros(2))]
    low, high = np.array(LIFT.action_low), np.array(LIFT.action_high)
    ours = Policy(layers, "tanh", np.zeros(3), np.ones(3), np.zeros(2), low, high)
    (sources / "policy.onnx").write_bytes(to_onnx(ours).SerializeToString())
    manager = CheckpointManager(sources / "checkpoints")
    for step in (1, 2):
        manager.save(step, state_of(step), {"env": "toy"}, {"metrics": {"lines": step, "sha256": "x"}})
    _train(sources, root / "build" / "soak_cache")
    shutil.copyfile(sources / "run" / "policies" / "seed_0.safetensors", sources / "policy.safetensors")
    shutil.copyfile(sources / "run" / "discriminators" / "seed_0.safetensors", sources / "discriminator.safetensors")
    from gailfe_jax.cli.settings import write_config

    (sources / "settings.toml").write_text(write_config(build_setup({"algo": "gail", "env": "cliff"})))
    (sources / "settings.csv").write_text("policy.gamma,policy.hidden,algo\n0.99,8,ppo\n0.9,8x8,trpo\n")
    rows = [{"policy.gamma": 0.99, "policy.hidden": [8]}, {"policy.gamma": 0.9, "algo": "trpo"}]
    (sources / "settings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _train(sources: pathlib.Path, cache: pathlib.Path) -> None:
    """A run without its checkpoints, and the record of a sweep."""
    import jax

    from benchmarks.soak.runs import CASES, Place
    from gailfe_jax.sweep.study import Study
    from tests.tiny import toy_demonstrations
    from tests.toy import Cliff, cliff_expert

    cache.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    import_user_module("benchmarks.soak.toys")
    place = Place.made(sources, cache)
    toy_demonstrations(Cliff(), cliff_expert(), seed=1).save(sources / "unseen.npz")
    load_expert("hopper").save(sources / "hopper.safetensors")

    def stop(study: Study) -> bool:
        raise KeyboardInterrupt

    Study.train = stop  # type: ignore[method-assign]
    for name, folder, end in (("gail", "run", 0), ("sweep", "sweep", 130)):
        words = [word for word in CASES[name].command(place, sources / folder, 3) if word != "--resume"]
        code = main(words)
        if code != end:
            raise RuntimeError(f"{name}: exit code {code}")
    shutil.rmtree(sources / "run" / "checkpoints")


def check_valid(sources: pathlib.Path, work: pathlib.Path) -> None:
    """Reads what is not changed yet: a file that is refused as it is would try nothing.

    Raises:
      RuntimeError: names it.
    """
    for kind in KINDS.values():
        if not kind.name.endswith(ARROW) or importlib.util.find_spec("pyarrow") is not None:
            copied(sources / kind.source, work)
            if kind.read(work / pathlib.Path(kind.source).name) not in (None, "valid"):
                raise RuntimeError(f"{kind.name}: is refused as it is")
    for line in COMMANDS:
        if outcome_of(filled(line, sources, work)) != "valid":
            raise RuntimeError(f"{line}: is refused as it is")


def copied(source: pathlib.Path, work: pathlib.Path) -> pathlib.Path:
    """A fresh copy of a file or folder."""
    target = work / source.name
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
    return target


def made(name: str, sources: pathlib.Path, work: pathlib.Path, seed: list[int]) -> tuple[Callable[[], str], str]:
    """Makes one input: what reads it, and what was changed.

    The first returns `valid` or `refused`, and raises `Wrong`, or anything that is no error of ours.
    """
    rng = np.random.default_rng(seed)
    if name == COMMAND_LINE:
        words = command(sources, work, rng)
        return functools.partial(outcome_of, words), " ".join(words)
    target, said = KINDS[name].mutate(sources, work, rng)
    return functools.partial(_read, KINDS[name], target), said


def _read(kind: Kind, target: pathlib.Path) -> str:
    try:
        return kind.read(target) or "valid"
    except GailfeError as error:
        message = str(error)
        if "\n" in message or str(target) not in message:
            raise Wrong(f"refused in other than one line that names the file: {message[:500]}") from None
        return "refused"
