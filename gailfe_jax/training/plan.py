"""A run's configuration, resolved once: environment, method, data and program. It flows downwards from here."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from gailfe_jax.config.run import (
    LEAST_EVALUATIONS,
    LEAST_INTERVAL,
    DemoSettings,
    EnvSettings,
    MjxSettings,
    RunSettings,
    eval_interval,
    whole_chunks,
)
from gailfe_jax.data.annotators import Annotator
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.envs import as_env, canonical_name, engine_of, make_env, on_c_engine, task_record
from gailfe_jax.envs.ends import known_to_end
from gailfe_jax.envs.physics import FEW_WORLDS
from gailfe_jax.envs.physics.solver import settled
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.adversarial import Adversarial
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.check import check_parts
from gailfe_jax.learners.presets import preset
from gailfe_jax.learners.record import part_record
from gailfe_jax.parallel import distributed
from gailfe_jax.parallel.devices import computes_on_cpu, cpu
from gailfe_jax.training.inputs import Inputs, prepare_inputs
from gailfe_jax.training.program import Trainer
from gailfe_jax.training.run_folder import check_same_task, identity, load_run, shared_identity
from gailfe_jax.types import Env, EnvSpec


@dataclasses.dataclass(frozen=True)
class Plan:
    """What one call of `train` does.

    Attributes:
      env_name: what the environment is called.
      learner: the method on its environment.
      inputs: demonstrations and annotators.
      run: how it is carried out.
      seeds: `[S]` seed numbers.
      names: `[S]` what records and files call them.
      lenient: whether a row that diverges leaves no policy instead of ending the run of all.
      chunk: iterations between evaluations.
      chunk_steps, total_steps: environment steps of each seed between evaluations, and of the whole run.
      trainer: the compiled programs.
      identity: what config.json says the run is.
      device: where a run computes that stays off the machine's accelerator; None for where JAX would.
      notes: lines for people: an engine that `auto` chose by the number of environments, steps that are rounded up by
        more than a tenth, a precision that the device has not got, actions without bounds, and a reward whose sign
        teaches how long an episode should last.
    """

    env_name: str
    learner: Learner
    inputs: Inputs
    run: RunSettings
    seeds: np.ndarray
    names: list[int]
    lenient: bool
    chunk: int
    chunk_steps: int
    total_steps: int
    trainer: Trainer
    identity: dict[str, Any]
    device: Any = None
    notes: tuple[str, ...] = ()

    def placed(self) -> contextlib.AbstractContextManager[Any]:
        """Inside, JAX computes where the run does."""
        return on_device(self.device)

    @property
    def title(self) -> str:
        """One line for people."""
        rows = f"{len(self.names) // self.run.seeds} settings x " if self.lenient else ""
        policy = self.identity["method"].get("policy", {}).get("kind")
        method = self.learner.name + (f" ({policy})" if policy else "")
        return f"{method} on {self.learner.problem.spec.name}, {rows}{self.run.seeds} seed(s)"


def make_plan(
    method: Learner | str,
    env: str | EnvSettings | Env,
    run: RunSettings,
    demos: DemoSettings,
    *,
    demonstrations: Demonstrations | None = None,
    annotator: Annotator | None = None,
    expert: Any = None,
    seeds: Sequence[int] | None = None,
    imports: tuple[str, ...] = (),
    others: dict[str, Any] | None = None,
    engine: str | None = None,
    begun: str | os.PathLike[str] | None = None,
) -> Plan:
    """Looks the environment and the method up, makes the data ready and composes the program.

    Args:
      method: the method, or a name for its preset on the task.
      env: a task's name, one with an engine's settings, or an environment.
      run, demos, demonstrations, annotator, expert, seeds, imports: see `train`.
      others: what else several processes must agree on.
      engine: what `auto` turned out to be when the run began, which it then stays.
      begun: the folder of the run that goes on, if one does. Where files of its task have changed, demonstrations that
        no longer fit are not what is wrong.

    Raises:
      GailfeError: bad settings or demonstrations, in one process or in any of several; or a part of the caller's own
        that does not give what it promises.
    """
    with distributed.agreed():
        name = _name_of(env)
        method = preset(method, _task(env, name))[0] if isinstance(method, str) else method
        method.verify()
        # Several devices are asked for to be used.
        alone = run.devices <= 1 and jax.process_count() == 1
        worlds = method.rollout.num_envs * run.seeds if alone else None
        env_name, place, world = find_env(env, worlds, engine)
        if begun is not None and distributed.is_first() and (pathlib.Path(begun) / "config.json").is_file():
            check_same_task(pathlib.Path(begun), load_run(os.fspath(begun)), task_record(world))
        device = _stays_on(world.spec.engine, worlds)
    with on_device(device):
        with distributed.agreed():
            inputs = prepare_inputs(method, world, demos, demonstrations, annotator, expert)
        first = run.first_seed
        numbers = np.arange(first, first + run.seeds) if seeds is None else np.array(seeds)
        batch, length = method.rollout.batch_size, method.rollout.unroll_length
        if run.eval_every is None:
            on_cpu = device is not None or jax.default_backend() == "cpu"
            interval = eval_interval(batch, length, world.spec.max_episode_steps, on_cpu=on_cpu)
            if on_cpu:
                # A short run is looked at some times all the same.
                interval = min(interval, max(LEAST_INTERVAL, 2 * batch, run.steps / LEAST_EVALUATIONS))
            # Nor is it made longer by an interval that nobody chose; an iteration is the least.
            interval = min(interval, max(batch, math.ceil(run.steps / batch) * batch))
            run = run.replace(eval_every=float(interval))
        now = identity(method, place, run, inputs.record, world.spec.engine, imports)
        now |= {} if seeds is None else {"seeds": numbers.tolist()}
        task = task_record(world)
        now |= {} if task is None else {"task": task}
        if not isinstance(env, str | EnvSettings):
            now["object"] = type(env).__name__
        distributed.check_same(shared_identity(now) | (others or {}))
        chunk, chunks = whole_chunks(run, batch)
        learner = method.on(world, total_iterations=chunks * chunk, annotator=inputs.annotator, success=inputs.success)
        trainer = Trainer(
            learner, numbers, chunk=chunk, eval_episodes=run.eval_episodes, precision=run.precision,
            devices=run.devices if device is None else 1, judge=_judge(world, run),
        )  # fmt: skip
        check_parts(learner, inputs.demos)
    names = numbers.tolist() if seeds is None else list(range(len(numbers)))
    total_steps = chunks * chunk * batch
    chosen = "" if device is None or engine else _note(env, env_name, worlds)
    rounded = _rounded(run.steps, total_steps, chunk * batch, batch)
    with on_device(device):
        unheard = _unheard(run.precision)
    notes = (chosen, rounded, unheard, _unbounded(world.spec), _biased(learner, inputs))
    return Plan(
        env_name=env_name,
        learner=learner,
        inputs=inputs,
        run=run,
        seeds=numbers,
        names=names,
        lenient=seeds is not None,
        chunk=chunk,
        chunk_steps=chunk * batch,
        total_steps=total_steps,
        trainer=trainer,
        identity=now,
        device=device,
        notes=tuple(note for note in notes if note),
    )


def on_device(device: Any) -> contextlib.AbstractContextManager[Any]:
    """Inside, JAX computes on `device`; None changes nothing."""
    return contextlib.nullcontext() if device is None else jax.default_device(device)


def _stays_on(engine: str, worlds: int | None) -> Any:
    """The CPU, for few environments on the C engine of a machine with an accelerator: each of their steps would wait
    for both, and what is learned from few is computed as fast here."""
    few = worlds is not None and worlds < FEW_WORLDS
    return cpu() if engine == "mujoco_c" and few and jax.default_backend() != "cpu" else None


def _judge(world: Env, run: RunSettings) -> Env | None:
    """Where policies are evaluated if not in `world` itself; the processes of one run have to stay together."""
    return on_c_engine(world) if run.eval_engine == "auto" and jax.process_count() == 1 else None


def _note(env: str | EnvSettings | Env, name: str, worlds: int | None) -> str:
    """Why `auto` chose the C engine on a machine with an accelerator, where the number of environments decided."""
    if not isinstance(env, str | EnvSettings) or (isinstance(env, EnvSettings) and env.engine != "auto"):
        return ""
    other = engine_of(name)
    if other == "mujoco_c":
        return ""
    return (
        f"engine mujoco_c, on the CPU: {worlds} environments are too few for the {jax.default_backend()} (from "
        f"{FEW_WORLDS} on: {other}); --engine {other} overrides"
    )


def _rounded(steps: float, total: int, interval: int, batch: int) -> str:
    """A line where a run takes over a tenth more steps than were asked for; else empty."""
    if total <= 1.1 * steps:
        return ""
    said = f"steps: {steps:,.0f} are rounded up to {total:,}, whole "
    if interval == batch:
        return said + f"iterations of {batch:,} (environments times unroll length)"
    return said + f"evaluation intervals of {interval:,}; a smaller --eval-every rounds less"


def _unheard(precision: str) -> str:
    """A line where a precision is asked for that the device has not got; else empty."""
    if precision == "highest" or not computes_on_cpu():
        return ""
    return f"precision: {precision} changes nothing on a CPU, which computes in float32"


def _unbounded(spec: EnvSpec) -> str:
    """A line on actions without bounds; else empty."""
    bounds = (
        np.broadcast_to(np.asarray(bound, float), spec.action_size) for bound in (spec.action_low, spec.action_high)
    )
    free = np.flatnonzero(~np.isfinite(np.stack(list(bounds))).all(axis=0))
    if not len(free):
        return ""
    which = "actions have" if len(free) == spec.action_size else f"actions {', '.join(map(str, free))} have"
    return f"{spec.name}: {which} no bounds; nothing clips them, and a fresh policy draws within about 1 of 0"


def _biased(learner: Learner, inputs: Inputs) -> str:
    """A line where the fitted reward's sign by itself says how long an episode should last; else empty."""
    reward = learner.reward if isinstance(learner, Adversarial) else None
    if reward is None or reward.bias is None:
        return ""
    if not (known_to_end(learner.env) or inputs.shown_ends):
        return ""
    form = getattr(reward, "form", type(reward).__name__)
    return (
        f"warning: {learner.env.spec.name} can end early, and the reward ({form}) {reward.bias}; --reward.absorbing "
        "takes that bias away"
    )


def _name_of(env: str | EnvSettings | Env) -> str:
    if not isinstance(env, str | EnvSettings):
        return as_env(env).spec.name
    return canonical_name(env if isinstance(env, str) else env.env)


def find_env(
    env: str | EnvSettings | Env, worlds: int | None = None, engine: str | None = None
) -> tuple[str, dict[str, Any], Env]:
    """`(name, record, environment)` of a task's name, of one with an engine's settings, or of an environment.

    Args:
      env: which.
      worlds: environments of all seeds together, by which `auto` decides where that is known.
      engine: what `auto` is, if that was settled before.

    Raises:
      GailfeError: unknown task or engine, an engine that cannot run here, or what is no environment (see `check_env`).
    """
    if not isinstance(env, str | EnvSettings):
        world = as_env(env)
        place = EnvSettings(env=world.spec.name, mjx=MjxSettings(solver_setting="model"))
        return place.env, part_record(settled(place, world.spec.engine)), world
    place = EnvSettings(env=env) if isinstance(env, str) else env
    place = place.replace(env=canonical_name(place.env))
    chosen = engine if place.engine == "auto" and engine else engine_of(place.env, place.engine, worlds)
    place = settled(place, chosen)
    return place.env, part_record(place), make_env(place.env, chosen, **place.options)


def _task(env: str | EnvSettings | Env, name: str) -> str | None:
    """The task whose presets suit an environment; None for an environment of the caller's own."""
    if not isinstance(env, str | EnvSettings):
        try:
            return canonical_name(name)
        except GailfeError:
            return None
    return name
