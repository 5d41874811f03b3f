"""A closer look at a run, by playing its best policy: films, and where the discriminator tells it from the expert."""

from __future__ import annotations

import pathlib
import tempfile

import numpy as np

from gailfe_jax.analysis.evaluation import evaluate_policies
from gailfe_jax.analysis.state_space import StateSpace, state_space
from gailfe_jax.analysis.video import Film, record_video
from gailfe_jax.apps.collection import roll_out
from gailfe_jax.apps.evaluate_run import policies_of
from gailfe_jax.artifacts.confidence import FOLDER, Confidence
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.data.formats import load_demonstrations
from gailfe_jax.data.trajectories import Trajectories
from gailfe_jax.envs import also_called
from gailfe_jax.envs.gymnasium import OURS
from gailfe_jax.envs.meaning import meaning_of
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.digests import file_sha256
from gailfe_jax.training.chosen import choose_policy
from gailfe_jax.training.run_folder import load_run
from gailfe_jax.types import Env

_EPISODES = 4
"""Of the policy whose pairs are shown."""
_SIZE, _FPS = 320, 30
_LONGEST = 1000


def state_space_of(run_dir: pathlib.Path, demos: str | None = None, seed: int = 0) -> StateSpace:
    """Where the discriminator of a run's best seed tells its policy from the demonstrations.

    The policy plays some episodes, drawing its actions as in training.

    Args:
      run_dir: the run folder.
      demos: the demonstrations; those of the run by default, if they are where they were.
      seed: of the episodes.

    Raises:
      GailfeError: the run has no discriminators or no policies, its demonstrations are not there or have changed, or
        its environment is not known here.
    """
    chosen = choose_policy(run_dir)
    file = run_dir / FOLDER / f"seed_{chosen.seed}.safetensors"
    if not file.is_file():
        raise GailfeError(f"{run_dir}: no discriminator of seed {chosen.seed}; expected an imitation run that ended")
    judge = Confidence.load(file)
    env = policies_of(run_dir).env
    expert = load_demonstrations(demos or own_demonstrations(run_dir), env, also_called(env.spec)).expert
    own = _played(env, chosen.policy, seed)
    names = tuple(name for name, _ in meaning_of(env).obs)
    about = f"The discriminator of {chosen.why}"
    return state_space(judge, (expert.obs, expert.action), (own.obs, own.action), names, about, seed)


def films_of(run_dir: pathlib.Path, episodes: int = 20, seed: int = 0) -> list[Film]:
    """The best, the median and the worst of some episodes of a run's best policy; fewer where they are the same.

    Args:
      run_dir: the run folder.
      episodes: to choose from.
      seed: of the episodes.

    Raises:
      GailfeError: the run has no policies, or its task cannot be evaluated in Gymnasium or drawn here.
    """
    chosen, judged = choose_policy(run_dir), policies_of(run_dir)
    gymnasium_id = judged.env.spec.gymnasium_id or f"{OURS}{judged.name}"
    (found,) = evaluate_policies([chosen.policy], gymnasium_id, episodes=episodes, seed=seed)
    by_return = np.argsort(found.returns, kind="stable")
    wanted = {"best": by_return[-1], "median": by_return[len(by_return) // 2], "worst": by_return[0]}
    films: dict[int, Film] = {}
    with tempfile.TemporaryDirectory(prefix="gailfe-report-") as folder:
        for words, episode in wanted.items():
            if int(episode) in films:
                continue
            path = pathlib.Path(folder) / f"{words}.mp4"
            record_video(
                chosen.policy, gymnasium_id, path, first=int(episode), seed=seed, width=_SIZE, height=_SIZE,
                max_steps=_LONGEST, most_fps=_FPS, called=judged.name,
            )  # fmt: skip
            films[int(episode)] = Film(words, episodes, float(found.returns[episode]), path.read_bytes())
    return list(films.values())


def own_demonstrations(run_dir: pathlib.Path) -> str:
    """The file that a run was trained on.

    Raises:
      GailfeError: there was none, it is not where it was, or it has changed.
    """
    held = load_run(run_dir)["demos"]
    file = held.get("demos")
    if not isinstance(file, str):
        raise GailfeError(f"{run_dir}: was trained without a demonstration file; expected --demos")
    if not pathlib.Path(file).is_file():
        raise GailfeError(f"{run_dir}: its demonstrations are not at {file}; expected --demos and where they are")
    if file_sha256(file) != held.get("sha256"):
        raise GailfeError(f"{run_dir}: {file} has changed since; expected --demos with what the run was trained on")
    return file


def _played(env: Env, policy: Policy, seed: int) -> Trajectories:
    rng = np.random.default_rng(seed)
    low, high = np.asarray(env.spec.action_low), np.asarray(env.spec.action_high)
    return roll_out(
        env, lambda obs: np.clip(policy.act_rows(obs, deterministic=False, rng=rng), low, high), _EPISODES, seed
    )  # fmt: skip
