"""Command lines with a wrong word, and what a command does up to the point where it would begin to compute."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import pathlib
import shlex
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.fuzz.values import WORDS, pick
from gailfe_jax.cli.main import main

COMMANDS: tuple[str, ...] = (
    "train gail --env cliff --demos {demos} --steps 64 --out new --seeds 2 --rollout.num-envs 4 --policy.hidden 8x8",
    "train gailfe --env cliff --demos {demos} --steps 1e5 --out new --failures.capacity 8",
    "train gail --policy sac --env delayed4:cliff --demos {demos} --out new --policy.replay 1e5 --trajectories 4",
    "train mail --env cliff --demos {demos} --steps 2e6 --out new --policy.horizon 4 --seeds 3 --first-seed 7",
    "train gasil --env cliff --steps 64 --out new --self-demonstrations.capacity 3 --policy.minibatches 2",
    "train --out {run} --resume --steps 1e4 --demos {demos}",
    "sweep gail --env cliff --demos {demos} --grid reward.lr=1e-4,3e-3 policy.hidden=8,9 --out new --seeds 2",
    "sweep gail --env cliff --demos {demos} --random reward.lr=log:1e-5:1e-3 algo=choice:gail:mail --samples 4 --out o",
    "sweep ppo --env cliff --settings {sources}/settings.csv --out new --baseline 1 --memory-gib 1",
    "expert --env hopper --steps 64 --out new.safetensors --episodes 2",
    "demos --env cliff --expert {policy} --trajectories 2 --failures 1 --noise 0.5 --seed 3 --out new.npz",
    "demos import {demos} --env cliff --out new.h5 --clip-actions --format gailfe",
    "demos inspect {demos}",
    "demos export {demos} --to d4rl --out new.hdf5",
    "evaluate {run} --episodes 2 --seed 3 --backend engine",
    "evaluate {policy} --episodes 2 --seed 3 --out new.json",
    "video {sources}/hopper.safetensors --episodes 1 --seed 3 --out new.mp4",
    "confidence {run} --demos {sources}/unseen.npz --episodes 2 --seed 3",
    "export {run} --to numpy --out new --seed 1",
    "report {run} --out new.html", "doctor {run}", "card {run} --out new.md", "algorithms",
    "bench physics --env hopper --num-envs 8 64 --out new.json", "bench train --env hopper --algo gail",
    "quickstart --steps 64 --out new", "annotate {demos} --out new.npz --port 0",
    "play {run} --out new.html --seed 3 --max-steps 100", "watch {run} --port 0 --no-browser",
)  # fmt: skip
"""Lines that are right; `{demos}`, `{policy}`, `{run}` and `{sources}` stand for files."""
BEGINS: tuple[str, ...] = (
    "gailfe_jax.training.loop:_Session", "gailfe_jax.apps.collection:_programs", "gailfe_jax.analysis.evaluation:_run",
    "gailfe_jax.apps.evaluate_run:_evaluator", "gailfe_jax.apps.evaluate_run:_visitor",
    "gailfe_jax.analysis.video:_render_in_child", "gailfe_jax.analysis.video:_record",
    "gailfe_jax.apps.calibrate:_logits", "gailfe_jax.apps.quickstart:quickstart", "gailfe_jax.annotate.server:Server",
    "gailfe_jax.apps.play:of_policy", "gailfe_jax.report.live:Watch",
)  # fmt: skip
"""Where computing begins, which takes minutes and is nobody's input."""


class Began(BaseException):
    """A command has read all it was given, and would begin."""


def filled(line: str, sources: pathlib.Path, work: pathlib.Path) -> list[str]:
    """The words of a right line, about a fresh copy of the run."""
    run = work / "run"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(sources / "run", run)
    named = {"demos": sources / "demos.npz", "policy": sources / "policy.safetensors", "run": run, "sources": sources}
    return shlex.split(line.format(**named))


def command(sources: pathlib.Path, work: pathlib.Path, rng: np.random.Generator) -> list[str]:
    """A line of `COMMANDS` in which one word, or two, are wrong."""
    words = filled(pick(COMMANDS, rng), sources, work)
    for _ in range(int(rng.integers(1, 3))):
        _spoil(words, rng)
    return words


def _spoil(words: list[str], rng: np.random.Generator) -> None:
    if len(words) < 2:
        words.append(pick(WORDS, rng))
        return
    at, kind = int(rng.integers(1, len(words))), int(rng.integers(9))
    flags = [index for index, word in enumerate(words) if word.startswith("--")]
    if kind == 0:
        del words[at]
    elif kind == 1:
        words.insert(at, words[at])
    elif kind == 2:
        other = int(rng.integers(1, len(words)))
        words[at], words[other] = words[other], words[at]
    elif kind == 3:
        words.insert(at, pick(WORDS, rng))
    elif kind == 4 and flags:
        flag = pick(flags, rng)
        words[flag : flag + 2] = [f"{words[flag]}={pick(WORDS, rng)}"]
    elif kind == 5:
        place = int(rng.integers(len(words[at]) + 1))
        words[at] = (
            words[at][:place] + pick(["x", "-", "=", ".", "é", "0", "\udcff", ","], rng) + words[at][place + 1 :]
        )
    elif flags and flags[-1] + 1 <= len(words):
        flag = pick(flags, rng)
        words[flag + 1 : flag + 2] = [pick(WORDS, rng)]
    else:
        words[at] = pick(WORDS, rng)


@functools.cache
def stop_where_computing_begins() -> None:
    """From now on this process computes nothing: a command raises `Began` instead."""
    import gailfe_jax.bench.registry as registry
    from gailfe_jax.sweep.planner import Planner

    def begin(*args: Any, **options: Any) -> Any:
        raise Began

    for place in BEGINS:
        module, name = place.split(":")
        found = importlib.import_module(module)
        getattr(found, name)  # An error here says that it is called otherwise today.
        setattr(found, name, begin)
    Planner.programs = begin  # type: ignore[method-assign]
    load = registry.load
    pictures = importlib.import_module("gailfe_jax.analysis.plots.demonstrations")
    pictures.demonstrations_picture = lambda *args, **options: None  # type: ignore[attr-defined]

    def loaded(*args: Any) -> Any:
        real = load(*args)

        class Benchmark:
            run = staticmethod(functools.wraps(real.run)(begin))

        return Benchmark

    for module in (registry, importlib.import_module("gailfe_jax.cli.bench")):
        module.load = loaded  # type: ignore[attr-defined]


def outcome_of(words: list[str]) -> str:
    """`valid` where a command ends well or would begin, `refused` where it ends in one line and exit code 2.

    Raises:
      AssertionError: another end.
      Exception: what the command raised.
    """
    said = io.StringIO()
    with _quiet(said):
        try:
            code: object = main(words)
        except Began:
            return "valid"
        except SystemExit as end:
            code = end.code
    lines = [line for line in said.getvalue().splitlines() if line.startswith("gailfe: error: ")]
    if code in (0, None, 3):
        return "valid"
    if code != 2 or len(lines) != 1 or "Traceback" in said.getvalue():
        raise AssertionError(f"exit code {code!r}: {said.getvalue()[-1000:]}")
    return "refused"


@contextlib.contextmanager
def _quiet(errors: io.StringIO) -> Iterator[None]:
    with contextlib.redirect_stderr(errors), open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        yield
