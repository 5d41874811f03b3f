"""Inputs are read in forked processes, so that what Python imports is paid once; each has its time and its memory."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import pathlib
import resource
import select
import shutil
import signal
import sys
import time
import traceback
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.fuzz import kinds
from benchmarks.fuzz.words import stop_where_computing_begins
from gailfe_jax.io.user_modules import import_user_module

SECONDS = 10.0
"""An input may compute so long; of time that other processes took from it it is not blamed."""
HANGING = 300.0
"""Seconds after which an input that computes nothing counts as one that never ends."""
MEMORY = 2**30
"""An input may take so many bytes, beside what the process holds already."""
_CEILING = 4 * MEMORY
"""Address space beyond which the system refuses more, so that no input takes the machine's."""


@dataclasses.dataclass(frozen=True)
class Input:
    """One input: the number of its kind that it is; both and the seed say what it holds."""

    kind: str
    number: int

    def seed(self, seed: int) -> list[int]:
        """Of what is changed."""
        return [seed, zlib.crc32(self.kind.encode()), self.number]


@dataclasses.dataclass
class Outcome:
    """What came of an input.

    Attributes:
      input: which.
      outcome: `valid`, `refused` or `failed`.
      changed: what of it was changed.
      seconds, mib: what it took, by the clock.
      error: of one that failed.
    """

    input: Input
    outcome: str
    changed: str = ""
    seconds: float = 0.0
    mib: float = 0.0
    error: str = ""


def begin() -> None:
    """Makes this process one that reads inputs and computes nothing."""
    stop_where_computing_begins()
    import_user_module("benchmarks.soak.toys")


def read(item: Input, sources: pathlib.Path, work: pathlib.Path, seed: int) -> Outcome:
    """Reads one input in this process."""
    inside = work / "inside"
    shutil.rmtree(inside, ignore_errors=True)
    # `..` of the working folder is no folder of anybody's.
    (inside / "here").mkdir(parents=True)
    os.chdir(inside / "here")
    (work / "what").unlink(missing_ok=True)
    try:
        reading, changed = kinds.made(item.kind, sources, work, item.seed(seed))
    except Exception as raised:
        return Outcome(item, "failed", error=f"could not be made: {_described(raised)}")
    # Who watches this process reads it there where the input ends it.
    (work / "what").write_text(changed[:3000], errors="replace")
    outcome, error = "failed", ""
    before, began, computed = _forget_peak(), time.perf_counter(), time.process_time()
    try:
        outcome = reading()
    except kinds.Wrong as wrong:
        error = str(wrong)
    except (Exception, SystemExit) as raised:
        error = _described(raised)
    seconds, computed = time.perf_counter() - began, time.process_time() - computed
    mib = (_peak() - before) / 2**20
    if mib * 2**20 > MEMORY and not error:
        outcome, error = "failed", f"took {mib:.0f} MiB"
    if computed > SECONDS and not error:
        outcome, error = "failed", f"computed for {computed:.1f} s"
    return Outcome(item, outcome, changed, round(seconds, 3), round(mib, 1), error)


def _what(work: pathlib.Path) -> str:
    with contextlib.suppress(OSError):
        return (work / "what").read_text(errors="replace")
    return ""


def _described(error: BaseException) -> str:
    """Type, message and the innermost lines."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    place = " < ".join(f"{pathlib.Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__}: {str(error)[:600]} [{place}]"


def _peak() -> int:
    """The most bytes that this process has held since `_forget_peak`."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = pathlib.Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _forget_peak() -> int:
    """Lets the most bytes begin anew, where the system can, and returns them."""
    gc.collect()
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _computed(pid: int) -> float:
    """Seconds that a process has computed, in all its threads; 0 where the system does not say."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


class Worker:
    """A forked process that reads inputs one after the other.

    Args:
      sources, seed: see `read`.
      work: its own folder.
    """

    def __init__(self, sources: pathlib.Path, work: pathlib.Path, seed: int):
        work.mkdir(exist_ok=True)
        self.work, self.item = work, None
        self.began = self.computed = 0.0
        self._to_child, self._from_child = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._serve(sources, work, seed)
            finally:
                os._exit(1)
        os.close(self._to_child[0])
        os.close(self._from_child[1])
        self.answers = os.fdopen(self._from_child[0], "rb")

    item: Input | None

    def ask(self, item: Input) -> None:
        """Gives it an input to read."""
        self.item, self.began, self.computed = item, time.monotonic(), _computed(self.pid)
        os.write(self._to_child[1], (json.dumps(dataclasses.asdict(item)) + "\n").encode())

    @property
    def late(self) -> bool:
        """Whether there is no answer to be expected any more; one that is slow is to say by itself how slow."""
        return time.monotonic() - self.began > HANGING or _computed(self.pid) - self.computed > 3 * SECONDS

    def answer(self) -> Outcome | None:
        """What came of the input; None where the process died of it."""
        line = self.answers.readline()
        item, self.item = self.item, None
        assert item is not None
        return Outcome(item, **json.loads(line)) if line else None

    def end(self) -> int:
        """Ends the process, and returns how it ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self._to_child[1])
        self.answers.close()
        return status

    def _serve(self, sources: pathlib.Path, work: pathlib.Path, seed: int) -> None:
        os.close(self._to_child[1])
        os.close(self._from_child[0])
        nothing = os.open(work / "printed.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        begin()
        held = pathlib.Path("/proc/self/statm")
        if held.is_file():
            most = int(held.read_text().split()[0]) * resource.getpagesize() + _CEILING
            resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
        with os.fdopen(self._to_child[0], "rb") as asked:
            for line in asked:
                outcome = dataclasses.asdict(read(Input(**json.loads(line)), sources, work, seed))
                outcome.pop("input")
                os.write(self._from_child[1], (json.dumps(outcome) + "\n").encode())
        os._exit(0)


def read_all(
    items: Sequence[Input], sources: pathlib.Path, work: pathlib.Path, seed: int, jobs: int
) -> Iterator[Outcome]:
    """Reads all inputs in so many processes; one that dies or hangs is a failure, and another takes its place."""
    waiting, number = list(reversed(items)), 0
    workers: list[Worker] = []
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                workers.append(Worker(sources, work / str(number), seed))
                workers[-1].ask(waiting.pop())
                number += 1
            ready, _, _ = select.select([worker.answers for worker in workers], [], [], 0.5)
            for worker in list(workers):
                late = worker.late
                if worker.answers not in ready and not late:
                    continue
                item = worker.item
                assert item is not None
                outcome = worker.answer() if worker.answers in ready else None
                if outcome is None:
                    status = worker.end()
                    how = "had not ended" if late else f"killed its process (status {status})"
                    yield Outcome(item, "failed", _what(worker.work), time.monotonic() - worker.began, 0.0, how)
                    workers.remove(worker)
                    continue
                yield outcome
                if waiting:
                    worker.ask(waiting.pop())
                else:
                    worker.end()
                    workers.remove(worker)
    finally:
        for worker in workers:
            worker.end()


def in_a_fork(what: Any) -> None:
    """Calls a function in a process of its own.

    Raises:
      RuntimeError: it failed; what it raised is printed.
    """
    pid = os.fork()
    if pid == 0:
        try:
            what()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the valid inputs could not be made")
