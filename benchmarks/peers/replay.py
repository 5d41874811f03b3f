"""Steps/s of SAC beside Stable-Baselines3's: equal networks, minibatches and updates for each environment step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.peers import speed
from benchmarks.peers.comparisons import STABLE_BASELINES3_SAC


def run(env: Sequence[str] = ("halfcheetah",), *, repeats: int = 5) -> dict[str, Any]:
    """Measures steps/s of the peer's SAC and of ours, in turn; see `speed.run`.

    Args:
      env: Measure on these tasks.
      repeats: Report the median of this many repeats.

    Raises:
      GailfeError: another task, a count below 1, or see `run_peer`.
    """
    return speed.beside(env, repeats, (STABLE_BASELINES3_SAC,), "peers_replay")


show, draw = speed.show, speed.draw
