"""What the tests of SMILe and Forward Training share."""

from __future__ import annotations

import numpy as np

from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.envs.rollout import evaluate
from gailfe_jax.learners.base import Rollout
from gailfe_jax.learners.cloning import Likelihood
from gailfe_jax.learners.stagewise import Stagewise

SETTINGS = Stagewise(
    rollout=Rollout(num_envs=32, unroll_length=12), policy=Likelihood(hidden=(), minibatch=32, lr=3e-2), fit_steps=200
)


def expert_returns(env, expert, key, episodes):
    """`[episodes]` returns of the expert without noise."""
    return np.asarray(evaluate(env, Oracle.act, Oracle.of(expert), key, episodes).returns)
