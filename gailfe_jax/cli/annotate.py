"""`gailfe annotate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gailfe_jax.cli.parsing import PathWord, parse
from gailfe_jax.errors import GailfeError

_SMALLEST, _LARGEST = 64, 2048


@dataclasses.dataclass(frozen=True)
class Annotate:
    """Play the episodes of a demonstration file on a local page, and label them: good, failed, or failed from a step.

    The labels make a new demonstration file, written after each decision: failed episodes go to its failures, and of an
    episode that failed from a step the steps before it stay a demonstration. The command goes on where it was left.
    The page is served to this machine only, at an address that only this command knows. Ctrl-C ends it.
    """

    path: PathWord
    """Annotate this demonstration file; it is not written. gailfe demos import makes one of a recording."""
    out: str | None = None
    """Write to this file (.npz or .h5). The default is <path>-annotated, beside it."""
    env: str | None = None
    """Draw the episodes as this task's. By default it is the one that the file names."""
    port: int = 0
    """Listen on this port. By default it is a free one."""
    size: int = 480
    """Draw pictures of this many pixels, both ways."""
    browser: bool = True
    """Open the page in the browser; --no-browser only prints its address."""

    def __call__(self) -> int:
        from gailfe_jax.annotate.film import Film
        from gailfe_jax.annotate.server import Server
        from gailfe_jax.annotate.session import Session

        if not _SMALLEST <= self.size <= _LARGEST:
            raise GailfeError(f"size: got {self.size}; expected {_SMALLEST} to {_LARGEST} pixels")
        session = Session(self.path, self.out)
        film = Film(session, self.env, self.size)
        try:
            with Server(session, film, self.port) as server:
                counts = session.counts()
                found = f", {counts['decided']} of them decided in {session.out}" if session.resumed else ""
                print(f"{self.path}: {counts['episodes']} episodes{found}")
                server.run(self.browser)
        finally:
            film.close()
        counts = session.counts()
        if not counts["decided"]:
            print("nothing was decided, and nothing written")
            return 0
        kinds = f"{counts['good']} good, {counts['failed']} failed, {counts['failed_from']} failed from a step"
        print(f"wrote {session.out}: {counts['decided']} of {counts['episodes']} episodes decided ({kinds})")
        return 0


def run(args: Sequence[str]) -> int:
    """Carries the command out; returns the exit code."""
    return parse(Annotate, "annotate", args)()
