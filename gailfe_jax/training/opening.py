"""How a run's folder is opened: a new one made, or one that is resumed checked, read and continued."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import jax

from gailfe_jax.config.compat import leaf_name
from gailfe_jax.config.run import whole_chunks
from gailfe_jax.config.tree import leaves
from gailfe_jax.envs import copy_task
from gailfe_jax.envs.task_record import FOLDER
from gailfe_jax.errors import GailfeWarning
from gailfe_jax.io.atomic import remove_drafts
from gailfe_jax.io.lock import Held, held, named
from gailfe_jax.training.checkpoint import CheckpointManager
from gailfe_jax.training.divergence import Divergence, read_divergences
from gailfe_jax.training.logger import RunLogger
from gailfe_jax.training.plan import Plan
from gailfe_jax.training.resuming import (
    check_against,
    check_metrics,
    check_nothing_lost,
    check_seal,
    foreign_to,
    set_aside,
)
from gailfe_jax.training.run_folder import check_run, load_run, read_record, write_run
from gailfe_jax.types import PyTree

_SCHEDULES = ("anneal", "warm_restarts", "alpha_decay")
"""Settings that go by the share of the run that is left."""


@dataclasses.dataclass(frozen=True)
class Opened:
    """A run's folder, ready to be written to.

    Attributes:
      checkpoints, logger: write to it.
      step: environment steps of each seed so far.
      state: to go on from; None to start.
      gone: the seeds that have diverged, by position.
      lost: what of the record is missing, in words; else empty.
    """

    checkpoints: CheckpointManager
    logger: RunLogger
    step: int
    state: PyTree | None
    gone: dict[int, Divergence]
    lost: str
    lock: Held


def open_folder(
    plan: Plan,
    run_dir: pathlib.Path,
    *,
    resume: bool,
    restart: bool,
    notes: Sequence[str],
    until: contextlib.ExitStack,
) -> Opened:
    """Opens the folder of a run. Everything is checked and read before anything is written.

    Args:
      plan: the run.
      run_dir: its folder.
      resume: continue the run that it holds, if it holds one.
      restart: move the run that it holds aside.
      notes: lines for people.
      until: what ends the run; until then no other process writes to the folder.

    Raises:
      GailfeError: the folder holds another run, or what it holds cannot be continued; or another process writes to it.
    """
    run, said, lock = plan.run, [], None
    if (run_dir / "config.json").exists():
        lock = until.enter_context(held(run_dir))
    aside = set_aside(run_dir) if restart else None
    if aside is not None:
        said.append(f"moved the old run to {aside}")
    checkpoints = CheckpointManager(run_dir / "checkpoints", keep=run.keep)
    now, step, state = plan.identity, 0, None
    origin = check_run(run_dir, now, resume)
    if resume and (run_dir / "config.json").exists():
        check_seal(run_dir)
        check_against(run_dir, checkpoints)
        check_metrics(run_dir)
        if checkpoints.latest() is None:
            check_nothing_lost(run_dir, checkpoints)
            said.append("no checkpoint had been saved yet; starting at step 0")
        else:
            step, state = checkpoints.restore(
                plan.trainer.template(plan.inputs.demos), rename=leaf_name, refuses=foreign_to(run_dir)
            )
        if state is not None:
            _tell_schedules(plan, run_dir, step)
        # Fewer steps than the run has made are none that it could be resumed with.
        if plan.total_steps < step:
            now = now | {"run": now["run"] | {"steps": float(step)}}
    if lock is None or aside is not None:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = until.enter_context(held(run_dir))
        # What another process has made meanwhile is not ours to write over.
        check_run(run_dir, now, resume=False)
    checkpoints.check_place = lock.check
    remove_drafts(run_dir)
    write_run(run_dir, now, origin)
    until.enter_context(named(run_dir))
    copy_task(plan.learner.env, run_dir / FOLDER)
    checkpoints.begin()
    logger = RunLogger(
        run_dir,
        num_seeds=len(plan.names),
        seeds=plan.names,
        total_steps=plan.total_steps,
        title=plan.title,
        use_tensorboard=run.tensorboard,
        trackers=run.trackers,
        quiet=run.quiet,
        expert_return=plan.inputs.expert_return,
        run_config=plan.identity,
    )
    mesh, available = plan.trainer.mesh, jax.device_count()
    used = 1 if mesh is None else mesh.size
    said += notes
    if not run.devices and used < available:
        said.append(f"using {used} of {available} devices: more do not divide the environments")
    if state is not None:
        said += [
            f"checkpoint at step {bad} is damaged ({why}); using an older one"
            for bad, why in checkpoints.skipped.items()
        ]
        said.append(f"resuming at step {step:,}")
        if not plan.trainer.stores_environments:
            said.append(f"{plan.env_name}: a checkpoint cannot hold its environments; new episodes begin")
    lost = _lost(run_dir, checkpoints.notes.get("metrics"), logger, step)
    if resume:
        logger.truncate_after(step)
    gone = read_divergences(checkpoints.notes.get("diverged"), plan.names)
    said += [f"seed {plan.names[i]} {found.line}" for i, found in sorted(gone.items())]
    for line in said:
        logger.message(line)
    return Opened(checkpoints, logger, step, state, gone, lost, lock)


def _tell_schedules(plan: Plan, run_dir: pathlib.Path, step: int) -> None:
    """Says so where schedules that go by the length of the run go on by another length."""
    before = read_record(load_run(run_dir)).run
    batch = plan.learner.rollout.batch_size
    old, new = math.prod(whole_chunks(before, batch)) * batch, plan.total_steps
    # A run that is at its end already takes no step by another schedule.
    if old == new or new <= step:
        return
    for name, leaf in leaves(plan.learner).items():
        if name.rpartition(".")[2] in _SCHEDULES and leaf.value and leaf.unread is None:
            left = [max(1 - step / total, 0.0) for total in (old, new)]
            warnings.warn(
                f"{name}: goes by {new:,} steps now, and went by {old:,}; at step {step:,} the share of them that is "
                f"left is {left[1]:.2f} instead of {left[0]:.2f}",
                GailfeWarning,
                stacklevel=3,
            )


def _lost(run_dir: pathlib.Path, noted: dict[str, Any] | None, logger: RunLogger, step: int) -> str:
    """Says so where metrics.jsonl is not what the checkpoint knows of, now or in an earlier session."""
    if noted is None:
        return ""
    now = logger.lacks(noted, step)
    if now:
        warnings.warn(f"{run_dir / 'metrics.jsonl'}: {now}", GailfeWarning, stacklevel=3)
    return "; ".join(filter(None, (noted.get("lost", ""), now)))
