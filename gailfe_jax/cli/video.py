"""`gailfe video`."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from gailfe_jax.cli.parsing import PathWord, parse
from gailfe_jax.errors import GailfeError


@dataclasses.dataclass(frozen=True)
class Video:
    """Film a run's policy as an MP4. No screen is needed."""

    path: PathWord
    """Film a policy of this run folder, or this policy file (.safetensors)."""
    out: str | None = None
    """Write the film to this file. The default is <run>/video.mp4, or the policy file's name with .mp4."""
    env: str | None = None
    """Film on this task. By default it is the task that the policy was trained on."""
    seed_index: int = 0
    """Choose one of the run's seeds, counted from 0."""
    episodes: int = 1
    """Film this many episodes."""
    seed: int = 0
    """Seed the initial states."""
    max_steps: int = 1000
    """Cut each episode after this many steps."""

    def __call__(self) -> int:
        from gailfe_jax.analysis.video import record_video
        from gailfe_jax.apps.evaluate_run import policies_of
        from gailfe_jax.artifacts.policy import Policy
        from gailfe_jax.envs.gymnasium import OURS

        policies, name, env = policies_of(self.path, self.env)
        if not 0 <= self.seed_index < len(policies):
            raise GailfeError(f"seed_index: got {self.seed_index}; expected 0 to {len(policies) - 1}")
        policy = policies[self.seed_index]
        if not isinstance(policy, Policy):
            raise GailfeError(f"{self.path}: an expert from elsewhere; expected a policy of this package to film")
        path = pathlib.Path(self.path)
        out = self.out or str(path / "video.mp4" if path.is_dir() else path.with_suffix(".mp4"))
        record_video(
            policy,
            env.spec.gymnasium_id or f"{OURS}{name}",
            out,
            episodes=self.episodes,
            seed=self.seed,
            max_steps=self.max_steps,
            called=name,
        )
        print(f"wrote {out}")
        return 0


def run(args: Sequence[str]) -> int:
    return parse(Video, "video", args)()
