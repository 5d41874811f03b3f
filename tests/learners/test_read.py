"""What a method says that it reads it reads, and what it says that nothing reads changes nothing.

Rows of one seed train side by side, each with another value of one traced setting.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.parts import path_name
from gailfe_jax.config.tree import leaves
from gailfe_jax.learners.methods import METHODS, policy_choices
from gailfe_jax.training.program import Trainer
from tests.tiny import noise_demos, tiny
from tests.toy import Cliff, cliff_expert

pytestmark = pytest.mark.usefixtures("compiled_in_haste")
ENV = Cliff()
FAST = [("ppo", None), ("bc", None), ("dagger", None)]
STEPS = [(algo, policy) for algo in METHODS for policy in policy_choices(METHODS[algo]) or (None,)]


# A floor counts once something falls to it.
MOVED = {"reward.lambda_min": 20.0}


def moved(name, value):
    return MOVED.get(name, 0.01 * value if value else 0.1)


@pytest.mark.parametrize(
    ("algo", "policy"),
    [pytest.param(*step, marks=() if step in FAST else pytest.mark.slow) for step in STEPS],
)
def test_traced_settings_change_what_is_learned_exactly_if_they_are_read(algo, policy):
    method = tiny(algo, policy)
    names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(method)]
    # Bound before, for a method refuses to be bound with what nothing reads.
    values, structure = jax.tree.flatten(method.on(ENV, total_iterations=4))
    rows = [np.array([v] * (len(names) + 1), np.float32) for v in values]
    for place, row in enumerate(rows):
        row[place + 1] = moved(names[place], row[0])
    demos = noise_demos(ENV, expert=cliff_expert())
    seeds = np.full(len(names) + 1, 3)
    trainer = Trainer(jax.tree.unflatten(structure, rows), seeds, chunk=4, eval_episodes=1)
    state, metrics = trainer.advance(trainer.init(demos), demos)
    state = jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, state)
    found = [np.asarray(x) for x in jax.tree.leaves((state, {k: v.T for k, v in metrics.items()}))]
    changed = {name for i, name in enumerate(names) if any((x[i + 1] != x[0]).any() for x in found if x.size)}
    read = {name for name in names if leaves(method)[name].unread is None}
    assert changed == read
