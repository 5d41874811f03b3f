"""A Gymnasium environment for tests of what steps on the host, registered as `tests.hosted:Pond-v0`.

Importing this module registers it, so `gym:tests.hosted:Pond-v0` reaches it in any process.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Pond(gymnasium.Env):
    """A leaf drifts outwards, `at' = 1.1 at + 0.5 action`; reward `1 - |at'|^2`; who leaves the square of +-1 falls.

    Args:
      sees: `vector`, or `dict` for the same numbers as a Dict of Boxes.
      moves: `box`, `choice` for a push to the left (3), none (4) or to the right (5), or a space.
      observes: another observation space, whose samples it shows.
      fault: what it does wrong: `old reset` and `old step`, as in Gym;
        `nan` at reset, `grows` after it, `raises` in reset; in step 5 `late`, `late nan`, or
        `unpaid` for no reward; `fall nan` for no observation where it falls; `paint` in render, or `blank`, no picture.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(
        self,
        sees: str = "vector",
        moves: Any = "box",
        observes: Any = None,
        fault: str = "",
        render_mode: str | None = None,
    ):
        self.sees, self.moves, self.fault, self.render_mode = sees, moves, fault, render_mode
        low = -np.ones(1, np.float32)
        self.observation_space = observes or (
            spaces.Dict({"x": spaces.Box(low, -low), "y": spaces.Dict({"deep": spaces.Box(-1.0, 1.0, ())})})
            if sees == "dict"
            else spaces.Box(-1.0, 1.0, (2,), np.float64)
        )
        known = {"box": spaces.Box(-1.0, 1.0, (2,)), "choice": spaces.Discrete(3, start=3)}
        self.action_space = known[moves] if isinstance(moves, str) else moves
        self.at, self.steps = np.zeros(2), 0

    def _obs(self) -> Any:
        if self.sees == "dict":
            return {"x": self.at[:1].astype(np.float32), "y": {"deep": np.float32(self.at[1])}}
        return self.at.copy()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if self.fault == "raises":
            raise RuntimeError("no water\nin the pond")
        self.at, self.steps = self.np_random.uniform(-0.4, 0.4, 2), 0
        if self.fault == "nan":
            self.at[1] = np.nan
        if self.fault == "grows":
            self.observation_space = spaces.Box(-1.0, 1.0, (3,), np.float64)
        if self.fault == "old reset":
            return [0.0, 0.0, 0.0]  # type: ignore[return-value]
        return self._obs(), {"start": self.at.copy()}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        push = np.array([float(action) - 4, 0.0]) if self.moves == "choice" else np.asarray(action, np.float64)
        self.at, self.steps = 1.1 * self.at + 0.5 * push, self.steps + 1
        if self.fault == "late" and self.steps == 5:
            raise RuntimeError("the pond is frozen")
        fell = bool(np.abs(self.at).max() > 1)
        reward = float(1 - np.sum(self.at**2))
        if self.fault == "unpaid" and self.steps == 5:
            reward = float("nan")
        if (self.fault == "late nan" and self.steps == 5) or (self.fault == "fall nan" and fell):
            self.at[1] = np.nan
        if self.fault == "old step":
            return self._obs(), reward, fell, {}  # type: ignore[return-value]
        return self._obs(), reward, fell, False, {"at": self.at.copy()}

    def render(self) -> Any:
        if self.fault == "paint":
            raise RuntimeError("the paint is dry")
        if self.fault == "blank":
            return None
        frame = np.full((32, 32, 3), 200, np.uint8)
        row, column = np.clip((16 + 15 * self.at[::-1]).astype(int), 0, 31)
        frame[row, column] = 0
        return frame


LIMIT = 12
if "Pond-v0" not in gymnasium.registry:
    gymnasium.register("Pond-v0", entry_point=Pond, max_episode_steps=LIMIT)
    gymnasium.register("Bottomless-pond-v0", entry_point=Pond)
