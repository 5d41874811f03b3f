"""`gailfe play`."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from gailfe_jax.cli.parsing import PathWord, parse
from gailfe_jax.errors import GailfeError

_FILES = (".npz", ".h5", ".hdf5")


@dataclasses.dataclass(frozen=True)
class Play:
    """Write a page that shows episodes in three dimensions: a run's policy beside an expert and a failure.

    The page is a single file that loads nothing. It plays, steps, turns and zooms, and draws the reward of each step
    and the discriminator's belief below. Every MuJoCo task can be shown, also one of your own.
    """

    path: PathWord
    """Show the policy of this run folder or policy file, or the episodes of this demonstration file."""
    out: str | None = None
    """Write this file. The default is play.html in the run folder, or a file's own name with -play.html."""
    env: str | None = None
    """Show this task. By default it is the one of the policy or the file."""
    seed_index: int | None = None
    """Choose one of the run's seeds, counted from 0. By default it is the best."""
    seed: int = 0
    """Seed the initial state of what is played."""
    expert: str | None = None
    """Play this expert for comparison: its file, or the word expert for the one that is shipped with the task. By
    default a demonstration of the run is shown."""
    demos: str | None = None
    """Take demonstration and failure from this file. The default is the run's own."""
    demonstration: int = 0
    """Show this demonstration of the file, counted from 0."""
    failure: int = 0
    """Show this failure of the file, counted from 0."""
    max_steps: int = 1000
    """Cut each episode after this many steps."""
    title: str | None = None
    """Call the page so. The default names the run and the task."""

    def __call__(self) -> int:
        from gailfe_jax.apps import play
        from gailfe_jax.viewer.page import write_play

        out = pathlib.Path(self.out or self._default_out())
        if out.suffix.lower() not in (".html", ".htm") or out.is_dir():
            raise GailfeError(f"out: got {out}; expected a file name that ends in .html")
        if self.max_steps < 1:
            raise GailfeError(f"max_steps: got {self.max_steps}; expected at least 1")
        if self.seed < 0:
            raise GailfeError(f"seed: got {self.seed}; expected 0 or more")
        wanted = play.Wanted(
            self.seed_index, self.seed, self.expert, self.demos, self.demonstration, self.failure, self.max_steps
        )
        if self._is_recording():
            for name in ("seed_index", "demos"):
                if getattr(self, name) is not None:
                    raise GailfeError(f"{name}: nothing reads it: {self.path} is a demonstration file")
            found = play.of_file(self.path, self.env, wanted)
        else:
            found = play.of_policy(self.path, self.env, wanted)
        write_play(found.task, found.episodes, out, title=self.title or found.title, about=found.about)
        print(f"wrote {out}: {', '.join(episode.label for episode in found.episodes)}")
        return 0

    def _is_recording(self) -> bool:
        return self.path.lower().endswith(_FILES) or self.path.startswith("minari:")

    def _default_out(self) -> str:
        from gailfe_jax.viewer.page import NAME

        path = pathlib.Path(self.path)
        if path.is_dir():
            return str(path / NAME)
        return str(path.with_name(f"{path.stem}-{NAME}")) if path.is_file() else NAME


def run(args: Sequence[str]) -> int:
    """Carries the command out; returns the exit code."""
    return parse(Play, "play", args)()
