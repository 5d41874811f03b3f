"""Calibration of a binary judge's probabilities: how reliable they are, and Platt's scaling."""

from __future__ import annotations

from typing import Any

import numpy as np

from gailfe_jax.artifacts.confidence import sigmoid

BINS = 10


def platt_scaling(logit: np.ndarray, positive: np.ndarray, steps: int = 50) -> tuple[float, float]:
    """Slope and offset of the logistic regression of `positive [n]` on `logit [n]` (Platt 1999).

    Targets are Platt's, pulled a little towards each other, so that separable data have a solution too.
    """
    count = np.array([np.sum(~positive), np.sum(positive)], np.float64)
    target = np.where(positive, (count[1] + 1) / (count[1] + 2), 1 / (count[0] + 2))
    x = np.stack([logit, np.ones_like(logit)], axis=1).astype(np.float64)

    def loss(weights: np.ndarray) -> float:
        z = x @ weights
        return float(np.mean(np.logaddexp(0, z) - target * z))

    weights = np.array([1.0, 0.0])
    for _ in range(steps):
        p = sigmoid(x @ weights)
        gradient = x.T @ (p - target) / len(x)
        hessian = (x * (p * (1 - p))[:, None]).T @ x / len(x) + 1e-9 * np.eye(2)
        step, size = np.linalg.solve(hessian, gradient), 1.0
        while size > 1e-6 and loss(weights - size * step) > loss(weights):
            size /= 2
        weights = weights - size * step
    return float(weights[0]), float(weights[1])


def reliability(probability: np.ndarray, positive: np.ndarray, bins: int = BINS) -> dict[str, Any]:
    """How well `probability [n]` foretells `positive [n]`.

    Returns:
      Per bin of (nearly) equal count the mean probability, the share of positives and the count; the expected
      calibration error (their mean distance, weighted by count), the Brier score, the log loss and the accuracy.
    """
    # Equal counts: in bins of equal width the outermost would rest on a pair or two.
    place = np.empty(len(probability), int)
    place[np.argsort(probability, kind="stable")] = np.arange(len(probability)) * bins // len(probability)
    rows = [
        {
            "probability": float(np.mean(probability[place == b])),
            "share": float(np.mean(positive[place == b])),
            "count": int(np.sum(place == b)),
        }
        for b in range(bins)
        if np.any(place == b)
    ]
    inside = np.clip(probability, 1e-12, 1 - 1e-12)
    return {
        "bins": rows,
        "calibration_error": sum(abs(r["probability"] - r["share"]) * r["count"] for r in rows) / len(probability),
        "brier_score": float(np.mean(np.square(probability - positive))),
        "log_loss": float(-np.mean(np.where(positive, np.log(inside), np.log1p(-inside)))),
        "accuracy": float(np.mean((probability > 0.5) == positive)),
    }
