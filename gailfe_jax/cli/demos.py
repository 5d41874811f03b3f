"""`gailfe demos`."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from gailfe_jax.cli.parsing import parse, refuse_idle
from gailfe_jax.errors import GailfeError


@dataclasses.dataclass(frozen=True)
class Demos:
    """Roll an expert out and write its trajectories to a demonstration file.

    With --failures, the file also holds failed attempts, which an annotator chooses.
    """

    out: str
    """Write the demonstrations to this file (.npz or .h5)."""
    env: str = "hopper"
    """Choose the task."""
    trajectories: int = 30
    """Collect this many trajectories of the expert."""
    failures: int = 0
    """Collect this many failed attempts."""
    expert: str | None = None
    """Roll out this policy: a file (.safetensors, .onnx, .zip of Stable-Baselines3) or a function of your own
    (module:name). By default the task's shipped expert acts."""
    deterministic: bool = False
    """Take the expert's mean action instead of sampling. Experts without a distribution are taken as they act."""
    annotator: str = "default"
    """Choose what counts as a failure: terminated, truncated, return_below:F, flipped, bottom_quantile:Q or default."""
    noise: float = 0.5
    """Add noise of this standard deviation to the expert's actions when it is to fail; of actions that are choices,
    draw this share from all choices alike."""
    snapshots: tuple[str, ...] = ()
    """Take the failed attempts from these policy files, such as early snapshots of a run, not from the expert."""
    seed: int = 0
    """Seed the initial states and the noise."""
    engine: str = "auto"
    """Choose the physics engine."""

    def __call__(self) -> int:
        from gailfe_jax.apps.collection import collect_demonstrations
        from gailfe_jax.artifacts.policy import load_expert
        from gailfe_jax.envs import make_env
        from gailfe_jax.foreign.registry import read_expert
        from gailfe_jax.io.provenance import command_line

        if not self.out.lower().endswith((".npz", ".h5", ".hdf5")):
            raise GailfeError(f"out: got {self.out!r}; expected a file name that ends in .npz or .h5")
        env = make_env(self.env, self.engine)
        expert = load_expert(env.spec.name) if self.expert is None else read_expert(self.expert, env.spec)
        demos = collect_demonstrations(
            env,
            expert,
            trajectories=self.trajectories,
            failures=self.failures,
            seed=self.seed,
            deterministic=self.deterministic,
            noise=self.noise,
            annotator=self.annotator,
            snapshots=[read_expert(path, env.spec) for path in self.snapshots],
            expert_name=self.expert or f"shipped expert for {env.spec.name}",
            expert_file=self.expert,
            command=command_line(sys.argv),
        )
        pathlib.Path(self.out).parent.mkdir(parents=True, exist_ok=True)
        demos.save(self.out)
        shown = "return" if env.spec.has_reward else "length"
        table = Table("part", "trajectories", "steps", f"mean {shown}", "min", "max")
        for name, part in (("expert", demos.expert), ("failures", demos.failures)):
            r = part.returns if env.spec.has_reward else part.lengths
            figures = [f"{r.mean():.0f}", f"{r.min():.0f}", f"{r.max():.0f}"] if len(r) else ["-"] * 3
            table.add_row(name, str(part.num_trajectories), f"{part.num_transitions:,}", *figures)
        Console().print(table)
        if self.failures:
            print(f"failures: {demos.provenance['failure_source']}, annotator {demos.provenance['annotator']}")
        print(f"wrote {self.out}")
        return 0


def run(args: Sequence[str]) -> int:
    options = parse(Demos, "demos", args)
    if not options.failures:
        refuse_idle(args, dict.fromkeys(("annotator", "noise", "snapshots"), "no failed attempts; expected --failures"))
    elif options.snapshots:
        refuse_idle(args, {"noise": "the snapshots fail by themselves"})
    return options()
