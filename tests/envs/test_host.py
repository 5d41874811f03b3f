"""Gymnasium environments stepped on the host, beside the same copies stepped by hand."""

from __future__ import annotations

import functools

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.envs import as_env, check_env, host, make_env
from gailfe_jax.envs.host import HostEnv, gymnasium_env
from gailfe_jax.envs.rollout import evaluate, unroll
from gailfe_jax.errors import GailfeError
from gailfe_jax.flat_env import Lane, make_gymnasium
from tests.hosted import LIMIT, Pond

NAME = "gym:tests.hosted:Pond-v0"
STEPS = 30

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


def rolled(env, keys, actions):
    """`(counts, steps)` of environments of any batch shape under `actions [T, a]`, the same for all."""

    def one(key):
        def body(state, action):
            after, step = env.step(state, action)
            return after, ({"step": state.step_count, "episode": state.episode, "return": state.episode_return}, step)

        return jax.lax.scan(body, env.reset(key), actions)[1]

    for _ in keys.shape:
        one = jax.vmap(one)
    return jax.tree.map(np.asarray, jax.jit(one)(keys))


def by_hand(key, actions, **options):
    """The same in Gymnasium alone, one copy: rows of `(next_obs, obs, reward, terminated, truncated)`."""
    lane = Lane(make_gymnasium("tests.hosted:Pond-v0", **options))
    seed = jax.random.key_data(jax.random.fold_in(key, 0))
    lane.reset(seed=int.from_bytes(np.asarray(seed).tobytes(), "little"))
    rows = []
    for action in np.asarray(actions):
        next_obs, reward, terminated, truncated, _ = lane.step(action)
        obs = lane.reset()[0] if terminated or truncated else next_obs
        rows.append((next_obs, obs, np.float32(reward), terminated, truncated and not terminated))
    return [np.stack(column) for column in zip(*rows)]


def small_pushes(size=2):
    return 0.3 * jax.random.normal(jax.random.key(3), (STEPS, size))


@pytest.mark.parametrize("kind", ["vector", "dict", "choice"])
def test_it_steps_as_gymnasium_does(kind):
    options = {"moves": "choice"} if kind == "choice" else {"sees": kind}
    name = "&".join(f"{key}={value}" for key, value in options.items())
    env = make_env(f"{NAME}?{name}")
    spec = env.spec
    assert (spec.obs_size, spec.action_size, spec.discrete) == (2, 3 if kind == "choice" else 2, kind == "choice")
    assert (spec.max_episode_steps, spec.engine, spec.gymnasium_id) == (LIMIT, "gymnasium", env.spec.name[4:])
    assert spec.action_low == ((0.0,) * 3 if kind == "choice" else (-1.0, -1.0))
    check_env(env)
    keys, actions = jax.random.split(jax.random.key(1), 4), small_pushes(spec.action_size)
    counts, steps = rolled(env, keys, actions)
    ended = steps.terminated | steps.truncated
    assert (
        steps.terminated.any()
        and (steps.truncated.any() or kind == "choice")
        and not (steps.terminated & steps.truncated).any()
    )
    for i, key in enumerate(keys):
        found = [getattr(steps, field)[i] for field in ("next_obs", "obs", "reward", "terminated", "truncated")]
        for ours, theirs in zip(found, by_hand(key, actions, **options), strict=True):
            assert np.array_equal(ours, theirs)
    assert not np.array_equal(steps.next_obs[ended], steps.obs[ended])
    assert np.array_equal(steps.next_obs[~ended], steps.obs[~ended])
    assert np.array_equal(counts["step"][:, 1:], np.where(ended, 0, counts["step"] + 1)[:, :-1])
    assert np.array_equal(counts["episode"][:, 1:], np.cumsum(ended, axis=1)[:, :-1])


def test_a_fall_at_the_time_limit_is_a_fall():
    lengths = np.flatnonzero(by_hand(jax.random.key(0), jnp.ones((STEPS, 2)))[3])
    fall = int(lengths[0]) + 1
    env = make_env(f"{NAME}?max_episode_steps={fall}")
    _, steps = rolled(env, jax.random.key(0), jnp.ones((fall, 2)))
    assert (steps.terminated[-1], steps.truncated[-1]) == (True, False)


def test_seeds_side_by_side_are_those_alone():
    env, actions = make_env(NAME), small_pushes()
    keys = jax.random.split(jax.random.key(1), (2, 3))
    together = rolled(env, keys, actions)
    again = rolled(env, keys, actions)
    for i in range(2):
        alone = rolled(env, keys[i], actions)
        for a, b, c in zip(*map(jax.tree.leaves, (together, again, alone)), strict=True):
            assert np.array_equal(a, b) and np.array_equal(a[i], c)


def test_an_episode_depends_on_its_number_alone():
    env = make_env(NAME)
    pushed = rolled(env, jax.random.key(4), jnp.zeros((STEPS, 2)).at[0].set(1.0))
    idle = rolled(env, jax.random.key(4), jnp.zeros((STEPS, 2)))
    starts = [steps.obs[steps.terminated | steps.truncated][0] for _, steps in (pushed, idle)]
    assert np.array_equal(*starts)


def test_a_loop_that_ends_at_different_times_gives_each_its_own():
    """`evaluate` under `vmap` goes on for all seeds until the last has finished."""
    env, keys = make_env(NAME), jax.random.split(jax.random.key(2), 3)
    push = jnp.array([0.9, 0.0, -0.2])

    def run(key, push):
        return evaluate(env, lambda push, obs: jnp.full_like(obs, push), push, key, 2)

    together = jax.jit(jax.vmap(run))(keys, push)
    assert len(set(together.lengths.max(axis=1).tolist())) > 1
    for i in range(3):
        for among, alone in zip(*map(jax.tree.leaves, (together, run(keys[i], push[i]))), strict=True):
            assert np.array_equal(among[i], alone)


def test_batches_of_one_size_live_side_by_side_until_there_are_too_many(monkeypatch):
    monkeypatch.setattr(host, "_KEPT", 2)
    env = HostEnv(Pond, name="mine", max_episode_steps=9)
    reset, step = jax.jit(jax.vmap(env.reset)), jax.jit(jax.vmap(env.step))
    keys, still = jax.random.split(jax.random.key(0), 2), jnp.zeros((2, 2))
    train, play = reset(keys), reset(keys)
    for _ in range(3):
        train, one = step(train, still)
        play, two = step(play, still)
        assert np.array_equal(one.next_obs, two.next_obs)
    train, _ = step(train, still)
    # The one that was not stepped for longest is used again.
    third = reset(keys)
    train, _ = step(train, still)
    third, _ = step(third, still)
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"env 'mine': this state's environments were given to newer"):
        jax.block_until_ready(step(play, still))
    # Another size has its own.
    reset(jax.random.split(jax.random.key(0), 3))
    step(train, still)


def test_a_state_is_stepped_once_and_with_those_it_was_reset_with():
    env = make_env(NAME)
    step, still = jax.jit(jax.vmap(env.step)), jnp.zeros((3, 2))
    start = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 3))
    after, _ = step(start, still)
    with pytest.raises(
        jax.errors.JaxRuntimeError, match=rf"env '{NAME}': a state is stepped twice; expected each once"
    ):
        jax.block_until_ready(step(start, still))
    some = jax.tree.map(lambda x: x[:2], after)
    with pytest.raises(
        jax.errors.JaxRuntimeError, match="got 2 states of a batch of 3; expected all that were reset t"
    ):
        jax.block_until_ready(step(some, still[:2]))
    # In another order, and with another batch in one call.
    other = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(1), 2))
    mixed = jax.tree.map(lambda a, b: jnp.concatenate([a, b])[jnp.array([2, 4, 0, 3, 1])], after, other)
    push = jnp.arange(10.0).reshape(5, 2) / 20
    _, found = step(mixed, push)
    np.testing.assert_allclose(found.next_obs, 1.1 * mixed.obs + 0.5 * push, atol=1e-6)
    # One that lags behind is nobody's: no number of it passes for an episode's.
    start = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 3))
    after, _ = step(start, still)
    lagging = jax.tree.map(lambda old, new: jnp.concatenate([old[:1], new[1:]]), start, after)
    lagging, found = step(lagging, still)
    assert np.isnan(found.reward).tolist() == [True, False, False] and np.isnan(found.next_obs[0]).all()
    assert np.isnan(step(lagging, still)[1].reward).tolist() == [True, False, False]


def test_a_stored_state_goes_on_with_a_new_episode():
    for env in (make_env(NAME), make_env(f"delayed3:{NAME}")):
        keys = jax.random.split(jax.random.key(0), 2)
        state, _ = jax.jit(jax.vmap(env.step))(jax.jit(jax.vmap(env.reset))(keys), jnp.ones((2, 2)))
        restart = jax.jit(jax.vmap(env.restart))
        one, two = restart(state), restart(state)
        assert np.array_equal(one.obs, two.obs) and not np.array_equal(one.obs, state.obs)
        assert one.step_count.tolist() == [0, 0] and one.episode.tolist() == [1, 1]
        assert one.episode_return.tolist() == [0, 0]
        assert jax.tree.structure(one) == jax.tree.structure(state)
        _, step = jax.jit(jax.vmap(env.step))(two, jnp.zeros((2, 2)))
        np.testing.assert_allclose(step.next_obs, 1.1 * two.obs, rtol=1e-6)


def test_an_environment_that_fails_says_so():
    env = make_env(f"{NAME}?fault=late")
    with pytest.raises(jax.errors.JaxRuntimeError, match="the pond is frozen"):
        jax.block_until_ready(rolled(env, jax.random.key(0), jnp.zeros((9, 2))))


@pytest.mark.slow
def test_processes_give_the_same():
    keys, actions = jax.random.split(jax.random.key(1), 2), small_pushes()
    apart = make_env(f"{NAME}?processes=true")
    assert apart.spec.name == f"{NAME}?processes=true" and apart.spec.gymnasium_id == "tests.hosted:Pond-v0"
    for a, b in zip(*(jax.tree.leaves(rolled(env, keys, actions)) for env in (make_env(NAME), apart)), strict=True):
        assert np.array_equal(a, b)
    apart.close()


def test_an_object_is_copied():
    for made, name in (
        (gymnasium.make("tests.hosted:Pond-v0"), "gym:Pond-v0"),
        (gymnasium.make("Pond-v0", sees="dict", max_episode_steps=5), "gym:Pond-v0?sees=dict&max_episode_steps=5"),
        (gymnasium.wrappers.FlattenObservation(gymnasium.make("Pond-v0", sees="dict")), "Pond"),
    ):
        env = as_env(made)
        assert env.spec.name == name and env.spec.gymnasium_id == (name[4:] if name[:4] == "gym:" else None)
        assert rolled(env, jax.random.split(jax.random.key(0), 2), small_pushes())[1].next_obs.shape == (2, STEPS, 2)
    mine = gymnasium_env(Pond, max_episode_steps=4)
    assert (mine.spec.name, mine.spec.max_episode_steps, mine.spec.gymnasium_id) == ("Pond", 4, None)
    assert rolled(mine, jax.random.key(0), jnp.zeros((4, 2)))[1].truncated.tolist() == [False] * 3 + [True]
    assert gymnasium_env(functools.partial(Pond, sees="dict"), name="pond", max_episode_steps=4).spec.name == "pond"
    with pytest.raises(
        GailfeError, match=r"^env: Pond was not made by gymnasium.make, so there is no second one; expected gymnas"
    ):
        as_env(Pond())
    with pytest.raises(GailfeError, match=r"^env: got a int; expected a Gymnasium id, or a function that makes a gymn"):
        gymnasium_env(3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (object, r"^env 'object': the function that makes it gives a object; expected a gymnasium.Env$"),
        (lambda: Pond, r"^env '<lambda>': the function that makes it gives the class Pond; expected a gymnasium.Env$"),
        (
            lambda: 1 / 0,
            r"^env '<lambda>': the function that makes it fails \(ZeroDivisionError: division.*; test_host",
        ),
        (lambda depth: Pond(), r"^env '<lambda>': the function that makes it fails \(TypeError: .*: 'depth'\)$"),
    ],
)
@pytest.mark.parametrize("limit", [None, 4])
def test_a_function_that_makes_no_environment_is_one_line(make, message, limit):
    with pytest.raises(GailfeError, match=message):
        gymnasium_env(make, max_episode_steps=limit)


def test_registering_again_takes_effect():
    gymnasium.register("Puddle-v0", entry_point=Pond, max_episode_steps=3)
    try:
        first = make_env("gym:Puddle-v0")
        assert make_env("gym:Puddle-v0") is first and make_env("delayed2:gym:Puddle-v0").env is first
        del gymnasium.registry["Puddle-v0"]
        gymnasium.register("Puddle-v0", entry_point=Pond, max_episode_steps=4)
        assert (first.spec.max_episode_steps, make_env("gym:Puddle-v0").spec.max_episode_steps) == (3, 4)
        assert make_env("delayed2:gym:Puddle-v0").spec.max_episode_steps == 4
    finally:
        del gymnasium.registry["Puddle-v0"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tests.hosted:Bottomless-pond-v0", r"has no time limit; expected max_episode_steps, as in gym:<id>\?max_epi"),
        (
            "tests.hosted:Pond-v0?max_episode_steps=0",
            "expected an environment Gymnasium can make|max_episode_steps is 0",
        ),
        ("tests.hosted:Pond-v0?fault=nan", "observation 1 is nan after reset"),
        ("tests.nowhere:Pond-v0", "expected an environment Gymnasium can make"),
        ("Pund-v0", "expected an environment Gymnasium can make"),
    ],
)
def test_what_cannot_be_made_is_one_line(name, message):
    with pytest.raises(GailfeError, match=rf"^env '.*': {message}") as caught:
        make_env(f"gym:{name}")
    assert "\n" not in str(caught.value)
    with pytest.raises(GailfeError, match=r"^env: option processes of gym:Pond-v0 is 3; expected true or false"):
        make_env("gym:Pond-v0?processes=3")
    with pytest.raises(GailfeError, match="brings its own engine and takes no option iterations"):
        make_env(NAME, iterations=3)


def test_unbounded_actions_train_on():
    space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    env = gymnasium_env(functools.partial(Pond, moves=space), name="free", max_episode_steps=5)
    check_env(env)
    assert env.spec.action_high == (np.inf, np.inf)

    def act(agent, obs, key):
        return 3.0 * jax.random.normal(key, (len(obs), 2)), jnp.zeros(len(obs))

    state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 3))
    _, transition, totals = unroll(env, act, None, state, jax.random.key(1), 6)
    assert np.abs(transition.action).max() > 2 and np.isfinite(transition.next_obs).all() and totals.count > 0


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("late nan", "observation 1 is nan after a step; expected finite numbers"),
        ("unpaid", "the reward is nan after a step; expected a finite number"),
    ],
)
def test_what_is_no_number_is_the_environments(fault, message):
    env = gymnasium_env(functools.partial(Pond, fault=fault), name="mine", max_episode_steps=9)
    with pytest.raises(jax.errors.JaxRuntimeError, match=f"env 'mine': {message}"):
        jax.block_until_ready(rolled(env, jax.random.key(0), jnp.zeros((9, 2))))


def test_what_a_fall_led_to_may_be_anything():
    env = gymnasium_env(functools.partial(Pond, fault="fall nan"), name="mine", max_episode_steps=9)
    _, step = rolled(env, jax.random.key(0), jnp.ones((9, 2)))
    assert np.isnan(step.next_obs).any() and np.isfinite(step.obs).all() and step.terminated.any()


def test_actions_that_are_no_numbers_are_not_the_environments():
    env = gymnasium_env(Pond, name="mine", max_episode_steps=9)
    assert np.isnan(rolled(env, jax.random.key(0), jnp.full((3, 2), jnp.nan))[1].next_obs).all()


@pytest.mark.parametrize("limit", ["-1", "true", "1e99", "2.5", "many", "null", "0"])
def test_a_time_limit_is_a_whole_number(limit):
    with pytest.raises(GailfeError, match=r"^env 'gym:Pond-v0\?.*': max_episode_steps is .*; expected a whole number"):
        make_env(f"gym:Pond-v0?max_episode_steps={limit}")


@pytest.mark.parametrize(
    "name", ["Pund-v0", "", "Pond-v0?depth=3", "Pond-v0?sees", "Pond-v0?sees=dict&sees=dict", "tests.nowhere:Pond-v0"]
)
def test_messages_name_it_as_it_was_given(name):
    with pytest.raises(GailfeError, match="gym:" + name.partition("?")[0]):
        make_env(f"gym:{name}")


def test_gymnasiums_warnings_do_not_stand_beside_an_error(recwarn):
    with pytest.raises(GailfeError, match="expected two choices or more"):
        gymnasium_env(_outdated, name="old", max_episode_steps=5)
    assert not recwarn.list


def _outdated():
    gymnasium.logger.warn("this environment is out of date")
    return Pond(moves=gymnasium.spaces.Discrete(1))
