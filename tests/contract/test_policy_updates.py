"""What every policy step promises (see `gailfe_jax.policies.base.PolicyUpdate`), the example's included."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.parts import as_arrays, map_traced, settings_of
from gailfe_jax.config.registry import METHOD_NAMES
from gailfe_jax.config.tree import leaves, put
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import METHODS, find_method, policy_name, with_policy
from gailfe_jax.learners.presets import preset
from gailfe_jax.policies.base import Objective, PolicyUpdate
from gailfe_jax.policies.mail import MAIL
from gailfe_jax.policies.registry import POLICY_UPDATES, register_policy_update
from gailfe_jax.policies.replayed import ReplayedUpdate
from gailfe_jax.rewards.registry import REWARDS
from gailfe_jax.types import ForwardTransitions, Problem, Transition
from tests.examples.loading import load_example, own_registries
from tests.tiny import SIZES
from tests.toy import Cliff

pytestmark = pytest.mark.usefixtures("compiled_in_haste")
PROBLEM = Problem(Cliff.spec, num_envs=4, unroll_length=8)
NAMES = [*POLICY_UPDATES, "a2c"]
# SAC stands for the steps from replay in the quick tests; the others have tests of their own there.
STEPS = [pytest.param(name, marks=pytest.mark.slow) if name in ("td3", "svg") else name for name in NAMES]


@pytest.fixture(scope="module", autouse=True)
def a2c():
    with own_registries():
        load_example("new_policy_step")
        yield


@pytest.fixture(params=STEPS)
def step(request) -> PolicyUpdate:
    made = POLICY_UPDATES.find(request.param)()
    sizes = {name.removeprefix("policy."): size for name, size in SIZES.items() if name.startswith("policy.")}
    made = put(made, {name: size for name, size in sizes.items() if name in leaves(made)})
    made.verify(PROBLEM.num_envs, PROBLEM.unroll_length)
    return as_arrays(made.bind(PROBLEM))


def unroll_of(step: PolicyUpdate, state: Any, key: Any) -> Transition:
    """An unroll on the cliff's observations whose actions are the policy's own."""
    obs = 0.3 * jax.random.normal(key, (8, 4, 2))
    action, log_prob = step.act(state, obs.reshape(-1, 2), key)
    action, log_prob = action.reshape(8, 4, 2), log_prob.reshape(8, 4)
    following = 1.2 * obs + 0.5 * jnp.clip(action, -1, 1)
    ended = jnp.zeros((8, 4), bool).at[3, 1].set(True)
    reward = 1.0 - jnp.sum(jnp.square(following), axis=-1)
    return Transition(obs, action, log_prob, following, reward, ended, ended & False)


def objective_of(step: PolicyUpdate, transition: Transition) -> Objective:
    moves = None
    if isinstance(step, MAIL):
        shape = step.model.fit_steps, step.model.ensemble, step.model.minibatch
        rows = jax.tree.map(
            lambda x: jnp.resize(x.reshape(-1, 2), (*shape, 2)),
            ForwardTransitions(transition.obs, transition.action, transition.next_obs),
        )
        moves = rows
    experience = None
    if isinstance(step, ReplayedUpdate):
        count, size, length = step.draws(PROBLEM.batch_size)
        rows = jnp.arange(count * size * length).reshape(count, size, length) % PROBLEM.batch_size
        experience = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[rows], transition)
    score = lambda obs, action, next_obs=None: -jnp.sum(jnp.square(1.2 * obs + 0.5 * action), axis=-1)  # noqa: E731
    return Objective(score=score, transitions=moves, experience=experience)


# Compiled once for each step: the tests share the programs.
@functools.cache
def jitted(fn: Any) -> Any:
    return jax.jit(fn)


def init(step: PolicyUpdate, key: Any) -> Any:
    return step.init(key)


def update(step: PolicyUpdate, state: Any, key: Any) -> tuple[Any, Any]:
    """`(state, metrics)` after one update on an unroll."""
    transition = unroll_of(step, state, key)
    return step.update(state, transition, objective_of(step, transition), key)


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def test_an_update_moves_policy_and_value_and_is_finite(step, key):
    before = jitted(init)(step, key)
    after, metrics = jitted(update)(step, before, key)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), before)
    assert np.isfinite(flat(after)).all()
    assert not np.array_equal(flat(before.policy), flat(after.policy))
    assert not np.array_equal(flat(before.value), flat(after.value))
    # No window of four steps ends with the unroll's only episode, so a model's error is known, too.
    assert all(np.shape(x) == () and np.isfinite(x) for x in metrics.values())


def test_a_step_of_size_zero_moves_nothing(step, key):
    held = map_traced(
        step, lambda marks, value: value * 0 if marks.step_size in ("policy", "value", "model") else value
    )
    before = jitted(init)(step, key)
    after, _ = jitted(update)(held, before, key)
    np.testing.assert_array_equal(flat(before.policy), flat(after.policy))
    np.testing.assert_array_equal(flat(before.value), flat(after.value))


def test_it_ascends_what_it_maximises(step, key):
    """A few updates raise the score of the policy's deterministic actions."""

    def worth(state: Any) -> float:
        obs = 0.3 * jax.random.normal(jax.random.key(5), (64, 2))
        action = jnp.clip(step.deterministic_action(state, obs), -1, 1)
        return float(jnp.mean(-jnp.sum(jnp.square(1.2 * obs + 0.5 * action), axis=-1)))

    state = start = jitted(init)(step, key)
    for i in range(60):
        state, _ = jitted(update)(step, state, jax.random.fold_in(key, i))
    assert worth(state) > worth(start)


def test_several_seeds_are_each_itself_alone(step):
    keys = jax.random.split(jax.random.key(1), 2)
    states = jax.vmap(lambda key: jitted(init)(step, key))(keys)
    together, _ = jax.vmap(lambda state, key: jitted(update)(step, state, key))(states, keys)
    for i, key in enumerate(keys):
        one = functools.partial(jax.tree.map, lambda x, i=i: x[i])
        alone, _ = jitted(update)(step, one(states), key)
        np.testing.assert_allclose(flat(one(together)), flat(alone), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_says_what_it_does_and_methods_can_choose_it(name):
    kind = POLICY_UPDATES.find(name)
    assert kind.summary and all(setting.help.endswith(".") for setting in settings_of(kind))
    chosen = with_policy(find_method("gail"), name)
    assert policy_name(chosen) == name and type(chosen.policy) is kind
    chosen.verify()


def test_a_registered_step_is_a_method_on_the_true_reward():
    method, _ = preset("a2c")
    assert method.name == "a2c" and not method.needs_demonstrations and method.reward is None
    assert policy_name(method) == "a2c" and method.policy.average == 0.0
    assert "a2c" in METHODS and len(METHODS) == len(set(METHODS))
    method.verify()


def test_what_no_one_can_register():
    class Mine(PolicyUpdate):
        pass

    for kind in (Mine, PolicyUpdate):
        with pytest.raises(GailfeError, match=rf"^policy mine: {kind.__name__} has no update; expected a class"):
            register_policy_update("mine", kind)
    with pytest.raises(GailfeError, match=r"^policy mine: got <class 'int'>; expected a subclass of PolicyUpdate"):
        register_policy_update("mine", int)  # type: ignore[arg-type]
    for name in ("ppo", "gail", "two words"):
        with pytest.raises(
            GailfeError, match=r"^policy: got the name .*; expected one word other than trpo, ppo, mail, sac, td3"
        ):
            register_policy_update(name, POLICY_UPDATES["a2c"])


def test_the_reserved_names_are_those_of_the_methods():
    own = {"a2c", *REWARDS} - set(METHOD_NAMES)
    assert set(METHODS) - own == set(METHOD_NAMES)
