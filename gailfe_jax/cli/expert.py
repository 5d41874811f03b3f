"""`gailfe expert`."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from gailfe_jax.cli.settings import read_words
from gailfe_jax.errors import GailfeError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expert:
    """Train an expert with PPO on the true reward and write the best policy, judged in Gymnasium."""

    out: str | None = None
    """Policy file to write (.safetensors); a report is written beside it (.json)."""
    run_dir: str | None = None
    """Folder of the PPO run; runs/expert-<env> by default."""
    episodes: int = 50
    """Fresh Gymnasium episodes behind the reported return."""
    resume: bool = False
    """Continue an interrupted run."""
    config: str | None = None
    """Settings from a TOML file; flags come after it, and what nothing reads beside them is dropped."""


def run(words: Sequence[str]) -> int:
    """Carries the command out; returns the exit code."""
    options, _, setup = read_words(Expert, "expert", words, algo="ppo")
    from gailfe_jax.apps.expert import train_expert
    from gailfe_jax.io.atomic import write_json_atomic
    from gailfe_jax.training.plan import find_env

    if not options.out:
        raise GailfeError("out: got none; expected --out and a policy file to write (.safetensors)")
    _, _, env = find_env(setup.environment, setup.worlds)
    if env.spec.gymnasium_id is None:
        raise GailfeError(f"env: {env.spec.name} has no Gymnasium environment to judge an expert in; use gailfe train")
    report = train_expert(
        setup, gymnasium_id=env.spec.gymnasium_id, run_dir=options.run_dir or f"runs/expert-{env.spec.name}",
        out=options.out, episodes=options.episodes, resume=options.resume,
    )  # fmt: skip
    write_json_atomic(pathlib.Path(options.out).with_suffix(".json"), report)
    print(f"{options.out}: {report['mean']:.0f} ± {report['std']:.0f} over {options.episodes} Gymnasium episodes")
    return 0
