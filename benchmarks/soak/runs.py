"""The runs that are soaked: their command lines, how a process of theirs is started, and when two are the same."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from tests.cli.tiny import sizes
from tests.runs import contents, manifest_of, metrics_of

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BATCH = 32
"""Environment steps of an iteration; each is followed by an evaluation and by a checkpoint."""
HOSTS = 2
PATIENCE = 600.0
"""Seconds after which a process that has not ended counts as hanging."""
_SPEED = ("compile_seconds", "train_seconds", "evaluation_seconds", "wall_seconds", "steps_this_session", "provenance")


@dataclasses.dataclass(frozen=True)
class Case:
    """A kind of run.

    Attributes:
      name: of the kind.
      words: its command line without folder, demonstrations and length.
      evaluations: how long it is, in iterations.
      processes: how many share it.
      demonstrated: whether it learns from a demonstration file.
    """

    name: str
    words: tuple[str, ...]
    evaluations: int
    processes: int = 1
    demonstrated: bool = True

    @property
    def sweeps(self) -> bool:
        """Whether it is a sweep."""
        return self.words[0] == "sweep"

    def command(self, place: Place, out: pathlib.Path, evaluations: int | None = None) -> list[str]:
        """The words of a new run in `out`, which go on with one that is there."""
        demos = ("--demos", str(place.demos)) if self.demonstrated else ()
        steps = str((evaluations or self.evaluations) * BATCH)
        return [*self.words, *demos, "--steps", steps, "--out", str(out), "--resume"]


def _case(name: str, method: str, policy: str | None = None, evaluations: int = 30, **options: Any) -> Case:
    words = ("train", *sizes(method, policy), *_RUN)
    return Case(name, words, evaluations, **options)


_RUN = (
    *(
        "--env",
        "cliff",
        "--eval-every",
        str(BATCH),
        "--eval-episodes",
        "1",
        "--seeds",
        "2",
        "--checkpoint-seconds",
        "0",
    ),
    *("--no-tensorboard", "--quiet"),
)
_GRID = ("--grid", "reward.lr=1e-4,3e-3", "policy.hidden=8,9")

CASES = {
    case.name: case
    for case in (
        _case("gail", "gail"),
        _case("gailfe", "gailfe"),
        _case("mail", "mail"),
        _case("gasil", "gasil", demonstrated=False),
        _case("sac", "gail", "sac"),
        _case("td3", "gail", "td3"),
        _case("svg", "gail", "svg"),
        Case("sweep", ("sweep", *sizes("gail"), *_RUN, *_GRID), 12),
        _case("two hosts", "gail", processes=HOSTS),
    )
}
"""By name: imitation, the steps from replay, a sweep of two programs, and a run that two processes share."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the soak works.

    Attributes:
      folder: everything lies below it.
      demos: a demonstration file of the toy task.
      cache: of compiled programs.
    """

    folder: pathlib.Path
    demos: pathlib.Path
    cache: pathlib.Path

    @classmethod
    def made(cls, folder: pathlib.Path, cache: pathlib.Path) -> Place:
        """Makes the demonstrations."""
        from tests.tiny import toy_demonstrations
        from tests.toy import Cliff, cliff_expert

        demos = folder / "demos.npz"
        toy_demonstrations(Cliff(), cliff_expert(), trajectories=4, failures=8).save(demos)
        return cls(folder, demos, cache)

    def without_paths(self, text: str) -> str:
        """A text for the result file, which names no folder of this machine."""
        return text.replace(str(self.folder), "WORK").replace(str(ROOT), "REPOSITORY")


@dataclasses.dataclass
class Group:
    """The processes of one run, and where their output goes."""

    processes: list[subprocess.Popen[bytes]]
    outputs: list[pathlib.Path]

    def running(self) -> bool:
        """Whether one of them is."""
        return any(process.poll() is None for process in self.processes)

    def wait(self, seconds: float = PATIENCE) -> list[int]:
        """Their exit codes.

        Raises:
          subprocess.TimeoutExpired: one has not ended in time; all are killed then.
        """
        try:
            return [process.wait(seconds) for process in self.processes]
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """Sends all of them SIGKILL, and waits for their end."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()

    def said(self) -> str:
        """What they printed."""
        return "\n".join(path.read_text(errors="replace").strip() for path in self.outputs)


def start(place: Place, words: Sequence[str], processes: int = 1) -> Group:
    """Starts `gailfe` with these words, in so many processes that share a run."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(place.cache),
        # Programs that compile in a tenth of a second are read in less.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": str(ROOT),
    }
    base = [sys.executable, "-m", "gailfe_jax", words[0], "--import", "benchmarks.soak.toys", *words[1:]]
    group = Group([], [])
    port = _free_port() if processes > 1 else 0
    logs = place.folder / "logs"
    logs.mkdir(exist_ok=True)
    for index in range(processes):
        shared = ["--distributed", f"localhost:{port}", str(processes), str(index)] if processes > 1 else []
        output = logs / f"{os.urandom(6).hex()}.txt"
        with open(output, "wb") as file:
            process = subprocess.Popen(
                [*base, *shared], env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        group.processes.append(process)
        group.outputs.append(output)
    return group


def carry_out(place: Place, words: Sequence[str], processes: int = 1) -> tuple[list[int], str]:
    """Runs `gailfe` to its end: exit codes, and what it printed."""
    group = start(place, words, processes)
    try:
        return group.wait(), group.said()
    except subprocess.TimeoutExpired:
        return [-1], f"has not ended within {PATIENCE:.0f} s\n{group.said()}"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def checkpoint_folders(out: pathlib.Path) -> list[pathlib.Path]:
    """Where a run, or each program of a sweep that is under way, keeps its checkpoints."""
    return [path for path in (out / "checkpoints", *out.glob("programs/*/checkpoints")) if path.is_dir()]


def unfinished_saves(out: pathlib.Path) -> set[str]:
    """Names of checkpoints that are being written, or that a kill left half written."""
    found: set[str] = set()
    for folder in checkpoint_folders(out):
        # It may go while it is looked at.
        with contextlib.suppress(OSError):
            found |= {name for name in os.listdir(folder) if name.startswith(".tmp-")}
    return found


def differences(out: pathlib.Path, whole: pathlib.Path) -> list[str]:
    """In what a run, or a sweep, differs from the uninterrupted one; measurements of speed apart."""
    try:
        return list(_differences(out, whole))
    except (OSError, ValueError, KeyError) as error:
        return [f"cannot be compared: {type(error).__name__}: {error}"]


def _differences(out: pathlib.Path, whole: pathlib.Path) -> Iterator[str]:
    if (whole / "sweep.json").is_file():
        for name in ("sweep.csv", "sweep.jsonl", "summary.csv"):
            if (out / name).read_bytes() != (whole / name).read_bytes():
                yield name
        names = [path.name for path in sorted((whole / "settings").iterdir())]
        if [path.name for path in sorted((out / "settings").iterdir())] != names:
            yield "settings"
        if (out / "programs").exists():
            yield "programs are left behind"
        for name in names:
            inner = _differences(out / "settings" / name, whole / "settings" / name)
            yield from (f"settings/{name}: {found}" for found in inner)
        return
    if metrics_of(out) != metrics_of(whole):
        yield "metrics.jsonl"
    for folder in ("policies", "discriminators"):
        if contents(out / folder) != contents(whole / folder):
            yield folder
    if _summary(out) != _summary(whole):
        yield "summary.json"
    if (whole / "checkpoints").is_dir():
        ours, theirs = manifest_of(out), manifest_of(whole)
        if (ours["step"], ours["leaves"]) != (theirs["step"], theirs["leaves"]):
            yield "the last checkpoint"


def _summary(folder: pathlib.Path) -> dict[str, Any]:
    """summary.json without what tells of the machine's speed, and of how often the run was started."""
    summary = json.loads((folder / "summary.json").read_text())
    kept = {name: value for name, value in summary.items() if name not in _SPEED}
    return {name: _timeless(value) for name, value in kept.items() if not name.startswith("steps_per_second")}


def _timeless(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: inner for name, inner in value.items() if not name.startswith("steps_per_second")}
