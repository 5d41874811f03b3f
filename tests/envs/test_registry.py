"""Names of tasks, and tasks that a user registers."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gailfe_jax
from gailfe_jax.data.annotators import parse_annotator
from gailfe_jax.envs import (
    CLASSIC,
    TASKS,
    DelayedReward,
    MujocoEnv,
    as_env,
    base_name,
    canonical_name,
    find_task,
    make_env,
    register_task,
    task_names,
)
from gailfe_jax.envs.gymnasium import GymnasiumEnv, register_gymnasium_envs
from gailfe_jax.envs.tasks import HOPPER
from gailfe_jax.errors import GailfeError
from tests.hosted import Pond
from tests.toy import Cliff, Drift, register

FORMS = ["brax:<name>", "gym:<id>", "gymnax:<id>", "playground:<name>"]

pytestmark = pytest.mark.usefixtures("own_registry")
BUILT_IN = sorted((*TASKS, *CLASSIC))


def test_a_factory_is_reached_by_name_in_any_case_and_delayed():
    assert gailfe_jax.register_task(Cliff, name="cliff") == "cliff"
    env = make_env("Cliff")
    assert isinstance(env, Cliff)
    assert make_env("cliff", "mjx") is env
    delayed = make_env("delayed:CLIFF")
    assert isinstance(delayed, DelayedReward)
    assert (delayed.env, delayed.every) == (env, 20)
    assert (canonical_name("delayed5:Cliff"), base_name("delayed5:Cliff")) == ("delayed5:cliff", "cliff")


def test_registered_tasks_stand_behind_the_built_in_ones():
    register()
    assert task_names() == [*BUILT_IN, "cliff", "drift"]
    with pytest.raises(GailfeError) as caught:
        make_env("nonsense")
    known = ", ".join([*BUILT_IN, "cliff", "drift", *FORMS, "a .toml file"])
    assert str(caught.value) == f"env: unknown task 'nonsense'; expected one of {known}, or delayed<k>: before one"
    for word, near in (
        ("clif", "cliff"),
        ("Humanoyd-v5", "Humanoid-v5"),
        # What Gymnasium alone has goes before what only looks like it. Its older versions of ours do not.
        ("Pendulum-v1", "gym:Pendulum-v1"),
        ("pendulum", "gym:Pendulum-v1"),
        ("Hopper-v4", "Hopper-v5"),
    ):
        with pytest.raises(GailfeError, match=rf"^env: unknown task '{word}'; did you mean {near}\?$"):
            make_env(word)


@pytest.mark.parametrize("engine", ["mujoco_c", "mjx"])
def test_a_task_with_its_own_model_runs_on_every_engine(slider, engine):
    register_task(slider())
    env = make_env("Slider", engine)
    assert isinstance(env, MujocoEnv)
    assert (env.spec.name, env.spec.engine, env.spec.gymnasium_id) == ("slider", engine, None)
    assert (env.spec.action_low, env.spec.action_high) == ((-0.5,), (2.0,))
    state, step = jax.jit(env.step)(env.reset(jax.random.key(0)), jnp.array([1.0]))
    # 20 ms under a constant force, from rest: the model's Euler steps of 2 ms add up to 55 of them squared.
    mass = env.physics.model.body_mass[1]
    start = env.reset(jax.random.key(0)).obs[0]
    np.testing.assert_allclose(step.next_obs[0] - start, 55 * 0.002**2 / mass, rtol=1e-3)
    np.testing.assert_allclose(step.next_obs[1], 10 * 0.002 / mass, rtol=1e-3)
    assert state.step_count == 1


def test_a_task_may_be_registered_by_another_name():
    register_task(dataclasses.replace(HOPPER, max_episode_steps=7, gymnasium_id=None), name="short-hopper")
    spec = make_env("short-hopper", "mujoco_c").spec
    assert (spec.name, spec.max_episode_steps) == ("short-hopper", 7)
    assert find_task("Short-Hopper").name == "short-hopper"
    # Its Gymnasium id is still the built-in task's.
    register_task(HOPPER, name="same")
    assert find_task("Hopper-v5") is HOPPER


def test_registering_again_replaces_what_make_env_gives(slider):
    register_task(slider())
    first, delayed = make_env("slider", "mujoco_c"), make_env("delayed5:slider", "mujoco_c")
    register_task(slider(max_episode_steps=3), name="SLIDER")
    second = make_env("slider", "mujoco_c")
    assert (first.spec.max_episode_steps, second.spec.max_episode_steps) == (50, 3)
    assert second.spec.name == canonical_name("slider") == "SLIDER"
    again = make_env("delayed5:slider", "mujoco_c")
    assert (delayed.env, again.env) == (first, second)
    register_task(Cliff, name="cliff")
    made = make_env("cliff")
    register_task(Cliff, name="cliff")
    assert make_env("cliff") is not made


def test_a_task_says_which_of_its_episodes_are_failures(slider):
    class Strict(Cliff):
        spec = dataclasses.replace(Cliff.spec, name="strict", annotator="bottom_quantile:0.2")

    register_task(slider())
    register_task(Strict, name="strict")
    register_task(Cliff, name="cliff")
    names = {
        name: parse_annotator("default", task=name, default=make_env(name).spec.annotator, expert_return=10.0).name
        for name in task_names()
    }
    assert names == {name: task.annotator for name, task in TASKS.items()} | {
        "halfcheetah": "return_below:0.5",
        "hopper": "terminated",
        # Returns are negative there, so that half of the expert's is above it.
        "reacher": "bottom_quantile:0.2",
        # And there an episode that ends early is a success.
        "acrobot": "bottom_quantile:0.2",
        "mountain_car": "truncated",
        "cartpole": "terminated",
        "cliff": "terminated",
        "slider": "return_below:0.5",
        "strict": "bottom_quantile:0.2",
    }
    assert make_env("brax:fast").spec.annotator == "terminated"
    assert make_env("delayed20:HalfCheetah-v5").spec.annotator == "return_below:0.5"


def test_gymnasium_reaches_registered_tasks():
    register()
    assert register_gymnasium_envs()[-2:] == ["gailfe_jax/cliff", "gailfe_jax/drift"]
    env = GymnasiumEnv("cliff")
    env.reset(seed=0)
    assert env.step(np.zeros(2, np.float32))[0].shape == (2,)
    with pytest.raises(GailfeError, match=r"^env: object has no spec; expected an object with spec, reset and step"):
        GymnasiumEnv(object())


@pytest.mark.parametrize(
    ("task", "name", "message"),
    [
        (Cliff(), "cliff", r"^task: got a Cliff; expected a Task, or a function that makes an Env$"),
        (Cliff, None, r"^name: got none; expected one for a task that a function makes$"),
        (Cliff, "my cliff", r"^name: got 'my cliff'; expected one word of letters, digits, - and _$"),
        (Cliff, "brax:cliff", r"^name: got 'brax:cliff'; expected one word"),
        (Cliff, "", r"^name: got ''; expected one word"),
        (
            Cliff,
            "brax",
            r"^name: brax stands before other names \(brax:<name>, .*delayed<k>:<name>\); expected another$",
        ),
        (Cliff, "Gym", r"^name: Gym stands before other names"),
        (Cliff, "Delayed20", r"^name: Delayed20 stands before other names"),
        (HOPPER, None, r"^name: hopper is a built-in task; expected another name than those of halfcheetah, hopper, "),
        (Cliff, "Hopper-v5", r"^name: Hopper-v5 is a built-in task"),
        (Cliff, "HOPPER", r"^name: HOPPER is a built-in task"),
        (Cliff, "CartPole-v1", r"^name: CartPole-v1 is a built-in task; expected another .*, cartpole, mountain_car$"),
    ],
)
def test_bad_registrations_are_one_clear_error(task, name, message):
    with pytest.raises(GailfeError, match=message):
        register_task(task, name=name)
    assert task_names() == BUILT_IN


def test_what_does_not_fit_its_name_is_one_clear_error(slider):
    register_task(Drift, name="mine")
    with pytest.raises(GailfeError, match=r"^env 'mine': spec.name is 'drift'; expected the name that it is"):
        make_env("mine")
    register_task(object, name="thing")
    with pytest.raises(GailfeError, match=r"^env: object has no spec; expected"):
        make_env("delayed5:thing")
    register_task(Cliff, name="cliff")
    with pytest.raises(GailfeError, match=r"^env: cliff brings its own engine and takes no option iterations$"):
        make_env("cliff", iterations=3)
    with pytest.raises(GailfeError, match=r"^env: cliff is no MuJoCo task; expected one, such as halfcheetah, hopper"):
        find_task("cliff")
    register_task(slider(obs_size=3))
    with pytest.raises(GailfeError, match=r"^task 'slider': observe of 2 states gives float64\[2, 2\]; expected float"):
        make_env("slider", "mujoco_c")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: Cliff, r"^env: the function registered as 'odd' makes the class Cliff; expected one of its objects$"),
        (lambda: Pond, r"^env: the function registered as 'odd' makes the class Pond; expected gymnasium_env\(Pond\)$"),
        (Pond, r"^env: the function registered as 'odd' makes a Gymnasium environment, Pond; expected gymnasium_env"),
        (lambda: Cliff.step, r"^env: the function registered as 'odd' makes a function, step; expected the Env"),
        (lambda: 1 / 0, r"^env 'odd': the function that makes it fails \(ZeroDivisionError: .*\) in test_registry.py"),
        (lambda speed: Cliff(), r"^env 'odd': the function that makes it fails \(TypeError: .*argument: 'speed'\)$"),
    ],
)
def test_what_a_registered_function_makes_is_named(function, message):
    register_task(function, name="odd")
    with pytest.raises(GailfeError, match=message):
        make_env("odd")


def test_a_python_file_is_imported_and_no_name():
    with pytest.raises(GailfeError, match=r"^env: got 'mine.py:Mine'; expected --import mine.py, and the name that"):
        make_env("mine.py:Mine")


def test_as_env_takes_a_name_or_an_environment():
    env = Cliff()
    assert as_env(env) is env
    assert as_env("Hopper-v5", "mujoco_c") is make_env("hopper", "mujoco_c")
    with pytest.raises(GailfeError, match=r"^env: int has no spec; expected an object with spec, reset and step"):
        as_env(3)
