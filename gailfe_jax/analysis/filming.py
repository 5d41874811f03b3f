"""What a film shows: a policy that plays, step by step, and a line over the picture that says how it goes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from gailfe_jax.artifacts.confidence import Confidence
from gailfe_jax.artifacts.policy import Policy, PolicyBatch
from gailfe_jax.errors import GailfeError

_SHADE = 0.45
"""How bright the picture stays behind words."""


class Panel:
    """A policy in an environment of its own.

    Args:
      env: Gymnasium's, with pictures.
      policy: what acts.
      evaluate: `gailfe_jax.analysis.evaluation`, which is imported late.
      called: what messages call the environment.
      label: whose film it is, in words; empty for none.
      judge: the discriminator whose belief is shown.
      overlay: write step, return and belief over the picture.
      deterministic: act by the mean; otherwise draw.

    Attributes:
      steps, total, over: of the episode: its steps and return so far, and whether it has ended.
    """

    def __init__(
        self, env: Any, policy: Policy, evaluate: ModuleType, called: str, *, label: str = "",
        judge: Confidence | None = None, overlay: bool = False, deterministic: bool = True,
    ):  # fmt: skip
        self.env, self.policy, self.called = env, policy, called
        self.steps, self.total, self.over = 0, 0.0, False
        self._evaluate, self._batch = evaluate, PolicyBatch([policy])
        self._label, self._judge, self._overlay, self._deterministic = label, judge, overlay, deterministic
        self._belief: float | None = None
        self._draw: Callable[[], np.ndarray] | None = None
        self._obs = np.zeros(0)

    def begin(self, seed: int, episode: int) -> None:
        """The episode of this number, see `episode_seed`."""
        self._obs, _ = self.env.reset(seed=self._evaluate.episode_seed(seed, episode))
        self._draw = self._evaluate.episode_draws(seed, episode, self.policy.noise_size)
        self.steps, self.total, self.over, self._belief = 0, 0.0, False, None

    def step(self) -> None:
        """Goes on by a step; nothing once the episode has ended."""
        if self.over:
            return
        assert self._draw is not None
        noise = None if self._deterministic else self._draw()[None, None]
        action = self._batch.act(np.asarray(self._obs)[None, None], noise=noise)[0, 0]
        following, reward, terminated, truncated, _ = self.env.step(action)
        if self._judge is not None:
            self._belief = self._believed(np.asarray(action), np.asarray(following))
        self._obs = following
        self.total, self.steps, self.over = self.total + float(reward), self.steps + 1, bool(terminated or truncated)

    def frame(self) -> np.ndarray:
        """`[height, width, 3]` uint8 of even sizes.

        Raises:
          GailfeError: the environment gives something else.
        """
        given = self.env.render()
        if not isinstance(given, np.ndarray) or given.ndim != 3 or given.shape[2] != 3:
            kind = f"shape {list(given.shape)}" if isinstance(given, np.ndarray) else f"a {type(given).__name__}"
            raise GailfeError(f"env {self.called!r}: render gives {kind}; expected an array [height, width, 3]")
        frame = np.asarray(given, np.uint8)
        # H.264 in yuv420p has no odd sizes.
        frame = np.ascontiguousarray(frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2])
        return written_over(frame, self.lines()) if self._overlay else frame

    def lines(self) -> list[str]:
        """What stands over the picture."""
        words = [f"step {self.steps:,}"]
        if self._rewarded:
            words.append(f"return {self.total:,.1f}")
        if self._belief is not None:
            words.append(f"belief {self._belief:.2f}")
        if self.over:
            words.append("ended")
        return [*([self._label] if self._label else []), "   ".join(words)]

    @property
    def _rewarded(self) -> bool:
        # One of this package's own says whether it has a reward; Gymnasium's have.
        return bool(getattr(getattr(getattr(self.env, "env", None), "spec", None), "has_reward", True))

    def _believed(self, action: np.ndarray, following: np.ndarray) -> float | None:
        """The probability that the step is the expert's; None where the step led to what is no number."""
        assert self._judge is not None
        row = np.eye(self.policy.action_size)[int(action)] if self.policy.discrete else action
        try:
            return float(self._judge(np.asarray(self._obs), row, following))
        except GailfeError:
            return None


def written_over(frame: np.ndarray, lines: list[str]) -> np.ndarray:
    """The picture `[height, width, 3]` with lines of words on a darker ground at its top."""
    from PIL import Image, ImageDraw

    size = max(9, frame.shape[1] // 26)
    font, gap = _font(size), max(2, size // 4)
    tall = min(frame.shape[0], len(lines) * (size + gap) + 2 * gap)
    shaded = frame.copy()
    shaded[:tall] = shaded[:tall] * _SHADE
    image = Image.fromarray(shaded)
    pen = ImageDraw.Draw(image)
    for i, words in enumerate(lines):
        pen.text((2 * gap, gap + i * (size + gap)), words, fill=(255, 255, 255), font=font)
    return np.asarray(image)


@functools.lru_cache(maxsize=4)
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
