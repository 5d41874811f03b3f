"""Small demonstrations for tests, and their comparison to the bit."""

from __future__ import annotations

import dataclasses

import numpy as np

from gailfe_jax.data.trajectories import Demonstrations, Trajectories

OBS, ACTION, STATE = 3, 2, 4


def make_trajectories(lengths, seed=0, state=True, fell=None) -> Trajectories:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    terminated, truncated = np.zeros(n, bool), np.zeros(n, bool)
    obs = [rng.normal(size=(length + 1, OBS)).astype(np.float32) for length in lengths]
    for i, end in enumerate(offsets[1:] - 1):
        (terminated if (i % 2 if fell is None else fell) else truncated)[end] = True
    return Trajectories(
        obs=np.concatenate([o[:-1] for o in obs]),
        action=rng.uniform(-1, 1, (n, ACTION)).astype(np.float32),
        next_obs=np.concatenate([o[1:] for o in obs]),
        reward=rng.normal(size=n).astype(np.float32),
        terminated=terminated,
        truncated=truncated,
        offsets=offsets,
        simulator_state=rng.normal(size=(n, STATE)) if state else None,
    )


def make_demonstrations(failures=(2, 4), state=True) -> Demonstrations:
    failed = make_trajectories(failures, 1, state, fell=True) if failures else Trajectories.empty(OBS, ACTION)
    return Demonstrations(
        env_id="Hopper-v5",
        expert=make_trajectories([5, 3, 1], 0, state),
        failures=failed,
        provenance={"expert": "hopper", "seed": 3, "versions": {"jax": "0.10"}, "note": "é\n∞"},
    )


def assert_equal(a: Trajectories, b: Trajectories) -> None:
    for field in dataclasses.fields(Trajectories):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if left is None or right is None:
            assert left is right is None
        else:
            assert left.dtype == right.dtype
            assert left.shape == right.shape
            assert left.tobytes() == right.tobytes()


def assert_equal_demonstrations(a: Demonstrations, b: Demonstrations) -> None:
    assert (a.env_id, a.provenance) == (b.env_id, b.provenance)
    assert_equal(a.expert, b.expert)
    assert_equal(a.failures, b.failures)


def one_line(error) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message
