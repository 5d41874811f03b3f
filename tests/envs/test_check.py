"""Environments and tasks that are not what they promise are refused, field by field."""

from __future__ import annotations

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import pytest

from gailfe_jax.envs import check_env, make_env
from gailfe_jax.envs.check import check_task
from gailfe_jax.envs.tasks import HOPPER, TASKS
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import StepResult
from tests.hosted import Pond
from tests.toy import Cliff, Drift


def with_spec(**fields):
    """A `Cliff` whose spec is another one."""
    env = Cliff()
    env.spec = dataclasses.replace(Cliff.spec, **fields)
    return env


def with_reset(change):
    """A `Cliff` whose `reset` returns something else."""

    class Odd(Cliff):
        def reset(self, key):
            return change(super().reset(key))

    return Odd()


def with_step(change):
    """A `Cliff` whose `step` returns something else."""

    class Odd(Cliff):
        def step(self, state, action):
            return change(*super().step(state, action))

    return Odd()


class Branching(Cliff):
    """Asks in Python for a number that only the program knows."""

    def advance(self, phys, action):
        return (phys, StepResult(phys, phys[0], phys[0] > 1)) if phys[0] > 0 else super().advance(phys, action)


class Unbatched(Cliff):
    """Traces alone, but not under `vmap`."""

    def advance(self, phys, action):
        phys = jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct((2,), jnp.float32), phys)
        return super().advance(phys, action)


def test_environments_that_keep_their_promises_pass():
    for env in (Drift(), Cliff(), make_env("delayed3:hopper", "mujoco_c"), make_env("brax:fast")):
        check_env(env)
    # One bound may stand for all dimensions, and be infinite.
    check_env(with_spec(action_low=(-float("inf"),), action_high=(1.0,)))


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (3, r"env: int has no spec; expected an object with spec, reset and step$"),
        (Cliff, r"env: got the class Cliff; expected one of its objects$"),
        (Pond, r"env: got the class Pond; expected gymnasium_env\(Pond\)$"),
        (Pond(), r"env: got a Gymnasium environment, Pond; expected gymnasium_env\(FUNCTION\), with a function"),
        (with_spec, r"env: got a function, with_spec; expected the Env that it makes, or gymnasium_env\(FUNCTION\) of"),
        (functools.partial(Cliff), r"env: got a function, partial; expected the Env that it makes"),
        (types.SimpleNamespace(spec={}, reset=1, step=1), r"env: spec of SimpleNamespace is a dict; expected a gailfe"),
        (with_spec(name=""), r"env: spec.name is ''; expected the task's name$"),
    ],
)
def test_what_is_no_environment_is_one_clear_error(env, message):
    with pytest.raises(GailfeError, match=f"^{message}"):
        check_env(env)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(gymnasium_id=3), r"gymnasium_id is 3; expected a Gymnasium id or None"),
        (dict(engine=None), r"engine is None; expected text"),
        (dict(annotator=None), r"annotator is None; expected text"),
        (dict(obs_size=2.0), r"obs_size is 2.0; expected a whole number of at least 1"),
        (dict(max_episode_steps=0), r"max_episode_steps is 0; expected a whole number of at least 1"),
        (dict(action_low=-1.0), r"action_low is -1.0; expected a tuple of numbers"),
        (dict(action_low=(float("nan"),)), r"action_low is \(nan,\); expected a tuple of numbers"),
        (dict(action_high=(1.0,) * 3), r"action_high has 3 numbers; expected action_size, 2, or 1"),
        (dict(action_high=(1.0, -1.0)), r"action_low is \(-1.0, -1.0\); expected bounds below \(1.0, -1.0\)"),
        (dict(action_size=3), r"action_low has 2 numbers; expected action_size, 3, or 1"),
        (
            dict(discrete=True),
            r"discrete is set, and an action has 2 entries in \(-1.0, -1.0\) to \(1.0, 1.0\); expected two choices or "
            r"more, between 0 and 1",
        ),
    ],
)
def test_a_bad_spec_is_one_clear_error(fields, message):
    with pytest.raises(GailfeError, match=rf"^env 'cliff': spec\.{message}$"):
        check_env(with_spec(**fields))


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (with_spec(obs_size=3), r"reset gives obs of float32\[2\]; expected float32\[3\]$"),
        (with_reset(lambda state: (state, 1)), r"reset gives a tuple; expected a gailfe_jax.types.EnvState$"),
        (
            with_reset(lambda state: state.replace(key=jax.random.key_data(state.key))),
            r"reset gives key of uint32\[2\]; expected the typed key it was given$",
        ),
        (
            with_reset(lambda state: state.replace(step_count=jnp.float32(0))),
            r"reset gives step_count of float32\[\]; expected int32\[\]$",
        ),
        (with_step(lambda state, step: state), r"step gives a EnvState; expected the pair \(EnvState, TimeStep\)$"),
        (with_step(lambda state, step: (state, 1.0)), r"step gives \(EnvState, \w+\); expected the pair"),
        (
            with_step(lambda state, step: (state.replace(phys=(state.phys,)), step)),
            r"step changes the structure of the state's phys; expected the one that reset gives$",
        ),
        (
            with_step(lambda state, step: (state.replace(phys=state.phys[:1]), step)),
            r"step gives phys of float32\[1\]; expected float32\[2\], as reset gives$",
        ),
        (
            with_step(lambda state, step: (state, step.replace(reward=step.obs))),
            r"step gives reward of float32\[2\]; expected float32\[\]$",
        ),
        (
            with_step(lambda state, step: (state, step.replace(terminated=step.reward))),
            r"step gives terminated of float32\[\]; expected bool\[\]$",
        ),
        (with_spec(action_size=3, action_low=(-1.0,), action_high=(1.0,)), r"step, traced by JAX, fails \(TypeError: "),
        (Branching(), r"step, traced by JAX, fails \(TracerBoolConversionError: "),
        (Unbatched(), r"step under vmap, traced by JAX, fails \(NotImplementedError: "),
    ],
)
def test_a_broken_promise_is_one_clear_error(env, message):
    with pytest.raises(GailfeError, match=f"^env 'cliff': {message}") as caught:
        check_env(env)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_built_in_tasks_pass(task):
    check_task(task)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(frame_skip=0), r"task 'hopper': frame_skip is 0; expected a whole number of at least 1"),
        (dict(obs_size=12), r"task 'hopper': observe of 2 states gives float64\[2, 11\]; expected float\[2, 12\]"),
        (dict(action_size=2), r"task 'hopper': action_size is 2; expected 3, the actuators of hopper.xml"),
        (
            # Written for one state, not for a batch.
            dict(terminated=lambda xp, data: data.qpos[1] < 0.7),
            r"task 'hopper': terminated of 2 states gives bool\[6\]; expected bool\[2\]",
        ),
        (
            dict(terminated=lambda xp, data: data.qpos[..., 1]),
            r"task 'hopper': terminated of 2 states gives float64\[2\]; expected bool\[2\]",
        ),
        (
            dict(reward=lambda xp, before, data, action: data.qpos[..., 0]),
            r"task 'hopper': reward of 2 states, in NumPy, fails \(TypeError: ",
        ),
        (dict(fields=("xpso",)), r"task 'hopper': engine mujoco_c gives no field 'xpso'; did you mean xpos\?"),
        (
            dict(terminated=lambda xp, data: data.xpos[..., 1, 2] < 0.7),
            r"task 'hopper': terminated of 2 states, in NumPy, fails \(AttributeError: xpos is not among the fields",
        ),
        (
            dict(start=lambda key, qpos, qvel: qpos + jax.random.normal(key)),
            r"task 'hopper': start gives shapes \[\(6,\)\]; expected \[\(6,\), \(6,\)\]",
        ),
    ],
)
def test_a_task_that_does_not_fit_is_one_clear_error(fields, message):
    task = dataclasses.replace(HOPPER, **fields)
    with pytest.raises(GailfeError, match=f"^{message}") as caught:
        check_task(task)
    assert "\n" not in str(caught.value)
