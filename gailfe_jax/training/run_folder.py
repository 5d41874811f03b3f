"""What a run folder holds, and how it is opened, read and finished.

config.json           the method, where and how it runs, demonstrations' digest, provenance
metrics.jsonl         one line per seed and evaluation
tensorboard/          the same as events
checkpoints/          the whole learner state, newest few
policies/seed_0.safetensors ...        deterministic policies for `gailfe_jax.Policy`
discriminators/seed_0.safetensors ...  imitation: for `gailfe_jax.confidence`
film.mp4              an episode of the best policy, where --film asks for it
start.json            what the policies were judged by before the first iteration
learning_curve.png, learning_curve.svg, summary.json
task/                 a copy of the files that make the task, where it is of a user's own file
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gailfe_jax.analysis.plots import learning_curves
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.config.parts import Part
from gailfe_jax.config.run import DemoSettings, EnvSettings, MjxSettings, RunSettings
from gailfe_jax.envs import changed_files, differ_by_file, is_own_task, on_file, said_of, task_file
from gailfe_jax.envs.physics import ENGINES
from gailfe_jax.envs.physics.solver import settled
from gailfe_jax.envs.task_record import FOLDER
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import plain, write_json_atomic
from gailfe_jax.io.digests import json_sha256
from gailfe_jax.io.json_text import read_json
from gailfe_jax.io.lock import holds_nothing
from gailfe_jax.io.provenance import provenance
from gailfe_jax.io.user_modules import missing_modules
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.record import flat_values, method_record, part_record, read_flat, read_method, read_part
from gailfe_jax.training.logger import read_metrics, stack_metric
from gailfe_jax.training.outcome import read_summary
from gailfe_jax.training.same_inputs import check_same_run
from gailfe_jax.training.start import from_the_start

VERSION = 2
"""Of config.json. Version 1 held all settings of all methods in two flat records; it is read too."""

# What may change when a run resumes: how it is shown and how long it goes on, and where the demonstrations lie (their
# content is compared).
FREE_ON_RESUME = (
    *("run.steps", "run.checkpoint_seconds", "run.keep", "run.snapshots", "run.on_divergence"),
    *("run.tensorboard", "run.wandb", "run.mlflow", "run.diagnostics_every", "run.film", "run.quiet"),
    *("run.devices", "run.eval_engine", "run.precision"),
    *("demos.demos", "demos.sha256", "demos.provenance", "demos.expert"),
    "imports",
)
PICTURE = "learning_curve.png"
"""The picture of a run; beside it there is the same as svg."""
SEAL = "sha256"
"""Field of config.json: the digest of all others."""
JUDGED_BY = {"return_mean": "return", "demo_distance": "distance to the demonstrations", "length_mean": "length"}
"""What a policy is judged by, the first that a run has measured: a task without a reward has no return."""
Curves = dict[str, tuple[np.ndarray, np.ndarray]]
"""`name -> (steps [k], values [seeds, k])`."""


@dataclasses.dataclass(frozen=True)
class Recorded:
    """The settings that a run folder holds.

    Attributes:
      place: the environment and its engine.
      method: the method and its parts.
      run: how the run is carried out.
      demos: which demonstrations it saw.
      imports: modules that were imported for what they register.
    """

    place: EnvSettings
    method: Learner
    run: RunSettings
    demos: DemoSettings
    imports: tuple[str, ...] = ()


def identity(
    method: Learner,
    place: Mapping[str, Any],
    run: RunSettings,
    demos: dict[str, Any],
    engine: str,
    imports: tuple[str, ...] = (),
) -> dict[str, Any]:
    """What config.json says a run is, without its provenance.

    Args:
      method: the method and its parts.
      place: record of the environment.
      run: how the run is carried out.
      demos: record of the demonstrations.
      engine: what `auto` turned out to be.
      imports: modules that were imported for what they register.
    """
    return {
        "version": VERSION,
        "algo": method.name,
        "engine": engine,
        "environment": dict(place),
        "method": method_record(method),
        "run": part_record(run),
        "demos": demos,
        "imports": list(imports),
    }


def without_places(record: Mapping[str, Any]) -> dict[str, Any]:
    """An identity for checkpoints: of files elsewhere on this machine, which are free on resume, the names alone."""

    def short(name: Any) -> Any:
        return pathlib.PurePath(name).name if isinstance(name, str) and os.path.isabs(name) else name

    env = record["environment"].get("env")
    file = task_file(env) if isinstance(env, str) else None
    place = record["environment"] if file is None else {**record["environment"], "env": on_file(env, short(file))}
    demos = {name: short(value) if name in ("demos", "expert") else value for name, value in record["demos"].items()}
    demos.pop("provenance", None)  # What others wrote may name their folders.
    found = {**record, "environment": place, "demos": demos}
    return found | {"imports": [short(name) for name in record["imports"]]} if "imports" in record else found


def shared_identity(record: Mapping[str, Any]) -> dict[str, Any]:
    """What of an identity several processes must share: all but where each finds the demonstrations."""
    demos = {name: value for name, value in record["demos"].items() if f"demos.{name}" not in FREE_ON_RESUME}
    parts = {name: record[name] for name in ("algo", "engine")}
    for part in ("environment", "method", "run"):
        parts |= flat_values(record[part])
    if record.get("task"):
        parts["task"] = record["task"]["sha256"]
    return parts | {"demos": demos, "seeds": record.get("seeds", record["run"]["seeds"])}


_TOP: dict[str, tuple[type, str]] = {
    "algo": (str, "the name of a method"),
    "engine": (str, "the name of an engine"),
    "object": (str, "the name of a class"),
    "imports": (list, "a list of names"),
    "seeds": (list, "a list of whole numbers"),
    "resumed": (list, "a list of tables"),
    "provenance": (dict, "a table"),
    "task": (dict, "a table"),
    "sweep": (dict, "a table"),
}
"""Fields of config.json that no part checks, with their kind and its words."""
_DEMOS: tuple[tuple[str, tuple[type, ...], str], ...] = (
    *((name, (str,), "text") for name in ("sha256", "content_sha256", "annotator", "success")),
    *((name, (int,), "a whole number") for name in ("expert_trajectories", "expert_pairs", "collected_failures")),
    *((name, (int, float), "a number, or null") for name in ("demonstrated_return", "expert_return")),
    *((name, (bool,), "true or false") for name in ("annotator_reads_reward", "success_reads_reward")),
    ("provenance", (dict,), "a table"),
)


def load_run(run_dir: str | pathlib.Path) -> dict[str, Any]:
    """`config.json` of a run folder, in today's form.

    Raises:
      GailfeError: no run there, a damaged file, or one of another version.
    """
    path = pathlib.Path(run_dir) / "config.json"
    if not path.is_file():
        raise GailfeError(f"{path}: no such file; expected a run folder made by gailfe train")
    record = read_json(path, "config.json that gailfe train wrote")
    if not isinstance(record, dict):
        raise GailfeError(f"{path}: damaged; expected what gailfe train wrote")
    check_record(path, record)
    record.pop(SEAL, None)
    return _renewed(record) if record["version"] == 1 else record


def check_record(path: pathlib.Path, record: Mapping[str, Any]) -> None:
    """Holds that what config.json says beside the parts' settings is of its kind.

    Raises:
      GailfeError: names the file and the field.
    """
    version = record.get("version")
    if version not in (1, VERSION):
        raise GailfeError(f"{path}: field 'version': {version!r}; this release reads versions 1 and {VERSION}")
    names = ("config", "hyper", "settings", "demos") if version == 1 else ("environment", "method", "run", "demos")
    for name in names:
        if not isinstance(record.get(name), dict):
            raise GailfeError(f"{path}: field {name!r}: missing or damaged; expected what gailfe train wrote")
    for name, (kind, words) in _TOP.items():
        if record.get(name) is not None and not isinstance(record[name], kind):
            raise GailfeError(f"{path}: field {name!r}: got {reprlib.repr(record[name])}; expected {words}")
    for name, kind, words in (("seeds", int, "whole numbers"), ("imports", str, "names"), ("resumed", dict, "tables")):
        if any(not isinstance(x, kind) or isinstance(x, bool) for x in record.get(name) or ()):
            raise GailfeError(f"{path}: field {name!r}: got {reprlib.repr(record[name])}; expected a list of {words}")
    for name, kinds, words in _DEMOS:
        value = record["demos"].get(name)
        if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            raise GailfeError(f"{path}: field 'demos.{name}': got {reprlib.repr(value)}; expected {words}")


def recorded_engine(run_dir: str | os.PathLike[str]) -> str | None:
    """The engine that a run began on, which it goes on with; None where there is no run, or one without a choice.

    Raises:
      GailfeError: the run's record is damaged.
    """
    if not (pathlib.Path(run_dir) / "config.json").is_file():
        return None
    engine = load_run(pathlib.Path(run_dir)).get("engine")
    return engine if engine in ENGINES else None


def recorded_interval(run_dir: str | os.PathLike[str]) -> float | None:
    """The steps between evaluations that a run began with; None where there is no run, or it says none.

    Raises:
      GailfeError: the run's record is damaged.
    """
    if not (pathlib.Path(run_dir) / "config.json").is_file():
        return None
    return _read(RunSettings(), load_run(pathlib.Path(run_dir))["run"], "run").eval_every


def _renewed(record: dict[str, Any]) -> dict[str, Any]:
    """A record of version 1 in today's form."""
    place, method = read_flat(record["config"], record["hyper"])
    run = read_part(RunSettings(), record["settings"], "config.json: settings")
    engine = record.get("engine", place.engine)
    now = identity(method, part_record(place), run, record["demos"], engine)
    others = ("config", "hyper", "settings", "version", "engine", "demos")
    return now | {name: value for name, value in record.items() if name not in others}


def read_record(record: Mapping[str, Any]) -> Recorded:
    """The typed settings that `config.json` holds, as `load_run` returns it.

    Raises:
      GailfeError: a field that this release does not know, or a value it does not take.
    """
    known = {name: value for name, value in record["demos"].items() if name in DemoSettings().values()}
    imports = record.get("imports") or []
    place = _read(EnvSettings(mjx=MjxSettings(solver_setting="model")), record["environment"], "environment")
    if place.reset_nonfinite is None:
        with contextlib.suppress(GailfeError):
            # Of a task that is not known here nothing is made.
            if is_own_task(place.env):
                place = place.replace(reset_nonfinite=False)
    return Recorded(
        # A run that names no solver setting, or not what it resets, was made before there was a choice, or has no use
        # for one.
        place=place,
        method=read_method(record.get("algo"), record["method"]),
        # A run that names neither was made before there was a choice.
        run=_read(RunSettings(eval_engine="same", precision="default"), record["run"], "run"),
        demos=_read(DemoSettings(), known, "demos"),
        imports=tuple(imports),
    )


def _read(start: Part, record: Any, name: str) -> Any:
    return read_part(start, record, f"config.json: {name}")


def load_policies(run_dir: str | pathlib.Path) -> list[Policy]:
    """The policies a run left, in order of their seeds.

    Raises:
      GailfeError: there are none yet, or one is damaged.
    """
    return [Policy.load(path) for path in policy_files(run_dir).values()]


def policy_files(run_dir: str | pathlib.Path) -> dict[int, pathlib.Path]:
    """`seed -> policy file` of a run, in order of the seeds.

    Raises:
      GailfeError: there are none yet.
    """
    folder = pathlib.Path(run_dir) / "policies"
    numbered = {path.stem.removeprefix("seed_"): path for path in folder.glob("seed_*.safetensors")}
    files = {int(name): numbered[name] for name in sorted((name for name in numbered if name.isdecimal()), key=int)}
    if not files:
        raise GailfeError(f"{folder}: no policies; expected the folder of a run that ended or was interrupted")
    return files


def copied_task(run_dir: str | pathlib.Path, record: Mapping[str, Any]) -> str | None:
    """The name of the run's environment on the folder's own copy of its task file; None where there is no copy.

    Args:
      run_dir: the run folder.
      record: what `load_run` returns.
    """
    name, task = record["environment"].get("env"), record.get("task") or {}
    if not isinstance(name, str) or task_file(name) is None or not isinstance(task.get("file"), str):
        return None
    copy = pathlib.Path(run_dir) / FOLDER / task["file"]
    return on_file(name, str(copy)) if copy.is_file() else None


def refused_env(where: object, record: Mapping[str, Any], error: GailfeError) -> GailfeError:
    """What to say where the environment of a run, or of a policy file without one, cannot be made.

    Args:
      where: what the message begins with, the run or the file.
      record: what `load_run` returns; empty for a file alone.
      error: what `make_env` says.
    """
    missing = " ".join(f"--import {module}" for module in missing_modules(record))
    if missing:
        return GailfeError(f"{error}; the run was made with {missing}")
    if "object" in record:
        return _asks_registration(f"{where}: trained on an object called {record['environment'].get('env')!r}")
    return error


def unknown_of_file(path: object, name: str, error: GailfeError) -> GailfeError:
    """What to say where the environment that a policy file alone names is none that is known here.

    Args:
      path: of the file.
      name: of the environment.
      error: what `make_env` says.
    """
    if "unknown task" not in str(error):
        return error
    return _asks_registration(f"{path}: trained on {name!r}, which is no task that is known here")


def _asks_registration(said: str) -> GailfeError:
    return GailfeError(
        f"{said}; expected a module that registers it by this name (register_task), and --import with that module"
    )


def check_same_task(run_dir: pathlib.Path, saved: Mapping[str, Any], now: Any) -> None:
    """Refuses to go on with a run whose task has changed: its bits would.

    Args:
      run_dir: the run folder.
      saved: what `load_run` returns.
      now: the task's record today.

    Raises:
      GailfeError: names the files.
    """
    changed = changed_files(saved.get("task"), now)
    if changed:
        copy = copied_task(run_dir, saved)
        hint = "" if copy is None else f", of which --env {copy} is the run's own copy"
        raise GailfeError(f"{run_dir}: {said_of(changed)} since the run began; expected the task as it was{hint}")


def check_run(run_dir: pathlib.Path, now: Mapping[str, Any], resume: bool) -> dict[str, Any]:
    """Checks that a folder can take a run, or that it holds the run that is to be resumed; writes nothing.

    Returns:
      Where the run comes from, for `write_run`.

    Raises:
      GailfeError: it holds a run and `resume` is False, another run, or something else; or the method is one that
        the record could not bring back.
    """
    path = run_dir / "config.json"
    if run_dir.exists() and not run_dir.is_dir():
        raise GailfeError(f"{run_dir}: is a file; expected a folder for the run")
    if path.exists() and not resume:
        raise GailfeError(f"{run_dir}: already holds a run; add --resume to continue it, or choose another --out")
    origin: dict[str, Any] = {"provenance": provenance()}
    if not path.exists():
        if run_dir.exists() and not holds_nothing(run_dir):
            raise GailfeError(f"{run_dir}: exists and holds no run; choose another --out")
        _check_readable(now)
        return origin
    saved = load_run(run_dir)
    held = read_record(saved)
    engine = saved.get("engine", now["engine"])
    place = part_record(settled(held.place, engine))
    before = identity(held.method, place, held.run, saved["demos"], engine, held.imports)
    before |= {"seeds": saved["seeds"]} if "seeds" in saved else {}
    check_same_task(run_dir, saved, now.get("task"))
    # A run of an older release recorded no task; and the files may lie elsewhere today.
    # And where an object was given, one that is registered by its name may be meant today.
    before |= {name: now[name] for name in ("task", "object") if name in now}
    old, new = before["environment"].get("env", ""), now["environment"].get("env", "")
    if saved.get("task") and differ_by_file(old, new):
        before["environment"] = before["environment"] | {"env": new}
    check_same_run(run_dir, before, now, ignore=FREE_ON_RESUME)
    return {"provenance": saved.get("provenance"), "resumed": [*saved.get("resumed", []), origin["provenance"]]}


def write_run(run_dir: pathlib.Path, now: Mapping[str, Any], origin: Mapping[str, Any]) -> None:
    """Makes the folder, and writes config.json under its seal.

    Args:
      run_dir: the run folder.
      now: the run's identity.
      origin: what else the record says.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    record = json.loads(json.dumps(plain({**now, **origin}), allow_nan=False))
    write_json_atomic(run_dir / "config.json", record | {SEAL: json_sha256(record)})


def _check_readable(now: Mapping[str, Any]) -> None:
    """A method composed by hand can have a name that stands for other parts."""
    said = f"method: the record of {now['algo']!r} with these parts would not bring them back"
    try:
        same = method_record(read_method(now["algo"], now["method"])) == now["method"]
    except GailfeError as error:
        raise GailfeError(f"{said} ({error}); expected a method by its registered name") from None
    if not same:
        raise GailfeError(f"{said}; expected a method by its registered name")


def recorded_curves(run_dir: pathlib.Path) -> Curves:
    """All that metrics.jsonl holds."""
    records = read_metrics(run_dir / "metrics.jsonl") if (run_dir / "metrics.jsonl").exists() else []
    names = [name for name in (records[0] if records else {}) if name not in ("seed", "step", "diverged")]
    curves: Curves = {}
    for name in names:
        # Of a record with gaps, what no evaluation has of every seed is no curve; policies are written all the same.
        with contextlib.suppress(GailfeError):
            curves[name] = stack_metric(records, name)
    return curves


def recorded_timing(run_dir: pathlib.Path, timing: Mapping[str, float]) -> dict[str, float]:
    """What an earlier session's summary says of its speed; a session without a step has nothing to add."""
    summary = read_summary(run_dir)
    try:
        return {name: float(summary.get(name, 0.0)) for name in timing} if summary else {}
    except (ValueError, TypeError):
        return {}


def finish_run(
    run_dir: pathlib.Path,
    *,
    algo: str,
    env_name: str,
    steps: int,
    finished: bool,
    curves: Curves,
    expert_return: float | None,
    shown_return: float | None = None,
    annotator: str | None,
    timing: Mapping[str, float],
    seeds: Sequence[int],
    diverged: Sequence[Mapping[str, Any]] = (),
    lost: str = "",
) -> dict[str, Any]:
    """Writes summary.json and learning_curve.png, that of the seeds that have not diverged; returns the summary."""
    summary: dict[str, Any] = {
        "algo": algo,
        "env": env_name,
        "steps": steps,
        "finished": finished,
        "expert_return": expert_return,
        "annotator": annotator,
        "diverged": list(diverged),
        **({"metrics_incomplete": lost} if lost else {}),
        **timing,
        "provenance": provenance(),
    }
    if timing["train_seconds"] > 0:
        steps_taken = timing["steps_this_session"] * len(seeds)
        summary["steps_per_second"] = steps_taken / timing["train_seconds"]
        if timing.get("wall_seconds", 0) > 0:
            summary["steps_per_second_overall"] = steps_taken / timing["wall_seconds"]
    if (shown := next((name for name in JUDGED_BY if name in curves), None)) is not None:
        summary["final"] = {name: values[:, -1].tolist() for name, (_, values) in curves.items()}
        gone = [said["seed"] for said in diverged]
        left = [i for i, seed in enumerate(seeds) if seed not in gone] or list(range(len(seeds)))
        learning_curves(
            {algo: from_the_start(run_dir, shown, *curves[shown], rows=left)},
            run_dir / PICTURE,
            title=f"{algo} on {env_name}" + (f" ({len(gone)} of {len(seeds)} seeds diverged)" if gone else ""),
            expert_return=expert_return,
            shown_return=shown_return,
            ylabel=f"{JUDGED_BY[shown]} of the deterministic policy",
            per_seed=True,
        )
    write_json_atomic(run_dir / "summary.json", summary)
    return summary
