"""`gailfe demos export`."""

from __future__ import annotations

import dataclasses
import pathlib
import shlex
from collections.abc import Sequence

from gailfe_jax.cli.parsing import PathWord, parse, refuse_idle
from gailfe_jax.errors import GailfeError


@dataclasses.dataclass(frozen=True)
class Export:
    """Write a demonstration file in another layout, from which gailfe demos import reads the same back.

    d4rl is an HDF5 file, lerobot a folder (v3.0, with pyarrow), minari a local dataset of Minari's.
    """

    source: PathWord
    """The demonstration file."""
    to: str
    """The layout: minari, d4rl or lerobot."""
    out: str
    """Write to this file (d4rl), new folder (lerobot) or dataset id such as mine/arm-v0 (minari)."""
    fps: int = 30
    """Actions a second, which lerobot records."""

    def __call__(self) -> int:
        from gailfe_jax.data.recordings import write_recording
        from gailfe_jax.data.trajectories import Demonstrations
        from gailfe_jax.envs import asked_for_as

        demonstrations = Demonstrations.load(self.source)
        if self.fps < 1:
            raise GailfeError(f"fps: got {self.fps}; expected 1 or more")
        if self.to != "minari":
            pathlib.Path(self.out).parent.mkdir(parents=True, exist_ok=True)
        flags = write_recording(self.to, self.out, demonstrations, fps=self.fps)
        written = f"minari:{self.out.removeprefix('minari:')}" if self.to == "minari" else self.out
        # Nobody marked a failure, so nobody may look for one.
        flags = flags if demonstrations.failures.num_trajectories else f"{flags} --keep-failed"
        words = [
            "gailfe",
            "demos",
            "import",
            written,
            "--env",
            asked_for_as(demonstrations.env_id),
            *flags.split(),
            "--out",
            "NEW.npz",
        ]
        print(f"wrote {written}: {demonstrations.expert.num_trajectories} demonstrations", end="")
        print(f" and {demonstrations.failures.num_trajectories} failures")
        print(f"to read the same back: {shlex.join(words)}")
        return 0


def run(args: Sequence[str]) -> int:
    options = parse(Export, "demos export", args)
    if options.to != "lerobot":
        refuse_idle(args, {"fps": f"{options.to} records no frame rate"})
    return options()
