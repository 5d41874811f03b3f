"""`gailfe demos`, and the words behind it: `import`, `inspect` and `export`."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Sequence

from gailfe_jax.cli.demos_table import check_out, print_parts, save
from gailfe_jax.cli.parsing import parse, refuse_idle

_WORDS = {
    "import": "gailfe_jax.cli.demos_import",
    "inspect": "gailfe_jax.cli.demos_inspect",
    "export": "gailfe_jax.cli.demos_export",
}


@dataclasses.dataclass(frozen=True)
class Demos:
    """Roll an expert out and write its trajectories to a demonstration file.

    Episodes of the expert that the annotator calls failed are the first of the failures, and the expert goes on until
    there are as many demonstrations as asked. With --failures, the file also holds failed attempts.

    gailfe demos import SOURCE makes demonstrations of recordings in other layouts, gailfe demos inspect FILE says what
    is in a file and what it allows, gailfe demos export FILE writes other layouts; each explains itself by --help.
    """

    out: str
    """Write the demonstrations to this file (.npz or .h5)."""
    env: str = "hopper"
    """Choose the task."""
    trajectories: int = 30
    """Collect this many demonstrations of the expert."""
    failures: int = 0
    """Collect this many failed attempts, those of the expert among them."""
    keep_failed: bool = False
    """Keep all episodes of the expert as demonstrations, also those that the annotator calls failed."""
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

        check_out(self.out)
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
            keep_failed=self.keep_failed,
            expert_name=self.expert or f"shipped expert for {env.spec.name}",
            expert_file=self.expert,
            command=command_line(sys.argv),
        )
        done = save(demos, self.out)
        print_parts(demos, has_reward=env.spec.has_reward)
        record = demos.provenance
        if record.get("expert_failures"):
            print(
                f"{record['expert_failures']} of {record['expert_episodes']} episodes of the expert failed by "
                f"annotator {record['annotator']} and are among the failures (--keep-failed keeps them)"
            )
        if self.failures:
            print(f"failures: {record['failure_source']}, annotator {record['annotator']}")
        print(done)
        return 0


def run(args: Sequence[str]) -> int:
    if args and args[0] in _WORDS:
        return importlib.import_module(_WORDS[args[0]]).run(args[1:])
    options = parse(Demos, "demos", args)
    if not options.failures:
        refuse_idle(args, dict.fromkeys(("noise", "snapshots"), "no failed attempts; expected --failures"))
        if options.keep_failed:
            refuse_idle(args, {"annotator": "no failed attempts, and all episodes are kept"})
    elif options.snapshots:
        refuse_idle(args, {"noise": "the snapshots fail by themselves"})
    return options()
