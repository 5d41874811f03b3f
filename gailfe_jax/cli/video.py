"""`gailfe video`."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gailfe_jax.cli.parsing import PathWord, parse
from gailfe_jax.errors import GailfeError

if TYPE_CHECKING:
    from gailfe_jax.artifacts.confidence import Confidence
    from gailfe_jax.artifacts.policy import Policy


@dataclasses.dataclass(frozen=True)
class Video:
    """Film a run's policy as an MP4, with the step, the return so far and the discriminator's belief written over it.

    No screen is needed. gailfe play shows the same in three dimensions, in a browser.
    """

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
    overlay: bool = True
    """Write step, return and belief over the picture; --no-overlay leaves it bare."""
    beside: str | None = None
    """Film this policy in a second picture, from the same initial states: a policy's file, or the word expert for the
    one that is shipped with the task."""

    def __call__(self) -> int:
        from gailfe_jax.analysis.video import record_video
        from gailfe_jax.apps.evaluate_run import expert_for, policies_of
        from gailfe_jax.artifacts.policy import Policy
        from gailfe_jax.envs.gymnasium import OURS

        policies, name, env = policies_of(self.path, self.env)
        if not 0 <= self.seed_index < len(policies):
            raise GailfeError(f"seed_index: got {self.seed_index}; expected 0 to {len(policies) - 1}")
        policy = policies[self.seed_index]
        if not isinstance(policy, Policy):
            raise GailfeError(f"{self.path}: an expert from elsewhere; expected a policy of this package to film")
        beside = None if self.beside is None else expert_for(self.beside, env, name)
        if not isinstance(beside, Policy | None):
            raise GailfeError(f"beside: {self.beside} is an expert from elsewhere; expected a policy of this package")
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
            overlay=self.overlay,
            judge=self._judge(policy) if self.overlay else None,
            beside=beside,
            labels=(
                path.resolve().name,
                "expert" if self.beside == "expert" else pathlib.PurePath(self.beside or "").name,
            ),
        )
        print(f"wrote {out}")
        return 0

    def _judge(self, policy: Policy) -> Confidence | None:
        """The discriminator of the policy's seed, where the run has one."""
        from gailfe_jax.artifacts.confidence import FOLDER, Confidence

        file = pathlib.Path(self.path) / FOLDER / f"seed_{policy.metadata.get('seed')}.safetensors"
        return Confidence.load(file) if file.is_file() else None


def run(args: Sequence[str]) -> int:
    return parse(Video, "video", args)()
