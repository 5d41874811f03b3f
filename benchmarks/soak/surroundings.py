"""A full disk, and folders that are read-only, removed, moved, replaced or held: one line, exit code 2."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.soak.runs import CASES, PATIENCE, Group, Place, carry_out, differences, start, unfinished_saves
from tests.runs import contents

CASE = CASES["gail"]
TIMES = 3
"""How often each thing happens, at another moment or size each time."""
_ROOM = "64m"


class Unmountable(Exception):
    """This process may not mount a file system, or the machine has none of the kind."""


class Surroundings:
    """A run for which something around it goes wrong.

    Args:
      place: where.
      seed: of moments and sizes.
    """

    def __init__(self, place: Place, seed: int):
        self.place, self.seed = place, seed
        self.rng = np.random.default_rng([seed, 1])
        self.whole = place.folder / "whole surroundings".replace(" ", "_")
        codes, said = carry_out(place, CASE.command(place, self.whole))
        if any(codes):
            raise RuntimeError(f"exit codes {codes}\n{said}")

    def words(self, out: pathlib.Path, evaluations: int | None = None) -> list[str]:
        """The command line of the run in `out`."""
        return CASE.command(self.place, out, evaluations)

    def full_disk(self, number: int) -> Iterator[str]:
        """The run is on a disk that holds a part of it, which then gets room."""
        most = sum(path.stat().st_size for path in self.whole.rglob("*") if path.is_file())
        room = int(most * (number + self.rng.uniform(0, 1)) / TIMES)
        with mounted(self.place.folder / "small", f"{room // 1024}k") as disk:
            out = disk / "run"
            codes, said = carry_out(self.place, self.words(out))
            yield from one_line(codes, said, f"{room} bytes", "No space left on device")
            remount(disk, f"size={_ROOM}")
            yield from self._goes_on(out)

    def read_only_folder(self, number: int) -> Iterator[str]:
        """The folder of an interrupted run, or of none, may only be read."""
        with mounted(self.place.folder / "fixed", _ROOM) as disk:
            out = disk / "run"
            if number:
                carry_out(self.place, self.words(out, CASE.evaluations // 2))
            before = contents(disk)
            remount(disk, "ro")
            codes, said = carry_out(self.place, self.words(out))
            yield from one_line(codes, said, "read-only", "Read-only file system")
            remount(disk, "rw")
            if contents(disk) != before:
                yield "the folder was changed"
            yield from self._goes_on(out)

    def removed_folder(self, number: int) -> Iterator[str]:
        """The folder is removed while the run trains."""
        out = self.place.folder / "removed"
        for codes, said in self._meanwhile(out, lambda: shutil.rmtree(_moved(out))):
            yield from one_line(codes, said, "removed")
        if out.exists():
            yield f"made anew: {sorted(contents(out))}"

    def moved_folder(self, number: int) -> Iterator[str]:
        """The folder is moved while the run trains, and goes on where it is."""
        out = self.place.folder / "moved"
        for codes, said in self._meanwhile(out, lambda: _moved(out)):
            yield from one_line(codes, said, "moved")
        if out.exists():
            yield f"made anew: {sorted(contents(out))}"
        yield from self._goes_on(_aside(out))

    def replaced_folder(self, number: int) -> Iterator[str]:
        """Another folder takes its place while the run trains."""
        out = self.place.folder / "replaced"

        def replace() -> None:
            _moved(out)
            out.mkdir()
            (out / "notes.txt").write_text("mine")

        for codes, said in self._meanwhile(out, replace):
            yield from one_line(codes, said, "replaced")
        if contents(out) != {"notes.txt": b"mine"}:
            yield f"written into: {sorted(contents(out))}"
        yield from self._goes_on(_aside(out))

    def locked_folder(self, number: int) -> Iterator[str]:
        """A second process is started on the folder, which the first one goes on with."""
        out = self.place.folder / "locked"
        group = start(self.place, self.words(out))
        self._wait_for_a_save(group, out)
        # It is held however slow the second one starts.
        group.processes[0].send_signal(signal.SIGSTOP)
        codes, said = carry_out(self.place, self.words(out))
        group.processes[0].send_signal(signal.SIGCONT)
        yield from one_line(codes, said, "locked", f"process {group.processes[0].pid} on ")
        if any(group.wait()):
            yield f"the first process failed: {group.said()[-2000:]}"
        yield from differences(out, self.whole)

    def _meanwhile(self, out: pathlib.Path, act: Callable[[], Any]) -> Iterator[tuple[list[int], str]]:
        """Exit codes and words of a new run during which something happens."""
        group = start(self.place, [word for word in self.words(out) if word != "--resume"])
        self._wait_for_a_save(group, out)
        act()
        yield group.wait(), group.said()

    def _wait_for_a_save(self, group: Group, out: pathlib.Path) -> None:
        began = time.monotonic()
        while not (unfinished_saves(out) or list(out.glob("checkpoints/step_*"))):
            if not group.running() or time.monotonic() - began > PATIENCE:
                group.kill()
                raise RuntimeError(f"no save began\n{group.said()}")
            time.sleep(0.01)
        time.sleep(self.rng.uniform(0, 0.5))

    def _goes_on(self, out: pathlib.Path) -> Iterator[str]:
        """Once all is well the run comes to what it would have been."""
        codes, said = carry_out(self.place, self.words(out))
        if any(codes):
            yield f"exit codes {codes} afterwards: {said[-2000:]}"
        else:
            yield from (f"differs afterwards: {found}" for found in differences(out, self.whole))


PARTS: dict[str, Callable[[Surroundings, int], Iterator[str]]] = {
    "full disk": Surroundings.full_disk,
    "read-only folder": Surroundings.read_only_folder,
    "removed folder": Surroundings.removed_folder,
    "moved folder": Surroundings.moved_folder,
    "replaced folder": Surroundings.replaced_folder,
    "locked folder": Surroundings.locked_folder,
}


def soak(place: Place, seed: int, times: int = TIMES) -> list[dict[str, Any]]:
    """A row of each part."""
    around = Surroundings(place, seed)
    rows = []
    for kind, part in PARTS.items():
        row: dict[str, Any] = {"kind": kind, "inputs": 0, "failures": []}
        for number in range(times):
            try:
                found = list(part(around, number))
            except Unmountable as error:
                row["skipped"] = str(error)
                break
            row["inputs"] += 1
            row["failures"] += [{"what": place.without_paths(what), "seed": [seed, number]} for what in found]
            _clear(place.folder)
        rows.append(row)
    return rows


def one_line(codes: list[int], said: str, what: str, words: str = "") -> Iterator[str]:
    """What is wrong with the end of a command that is to end in one line and exit code 2."""
    errors = [line for line in said.splitlines() if line.startswith("gailfe: error: ")]
    if codes != [2] or len(errors) != 1 or "Traceback" in said:
        yield f"{what}: exit codes {codes}, expected one line and 2: {said[-2000:]}"
    elif words not in errors[0]:
        yield f"{what}: said {errors[0]!r}, expected {words!r} in it"


@contextlib.contextmanager
def mounted(folder: pathlib.Path, size: str) -> Iterator[pathlib.Path]:
    """A file system of its own in memory.

    Raises:
      Unmountable: there can be none.
    """
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=False)
        folder.rmdir()


def remount(folder: pathlib.Path, option: str) -> None:
    """Changes a mounted file system."""
    _mount("-o", f"remount,{option}", str(folder))


def _mount(*words: str) -> None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise Unmountable("only root may mount a small disk")
    try:
        done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Unmountable("there is no mount command") from None
    if done.returncode:
        raise Unmountable("this machine mounts no tmpfs")


def _aside(out: pathlib.Path) -> pathlib.Path:
    return out.with_name(f"{out.name}_aside")


def _moved(out: pathlib.Path) -> pathlib.Path:
    return out.rename(_aside(out))


def _clear(folder: pathlib.Path) -> None:
    """Removes what one part left, for the next."""
    for name in ("removed", "moved", "replaced", "locked"):
        for path in (folder / name, _aside(folder / name)):
            shutil.rmtree(path, ignore_errors=True)
