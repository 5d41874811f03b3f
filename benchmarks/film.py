"""The moving picture of README: a demonstration, a failed attempt, and the policy that was learned from both.

`python benchmarks/film.py` collects from the shipped Hopper expert, trains GAILFE for some minutes in the folder
`film`, and writes docs/film.webp. What the folder holds already is not made anew.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

# Chosen once per process, when MuJoCo is first imported.
os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
from PIL import Image

from gailfe_jax.analysis.filming import written_over
from gailfe_jax.apps.play import Wanted, of_policy
from gailfe_jax.envs.physics.model import load_model, seconds_per_step
from gailfe_jax.envs.physics.picture import Picture
from gailfe_jax.types import Task
from gailfe_jax.viewer.page import Episode

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "film.webp"
COLLECT = "demos --env hopper --trajectories 10 --failures 20 --out film/demos.npz"
TRAIN = (
    "train gailfe --env hopper --demos film/demos.npz --steps 2e5 --seeds 2 --eval-every 1e4 --eval-episodes 4 "
    "--out film/run"
)
LABELS = {"expert": "demonstration", "failure": "failed attempt", "policy": "learned policy"}
SIZE, FPS, STEPS = 224, 25, 600


def main() -> None:
    for made, words in ((ROOT / "film" / "demos.npz", COLLECT), (ROOT / "film" / "run", TRAIN)):
        if not made.exists():
            subprocess.run([sys.executable, "-m", "gailfe_jax", *words.split()], cwd=ROOT, check=True)
    demos = str(ROOT / "film" / "demos.npz")
    played = of_policy(str(ROOT / "film" / "run"), None, Wanted(demos=demos, max_steps=STEPS))
    frames = film(played.task, sorted(played.episodes, key=lambda episode: list(LABELS).index(episode.kind)))
    first, *others = map(Image.fromarray, frames)
    first.save(
        OUT, save_all=True, append_images=others, duration=round(1000 / FPS), loop=0, quality=45, method=4,
        minimize_size=True,
    )  # fmt: skip
    print(f"wrote {OUT.relative_to(ROOT)}: {len(frames)} frames, {OUT.stat().st_size:,} bytes")


def film(task: Task, episodes: Sequence[Episode]) -> list[np.ndarray]:
    """Pictures `[SIZE, SIZE * episodes, 3]` of the episodes side by side, in real time."""
    picture = Picture(task, SIZE, SIZE, "track", plain=True)
    every = max(1, round(1 / (FPS * seconds_per_step(task))))
    still = np.zeros(load_model(task).nv)
    last = max(episode.steps for episode in episodes)
    held: list[np.ndarray] = [np.zeros((SIZE, SIZE, 3), np.uint8)] * len(episodes)
    frames = []
    for step in range(0, last + 1, every):
        for i, episode in enumerate(episodes):
            at = min(step, episode.steps)
            # An episode that has ended stands still.
            if step - every < episode.steps:
                held[i] = picture.draw(episode.qpos[at], still)
        panels = [written_over(frame, words(episode, step)) for frame, episode in zip(held, episodes)]
        frames.append(np.concatenate(panels, axis=1))
    picture.close()
    return frames


def words(episode: Episode, step: int) -> list[str]:
    """What stands over the picture of an episode."""
    done = min(step, episode.steps)
    paid = f"return {episode.curves['reward'][:done].sum():,.0f}"
    return [LABELS[episode.kind], f"step {done}   {paid}" + ("   ended" if done < step else "")]


if __name__ == "__main__":
    main()
