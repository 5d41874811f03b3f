"""Serves the report of a run or a sweep while it goes on."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import pathlib
import threading
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from gailfe_jax.errors import GailfeError, refusal
from gailfe_jax.io.json_text import parse_json, read_json
from gailfe_jax.io.lock import is_held
from gailfe_jax.report import under_way
from gailfe_jax.report.page import LIVE_SCRIPTS, STYLES, Live, render
from gailfe_jax.report.read import read_series
from gailfe_jax.training.outcome import read_summary
from gailfe_jax.training.run_folder import load_run
from gailfe_jax.training.sweep_record import is_sweep, load_sweep
from gailfe_jax.web.page import content_policy
from gailfe_jax.web.server import Answer, LocalServer, as_json, no_such_page

_FILES = ("config.json", "start.json", "metrics.jsonl", "summary.json", "evaluation.json")
"""What the page of a run is made of."""
_MOST_PROGRAMS = 3
"""Of a sweep on a cluster whose steps are told."""


class Watch(LocalServer):
    """Serves the page of one run or sweep; it is made anew when their files have changed.

    Args:
      folder: the run folder, or the sweep's.
      port: to listen on; 0 takes a free one.

    Raises:
      GailfeError: no run and no sweep is there, or the port cannot be listened on. A summary.json that is damaged is a
        warning.
    """

    command: ClassVar[str] = "gailfe watch"

    def __init__(self, folder: str | os.PathLike[str], port: int = 0):
        self.folder = pathlib.Path(folder)
        progress(self.folder)
        # A damaged summary is said at once: the page, whose making says it too, waits for somebody to ask.
        for ended in under_way.done(self.folder) if is_sweep(self.folder) else [self.folder]:
            read_summary(ended)
        self._lock = threading.Lock()
        self._page = ""
        """The page that was made last, and of which files."""
        self._made = ""
        super().__init__(port)

    def get(self, path: str) -> Answer:
        if path == "state":
            return as_json(self._state())
        if path:
            raise no_such_page()
        policy = content_policy(STYLES, LIVE_SCRIPTS, connects=True) + "; frame-ancestors 'none'"
        return Answer(self._newest().encode(), "text/html; charset=utf-8", policy=policy)

    def _state(self) -> dict[str, Any]:
        """How far the run is; where its files cannot be read, why, and the page that there was."""
        stamp = self._stamp()
        try:
            said = progress(self.folder)
            self._newest()
        except (GailfeError, OSError) as error:
            return {"stamp": self._made, "said": refusal(error), "wrong": True}
        return {"stamp": stamp, "said": said}

    def _stamp(self) -> str:
        """Another one where a file has changed, or the run has begun or ended."""
        digest = hashlib.sha256(str(is_held(self.folder)).encode())
        for path in _files(self.folder):
            try:
                found = path.stat()
                digest.update(f"{path} {found.st_size} {found.st_mtime_ns}".encode())
            except OSError:
                digest.update(str(path).encode())
        return digest.hexdigest()

    def _newest(self) -> str:
        with self._lock:
            stamp = self._stamp()
            if stamp != self._made:
                sweep = is_sweep(self.folder)
                found = under_way.read_sweep(self.folder) if sweep else read_series([self.folder])
                live = Live(stamp, progress(self.folder))
                name = self.folder.resolve().name
                self._page, self._made = render(found, name, {}, {}, live), stamp
            return self._page


def progress(folder: pathlib.Path) -> str:
    """How far a run or a sweep is, in a few sentences.

    Raises:
      GailfeError: neither is there, or its record is damaged.
    """
    if is_sweep(folder):
        return _sweeps_progress(folder)
    record = load_run(folder)
    finished = _finished(folder)
    done, looked = _reached(folder, record)
    if is_held(folder):
        return f"Training goes on. {done}{looked}."
    if finished is None:
        return (
            "No process writes to this folder, and its summary.json is damaged, so nothing says whether training has "
            f"ended. {done}. gailfe train --resume writes it anew."
        )
    if finished:
        return f"Training has ended. {done}."
    return (
        f"Training has stopped before its end: no process writes to this folder. {done}. gailfe train --resume goes on."
    )


def _sweeps_progress(folder: pathlib.Path) -> str:
    total, done = len(load_sweep(folder)["settings"]), len(under_way.done(folder))
    said = f"{done:,} of {total:,} settings are done."
    if is_held(folder):
        told = [f"The sweep goes on. {said}"]
        for program, chunk in itertools.islice(under_way.programs(folder).items(), _MOST_PROGRAMS):
            step, looked = _reached(program, load_run(program))
            count = f"{len(chunk)} settings train" if len(chunk) > 1 else "1 setting trains"
            told.append(f"{count} side by side: {step[0].lower()}{step[1:]}{looked}.")
        return " ".join(told)
    if done >= total:
        return f"The sweep has ended. {said}"
    ended = "The sweep has stopped before its end: no process writes to this folder."
    return f"{ended} {said} gailfe sweep --resume goes on."


def _reached(folder: pathlib.Path, record: Mapping[str, Any]) -> tuple[str, str]:
    """How many steps of how many a run has taken, and when it was looked at."""
    step, total = _last_step(folder), record["run"].get("steps")
    if step is None:
        return "There is no evaluation yet", ""
    done = f"Step {step:,}"
    if isinstance(total, int | float) and math.isfinite(total) and total > 0:
        done += f" of {max(int(total), step):,} ({min(1.0, step / total):.0%})"
    return done, f", evaluated {_ago(time.time() - (folder / 'metrics.jsonl').stat().st_mtime)}"


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    """What a page is made of."""
    if not is_sweep(folder):
        return [folder / name for name in _FILES]
    running = [program / name for program in under_way.programs(folder) for name in _FILES]
    return [folder / "sweep.json", *(path / "summary.json" for path in under_way.done(folder)), *running]


def _ago(seconds: float) -> str:
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "less than a minute ago"


def _finished(folder: pathlib.Path) -> bool | None:
    """Whether the summary says that training has reached its end; None where it is damaged."""
    file = folder / "summary.json"
    if not file.exists():
        return False
    try:
        found = read_json(file)
    except GailfeError:
        return None
    return found.get("finished") is True if isinstance(found, dict) else None


def _last_step(folder: pathlib.Path) -> int | None:
    """Of the last whole line of the metrics; None where there is none."""
    try:
        with (folder / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2**16))
            lines = file.read().split(b"\n")[:-1]
        return int(parse_json(lines[-1])["step"])
    except (OSError, ValueError, TypeError, KeyError, IndexError, OverflowError):
        return None
