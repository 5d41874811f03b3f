"""Draws the arm's start states, `starts.npz`: the arm at rest anywhere above the table, the ball anywhere it reaches.

python examples/arm/make_starts.py
"""

import pathlib

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
SHOULDER, UPPER, FORE = 0.45, 0.3, 0.27  # Height above the table and lengths to the tip, in metres.


def main(n: int = 500) -> None:
    """Writes `n` start states; the same ones every time."""
    rng = np.random.default_rng(0)
    shoulder, elbow = rng.uniform(-1.2, 1.2, 20 * n), rng.uniform(-1.8, 1.8, 20 * n)
    tip = SHOULDER - UPPER * np.sin(shoulder) - FORE * np.sin(shoulder + elbow)
    radius, angle = rng.uniform(0.25, 0.5, 20 * n), rng.uniform(-0.5, 1.2, 20 * n)
    ball = np.stack([radius * np.cos(angle), SHOULDER + radius * np.sin(angle)], axis=1)
    # Room for the arm to be late with its first torque: it falls.
    good = np.flatnonzero((tip > 0.25) & (ball[:, 1] > 0.2))[:n]
    qpos = np.concatenate([shoulder[good, None], elbow[good, None], ball[good]], axis=1)
    np.savez_compressed(HERE / "starts.npz", qpos=qpos.astype(np.float32), qvel=np.zeros_like(qpos, np.float32))


if __name__ == "__main__":
    main()
