"""What every reward promises (see `gailfe_jax.rewards.base.Reward`), the example's included."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal  # noqa: F401

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.parts import as_arrays, setting, settings_of, subpart, traced
from gailfe_jax.config.tree import leaves, put
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import METHODS, find_method
from gailfe_jax.rewards.base import Reward, RewardBatch
from gailfe_jax.rewards.registry import REWARDS, register_reward
from gailfe_jax.types import Problem, StateAction
from tests.examples.loading import load_example, own_registries
from tests.tiny import SIZES
from tests.toy import Cliff

pytestmark = pytest.mark.usefixtures("compiled_in_haste")
PROBLEM = Problem(Cliff.spec, num_envs=4, unroll_length=8)
NAMES = [*REWARDS, "kernel"]


@pytest.fixture(scope="module", autouse=True)
def kernel():
    with own_registries():
        load_example("new_reward")
        yield


def pairs(seed: int, *shape: int) -> StateAction:
    rng = np.random.default_rng(seed)
    obs, action = rng.normal(seed, 1, (*shape, 2)), rng.uniform(-1, 1, (*shape, 2))
    return StateAction(jnp.asarray(obs, jnp.float32), jnp.asarray(action, jnp.float32))


@pytest.fixture(params=NAMES)
def reward(request) -> Reward:
    made = REWARDS.find(request.param)()
    sizes = {name.removeprefix("reward."): size for name, size in SIZES.items() if name.startswith("reward.")}
    made = put(made, {name: size for name, size in sizes.items() if name in leaves(made)})
    return as_arrays(made.bind(PROBLEM))


def batch_of(reward: Reward, failures: bool = True) -> RewardBatch:
    shape = reward.draws
    found = pairs(3, *shape) if failures else None
    present = jnp.array(True) if failures else None
    return RewardBatch(pairs(1, *shape), found, present, expert=pairs(0, 50), multiplier=jnp.float32(1.0))


def fit(reward: Reward, key: Any, failures: bool, present: bool = True) -> Any:
    batch = batch_of(reward, failures)
    batch = batch.replace(has_failures=jnp.array(present)) if failures else batch
    return reward.fit(reward.init(key, pairs(0, 50)), batch, key)


jitted = functools.cache(functools.partial(jax.jit, static_argnames=("failures", "present")))


def fitted(reward: Reward, key: Any, failures: bool | None = None, present: bool = True) -> Any:
    """`(state, metrics)` after one fit, compiled once for each reward."""
    failures = reward.learns_from_failures if failures is None else failures
    return jitted(fit)(reward, key, failures=failures, present=present)


def same(one: Any, two: Any, **tolerance: float) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **({"rtol": 1e-4, "atol": 1e-5} | tolerance)), one, two)


def test_a_fit_keeps_the_state_s_shapes_and_is_finite(reward, key):
    before = reward.init(key, pairs(0, 50))
    state, metrics = fitted(reward, key)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(lambda x: (x.shape, x.dtype), before)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((state, metrics)))
    assert all(np.shape(x) == () for x in metrics.values())


def test_a_score_is_one_number_for_each_pair(reward, key):
    state, _ = fitted(reward, key)
    for shape in ((), (5,), (3, 5)):
        shown = pairs(2, *shape)
        score = reward.score(state, shown.obs, shown.action)
        assert score.shape == shape and np.isfinite(score).all()
    many, each = pairs(2, 5), jax.vmap(lambda x: reward.score(state, x.obs, x.action))
    same(reward.score(state, many.obs, many.action), each(many))


def test_it_has_a_gradient_where_it_says_so(reward, key):
    state, _ = fitted(reward, key)
    shown = pairs(2, 5)
    slope = jax.grad(lambda x: jnp.sum(reward.score(state, x.obs, x.action)))(shown)
    slope = np.concatenate([slope.obs, slope.action])
    assert np.isfinite(slope).all() and bool(np.any(slope != 0)) == reward.differentiable


def test_several_seeds_are_each_itself_alone(reward):
    keys = jax.random.split(jax.random.key(1), 2)
    together = jax.vmap(lambda key: fitted(reward, key))(keys)
    for i, key in enumerate(keys):
        same(jax.tree.map(lambda x, i=i: x[i], together), fitted(reward, key))


def test_a_fit_favours_the_demonstrations(reward, key):
    """After some fits the demonstrations are paid more than the policy's pairs, unless nothing is looked at."""
    state = reward.init(key, pairs(0, 50))
    once = jax.jit(lambda state, key: reward.fit(state, batch_of(reward, reward.learns_from_failures), key)[0])
    for i in range(20):
        state = once(state, jax.random.fold_in(key, i))
    expert, policy = (jnp.mean(reward.score(state, x.obs, x.action)) for x in (pairs(0, 50), pairs(1, 50)))
    assert (expert > policy) == reward.needs_expert


def test_failures_move_what_learns_from_them_or_is_constrained(reward, key):
    if not (reward.learns_from_failures or reward.constrainable):
        pytest.skip("it has no use for failures")
    state, metrics = fitted(reward, key, failures=True)
    without, _ = fitted(reward, key, failures=True, present=False)
    leaves_of = lambda tree: np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])  # noqa: E731
    assert not np.array_equal(leaves_of(state), leaves_of(without))
    assert ("failure_log_d" in metrics) == reward.constrainable


def test_its_draws_fit_the_unroll(reward):
    steps, size = reward.draws
    assert steps >= 1 and 1 <= size <= PROBLEM.batch_size and reward.policy_replay >= 0


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_says_what_it_does_and_every_reward_is_a_method(name):
    kind = REWARDS.find(name)
    assert all(setting.help.endswith(".") for setting in settings_of(kind))
    method = find_method("gail" if name == "discriminator" else name)
    assert type(method.reward) is kind and method.needs_demonstrations == kind.needs_expert
    method.verify()


def test_positives_are_what_is_there(key):
    own, shown = pairs(7, 2, 6), pairs(0, 50)
    batch = RewardBatch(pairs(1, 2, 6), expert=shown)
    rows = {tuple(row) for row in np.concatenate([shown.obs, shown.action], axis=1).tolist()}
    assert {tuple(row) for row in batch.positives(key).reshape(12, 4).tolist()} <= rows
    half = batch.replace(self_demonstrations=own, has_self=jnp.array(True)).positives(key)
    np.testing.assert_array_equal(half[:, :3, :2], own.obs[:, :3])
    np.testing.assert_array_equal(half[:, 3:], batch.positives(key)[:, 3:])
    none = batch.replace(self_demonstrations=own, has_self=jnp.array(False)).positives(key)
    np.testing.assert_array_equal(none, batch.positives(key))
    alone = RewardBatch(pairs(1, 2, 6), self_demonstrations=own, has_self=jnp.array(True)).positives(key)
    np.testing.assert_array_equal(alone[..., 2:], own.action)


class Whole(Reward):
    """A reward that is complete."""

    def init(self, key, expert):
        return ()

    def fit(self, state, batch, key):
        return state, {}

    def score(self, state, obs, action):
        return obs[..., 0]


@pytest.mark.parametrize(
    ("annotation", "default", "message"),
    [
        ("int | str", 1, r"K\.size: is annotated int \| str; expected bool, int, "),
        ("Literal[1, 2]", 1, r"K\.size: is annotated Literal\[1, 2\]; expected bool, int, "),
        ("Any", 1, r"K\.size: is annotated Any; expected bool, int, "),
        ("dict", (), r"K\.size: is annotated dict; expected bool, int, "),
        ("list[int]", (), r"K\.size: is annotated list\[int\]; expected bool, int, "),
        ("Foo", 1, r"K\.size: no such annotation \(name 'Foo' is not defined\); expected bool, int, "),
        ("int", dataclasses.MISSING, r"K\.size: has no default; expected one"),
        ("int", "many", r"K\.size: its default: got 'many'; expected a whole number$"),
        ("int", setting(0, least=1), r"K\.size: its default: got 0; expected a whole number from 1$"),
        ("int", traced(1), r"K\.size: is annotated int; expected float for a traced setting$"),
        ("float", traced(1.0, step_size="no"), r"K\.size: got step_size 'no'; expected one of policy, "),  # type: ignore[arg-type]
        ("Reward", subpart(5), r"K\.size: got 5; expected an object of Reward$"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_when_its_part_is_registered(annotation, default, message):
    own = {"__module__": __name__, "__annotations__": {"size": annotation}}
    kind = type(Whole)("K", (Whole,), own if default is dataclasses.MISSING else own | {"size": default})
    with pytest.raises(GailfeError, match=f"^{message}"):
        register_reward("mine", kind)
    assert "mine" not in METHODS


@pytest.mark.parametrize("name", ["problem", "kind", "init", "replace", "unread"])
def test_a_setting_with_a_name_that_is_taken_is_refused(name):
    kind = type(Whole)("K", (Whole,), {"__module__": __name__, "__annotations__": {name: "int"}, name: 1})
    with pytest.raises(GailfeError, match=rf"^K\.{name}: .*; expected another name for a setting$"):
        register_reward("mine", kind)


def test_what_no_one_can_register():
    class Mine(Reward):
        pass

    class Speechless(Whole):
        def unread(self):
            return None

    for kind in (Mine, Reward):
        with pytest.raises(GailfeError, match=rf"^reward mine: {kind.__name__} has no fit, init, score; expected a "):
            register_reward("mine", kind)
    with pytest.raises(GailfeError, match=r"^Speechless\.unread: got None; expected a dictionary"):
        register_reward("mine", Speechless)
    with pytest.raises(GailfeError, match=r"^reward mine: got <class 'int'>; expected a subclass of Reward"):
        register_reward("mine", int)  # type: ignore[arg-type]
    for name in ("gail", "mail", "fem", "two words", ""):
        with pytest.raises(
            GailfeError, match=r"^reward: got the name .*; expected one word other than discriminator, "
        ):
            register_reward(name, Mine)
    assert "mine" not in METHODS
