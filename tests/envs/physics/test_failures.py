"""A task's function that fails while JAX traces it is named, with its file and line."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.envs import make_env, register_task
from gailfe_jax.errors import GailfeError

pytestmark = pytest.mark.usefixtures("own_registry")


def for_batches(xp, data):
    """Passes every check on batches, and mixes shapes where it is given one state."""
    return data.qpos + (xp.zeros((2, 3))[:, :2] + xp.zeros(3) if data.qpos.ndim == 1 else 0)


def observe_fields(xp, data):
    return for_batches(xp, data) + 0 * data.xpos[..., 1, :1]


def branching(xp, data):
    """Asks in Python for a number that only the program knows, of one state."""
    return xp.ones_like(data.qpos) if data.qpos.ndim > 1 or data.qpos[0] > 0 else data.qpos


def wide_alone(xp, data):
    """Has a number too many where it is given one state."""
    return xp.concatenate([data.qpos, data.qvel, data.qvel][: 2 + (data.qvel.ndim == 1)], axis=-1)


LINES = {function: function.__code__.co_firstlineno + 2 for function in (for_batches, branching)}


@pytest.mark.parametrize(
    ("engine", "observe", "fields", "culprit", "kind"),
    [
        ("mujoco_c", for_batches, (), for_batches, "ValueError|TypeError"),
        ("mjx", for_batches, (), for_batches, "ValueError|TypeError"),
        ("mjx", observe_fields, ("xpos",), for_batches, "ValueError|TypeError"),
        ("mjx", branching, (), branching, "TracerBoolConversionError"),
    ],
)
def test_an_observation_that_fails_in_jax_is_located(slider, engine, observe, fields, culprit, kind):
    register_task(slider(name="pond", observe=observe, obs_size=1, fields=fields))
    env = make_env("pond", engine)
    said = rf"observe of a start, traced by JAX, fails \(({kind}): .*\) in test_failures\.py, line {LINES[culprit]}"
    with pytest.raises(GailfeError) as caught:
        jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 2))
    # The whole message; JAX puts a note below it.
    assert re.fullmatch(rf"task 'pond': {said}", str(caught.value))


@pytest.mark.parametrize("engine", ["mujoco_c", "mjx"])
def test_an_observation_of_another_shape_is_named(slider, engine):
    register_task(slider(name="pond", observe=wide_alone))
    env = make_env("pond", engine)
    said = r"^task 'pond': observe of a start, traced by JAX, gives shape \[3\] for one state; expected \[2\]"
    with pytest.raises(GailfeError, match=said):
        jax.eval_shape(env.reset, jax.random.key(0))


@pytest.mark.parametrize("function", ["reward", "terminated"])
def test_what_a_step_calls_is_located_too(slider, function):
    def fails(xp, *states_and_more):
        qpos = states_and_more[-1 if function == "terminated" else 1].qpos
        number = qpos[..., 0] if qpos.ndim > 1 else qpos[0] + xp.zeros((2, 3))[5, 0, 0]
        return number > 1 if function == "terminated" else number

    register_task(slider(name="pond", **{function: fails}))
    env = make_env("pond", "mjx")
    state = jax.eval_shape(env.reset, jax.random.key(0))
    line = fails.__code__.co_firstlineno + 2
    said = rf"{function} of a step, traced by JAX, fails \(IndexError: .*\) in test_failures\.py, line {line}"
    with pytest.raises(GailfeError) as caught:
        jax.eval_shape(env.step, state, jnp.zeros(1))
    assert re.fullmatch(rf"task 'pond': {said}", str(caught.value))


def test_what_does_not_fail_is_not_touched(slider):
    register_task(slider(name="pond"))
    env = make_env("pond", "mjx")
    state = jax.jit(env.reset)(jax.random.key(0))
    assert np.isfinite(jax.jit(env.step)(state, jnp.zeros(1))[1].obs).all()
