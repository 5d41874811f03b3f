"""The host loop: compiled chunks of iterations, evaluation, logs and checkpoints."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from gailfe_jax.analysis.occupancy import MOST_STEPS
from gailfe_jax.artifacts import confidence
from gailfe_jax.artifacts import value as values
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.config.run import DemoSettings, EnvSettings, RunSettings
from gailfe_jax.data.annotators import Annotator
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.envs.physics import ENGINES
from gailfe_jax.errors import WITHOUT_X64, GailfeError, expect
from gailfe_jax.learners.base import Learner, LearnerState
from gailfe_jax.parallel import distributed
from gailfe_jax.training import outlook
from gailfe_jax.training.checkpoint import CheckpointManager
from gailfe_jax.training.divergence import Divergence, Guard, agreed_divergences
from gailfe_jax.training.export import save_policies, to_confidences, to_policies, to_values
from gailfe_jax.training.footprint import compile_within, footprint, within_memory
from gailfe_jax.training.logger import RunLogger
from gailfe_jax.training.opening import Opened, open_folder
from gailfe_jax.training.plan import Plan, make_plan
from gailfe_jax.training.program import Agents
from gailfe_jax.training.run_folder import (
    JUDGED_BY,
    Curves,
    finish_run,
    recorded_curves,
    recorded_engine,
    recorded_interval,
    recorded_timing,
    without_places,
)
from gailfe_jax.training.showing import show_end
from gailfe_jax.training.signals import deferred_signals
from gailfe_jax.training.start import write_start
from gailfe_jax.training.summary import stack, summarise
from gailfe_jax.training.trackers import require
from gailfe_jax.types import Env, PyTree


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What a run leaves behind.

    Attributes:
      run_dir: the run's folder, or None.
      steps: environment steps of each seed.
      policies: one per seed.
      metrics: `name -> (steps [k], values [seeds, k])` over the evaluations.
      summary: what summary.json holds.
      interrupted: whether a signal ended the run early.
      diverged: `seed -> where its training diverged`, of those that did; their policies are the last finite ones.
    """

    run_dir: pathlib.Path | None
    steps: int
    policies: list[Policy]
    metrics: dict[str, tuple[np.ndarray, np.ndarray]]
    summary: dict[str, Any]
    interrupted: bool
    diverged: dict[int, Divergence] = dataclasses.field(default_factory=dict)


def train(
    method: Learner | str,
    env: str | EnvSettings | Env = "hopper",
    run: RunSettings | None = None,
    *,
    demos: DemoSettings | Demonstrations | str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    annotator: Annotator | None = None,
    expert: Any = None,
    resume: bool = False,
    restart: bool = False,
    on_evaluation: Callable[[int, dict[str, np.ndarray]], None] | None = None,
    seeds: Sequence[int] | None = None,
    imports: Sequence[str] = (),
) -> TrainResult:
    """Trains `run.seeds` seeds side by side.

    Where JAX runs in several processes (`gailfe_jax.parallel.distributed.connected`, or `jax.distributed.initialize`),
    they train one run together: every process calls this with the same arguments. Process 0 alone reads and writes
    `out`; the others return the same policies, no run folder, no summary, and the metrics of this session.

    Args:
      method: the method with its settings, or a name: then its preset on the task.
      env: a task's name, one with an engine's settings, or any environment.
      run: budget, evaluation, logs.
      demos: a demonstration file, a part of one, or demonstrations in memory.
      out: run folder; nothing is written if None.
      annotator: what counts as failed, instead of what `method.failures.annotator` names.
      expert: for DAgger, who is asked: a `Policy`, a function `obs [n, o] -> action [n, a]` in NumPy, or an object with
        `predict`, such as a Stable-Baselines3 model; by default what `demos.expert` names, or the shipped one.
      resume: continue the run in `out` from its newest checkpoint, bit for bit (Gymnasium's own environments, which
        cannot be stored, begin new episodes); start it if there is none.
      restart: move a run that `out` holds aside, to `<out>.1`, and start anew.
      on_evaluation: called with `(step, metrics [S])` after each evaluation.
      seeds: `[S]` train these instead, which may repeat beside `[S]` traced settings (a sweep's). Records and files
        then go by position.
      imports: modules that were imported for what they register, to be written down.

    Raises:
      GailfeError: bad settings or demonstrations, an argument of another kind or without effect, a folder that already
        holds a run, or one of another configuration; in one process or in any of several.
    """
    if jax.config.read("jax_enable_x64"):
        raise GailfeError(f"jax_enable_x64: is on; expected it off: {WITHOUT_X64}")
    expect("method", method, (Learner, str), "a method such as gailfe_jax.GAIL(), or its name")
    expect("run", run, (RunSettings, type(None)), "gailfe_jax.RunSettings")
    shown_as = (str, os.PathLike, DemoSettings, Demonstrations, type(None))
    expect("demos", demos, shown_as, "a demonstration file, gailfe_jax.DemoSettings or gailfe_jax.Demonstrations")
    expect("out", out, (str, os.PathLike, type(None)), "a folder")
    expect("annotator", annotator, (Annotator, type(None)), "an annotator such as gailfe_jax.annotators.terminated()")
    expect("resume", resume, bool, "true or false")
    expect("restart", restart, bool, "true or false")
    if resume and restart:
        raise GailfeError("restart: got true beside resume; expected one of the two")
    expect("on_evaluation", on_evaluation, (Callable, type(None)), "a function of step and metrics")
    expect("seeds", seeds, (list, tuple, range, np.ndarray, type(None)), "a sequence of whole numbers")
    for seed in () if seeds is None else seeds:
        expect("seeds", seed, (int, np.integer), "a sequence of whole numbers")
    if seeds is not None and (len(seeds) == 0 or min(seeds) < 0):
        raise GailfeError(f"seeds: got {list(seeds)}; expected one or more whole numbers from 0")
    expect("imports", imports, (list, tuple), "a sequence of names")
    if resume and out is None:
        raise GailfeError("resume: got true without out; expected the folder of the run to continue")
    if restart and out is None:
        raise GailfeError("restart: got true without out; expected the folder of the run to start anew")
    shown = demos if isinstance(demos, Demonstrations) else None
    if isinstance(demos, str | os.PathLike):
        demos = DemoSettings(demos=os.fspath(demos))
    settings = demos if isinstance(demos, DemoSettings) else DemoSettings()
    run, engine, interval = run or RunSettings(), None, None
    with distributed.agreed():
        if resume and out is not None and distributed.is_first():
            engine, interval = recorded_engine(out), recorded_interval(out)
    interval = float(distributed.from_first(np.array(interval or 0.0)))
    if interval and run.eval_every is None:
        # Where nobody chose, more steps might choose another.
        run = run.replace(eval_every=interval)
    plan = make_plan(
        method,
        env,
        run,
        settings,
        demonstrations=shown,
        annotator=annotator,
        expert=expert,
        seeds=seeds,
        imports=tuple(imports),
        others={"out": out is not None, "resume": resume, "restart": restart},
        engine=_agreed_engine(engine),
        begun=out if resume else None,
    )
    run_dir = None if out is None or not distributed.is_first() else pathlib.Path(out)
    with plan.placed(), within_memory(plan), contextlib.ExitStack() as until:
        return _Session(plan, run_dir, out is not None, resume, restart, until).train(on_evaluation)


def _agreed_engine(engine: str | None) -> str | None:
    """What process 0 has read."""
    names = [None, *ENGINES]
    return names[int(distributed.from_first(np.array(names.index(engine))))]


class _Session:
    """One call of `train`: the folder it writes to, and how far it has come."""

    def __init__(
        self,
        plan: Plan,
        run_dir: pathlib.Path | None,
        writes: bool,
        resume: bool,
        restart: bool,
        until: contextlib.ExitStack,
    ):
        self.plan, self.trainer, self.demos = plan, plan.trainer, plan.inputs.demos
        self.run_dir, self.writes = run_dir, writes
        self.checkpoints: CheckpointManager | None = None
        self.logger: RunLogger | None = None
        self.messages: Callable[[str], None] = lambda text: None
        self.history: dict[str, list[tuple[int, np.ndarray]]] = {}
        self.trained_seconds = self.eval_seconds = 0.0
        self.began, self.idle_seconds = time.perf_counter(), 0.0
        # Where policies are judged on the host, a chunk is while the next one trains.
        self.host = None if self.trainer.judge is None else ThreadPoolExecutor(1)
        self.waiting: Callable[[], None] | None = None
        self.untold: list[tuple[int, dict[str, np.ndarray]]] = []
        self.remarked: set[str] = set()
        found: Opened | None = None
        with distributed.agreed():
            memory = footprint(plan)
            memory.check()
            for package in plan.run.trackers:
                require(package)
            if run_dir is not None:
                notes = (*plan.notes, memory.line)
                found = open_folder(plan, run_dir, resume=resume, restart=restart, notes=notes, until=until)
                self.checkpoints, self.logger, self.messages = found.checkpoints, found.logger, found.logger.message
        self.done_steps = int(distributed.from_first(np.array(0 if found is None else found.step)))
        self.lock = None if found is None else found.lock
        self.lost = "" if found is None else found.lost
        gone = agreed_divergences({} if found is None else found.gone, len(plan.names))
        state = self.trainer.scatter(None if found is None else found.state, self.demos)
        self.fresh = state is None
        self.guard = Guard(self.trainer, plan.names, gone, fresh=self.fresh)
        if state is None:
            self._phase(outlook.cloning(plan))
        self.state: PyTree = self.trainer.init(self.demos) if state is None else self.trainer.resumed(state)
        self.start_step = self.saved_step = self.done_steps
        self.last_save = time.monotonic()

    def train(self, on_evaluation: Callable[[int, dict[str, np.ndarray]], None] | None) -> TrainResult:
        """Trains to the end of the plan, or until a signal."""
        with contextlib.ExitStack() as stack:
            caught = stack.enter_context(deferred_signals(self.messages))
            if self.logger is not None:
                stack.enter_context(contextlib.closing(self.logger))
            if self.host is not None:
                stack.callback(self.host.shutdown)
            finished, halted = self._finished(), self.guard.everywhere
            self._begin(finished)
            if self.fresh and self.writes and not finished:
                self._judge_start()
            self.began, self.idle_seconds = time.perf_counter(), 0.0
            while not finished and not halted and not distributed.anywhere(bool(caught)):
                metrics = self._advance()
                self._check_folder()
                finished, halted = self._finished(), self._halted()
                self._report_waiting()
                self._judge(metrics)
                if self.host is None or finished or halted:
                    self._report_waiting()
                self._save_if_due(finished or halted, bool(caught))
                self._tell(on_evaluation)
            self._check_folder()
            self._report_waiting()
            self._tell(on_evaluation)
            self.state = self.trainer.gather(self.state)
            # A signal may come after the last look at `caught`.
            if self.checkpoints is not None and self.saved_step != self.done_steps:
                self._save(self.state)
            return self._result(finished, halted)

    def _check_folder(self) -> None:
        """Ends the run where its folder is gone: what would be written there would be a folder without its record."""
        with distributed.agreed():
            if self.lock is not None:
                self.lock.check()

    def _begin(self, finished: bool) -> None:
        """Says what comes first."""
        if not finished and not self.guard.everywhere:
            return self._phase(outlook.compiling(self.plan, self.run_dir))
        ended = self.done_steps < self.plan.total_steps
        why = "the method has ended by itself" if ended else "a larger --steps trains on"
        return self.messages(f"nothing left to do: {'every seed has diverged' if self.guard.everywhere else why}")

    def _phase(self, text: str | None) -> None:
        if self.logger is not None and text is not None:
            self.logger.phase(text)

    def _halted(self) -> bool:
        """Whether seeds that have diverged end the run."""
        stops = self.plan.run.on_divergence == "stop" and not self.plan.lenient
        return self.guard.everywhere or (stops and bool(self.guard.new))

    def _judge_start(self) -> None:
        """Has the policies judged before the first iteration: a run's picture begins there."""
        agents = self.trainer.to_judge(self.state)
        judge = functools.partial(self._evaluate, agents, 0)
        found = judge() if self.host is None else self.host.submit(judge).result()
        if self.run_dir is not None:
            write_start(self.run_dir, found)

    def _judge(self, metrics: dict[str, np.ndarray]) -> None:
        """Has the policies evaluated; `_report_waiting` then makes the row known."""
        step, agents = self.done_steps, self.trainer.to_judge(self.state)
        gone, told, new = self.guard.rows, self.guard.records(), self.guard.lines(self.guard.new)
        resets = self.guard.resets(self.state)
        if self.host is None:
            judged: Callable[[], dict[str, np.ndarray]] = functools.partial(self._evaluate, agents, step)
        else:
            judged = self.host.submit(self._evaluate, agents, step).result

        def report() -> None:
            start, compiled = time.perf_counter(), self.trainer.eval_compile_seconds
            found = judged()
            # On the host, what remained to be waited for; compiling took some of it at most.
            spent, compiled = time.perf_counter() - start, self.trainer.eval_compile_seconds - compiled
            self.idle_seconds += min(spent, compiled)
            self.eval_seconds += max(spent - compiled, 0.0)
            found = found if resets is None else found | {"resets_nonfinite": resets}
            row = self._row(metrics, found, gone)
            for name, value in row.items():
                self.history.setdefault(name, []).append((step, value))
            if self.logger is not None:
                self.logger.log(step, row, diverged=told, doctor=outlook.word(self.plan, self.history, self.guard.gone))
            for line in new:
                self.messages(line)
            self._remark(row, gone, step)
            self.untold.append((step, row))

        self.waiting = report

    def _remark(self, row: dict[str, np.ndarray], gone: np.ndarray, step: int) -> None:
        """Says so where an evaluation of a seed that trains on is not finite: no method learns from evaluations."""
        for name in JUDGED_BY:
            odd = ~np.isfinite(row[name]) & ~gone if name in row else np.zeros(0, bool)
            if odd.any() and name not in self.remarked:
                self.remarked.add(name)
                seeds = ", ".join(str(self.plan.names[i]) for i in np.flatnonzero(odd))
                self.messages(f"evaluation at step {step:,}: {name} is not finite for seed(s) {seeds}, which train on")

    def _report_waiting(self) -> None:
        """Makes the last evaluation known, once it is done."""
        report, self.waiting = self.waiting, None
        if report is not None:
            report()

    def _tell(self, on_evaluation: Callable[[int, dict[str, np.ndarray]], None] | None) -> None:
        """Calls the caller's function for what has become known, which is saved where it was to be."""
        rows, self.untold = self.untold, []
        for step, row in rows:
            if on_evaluation is not None:
                on_evaluation(step, row)

    def _finished(self) -> bool:
        """Whether the plan is carried out, or more iterations would change nothing."""
        if self.done_steps >= self.plan.total_steps:
            return True
        ended = self.plan.learner.ended(self.state)
        if ended is None or self.guard.everywhere:
            return False
        return bool(np.all(np.asarray(self.trainer.gather(ended)) | self.guard.rows))

    def _advance(self) -> dict[str, np.ndarray]:
        """A chunk of iterations; their metrics `[chunk, S]`."""
        start, compiled_before = time.perf_counter(), self.trainer.compile_seconds
        kept = self.guard.keep(self.state)
        compile_within(self.plan, self.state)
        if self.done_steps == self.start_step:
            self._phase(outlook.underway(self.plan, self.done_steps))
        self.state, traced = self.trainer.advance(self.state, self.demos)
        metrics = {name: np.asarray(value) for name, value in self.trainer.gather(traced).items()}
        self.state = self.guard.after(self.state, kept, metrics, self.done_steps + self.plan.chunk_steps)
        compiled = self.trainer.compile_seconds - compiled_before
        self.trained_seconds += time.perf_counter() - start - compiled
        self.idle_seconds += compiled
        if self.logger is not None and self.plan.run.diagnostics_every:
            batch = self.plan.chunk_steps // self.plan.chunk
            self.logger.iterations(self.done_steps, metrics, batch, self.plan.run.diagnostics_every)
        self.done_steps += self.plan.chunk_steps
        return metrics

    def _evaluate(self, agents: LearnerState | Agents, step: int) -> dict[str, np.ndarray]:
        """Fresh episodes of the deterministic policies, `[S]` each."""
        episodes = jax.tree.map(np.asarray, self.trainer.gather(self.trainer.evaluate(agents, step)))
        if not self.plan.learner.env.spec.has_reward:
            falls = {"length_mean": episodes.lengths.mean(axis=1), "falls": episodes.terminated.mean(axis=1)}
            return falls | self._distance(agents, step)
        return {
            "return_mean": episodes.returns.mean(axis=1),
            "return_std": episodes.returns.std(axis=1),
            "length_mean": episodes.lengths.mean(axis=1),
        }

    def _row(
        self, metrics: dict[str, np.ndarray], judged: dict[str, np.ndarray], gone: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The chunk's metrics beside the evaluation after it, nan for seeds that are `gone [S]`; and steps/s of
        training: alone, and with all else."""
        if not self.plan.learner.env.spec.has_reward:
            metrics = {name: value for name, value in metrics.items() if name != "train_return"}
        seeds = len(self.plan.names)
        steps = seeds * (self.done_steps - self.start_step)
        rates = {"steps_per_second": steps / self.trained_seconds, "steps_per_second_overall": self._overall(steps)}
        row = summarise(metrics) | judged
        if gone.any():
            row = {name: np.where(gone, np.nan, value) for name, value in row.items()}
        return row | {name: np.full(seeds, rate) for name, rate in rates.items()}

    def _overall(self, steps: int) -> float:
        """Steps per second of wall time since training began, evaluation, logs and checkpoints included."""
        return steps / (time.perf_counter() - self.began - self.idle_seconds)

    def _distance(self, agents: LearnerState | Agents, step: int) -> dict[str, np.ndarray]:
        """How far the pairs of the evaluated episodes are from the demonstrations', `[S]` each."""
        reference = self.plan.inputs.reference
        if reference is None:
            return {}
        steps = min(self.plan.learner.env.spec.max_episode_steps, MOST_STEPS)
        visited = self.trainer.gather(self.trainer.visit(agents, step, steps))
        obs, action, inside = (np.asarray(x) for x in (visited.obs, visited.action, visited.inside))
        rows = [reference.compare_visited(*row) or [np.nan] * 3 for row in zip(obs, action, inside, strict=True)]
        return dict(zip(("demo_accuracy", "demo_distance", "demo_scale"), np.array(rows).T, strict=True))

    def _save_if_due(self, finished: bool, caught: bool) -> None:
        """A checkpoint where one is due, and the policies of this evaluation where they are asked for."""
        plan, run = self.plan, self.plan.run
        due = caught or time.monotonic() - self.last_save > run.checkpoint_seconds
        save = self.writes and (finished or distributed.anywhere(distributed.is_first() and due))
        if not (save or run.snapshots):
            return
        # What was measured until here is on disk before the state is.
        self._report_waiting()
        shown = self.trainer.gather(self.state)
        if self.run_dir is not None and run.snapshots:
            prefix = f"step_{self.done_steps:09d}_"
            save_policies(self._policies(shown), plan.names, self.run_dir / "snapshots", prefix)
        if save and self.checkpoints is not None:
            self._save(shown)
        if save:
            self.last_save, self.saved_step = time.monotonic(), self.done_steps

    def _save(self, state: PyTree) -> None:
        """A checkpoint of where the run stands, and of who has diverged."""
        assert self.checkpoints is not None
        assert self.logger is not None
        metrics = self.logger.standing() | {"lost": self.lost}
        notes = {"diverged": self.guard.records(), "metrics": metrics}
        self.checkpoints.save(self.done_steps, state, without_places(self.plan.identity), notes=notes)

    def _policies(self, state: PyTree) -> list[Policy | None]:
        plan = self.plan
        return to_policies(state, plan.learner, plan.env_name, self.done_steps, plan.seeds)

    def _result(self, finished: bool, halted: bool) -> TrainResult:
        """Policies, discriminators, curves and the summary, on disk where there is a folder."""
        policies = self._policies(self.state)
        for i, policy in enumerate(policies):
            # Finite numbers of which a policy file would hold others.
            if policy is None and i not in self.guard.gone:
                self.guard.gone[i] = Divergence(self.done_steps, "the policy")
        curves: Curves = {name: stack(points) for name, points in self.history.items()}
        summary: dict[str, Any] = {}
        if self.run_dir is not None:
            curves = recorded_curves(self.run_dir) or curves
            summary = self._write(self.run_dir, policies, curves, finished, halted)
        made = [policy for policy in policies if policy is not None]
        diverged = {self.plan.names[i]: found for i, found in sorted(self.guard.gone.items())}
        return TrainResult(
            self.run_dir, self.done_steps, made, curves, summary, not (finished or halted), diverged=diverged
        )

    def _write(
        self, run_dir: pathlib.Path, policies: list[Policy | None], curves: Curves, finished: bool, halted: bool
    ) -> dict[str, Any]:
        plan = self.plan
        timing = {
            "compile_seconds": self.trainer.compile_seconds,
            "train_seconds": self.trained_seconds,
            "evaluation_seconds": self.eval_seconds,
            "wall_seconds": time.perf_counter() - self.began - self.idle_seconds,
            "steps_this_session": self.done_steps - self.start_step,
        }
        if self.done_steps == self.start_step:
            timing |= recorded_timing(run_dir, timing)
        made = self.state, plan.learner, plan.env_name, self.done_steps, plan.seeds
        for folder, found in ((confidence.FOLDER, to_confidences(*made)), (values.FOLDER, to_values(*made))):
            for name, network in zip(plan.names, found):
                network.save(run_dir / folder / f"seed_{name}.safetensors")
        save_policies(policies, plan.names, run_dir / "policies")
        summary = finish_run(
            run_dir,
            algo=plan.learner.name,
            env_name=plan.env_name,
            steps=self.done_steps,
            finished=finished,
            curves=curves,
            expert_return=plan.inputs.expert_return,
            shown_return=plan.inputs.record.get("demonstrated_return"),
            annotator=plan.inputs.record.get("annotator"),
            timing=timing,
            seeds=plan.names,
            diverged=self.guard.records(),
            lost=self.lost,
        )
        if self.logger is not None:
            show_end(self.logger, run_dir, plan, film=finished)
        place = "" if plan.lenient else f"; run folder: {run_dir}"
        end = "finished" if finished else "stopped" if halted else "interrupted"
        self.messages(f"{end} at step {self.done_steps:,}{place}")
        return summary
