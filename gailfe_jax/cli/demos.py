"""`gailfe demos`."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from gailfe_jax.cli.parsing import parse
from gailfe_jax.errors import GailfeError


@dataclasses.dataclass(frozen=True)
class Demos:
    """Roll an expert out: whole trajectories, and failed attempts labelled by an annotator, in one file."""

    out: str
    """Demonstration file to write (.npz or .h5)."""
    env: str = "hopper"
    """Task."""
    trajectories: int = 30
    """Expert trajectories."""
    failures: int = 0
    """Failed attempts."""
    expert: str | None = None
    """Policy file of the expert; the one shipped for the task by default."""
    deterministic: bool = False
    """Show the expert's mean action instead of samples."""
    annotator: str = "default"
    """What counts as failed: terminated, return_below:F, flipped, bottom_quantile:Q, or default for the task."""
    noise: float = 0.5
    """Standard deviation of the noise on the expert's actions in failed attempts."""
    snapshots: tuple[str, ...] = ()
    """Policy files whose attempts may fail, e.g. early snapshots of an expert's run, instead of a noised expert."""
    seed: int = 0
    """Of initial states and noise."""
    engine: str = "auto"
    """Physics engine."""

    def __call__(self) -> int:
        from gailfe_jax.artifacts.policy import Policy, load_expert
        from gailfe_jax.data.collection import collect_demonstrations
        from gailfe_jax.envs import make_env
        from gailfe_jax.io.provenance import command_line

        if not self.out.lower().endswith((".npz", ".h5", ".hdf5")):
            raise GailfeError(f"out: got {self.out!r}; expected a file name that ends in .npz or .h5")
        env = make_env(self.env, self.engine)
        expert = load_expert(env.spec.name) if self.expert is None else Policy.load(self.expert)
        demos = collect_demonstrations(
            env,
            expert,
            trajectories=self.trajectories,
            failures=self.failures,
            seed=self.seed,
            deterministic=self.deterministic,
            noise=self.noise,
            annotator=self.annotator,
            snapshots=[Policy.load(path) for path in self.snapshots],
            expert_name=self.expert or f"shipped expert for {env.spec.name}",
            expert_file=self.expert,
            command=command_line(sys.argv),
        )
        pathlib.Path(self.out).parent.mkdir(parents=True, exist_ok=True)
        demos.save(self.out)
        table = Table("part", "trajectories", "steps", "mean return", "min", "max")
        for name, part in (("expert", demos.expert), ("failures", demos.failures)):
            r = part.returns
            figures = [f"{r.mean():.0f}", f"{r.min():.0f}", f"{r.max():.0f}"] if len(r) else ["-"] * 3
            table.add_row(name, str(part.num_trajectories), f"{part.num_transitions:,}", *figures)
        Console().print(table)
        if self.failures:
            print(f"failures: {demos.provenance['failure_source']}, annotator {demos.provenance['annotator']}")
        print(f"wrote {self.out}")
        return 0


def run(args: Sequence[str]) -> int:
    return parse(Demos, "demos", args)()
