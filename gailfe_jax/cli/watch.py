"""`gailfe watch`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gailfe_jax.cli.parsing import PathWord, parse


@dataclasses.dataclass(frozen=True)
class Watch:
    """Watch a run or a sweep in the browser while it trains: its report, which renews itself with each evaluation.

    Zoom, boxes and place on the page stay as they are. The page is served to this machine only, at an address that only
    this command knows. Ctrl-C ends it; training goes on.
    """

    path: PathWord
    """Watch this run folder or sweep folder. Its training may have begun just now, go on, or have ended."""
    port: int = 0
    """Listen on this port. By default it is a free one."""
    browser: bool = True
    """Open the page in the browser; --no-browser only prints its address."""

    def __call__(self) -> int:
        from gailfe_jax.report import live

        with live.Watch(self.path, self.port) as server:
            print(live.progress(server.folder))
            server.run(self.browser)
        return 0


def run(args: Sequence[str]) -> int:
    """Carries the command out; returns the exit code."""
    return parse(Watch, "watch", args)()
