"""`gailfe demos import`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from gailfe_jax.cli.demos_table import check_out, print_parts, save
from gailfe_jax.cli.parsing import PathWord, parse


@dataclasses.dataclass(frozen=True)
class Import:
    """Make a demonstration file of a recording in another layout.

    Reads plain .npz and .npy, CSV, HDF5 as D4RL and robomimic lay it out, Minari's local datasets, and the dataset
    folders of imitation and LeRobot (Arrow and Parquet). What is derived, rounded or left out is said, a line each;
    docs/data.md says how. Episodes that an annotator calls failed go to the failures.
    """

    source: PathWord
    """The file, the folder, or minari:ID."""
    out: str
    """Write the demonstrations to this file (.npz or .h5)."""
    env: str | None = None
    """The environment that they are for: sizes, bounds and time limit are checked against it."""
    format: str | None = None
    """The layout: gailfe, minari, lerobot, imitation, robomimic, d4rl, csv or npz. By default it is found."""
    map: tuple[str, ...] = ()
    """Say which columns make a field: obs=observation.state action=torque_* ... Commas join columns."""
    episodes_end_by: str | None = None
    """How episodes ended of which nothing says it: terminated (the task did) or truncated (a limit did)."""
    failures: str | None = None
    """A column that is true where an episode failed, or a file of failed episodes."""
    success: str | None = None
    """A column that is true where an episode succeeded; the others failed."""
    annotator: str = "default"
    """What counts as a failure, where no column or file says it; by default what the environment says."""
    keep_failed: bool = False
    """Keep episodes that an annotator would call failed as demonstrations."""
    clip_actions: bool = False
    """Clip actions to the environment's bounds, instead of refusing them."""
    actions: bool = True
    """Read actions. Without them demonstrations hold what was observed alone, which gail --reward.inputs transitions
    imitates."""

    def __call__(self) -> int:
        from gailfe_jax.apps.importing import import_demonstrations
        from gailfe_jax.io.provenance import command_line

        check_out(self.out, self.source)
        demos = import_demonstrations(
            self.source,
            env=self.env,
            format=self.format,
            mapping=self.map,
            ends=self.episodes_end_by,
            failures=self.failures,
            success=self.success,
            annotator=self.annotator,
            keep_failed=self.keep_failed,
            clip=self.clip_actions,
            actions=self.actions,
            command=command_line(sys.argv),
        )
        done = save(demos, self.out)
        print(f"{self.source}: read as {demos.provenance['imported']['format']}")
        for note in demos.provenance["notes"]:
            print(f"- {note}")
        print_parts(demos)
        print(done)
        return 0


def run(args: Sequence[str]) -> int:
    return parse(Import, "demos import", args)()
