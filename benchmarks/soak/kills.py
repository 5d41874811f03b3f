"""Runs that are killed at random moments, again and again, and come to what they would have been."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import shutil
import subprocess
import time
from typing import Any

import numpy as np

from benchmarks.soak.runs import (
    PATIENCE,
    Case,
    Group,
    Place,
    carry_out,
    checkpoint_folders,
    differences,
    start,
    unfinished_saves,
)

MOMENTS = ("save", "start", "training")
"""When a process is killed: in the midst of a save, anywhere from its start to its first save, or at any time later."""
_MOST_SAVES_BEFORE = 3
_POLL = 0.002


@dataclasses.dataclass
class Tally:
    """What came of killing runs of one kind.

    Attributes:
      kills: how many processes, or pairs of them, were killed.
      during_saves: of those, after how many a half-written checkpoint lay in the folder.
      rounds: how many runs were killed, resumed to the end and compared.
      failures: what was not as promised.
    """

    kills: int = 0
    during_saves: int = 0
    rounds: int = 0
    failures: list[dict[str, Any]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class _Pace:
    """How long things take here, in seconds, from what has been seen so far."""

    to_first_save: float = 6.0
    save: float = 0.15


class Killer:
    """Kills and resumes runs of one kind.

    Args:
      case: the kind.
      place: where.
      whole: the folder of the uninterrupted run.
      seed: of the moments.
    """

    def __init__(self, case: Case, place: Place, whole: pathlib.Path, seed: list[int]):
        self.case, self.place, self.whole = case, place, whole
        self.rng = np.random.default_rng(seed)
        self.tally, self.pace, self.seed = Tally(), _Pace(), seed

    def soak(self, kills: int) -> Tally:
        """Runs to the end as often as it takes for so many kills, a third of them during saves."""
        while not self._enough(kills):
            out = self.place.folder / f"{self.case.name} {self.tally.rounds}".replace(" ", "_")
            if not self._round(out, kills):
                break
            self.tally.rounds += 1
            shutil.rmtree(out, ignore_errors=True)
        return self.tally

    def _enough(self, kills: int) -> bool:
        return self.tally.kills >= kills and self.tally.during_saves * len(MOMENTS) >= kills

    def _round(self, out: pathlib.Path, kills: int) -> bool:
        """One run, killed until there are enough kills or it has ended; False where it failed."""
        words = self.case.command(self.place, out)
        reached = 0
        while not self._enough(kills):
            saves_lack = self.tally.during_saves * len(MOMENTS) < min(self.tally.kills + len(MOMENTS), kills)
            moment = "save" if saves_lack else MOMENTS[1 + int(self.rng.integers(len(MOMENTS) - 1))]
            group = start(self.place, words, self.case.processes)
            if not self._kill(group, out, moment):
                return self._ended(group, out)
            now = newest_step(out)
            if now < reached and not self.case.sweeps:
                return self._fail(out, f"the newest checkpoint is of step {now} after one of step {reached}", group)
            reached = now
        codes, said = carry_out(self.place, words, self.case.processes)
        if any(codes):
            return self._fail(out, f"exit codes {codes} at the last resume", said=said)
        return self._compare(out)

    def _ended(self, group: Group, out: pathlib.Path) -> bool:
        """A run that came to its end before it was killed."""
        codes = group.wait()
        if any(codes):
            return self._fail(out, f"exit codes {codes} without a kill", group)
        return self._compare(out)

    def _compare(self, out: pathlib.Path) -> bool:
        found = differences(out, self.whole)
        return not found or self._fail(out, "differs from the uninterrupted run: " + "; ".join(found))

    def _fail(self, out: pathlib.Path, what: str, group: Group | None = None, said: str = "") -> bool:
        """Notes a failure; the run's folder stays as it is."""
        said = said or ("" if group is None else group.said())
        kept = out.with_name(f"failed_{out.name}")
        if out.exists():
            out.rename(kept)
        self.tally.failures.append({
            "what": self.place.without_paths(what), "seed": self.seed, "kills": self.tally.kills,
            "folder": kept.name, "said": self.place.without_paths(said[-3000:]),
        })  # fmt: skip
        return False

    def _kill(self, group: Group, out: pathlib.Path, moment: str) -> bool:
        """Kills at a moment of a kind; False where the run ended before it came."""
        began, before = time.monotonic(), unfinished_saves(out)
        if moment == "start":
            self._sleep(group, self.rng.uniform(0, self.pace.to_first_save))
        else:
            wanted = 1 + int(self.rng.integers(_MOST_SAVES_BEFORE))
            if not self._await_saves(group, out, before, wanted, began):
                return False
            later = self.pace.save if moment == "save" else 10 * self.pace.save
            self._sleep(group, self.rng.uniform(0, later))
        if not group.running():
            return False
        self._strike(group, moment)
        self.tally.kills += 1
        self.tally.during_saves += bool(unfinished_saves(out) - before)
        return True

    def _strike(self, group: Group, moment: str) -> None:
        """SIGKILL; of several processes one is killed first, and the others a moment later, if they still run."""
        # The first one saves.
        first = 0 if moment == "save" else int(self.rng.integers(len(group.processes)))
        group.processes[first].kill()
        group.processes[first].wait()
        if len(group.processes) > 1:
            time.sleep(self.rng.uniform(0, 1))
        group.kill()

    def _sleep(self, group: Group, seconds: float) -> None:
        """Waits, and not longer than the run runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            group.processes[0].wait(seconds)

    def _await_saves(self, group: Group, out: pathlib.Path, before: set[str], wanted: int, began: float) -> bool:
        """Waits until so many saves have begun; False where the run ended first."""
        seen: dict[str, float] = {}
        current: set[str] = set()
        while len(seen) < wanted:
            if not group.running():
                return False
            if time.monotonic() - began > PATIENCE:
                group.kill()
                raise TimeoutError(f"{self.case.name}: no save within {PATIENCE:.0f} s\n{group.said()}")
            now = unfinished_saves(out) - before
            for name in now - current:
                if not seen:
                    self.pace.to_first_save += 0.3 * (time.monotonic() - began - self.pace.to_first_save)
                seen[name] = time.monotonic()
            for name in current - now:
                self.pace.save += 0.3 * (time.monotonic() - seen[name] - self.pace.save)
            current = now
            time.sleep(_POLL)
        return True


def newest_step(out: pathlib.Path) -> int:
    """Of the finished checkpoints' names; 0 where there is none."""
    names = [path.name for folder in checkpoint_folders(out) for path in folder.glob("step_*")]
    return max((int(name.split("_")[1]) for name in names), default=0)
