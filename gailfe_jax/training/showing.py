"""What a run shows at its end beside its numbers: the learning curve, and where it is asked for a film."""

from __future__ import annotations

import pathlib
import warnings

from gailfe_jax.analysis.video import record_video
from gailfe_jax.artifacts.confidence import FOLDER, Confidence
from gailfe_jax.envs.gymnasium import OURS
from gailfe_jax.errors import GailfeError, GailfeWarning
from gailfe_jax.training.chosen import choose_policy
from gailfe_jax.training.logger import RunLogger
from gailfe_jax.training.plan import Plan
from gailfe_jax.training.run_folder import PICTURE

FILM = "film.mp4"
"""In a run folder: an episode of its best policy."""
_SIZE, _FPS, _LONGEST = 320, 30, 1000


def show_end(logger: RunLogger, run_dir: pathlib.Path, plan: Plan, film: bool) -> None:
    """Hands the learning curve to the trackers, and a film of the best seed's policy where the run is to have one.

    Args:
      logger: of the run.
      run_dir: its folder, with its policies.
      plan: what was trained.
      film: whether this is the time for a film; `run.film` is whether there is one at all.
    """
    picture = run_dir / PICTURE
    if picture.is_file():
        logger.figure(picture.stem, picture)
    if not (film and plan.run.film):
        return
    logger.phase("filming an episode")
    try:
        path = film_of(run_dir, plan)
    except GailfeError as error:
        # The run itself is done, and `gailfe video` can be asked again.
        warnings.warn(f"film: {error}; the run is whole without", GailfeWarning, stacklevel=2)
        return
    logger.film(path.stem, path)


def film_of(run_dir: pathlib.Path, plan: Plan) -> pathlib.Path:
    """Films an episode of the best seed's policy into the run folder.

    Raises:
      GailfeError: there is no policy, or the task cannot be drawn here.
    """
    chosen = choose_policy(run_dir)
    judge = run_dir / FOLDER / f"seed_{chosen.seed}.safetensors"
    record_video(
        chosen.policy, plan.learner.env.spec.gymnasium_id or f"{OURS}{plan.env_name}", run_dir / FILM, width=_SIZE,
        height=_SIZE, max_steps=_LONGEST, most_fps=_FPS, called=plan.env_name, overlay=True,
        judge=Confidence.load(judge) if judge.is_file() else None,
    )  # fmt: skip
    return run_dir / FILM
