"""Sweeps: many settings times many seeds; those that differ in traced fields alone train side by side, in one program.

A sweep folder:
    sweep.json            settings, what they start from, provenance
    task/                 a copy of the files that make the task, where all settings are about one of a user's own file
    settings/0000 ...     what `gailfe train` leaves of each setting: config.json, metrics.jsonl, policies, summary.json
    programs/0000 ...     run folders of programs under way, gone once their settings are written
    jobs/                 what a cluster's jobs print
    sweep.csv, sweep.jsonl        one row per setting, seed and evaluation
    summary.csv, summary.md       one row per setting, with intervals over seeds
    final.png, curves.png
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console

from gailfe_jax.analysis.statistics import bootstrap_interval
from gailfe_jax.envs import changed_files, copy_task, differ_by_file, on_file, said_of, task_file, task_record
from gailfe_jax.envs.task_record import FOLDER
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import remove_drafts, write_json_atomic
from gailfe_jax.io.lock import held, holds_nothing, named
from gailfe_jax.io.provenance import provenance
from gailfe_jax.io.user_modules import import_user_module, imported_modules
from gailfe_jax.learners.setup import Setup
from gailfe_jax.sweep.cluster import UNBOUNDED_GIB, make_executor, wait_for
from gailfe_jax.sweep.planner import Planner, name_of, stack_methods
from gailfe_jax.sweep.point_folder import check_point, read_summary, shipped_return, write_point
from gailfe_jax.sweep.report import Summary, compare, draw, find_pyarrow, print_summaries, write_rows, write_summaries
from gailfe_jax.sweep.space import Point, field_of
from gailfe_jax.training.inputs import Inputs, prepare_inputs
from gailfe_jax.training.logger import read_metrics, stack_metric
from gailfe_jax.training.loop import train
from gailfe_jax.training.manifest import check_config
from gailfe_jax.training.plan import find_env
from gailfe_jax.training.run_folder import JUDGED_BY, read_record
from gailfe_jax.training.same_inputs import check_same_content
from gailfe_jax.training.sweep_record import VERSION, load_sweep

_FIRST = ("seed", "step", "return_mean", "expert_normalised")
# What may differ when a sweep resumes: where it runs and how it is shown, and where the demonstrations lie (their
# content is compared).
_FREE_ON_RESUME = (
    *("run.checkpoint_seconds", "run.keep", "run.snapshots", "run.tensorboard", "run.wandb", "run.quiet"),
    *("run.mlflow", "run.diagnostics_every", "run.film"),
    *("run.devices", "run.on_divergence"),
    *("demos.demos", "demos.expert", "inputs.demos", "inputs.expert", "inputs.sha256"),
)


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """What a sweep leaves behind.

    Attributes:
      folder: the sweep's folder.
      summaries: of the settings that are done, best final return first.
      trained: settings that this call trained; the others were done before.
      interrupted: whether a signal ended it early.
    """

    folder: pathlib.Path
    summaries: list[Summary]
    trained: list[int]
    interrupted: bool


def sweep(
    settings: Sequence[Point],
    *,
    out: str | pathlib.Path,
    resume: bool = False,
    memory_gib: float | None = None,
    baseline: int | None = None,
    parquet: bool = False,
    words: Sequence[str] = (),
    cluster: str | None = None,
    cluster_options: Sequence[str] = (),
) -> SweepResult:
    """Trains every setting with all its seeds, and compares them.

    On the CPU each gives the same bits as it would by itself.

    Args:
      settings: what to train, from `gailfe_jax.sweep.space.build`.
      out: the sweep's folder.
      resume: continue the sweep in `out`; no finished setting is trained again. Start it if there is none.
      memory_gib: memory to stay within; what is free by default.
      baseline: number of the setting that others are compared with; the best of each task by default.
      parquet: write sweep.parquet too (needs pyarrow).
      words: the command line it came from, which a resumed sweep starts from.
      cluster: submit each program as a job of `slurm`, or of processes here (`local`), and wait for all of them.
      cluster_options: `name=value` for submitit's executor: timeout_min=600, gpus_per_node=1, slurm_partition=...

    Raises:
      GailfeError: a setting that does not train, a folder that holds another sweep, one setting alone that does not
        fit into the memory, a job that failed, or pyarrow or submitit is missing.
    """
    if baseline is not None and not 0 <= baseline < len(settings):
        raise GailfeError(f"baseline: got {baseline}; expected a setting's number, 0 to {len(settings) - 1}")
    if parquet:
        find_pyarrow()
    executor = None if cluster is None else make_executor(pathlib.Path(out), cluster, cluster_options)
    # What fits is for each job's machine to say; --memory-gib can.
    memory_gib = UNBOUNDED_GIB if executor is not None and memory_gib is None else memory_gib
    study = Study(pathlib.Path(out), resume, memory_gib, words)
    study.executor = executor
    with contextlib.closing(study):
        study.add(settings)
        interrupted = study.train()
        return SweepResult(study.folder, study.report(baseline, parquet), study.trained, interrupted)


class Study:
    """The folder of a sweep and what is done of it."""

    def __init__(
        self,
        folder: pathlib.Path,
        resume: bool,
        memory_gib: float | None,
        words: Sequence[str],
        growing: bool = False,
    ):
        if memory_gib is not None and not 0 < memory_gib < math.inf:
            raise GailfeError(f"memory_gib: got {memory_gib}; expected a number above 0")
        self.folder = folder
        self.points: list[Point] = []
        self.trained: list[int] = []
        self.executor: Any = None
        self._programs: list[list[int]] = []
        memory = None if memory_gib is None else memory_gib * 2**30
        self._planner = Planner(folder / "programs", memory, self.done, self._say)
        self._growing = growing
        self._words = [word for word in words if word != "--resume"]
        self._inputs: dict[str, Inputs] = {}
        self._records: dict[str, Any] = {}
        self._saved: dict[str, Any] | None = None
        self._until = contextlib.ExitStack()
        self._locked = False
        self._origin: dict[str, Any] = {"provenance": provenance()}
        path = folder / "sweep.json"
        if folder.exists() and not folder.is_dir():
            raise GailfeError(f"{folder}: is a file; expected a folder for the sweep")
        if path.exists():
            if not resume:
                raise GailfeError(
                    f"{folder}: already holds a sweep; add --resume to continue it, or choose another --out"
                )
            self._saved = load_sweep(folder)
            self._words = self._saved["words"]
            resumed = [*self._saved.get("resumed", []), self._origin["provenance"]]
            self._origin = {"provenance": self._saved.get("provenance"), "resumed": resumed}
        elif folder.exists() and not holds_nothing(folder):
            raise GailfeError(f"{folder}: exists and holds no sweep; choose another --out")

    def close(self) -> None:
        """Lets other processes go on with the folder."""
        self._until.close()

    def add(self, points: Sequence[Point]) -> None:
        """Takes all points so far, checks that each would train, and writes them down.

        Raises:
          GailfeError: one would not, or the folder's are others.
        """
        for number in range(len(self.points), len(points)):
            point = points[number]
            for name in point.setup.run.trackers:
                raise GailfeError(f"{name}: not for sweeps; expected --no-{name}, or single runs by gailfe train")
            if point.setup.run.film:
                raise GailfeError("film: not for sweeps; expected --no-film, and gailfe video once it has ended")
            if point.setup.run.on_divergence == "stop":
                raise GailfeError("on_divergence: got stop; expected drop: one setting's seed ends no other setting")
            try:
                record = {"values": point.values} | point.setup.record() | {"inputs": self._made_ready(point).record}
            except GailfeError as error:
                raise GailfeError(f"setting {number} ({point.label}): {error}") from None
            self._records[name_of(number)] = record
        if self._saved is not None:
            self._check_saved(self._saved["settings"])
            for number in filter(self.done, range(len(self.points), len(points))):
                run = points[number].setup.run
                seeds = range(run.first_seed, run.first_seed + run.seeds)
                check_point(self.folder / "settings" / name_of(number), seeds)
        self.points = list(points)
        # Before anything is written: what cannot fit is refused here.
        self._programs = self._planner.programs(self.points)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._locked:
            self._until.enter_context(held(self.folder))
            remove_drafts(self.folder)
            self._until.enter_context(named(self.folder))
            self._locked = True
        saved = {} if self._saved is None else self._saved["settings"]
        imports = {"imports": list(imported_modules())}
        record = {"version": VERSION, "words": self._words, "settings": saved | self._records} | imports
        write_json_atomic(self.folder / "sweep.json", record | self._origin)
        # A copy that is resumed on is there already.
        if not (self.folder / FOLDER).exists():
            self._copy_tasks(points)

    def _copy_tasks(self, points: Sequence[Point]) -> None:
        """Keeps a copy of each task file: of one in its folder, of several in one each, by the order of the points."""
        setups = {point.setup.environment.env: point.setup for point in points}
        files = [env for env in setups if task_file(env) is not None]
        for number, env in enumerate(files if len(setups) > 1 else setups):
            place = self.folder / FOLDER / (f"{number:04d}" if len(setups) > 1 else "")
            copy_task(find_env(setups[env].environment, setups[env].worlds)[2], place)

    def _check_saved(self, saved: dict[str, Any]) -> None:
        """Refuses to go on with other settings than the folder's."""
        # A search knows its later settings only once the earlier ones are trained.
        if len(saved) != len(self._records) and not self._growing:
            raise GailfeError(
                f"{self.folder}: field settings: {len(saved)} in the folder and {len(self._records)} now; "
                "a sweep resumes with its own settings"
            )
        common = saved.keys() & self._records.keys()
        before, now = ({name: records[name] for name in common} for records in (saved, self._records))
        for name in common:
            changed = changed_files(*(records[name]["inputs"].get("task") for records in (before, now)))
            if changed:
                raise GailfeError(f"{self.folder}: {said_of(changed)} since the sweep began; expected it as it was")
        free = [f"settings.{name}.{field}" for name in saved for field in _FREE_ON_RESUME]
        # Its files are the same, wherever they lie today.
        places = {name: [records[name]["environment"].get("env", "") for records in (before, now)] for name in common}
        free += [f"settings.{name}.environment.env" for name, two in places.items() if differ_by_file(*two)]
        # What is learned from hangs on the settings too, so these come first.
        inputs = [f"settings.{name}.inputs" for name in common]
        check_config({"settings": before}, {"settings": now}, ignore=[*free, *inputs])
        for name in sorted(common):
            check_same_content(self.folder, before[name]["inputs"], now[name]["inputs"], what="sweep")
        check_config({"settings": before}, {"settings": now}, ignore=free)

    def _made_ready(self, point: Point) -> Inputs:
        """Demonstrations made ready, once per program."""
        key, setup = point.program_key, point.setup
        if key not in self._inputs:
            _, _, env = find_env(setup.environment, setup.worlds)
            inputs = prepare_inputs(setup.method, env, setup.demos)
            setup.method.on(env, annotator=inputs.annotator, success=inputs.success)
            record = {name: value for name, value in inputs.record.items() if name != "provenance"}
            if (task := task_record(env)) is not None:
                record["task"] = task
            record["engine"] = env.spec.engine  # What `auto` turned out to be.
            # Their numbers stay on disk until a program asks for them.
            self._inputs[key] = dataclasses.replace(inputs, demos=None, record=record)
        return self._inputs[key]

    def done(self, number: int) -> bool:
        """Whether the setting is trained and written."""
        return (self.folder / "settings" / name_of(number) / "summary.json").is_file()

    def train(self) -> bool:
        """Trains what is not done; True if a signal ended it early."""
        chunks = self._programs
        done = sum(self.done(number) for number in range(len(self.points)))
        if done and chunks:
            self._say(f"{done} of {len(self.points)} settings are done already")
        self._planner.write(chunks)
        if self.executor is not None:
            interrupted = self._submit(chunks)
            chunks = []
            if interrupted:
                return True
        for index, chunk in enumerate(chunks):
            first = self.points[chunk[0]].setup
            self._say(
                f"program {index + 1} of {len(chunks)}: {first.method.name} on {first.environment.env}, "
                f"{len(chunk)} settings x {first.run.seeds} seeds"
            )
            if self._train_chunk(chunk):
                return True
        shutil.rmtree(self.folder / "programs", ignore_errors=True)
        return False

    def _submit(self, chunks: list[list[int]]) -> bool:
        """Trains each program in a job of its own; True if a signal ended one early.

        Raises:
          GailfeError: a job failed; the others have been waited for.
        """
        before = {number for number in range(len(self.points)) if self.done(number)}
        names = [name_of(chunk[0]) for chunk in chunks]
        folder = str(self.folder.resolve())
        jobs = {name: self.executor().submit(train_program, folder, name, imported_modules()) for name in names}
        self._say(f"{len(jobs)} programs submitted; their logs are in {self.folder / 'jobs'}")
        try:
            return wait_for(jobs, self.folder / "jobs")
        finally:
            done = [number for number in range(len(self.points)) if self.done(number)]
            self.trained += [number for number in done if number not in before]

    def train_program(self, name: str) -> bool:
        """Trains one program of the plan; True if a signal ended it early."""
        self.points = [read_point(record) for _, record in sorted(load_sweep(self.folder)["settings"].items())]
        return self._train_chunk(self._planner.plan()[name])

    def _train_chunk(self, chunk: list[int]) -> bool:
        """Trains points side by side and writes each one's folder; True if a signal ended it early."""
        setups = [self.points[number].setup for number in chunk]
        first = setups[0]
        seeds = list(range(first.run.first_seed, first.run.first_seed + first.run.seeds))
        program = self._planner.program(name_of(chunk[0]))
        result = train(
            stack_methods([setup.method for setup in setups], len(seeds)),
            first.environment,
            # Each point's own folder gets its events, where they can be told apart.
            first.run.replace(tensorboard=False),
            out=program,
            demos=first.demos,
            resume=True,
            seeds=seeds * len(chunk),
            imports=imported_modules(),
        )
        if result.interrupted:
            return True
        for position, number in enumerate(chunk):
            if not self.done(number):
                folder = self.folder / "settings" / name_of(number)
                write_point(self.points[number], number, folder, program, result, position)
                self.trained.append(number)
        shutil.rmtree(program)
        return False

    def judged_by(self, number: int) -> str:
        """The metric that a setting that is done is judged by."""
        records = read_metrics(self.folder / "settings" / name_of(number))
        return next(name for name in JUDGED_BY if name in records[0])

    def curves(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """`(steps [k], returns [seeds, k])` of a setting that is done; nan for seeds that diverged.

        On a task without a reward it is what stands in a return's place, see `JUDGED_BY`.
        """
        folder = self.folder / "settings" / name_of(number)
        steps, returns = stack_metric(read_metrics(folder), self.judged_by(number))
        first = self.points[number].setup.run.first_seed
        made = [(folder / "policies" / f"seed_{first + i}.safetensors").is_file() for i in range(len(returns))]
        return steps, np.where(np.array(made)[:, None], returns, np.nan)

    def report(self, baseline: int | None, parquet: bool) -> list[Summary]:
        """Tables and figures of what is done."""
        numbers = [number for number in range(len(self.points)) if self.done(number)]
        if not numbers:
            return []
        summaries = compare([self._summary(number) for number in numbers], baseline)
        names = list(dict.fromkeys(name for point in self.points for name in point.values))
        write_rows(self.folder, [row for number in numbers for row in self._rows(number, names)], parquet)
        write_summaries(self.folder, summaries, names, len(self.points))
        draw(self.folder, summaries)
        if not self.points[0].setup.run.quiet:
            print_summaries(summaries, len(self.points))
        return summaries

    def _rows(self, number: int, names: list[str]) -> list[dict[str, Any]]:
        values = {name: self.points[number].get(name) for name in names}
        rows = []
        for record in read_metrics(self.folder / "settings" / name_of(number)):
            first = {name: record[name] for name in _FIRST if name in record}
            # A field may share its name with what is measured of it (entropy).
            rest = {f"measured_{k}" if k in values else k: v for k, v in record.items() if k not in first}
            rows.append({"setting": number} | values | first | rest)
        return rows

    def _summary(self, number: int) -> Summary:
        point = self.points[number]
        steps, returns = self.curves(number)
        diverged = int((~np.isfinite(returns).all(axis=1)).sum())
        final = mean = None
        if not diverged:
            final, mean = bootstrap_interval(returns[:, -1]), bootstrap_interval(returns.mean(axis=1))
        saved = read_summary(self.folder / "settings" / name_of(number))
        expert = saved["expert_return"] or shipped_return(point.setup.environment.env)
        return Summary(number, point, returns, steps, diverged, expert, final, mean, judged_by=self.judged_by(number))

    def _say(self, text: str) -> None:
        if not self.points[0].setup.run.quiet:
            Console().print(text, markup=False, highlight=False, soft_wrap=True)


def copied_env(folder: str | pathlib.Path, env: str) -> str:
    """The environment that a sweep was started on; on the folder's own copy of its task file where that is gone.

    Raises:
      GailfeError: the task file is gone, and there is no copy.
    """
    file = task_file(env)
    if file is None or os.path.isfile(os.path.expanduser(file)):
        return env
    copy = pathlib.Path(folder) / FOLDER / pathlib.Path(file).name
    if not copy.is_file():
        raise GailfeError(f"{folder}: its task file {file} is not there; expected --env and where it is now")
    return on_file(env, str(copy))


def train_program(folder: str, name: str, imports: Sequence[str] = ()) -> bool:
    """Trains one program of a planned sweep, in a process of its own; True if a signal ended it early.

    Args:
      folder: the sweep's.
      name: the program's, its first point's number.
      imports: modules to import for what they register.
    """
    for module in imports:
        import_user_module(module)
    return Study(pathlib.Path(folder), True, None, ()).train_program(name)


def read_point(record: Mapping[str, Any]) -> Point:
    """A point as sweep.json holds it."""
    held = read_record(record)
    values = {name: field_of(name).read(value, exact=True) for name, value in record["values"].items()}
    return Point(values, Setup(held.method, held.place, held.demos, held.run))
