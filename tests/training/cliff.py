"""The run that the tests of this room share: GAILFE on the cliff, two seeds and four evaluations."""

from __future__ import annotations

import numpy as np

from gailfe_jax.training.checkpoint import CheckpointManager
from gailfe_jax.training.inputs import prepare_inputs
from gailfe_jax.training.program import Trainer
from gailfe_jax.training.run_folder import load_run, read_record
from tests.tiny import tiny, tiny_run
from tests.toy import Cliff

ENV = Cliff()
METHOD = tiny("gailfe")
CHUNK = METHOD.rollout.batch_size
EVALUATIONS = 4
SEEDS = [3, 4]


def settings(evaluations=EVALUATIONS, **changes):
    """A run of so many evaluations, one an iteration, that saves after each."""
    fields = {"seeds": 2, "first_seed": 3, "eval_episodes": 2, "checkpoint_seconds": 0} | changes
    return tiny_run(**({"steps": evaluations * CHUNK, "eval_every": CHUNK} | fields))


def restored(folder, env=ENV):
    """`(step, learner, state)` of the newest checkpoint, by what the folder says of itself."""
    saved = read_record(load_run(folder))
    inputs = prepare_inputs(saved.method, env, saved.demos)
    learner = saved.method.on(env, annotator=inputs.annotator, success=inputs.success)
    template = Trainer(learner, np.array(SEEDS), chunk=1, eval_episodes=1).template(inputs.demos)
    step, state = CheckpointManager(folder / "checkpoints").restore(template)
    return step, learner, state
