"""`gailfe train`."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import tyro

from gailfe_jax.cli.parsing import peek, peek_all
from gailfe_jax.cli.settings import read_words, write_config
from gailfe_jax.envs import base_name, canonical_name, differ_by_file, find_task, task_file, task_record
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.user_modules import imported_modules, require_modules
from gailfe_jax.learners.presets import SCALE_FROM, for_thousands
from gailfe_jax.learners.setup import Setup
from gailfe_jax.training.run_folder import check_same_task, copied_task, load_run, read_record, refused_env


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Train a policy: imitation from demonstrations (and failures), or PPO or TRPO on the true reward.

    It writes metrics.jsonl, TensorBoard events, config.json, checkpoints, policies, learning_curve.png, summary.json
    and report.html into --out. Ctrl-C ends the running chunk, saves and stops; --resume goes on bit for bit.
    """

    out: str | None = None
    """Run folder."""
    resume: bool = False
    """Continue the run in --out from its newest checkpoint, with the settings it was started with."""
    restart: bool = False
    """Move the run in --out aside, to OUT.1, and start it anew, with the settings it was started with."""
    config: str | None = None
    """Settings from a TOML file; flags come after it, and what nothing reads beside them is dropped."""
    print_config: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print all settings as a TOML file, and train nothing."""
    distributed: tuple[str, ...] | None = None
    """Share the run between processes that are all started with this command: HOST:PORT COUNT INDEX, from 0; no words
    on Slurm, Open MPI and TPU pods."""


def resumed(words: Sequence[str]) -> Setup | None:
    """The settings of the run that `words` resume or restart; None for a new run.

    Raises:
      GailfeError: the run is damaged, or was made with modules that are not imported.
    """
    out = peek(words, "--out")
    if not {"--resume", "--restart"} & set(words) or not out or not (pathlib.Path(out) / "config.json").is_file():
        return None
    record = load_run(out)
    require_modules(out, record)
    held = read_record(record)
    place = held.place.replace(env=_resumed_env(words, pathlib.Path(out), record, held.place.env))
    return Setup(held.method, place, held.demos, held.run)


def _resumed_env(words: Sequence[str], out: pathlib.Path, record: Mapping[str, Any], name: str) -> str:
    """The environment of the run in `out`: where its task file is now, or the run's own copy of it.

    Raises:
      GailfeError: the file is gone, or it or a file that it names has changed.
    """
    file, given = task_file(name), peek(words, "--env") or ""
    if file is None:
        try:
            return canonical_name(name)
        except GailfeError as error:
            raise refused_env(out, record, error) from None
    if differ_by_file(given, name):
        name = given
    elif not pathlib.Path(file).is_file():
        copy = copied_task(out, record)
        if copy is None:
            raise GailfeError(f"{out}: its task file {file} is not there; expected --env and where it is now")
        name = copy
    check_same_task(out, record, task_record(find_task(base_name(name))))
    return canonical_name(name)


def run(words: Sequence[str]) -> int:
    """Carries the command out; returns the exit code."""
    from gailfe_jax.parallel import distributed

    # Before the settings are read: which of them there are hangs on the engine, and `auto` goes by the devices.
    with distributed.connected(peek_all(words, "--distributed")):
        return _train(words)


def _train(words: Sequence[str]) -> int:
    out = peek(words, "--out")
    nothing_there = "--resume" in words and out is not None and not (pathlib.Path(out) / "config.json").exists()
    try:
        return _train_as_told(words)
    except GailfeError as error:
        # A name that is misspelt should not end in what a new run lacks.
        if nothing_there and not (pathlib.Path(str(out)) / "config.json").exists():
            raise GailfeError(f"{out}: holds no run to resume; as a new run: {error}") from None
        raise


def _train_as_told(words: Sequence[str]) -> int:
    from gailfe_jax.parallel import distributed
    from gailfe_jax.training.loop import train

    with distributed.agreed():
        options, _, setup = read_words(Train, "train", words, start=resumed(words))
    if options.print_config:
        print(write_config(setup), end="")
        return 0
    if not options.out:
        raise GailfeError("out: got none; expected --out and a folder for the run")
    rollout = setup.method.rollout
    if not (options.resume or options.restart or setup.run.quiet) and for_thousands(
        setup.method.name, rollout.num_envs
    ):
        print(
            f"preset: for thousands of environments, from --num-envs {SCALE_FROM} on; --print-config shows its settings"
        )
    result = train(
        setup.method, setup.environment, setup.run, demos=setup.demos, out=options.out, resume=options.resume,
        restart=options.restart, imports=imported_modules(),
    )  # fmt: skip
    if result.run_dir is not None:
        from gailfe_jax.cli.doctor import print_line
        from gailfe_jax.cli.report import write_quick_report

        write_quick_report(result.run_dir)
        if not setup.run.quiet:
            print_line(result.run_dir)
    if result.interrupted and result.run_dir is not None:
        print(f"interrupted; continue with: gailfe train --out {options.out} --resume", file=sys.stderr)
    for seed, found in result.diverged.items():
        print(f"gailfe: seed {seed} {found.line}", file=sys.stderr)
    return 130 if result.interrupted else 3 if result.diverged else 0
