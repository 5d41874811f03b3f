"""From the metrics of a chunk's iterations to one row per evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def summarise(metrics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Means over a chunk, `[chunk, S] -> [S]`; counts at its end; episode means weighted by episodes."""
    last = {"multiplier", "failures_in_buffer", "failure_transitions", "entropy", "irlf_lambda"}
    last |= {"validation_loss", "best_validation_loss", "stopped", "aggregate"}

    def over_chunk(value: np.ndarray) -> np.ndarray:
        # Each seed's numbers in a row of their own: else NumPy's order of summation depends on the number of seeds.
        return np.ascontiguousarray(value.T, np.float64).sum(axis=1)

    # Cloning sees no episodes.
    weights = metrics.get("episodes", np.zeros_like(next(iter(metrics.values()))))
    total = over_chunk(weights)
    row = {}
    for name, value in metrics.items():
        if name in last:
            row[name] = value[-1]
        elif name == "episodes":
            row[name] = total
        elif name.startswith("train_"):
            sums = over_chunk(np.where(weights > 0, value * weights, 0.0))
            row[name] = np.divide(sums, total, out=np.full(total.shape, np.nan), where=total > 0)
        else:
            row[name] = over_chunk(value) / len(value)
    return row


def stack(points: list[tuple[int, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([step for step, _ in points]), np.stack([value for _, value in points], axis=1)
