"""Sweeps: many settings times many seeds; those that differ in traced fields alone train side by side, in one program.

A sweep folder:
    sweep.json            settings, what they start from, provenance
    settings/0000 ...     what `gailfe train` leaves of each setting: config.json, metrics.jsonl, policies, summary.json
    programs/0000 ...     run folders of programs under way, gone once their settings are written
    jobs/                 what a cluster's jobs print
    sweep.csv, sweep.jsonl        one row per setting, seed and evaluation
    summary.csv, summary.md       one row per setting, with intervals over seeds
    final.png, curves.png
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import pathlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console

from gailfe_jax.analysis.statistics import bootstrap_interval, iqm
from gailfe_jax.artifacts.policy import expert_names, load_expert
from gailfe_jax.config.flat import Hyper
from gailfe_jax.envs import base_name, make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import write_json_atomic
from gailfe_jax.io.provenance import provenance
from gailfe_jax.methods.table import make_learner
from gailfe_jax.parallel.memory import free_bytes, program_bytes, tree_bytes
from gailfe_jax.sweep.report import Summary, compare, draw, find_pyarrow, print_summaries, write_rows, write_summaries
from gailfe_jax.sweep.space import BaseFn, Distribution, Setting, build, field_of, read_value, show
from gailfe_jax.training.checkpoint import check_config
from gailfe_jax.training.logger import RunLogger, read_metrics, stack_metric
from gailfe_jax.training.loop import Imitation, Trainer, load_run, prepare_imitation, settings_from_run, train

_VERSION = 1
_MEMORY_SHARE = 0.8  # Of what is free: estimates leave out the evaluation and what the allocator wastes.
# Bytes per environment step of an iteration that the temporaries of one seed should stay below: those of the presets
# on Hopper take 2 KiB (PPO) to 10 KiB (MAIL). Only what might not fit by this bound is compiled to be measured.
_ROUGH_TEMPORARIES = 32 * 1024
_UNBOUNDED_GIB = 2.0**40
_FIRST = ("seed", "step", "return_mean", "expert_normalised")
# What the machine's speed decides is not a result of the setting.
_TIMING = ("steps_per_second",)
# What may differ when a sweep resumes: where it runs and how it is shown, and where the demonstrations lie (their
# content is compared).
_FREE_ON_RESUME = (
    *("run.checkpoint_seconds", "run.keep", "run.snapshots", "run.tensorboard", "run.wandb", "run.quiet"),
    "run.devices",
    *("demos.demos", "demos.expert", "imitation.demos", "imitation.expert", "imitation.sha256"),
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
    settings: Sequence[Setting],
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
    executor = None if cluster is None else _executor(pathlib.Path(out), cluster, cluster_options)
    # What fits is for each job's machine to say; --memory-gib can.
    memory_gib = _UNBOUNDED_GIB if executor is not None and memory_gib is None else memory_gib
    study = _Study(pathlib.Path(out), resume, memory_gib, words)
    study.executor = executor
    study.add(settings)
    interrupted = study.train()
    return SweepResult(study.folder, study.report(baseline, parquet), study.trained, interrupted)


def search(
    space: Sequence[Distribution],
    base: BaseFn,
    *,
    trials: int,
    out: str | pathlib.Path,
    parallel: int = 8,
    seed: int = 0,
    resume: bool = False,
    memory_gib: float | None = None,
    baseline: int | None = None,
    parquet: bool = False,
    words: Sequence[str] = (),
) -> SweepResult:
    """A sweep whose settings are chosen as it goes, by Optuna's TPE sampler on the final return (IQM over seeds).

    Rounds ask for `parallel` settings at once, which train side by side where they differ in traced fields alone. A
    resumed search repeats its questions and finds the answers on disk.

    Args:
      space: what settings are drawn from.
      base: what they start from.
      trials: settings asked for in all; one asked for twice is trained once.
      parallel: settings per round.
      seed: of the sampler.
      out, resume, memory_gib, baseline, parquet, words: as in `sweep`.

    Raises:
      GailfeError: as `sweep`, or Optuna is not installed.
    """
    for name, value in (("optuna", trials), ("parallel", parallel)):
        if value < 1:
            raise GailfeError(f"{name}: got {value}; expected at least 1")
    try:
        import optuna  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise GailfeError("optuna: not installed; expected `pip install 'gailfe-jax[sweep]'`") from None
    if parquet:
        find_pyarrow()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _Study(pathlib.Path(out), resume, memory_gib, words, growing=True)
    asked = {part.field.name: _optuna_distribution(optuna, part) for part in space}
    optimiser = optuna.create_study(direction="maximize")
    numbers: dict[str, int] = {}
    interrupted, done = False, 0
    while done < trials and not interrupted:
        # A sampler of its own for every round: what it asks depends on the answers so far and on nothing else.
        optimiser.sampler = optuna.samplers.TPESampler(seed=(seed + done) % 2**32, constant_liar=True)
        round_of = [optimiser.ask(asked) for _ in range(min(parallel, trials - done))]
        fresh, answers = [], []
        for trial in round_of:
            values = {part.field.name: _optuna_value(part, trial.params[part.field.name]) for part in space}
            (setting,) = build([values], base, first=len(numbers))
            if setting.key not in numbers:
                numbers[setting.key] = len(numbers)
                fresh.append(setting)
            answers.append(numbers[setting.key])
        study.add([*study.settings, *fresh])
        interrupted = study.train()
        done += len(round_of)
        if not interrupted:
            for trial, number in zip(round_of, answers, strict=True):
                final = study.curves(number)[1][:, -1]
                if np.isfinite(final).all():
                    optimiser.tell(trial, float(iqm(final)))
                else:
                    optimiser.tell(trial, state=optuna.trial.TrialState.FAIL)
    if baseline is not None and not 0 <= baseline < len(study.settings):
        raise GailfeError(f"baseline: got {baseline}; expected a setting's number, 0 to {len(study.settings) - 1}")
    return SweepResult(study.folder, study.report(baseline, parquet), study.trained, interrupted)


def _optuna_distribution(optuna: Any, part: Distribution) -> Any:
    if part.choices:
        return optuna.distributions.CategoricalDistribution([show(choice) for choice in part.choices])
    kind = "IntDistribution" if part.field.kind is int else "FloatDistribution"
    return getattr(optuna.distributions, kind)(part.low, part.high, log=part.log)


def _optuna_value(part: Distribution, value: Any) -> Any:
    if part.choices:
        return {show(choice): choice for choice in part.choices}[value]
    return part.rounded(value)


class _Study:
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
        self.settings: list[Setting] = []
        self.trained: list[int] = []
        self.executor: Any = None
        self._programs: list[list[int]] = []
        self._memory = None if memory_gib is None else memory_gib * 2**30
        self._growing = growing
        self._words = [word for word in words if word != "--resume"]
        self._imitations: dict[str, Imitation] = {}
        self._records: dict[str, Any] = {}
        self._saved: dict[str, Any] | None = None
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
        elif folder.exists() and any(folder.iterdir()):
            raise GailfeError(f"{folder}: exists and holds no sweep; choose another --out")

    def add(self, settings: Sequence[Setting]) -> None:
        """Takes all settings so far, checks that each would train, and writes them down.

        Raises:
          GailfeError: one would not, or the folder's are others.
        """
        for number in range(len(self.settings), len(settings)):
            setting = settings[number]
            if setting.run.wandb:
                raise GailfeError("wandb: not for sweeps; expected --no-wandb, or single runs by gailfe train")
            try:
                self._records[_name(number)] = {"values": setting.values} | {
                    part: dataclasses.asdict(getattr(setting, part)) for part in ("config", "hyper", "run", "demos")
                }
                self._records[_name(number)]["imitation"] = self._imitation(setting).record
            except GailfeError as error:
                raise GailfeError(f"setting {number} ({setting.label}): {error}") from None
        if self._saved is not None:
            saved = self._saved["settings"]
            # A search knows its later settings only once the earlier ones are trained.
            if len(saved) != len(self._records) and not self._growing:
                raise GailfeError(
                    f"{self.folder}: field settings: {len(saved)} in the folder and {len(self._records)} now; "
                    "a sweep resumes with its own settings"
                )
            common = saved.keys() & self._records.keys()
            before, now = ({name: records[name] for name in common} for records in (saved, self._records))
            free = [f"settings.{name}.{field}" for name in saved for field in _FREE_ON_RESUME]
            check_config({"settings": before}, {"settings": now}, ignore=free)
        self.settings = list(settings)
        groups: dict[str, list[int]] = {}
        for number, setting in enumerate(settings):
            groups.setdefault(setting.program_key, []).append(number)
        # Before anything is written: what cannot fit is refused here.
        self._programs = [chunk for group in groups.values() for chunk in self._chunks(group)]
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = {} if self._saved is None else self._saved["settings"]
        record = {"version": _VERSION, "words": self._words, "settings": saved | self._records}
        write_json_atomic(self.folder / "sweep.json", record | self._origin)

    def _imitation(self, setting: Setting) -> Imitation:
        """Demonstrations made ready, once per program."""
        key = setting.program_key
        if key not in self._imitations:
            env = make_env(setting.config.env, setting.config.engine, **setting.config.engine_options)
            imitation = prepare_imitation(setting.config, env, setting.demos)
            make_learner(setting.config, env, annotator=imitation.annotator, success=imitation.success)
            record = {name: value for name, value in imitation.record.items() if name != "provenance"}
            record["engine"] = env.spec.engine  # What `auto` turned out to be.
            # Their numbers stay on disk until a program asks for them.
            self._imitations[key] = dataclasses.replace(imitation, demos=None, record=record)
        return self._imitations[key]

    def done(self, number: int) -> bool:
        """Whether the setting is trained and written."""
        return (self.folder / "settings" / _name(number) / "summary.json").is_file()

    def train(self) -> bool:
        """Trains what is not done; True if a signal ended it early."""
        chunks = self._programs
        done = sum(self.done(number) for number in range(len(self.settings)))
        if done and chunks:
            self._say(f"{done} of {len(self.settings)} settings are done already")
        self._write_plan(chunks)
        if self.executor is not None:
            interrupted = self._submit(chunks)
            chunks = []
            if interrupted:
                return True
        for index, chunk in enumerate(chunks):
            first = self.settings[chunk[0]]
            self._say(
                f"program {index + 1} of {len(chunks)}: {first.config.algo} on {first.config.env}, "
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
        before = {number for number in range(len(self.settings)) if self.done(number)}
        names = [_name(chunk[0]) for chunk in chunks]
        jobs = [self.executor().submit(train_program, str(self.folder.resolve()), name) for name in names]
        self._say(f"{len(jobs)} programs submitted; their logs are in {self.folder / 'jobs'}")
        try:
            errors = {name: job.exception() for name, job in zip(names, jobs)}
        except KeyboardInterrupt:
            for job in jobs:
                job.cancel()
            raise
        self.trained += [number for number in range(len(self.settings)) if self.done(number) and number not in before]
        failed = [(name, str(error).strip().splitlines()) for name, error in errors.items() if error is not None]
        if failed:
            name, lines = failed[0]
            raise GailfeError(
                f"cluster: {len(failed)} of {len(jobs)} jobs failed, first program {name} "
                f"({lines[-1] if lines else 'no message'}); see {self.folder / 'jobs'} and --resume"
            )
        return any(job.result() for job in jobs)

    def _chunks(self, group: list[int]) -> list[list[int]]:
        """The settings of one program that are left, in parts that fit into the memory, those under way first."""
        left = [number for number in group if not self.done(number)]
        if not left:
            return []
        setting = self.settings[group[0]]
        limit, need, free = _room(setting, len(group), self._memory)
        if limit < 1:
            raise GailfeError(
                f"memory_gib: setting {group[0]} with {setting.run.seeds} seeds needs about {need / 2**30:.3g} GiB and "
                f"{free / 2**30:.3g} are free; expected fewer seeds, fewer environments, smaller buffers or more memory"
            )
        under_way = []
        for name, chunk in self._plan().items():
            begun = (self._program(name) / "config.json").is_file() and set(chunk) <= set(group)
            if begun and set(chunk) & set(left) and len(chunk) <= limit:
                under_way.append(chunk)
        taken = {number for chunk in under_way for number in chunk}
        left = [number for number in left if number not in taken]
        parts = math.ceil(len(left) / limit)
        if parts > 1:
            self._say(
                f"{len(left)} settings x {setting.run.seeds} seeds need about {len(left) * need / 2**30:.3g} GiB and "
                f"{free / 2**30:.3g} are free: trained in {parts} parts"
            )
        # Parts of one size share what a compilation cache holds.
        size = math.ceil(len(left) / parts) if parts else 1
        return under_way + [left[start : start + size] for start in range(0, len(left), size)]

    def _plan(self) -> dict[str, list[int]]:
        try:
            plan = json.loads((self.folder / "programs" / "plan.json").read_text(encoding="utf-8"))
            return {str(name): [int(number) for number in chunk] for name, chunk in plan.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _write_plan(self, chunks: list[list[int]]) -> None:
        """Drops the programs of another plan: their settings are done, or start anew in parts of another size."""
        plan, before = {_name(chunk[0]): chunk for chunk in chunks}, self._plan()
        programs = self.folder / "programs"
        for path in programs.glob("[0-9]*"):
            same = path.name in plan and plan[path.name] == before.get(path.name)
            if not (same and (path / "config.json").is_file()):
                shutil.rmtree(path)
        if plan:
            write_json_atomic(programs / "plan.json", plan)

    def _program(self, name: str) -> pathlib.Path:
        return self.folder / "programs" / name

    def train_program(self, name: str) -> bool:
        """Trains one program of the plan; True if a signal ended it early."""
        self.settings = [_read_setting(record) for _, record in sorted(load_sweep(self.folder)["settings"].items())]
        return self._train_chunk(self._plan()[name])

    def _train_chunk(self, chunk: list[int]) -> bool:
        """Trains settings side by side and writes each one's folder; True if a signal ended it early."""
        settings = [self.settings[number] for number in chunk]
        first = settings[0]
        seeds = list(range(first.run.first_seed, first.run.first_seed + first.run.seeds))
        program = self._program(_name(chunk[0]))
        result = train(
            first.config,
            stack_hyper([setting.hyper for setting in settings], len(seeds)),
            # Each setting's own folder gets its events, where they can be told apart.
            dataclasses.replace(first.run, tensorboard=False),
            out=program,
            demos=first.demos,
            resume=True,
            seeds=seeds * len(chunk),
        )
        if result.interrupted:
            return True
        for position, number in enumerate(chunk):
            if not self.done(number):
                self._write_setting(number, program, result.metrics, result.summary, position, seeds)
                self.trained.append(number)
        shutil.rmtree(program)
        return False

    def _write_setting(
        self,
        number: int,
        program: pathlib.Path,
        metrics: Mapping[str, tuple[np.ndarray, np.ndarray]],
        summary: dict[str, Any],
        position: int,
        seeds: list[int],
    ) -> None:
        """The folder of one setting, out of its rows of the program's; its summary, written last, says it is whole."""
        setting, folder = self.settings[number], self.folder / "settings" / _name(number)
        shutil.rmtree(folder, ignore_errors=True)
        rows = slice(position * len(seeds), (position + 1) * len(seeds))
        curves = {name: (s, v[rows]) for name, (s, v) in metrics.items() if name not in _TIMING}
        if "stopped" in curves and curves["stopped"][1].all(axis=0).any():
            # Cloning that lost patience waits for the settings beside it; by itself it would have ended here.
            last = curves["stopped"][0][curves["stopped"][1].all(axis=0).argmax()]
            curves = {name: (s[s <= last], v[:, s <= last]) for name, (s, v) in curves.items()}
        record = {name: value for name, value in load_run(program).items() if name != "seeds"}
        record |= {"hyper": dataclasses.asdict(setting.hyper), "settings": dataclasses.asdict(setting.run)}
        write_json_atomic(folder / "config.json", record | {"sweep": {"setting": number, "values": setting.values}})
        steps = sorted({int(step) for s, _ in curves.values() for step in s})
        with RunLogger(
            folder, num_seeds=len(seeds), total_steps=steps[-1], title=setting.label, seeds=seeds, quiet=True,
            use_tensorboard=setting.run.tensorboard,
            expert_return=summary["expert_return"] or _shipped_return(setting.config.env),
        ) as logger:  # fmt: skip
            for step in steps:
                logger.log(step, {name: v[:, list(s).index(step)] for name, (s, v) in curves.items() if step in s})
        for path in program.glob("*/*seed_*.safetensors"):
            match = re.fullmatch(r"(.*seed_)(\d+)\.safetensors", path.name)
            if match and rows.start <= int(match[2]) < rows.stop:
                target = folder / path.parent.name / f"{match[1]}{seeds[int(match[2]) - rows.start]}.safetensors"
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, target)
        kept = ("algo", "env", "finished", "expert_return", "annotator", "provenance")
        row = {name: summary[name] for name in kept} | {"steps": steps[-1], "values": setting.values}
        final = {name: values[:, -1].tolist() for name, (_, values) in curves.items()}
        write_json_atomic(folder / "summary.json", row | {"final": final})

    def curves(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """`(steps [k], returns [seeds, k])` of a setting that is done; nan for seeds that diverged."""
        folder = self.folder / "settings" / _name(number)
        steps, returns = stack_metric(read_metrics(folder), "return_mean")
        first = self.settings[number].run.first_seed
        made = [(folder / "policies" / f"seed_{first + i}.safetensors").is_file() for i in range(len(returns))]
        return steps, np.where(np.array(made)[:, None], returns, np.nan)

    def report(self, baseline: int | None, parquet: bool) -> list[Summary]:
        """Tables and figures of what is done."""
        numbers = [number for number in range(len(self.settings)) if self.done(number)]
        if not numbers:
            return []
        summaries = compare([self._summary(number) for number in numbers], baseline)
        names = list(dict.fromkeys(name for setting in self.settings for name in setting.values))
        write_rows(self.folder, [row for number in numbers for row in self._rows(number, names)], parquet)
        write_summaries(self.folder, summaries, names, len(self.settings))
        draw(self.folder, summaries)
        if not self.settings[0].run.quiet:
            print_summaries(summaries, len(self.settings))
        return summaries

    def _rows(self, number: int, names: list[str]) -> list[dict[str, Any]]:
        values = {name: self.settings[number].get(name) for name in names}
        rows = []
        for record in read_metrics(self.folder / "settings" / _name(number)):
            first = {name: record[name] for name in _FIRST if name in record}
            # A field may share its name with what is measured of it (entropy).
            rest = {f"measured_{k}" if k in values else k: v for k, v in record.items() if k not in first}
            rows.append({"setting": number} | values | first | rest)
        return rows

    def _summary(self, number: int) -> Summary:
        setting = self.settings[number]
        steps, returns = self.curves(number)
        diverged = int((~np.isfinite(returns).all(axis=1)).sum())
        final = mean = None
        if not diverged:
            final, mean = bootstrap_interval(returns[:, -1]), bootstrap_interval(returns.mean(axis=1))
        saved = json.loads((self.folder / "settings" / _name(number) / "summary.json").read_text(encoding="utf-8"))
        expert = saved["expert_return"] or _shipped_return(setting.config.env)
        return Summary(number, setting, returns, steps, diverged, expert, final, mean)

    def _say(self, text: str) -> None:
        if not self.settings[0].run.quiet:
            Console().print(text, markup=False, highlight=False, soft_wrap=True)


def load_sweep(folder: str | pathlib.Path) -> dict[str, Any]:
    """`sweep.json` of a sweep folder.

    Raises:
      GailfeError: no sweep there, a damaged file, or one of another version.
    """
    path = pathlib.Path(folder) / "sweep.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GailfeError(f"{path}: no such file; expected a folder made by gailfe sweep") from None
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise GailfeError(f"{path}: damaged; expected what gailfe sweep wrote")
    if record.get("version") != _VERSION:
        raise GailfeError(f"{path}: field 'version': {record.get('version')!r}; this release reads version {_VERSION}")
    if not isinstance(record.get("settings"), dict) or not isinstance(record.get("words"), list):
        raise GailfeError(f"{path}: damaged; expected what gailfe sweep wrote")
    return record


def train_program(folder: str, name: str) -> bool:
    """Trains one program of a planned sweep, in a process of its own; True if a signal ended it early.

    Args:
      folder: the sweep's.
      name: the program's, its first setting's number.
    """
    return _Study(pathlib.Path(folder), True, None, ()).train_program(name)


def _read_setting(record: Mapping[str, Any]) -> Setting:
    """A setting as sweep.json holds it."""
    parts = {name: record[name] for name in ("config", "hyper", "demos")} | {"settings": record["run"]}
    config, hyper, run, demos = settings_from_run(parts)
    values = {name: read_value(field_of(name), value) for name, value in record["values"].items()}
    return Setting(values, config, hyper, run, demos)


def _executor(folder: pathlib.Path, cluster: str, options: Sequence[str]) -> Callable[[], Any]:
    """Makes submitit's executor when it is first needed: making one makes its folder.

    Raises:
      GailfeError: submitit is not installed, or an option has another form.
    """
    try:
        import submitit  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise GailfeError("cluster: submitit is not installed; expected `pip install 'gailfe-jax[cluster]'`") from None
    values: dict[str, Any] = {}
    for word in options:
        name, equals, text = word.partition("=")
        if not (equals and name and text):
            raise GailfeError(f"cluster_options: got {word!r}; expected name=value")
        values[name] = int(text) if text.isdecimal() else text

    @functools.cache
    def make() -> Any:
        executor = submitit.AutoExecutor(folder=str(folder / "jobs"), cluster=cluster)
        try:
            executor.update_parameters(**values)
        except (NameError, TypeError, ValueError) as error:
            raise GailfeError(f"cluster_options: {error}") from None
        return executor

    return make


def stack_hyper(hypers: Sequence[Hyper], seeds: int) -> Hyper:
    """Traced settings of `K` settings times `seeds`, setting by setting: `[K * seeds]` where they differ."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Hyper):
        column = [float(getattr(hyper, field.name)) for hyper in hypers]
        same = len(set(column)) == 1
        values[field.name] = column[0] if same else np.repeat(column, seeds)
    return Hyper(**values)


def setting_bytes(setting: Setting, *, rough: bool) -> float:
    """Memory of one setting with all its seeds: its state twice (once as a checkpoint holds it) and temporaries.

    Args:
      setting: which.
      rough: bound the temporaries from above, instead of compiling the program and asking how much it takes.
    """
    env = make_env(setting.config.env, setting.config.engine, **setting.config.engine_options)
    imitation = prepare_imitation(setting.config, env, setting.demos)
    learner = make_learner(setting.config, env, annotator=imitation.annotator, success=imitation.success)
    seeds = np.arange(setting.run.seeds)
    trainer = Trainer(learner, setting.hyper, seeds, chunk=1, eval_episodes=setting.run.eval_episodes)
    template = trainer.template(imitation.demos)
    state = float(tree_bytes(template))
    bound = 2 * state + len(seeds) * setting.config.batch_size * _ROUGH_TEMPORARIES
    needed = None if rough else program_bytes(trainer.lower(template, imitation.demos).compile())
    return bound if needed is None else state + needed


def _room(setting: Setting, wanted: int, memory: float | None) -> tuple[int, float, float]:
    """`(settings that fit side by side, bytes of one, bytes to stay within)`."""
    free = memory if memory is not None else _MEMORY_SHARE * free_bytes()
    need = setting_bytes(setting, rough=True)
    if wanted * need > free:
        need = setting_bytes(setting, rough=False)
    return (wanted if wanted * need <= free else int(free // need)), need, free


def _name(number: int) -> str:
    return f"{number:04d}"


def _shipped_return(env: str) -> float | None:
    task = base_name(env)
    known = load_expert(task).metadata.get("expert_return") if task in expert_names() else None
    return None if known is None else float(known)
