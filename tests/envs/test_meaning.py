from __future__ import annotations

import dataclasses
import pathlib

import gymnasium
import numpy as np
import pytest

from gailfe_jax.envs import TASKS, DelayedReward, make_env
from gailfe_jax.envs.classic.cartpole import CartPole
from gailfe_jax.envs.host import gymnasium_env
from gailfe_jax.envs.meaning import meaning_of
from gailfe_jax.envs.mujoco_task import mujoco_task
from gailfe_jax.envs.quantities import ACCELERATION, FORCE, METRE, RADIAN, SPEED, TORQUE, Quantity, Words
from gailfe_jax.envs.task_file import load_task

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_hoppers_numbers_are_those_that_gymnasium_lists():
    found = meaning_of(make_env("hopper"))
    joints = ["rootz", "rooty", "thigh_joint", "leg_joint", "foot_joint"]
    speeds = ["rootx", *joints]
    assert found.obs == (
        *((f"joint:{name}.qpos", "m" if name == "rootz" else "rad") for name in joints),
        *((f"clip(joint:{name}.qvel, -10, 10)", "m/s" if name in ("rootx", "rootz") else "rad/s") for name in speeds),
    )
    assert found.action[0] == ("actuator:#0 at joint:thigh_joint", "200 N m")
    assert found.seconds_per_step == 0.008


@pytest.mark.parametrize("name", [*TASKS, "cartpole", "acrobot", "mountain_car", "delayed20:hopper"])
def test_every_number_of_every_task_has_a_name_of_its_own_and_a_unit(name):
    env = make_env(name)
    found = meaning_of(env)
    assert (len(found.obs), len(found.action)) == (env.spec.obs_size, env.spec.action_size)
    names = [name for name, _ in found.obs]
    assert len(set(names)) == len(names) and not any(name.startswith("obs[") for name in names)
    assert "unknown" not in {unit for _, unit in found.obs + found.action}


def test_a_task_files_expressions_are_named():
    found = meaning_of(make_env_of(load_task(ROOT / "examples" / "arm" / "arm.toml")))
    assert found.obs[0] == ("joint:shoulder.qpos", "rad")
    assert found.obs[-1] == ("(site:tip.xpos.z - body:goal.xpos.z)", "m")
    assert found.action == (("actuator:shoulder", "N m"), ("actuator:elbow", "N m")) and found.seconds_per_step == 0.02


MODEL = """<mujoco><compiler angle="radian"/><worldbody><body name="ball" pos="0 0 1"><freejoint name="root"/>
<geom size=".1"/><body name="pole"><joint name="spin" type="ball"/><geom size=".1"/><site name="tip"/>
<body name="rail"><joint name="slide" type="slide" axis="1 0 0"/><geom size=".1"/>
<body><joint name="turn" axis="0 1 0"/><geom size=".1"/></body></body></body></body></worldbody>
<actuator><position name="servo" joint="turn" kp="20" ctrlrange="-1 1"/><velocity name="drive" joint="slide" kv="3"
ctrlrange="-1 1"/><motor name="push" joint="slide" gear="40" ctrlrange="-1 1"/><general name="pull" joint="turn"
dyntype="filter" dynprm="1" ctrlrange="0 1"/></actuator>
<sensor><accelerometer name="imu" site="tip"/><gyro name="spun" site="tip"/><jointpos name="angle" joint="turn"/>
<jointvel name="speed" joint="slide"/><framequat name="pose" objtype="body" objname="ball"/></sensor></mujoco>"""


@pytest.fixture
def model_file(tmp_path):
    (tmp_path / "odd.xml").write_text(MODEL)
    return tmp_path / "odd.xml"


def test_joints_sensors_and_actuators_of_every_kind(model_file):
    def observe(xp, data):
        speed = xp.sqrt(xp.sum(xp.square(data.qvel[..., :3]), axis=-1))
        return xp.concatenate([data.qpos, data.qvel, data.sensordata, speed[..., None]], axis=-1)

    found = meaning_of(make_env_of(mujoco_task(model_file, observe=observe)))
    units = [unit for _, unit in found.obs]
    assert units[:13] == ["m"] * 3 + ["1"] * 4 + ["1"] * 4 + ["m", "rad"]
    assert units[13:24] == ["m/s"] * 3 + ["rad/s"] * 3 + ["rad/s"] * 3 + ["m/s", "rad/s"]
    assert units[24:36] == ["m/s^2"] * 3 + ["rad/s"] * 3 + ["rad", "m/s"] + ["1"] * 4
    assert found.obs[24] == ("sensor:imu.x", "m/s^2")
    assert found.obs[-1] == ("sqrt(sum(joint:root.qvel[0]^2 ... joint:root.qvel[2]^2))", "m/s")
    assert found.action == (
        ("actuator:servo", "rad"), ("actuator:drive", "m/s"), ("actuator:push", "40 N"), ("actuator:pull", "unknown"),
    )  # fmt: skip


def make_env_of(task):
    from gailfe_jax.envs.base import MujocoEnv
    from gailfe_jax.envs.physics import make_physics

    return MujocoEnv(task, make_physics(task, "mujoco_c"))


def test_what_is_computed_in_another_way_has_no_name(model_file):
    task = mujoco_task(model_file, observe=lambda xp, data: xp.sort(data.qpos, axis=-1))
    found = meaning_of(make_env_of(task))
    assert found.obs[1] == ("obs[1]", "unknown") and len(found.obs) == 13
    # Nor has what gives another number of them.
    task = dataclasses.replace(task, observe=lambda xp, data: data.qpos[..., : 1 if isinstance(xp, Words) else 13])
    assert meaning_of(make_env_of(task)).obs[0] == ("obs[0]", "unknown")


class Reach(gymnasium.Env):
    observation_space = gymnasium.spaces.Dict(
        {"goal": gymnasium.spaces.Box(-1, 1, (2,)), "arm": gymnasium.spaces.Box(-1, 1, (1, 2))}
    )
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        return {"goal": np.zeros(2, np.float32), "arm": np.zeros((1, 2), np.float32)}, {}

    def step(self, action):
        return *self.reset()[:1], 0.0, False, False, {}


def test_a_dictionarys_keys_are_names():
    found = meaning_of(gymnasium_env(Reach, max_episode_steps=3))
    assert [name for name, _ in found.obs] == ["arm[0, 0]", "arm[0, 1]", "goal[0]", "goal[1]"]
    assert found.action == (("choice[0]", "1"), ("choice[1]", "1"))


def test_an_environment_may_say_it_itself():
    env = CartPole()
    assert meaning_of(env) is CartPole.meaning and meaning_of(DelayedReward(env, 3)) is CartPole.meaning
    # What is said of other sizes is not believed.
    env.spec = dataclasses.replace(env.spec, obs_size=5)
    assert meaning_of(env).obs[2] == ("obs[2]", "unknown")


def test_units_follow_arithmetic():
    x, v, angle = Quantity("x", METRE), Quantity("v", SPEED), Quantity("q", RADIAN)
    assert (x + x).said_unit == (2 * x).said_unit == (-x).said_unit == (x - x).said_unit == "m"
    assert (x + v).said_unit == (x + 1).said_unit == "unknown"
    assert (v / x).said_unit == "1/s" and (x / x).said_unit == "1" and (v * v).said_unit == "m^2/s^2"
    assert (x * Quantity("f", FORCE)).said_unit == "N m" == Quantity("t", TORQUE).said_unit
    assert (1 / v).name == "(1 / v)" and (1 - x).name == "(1 - x)"
    assert Quantity("g", ACCELERATION).said_unit == "m/s^2"
    words = Words()
    assert words.cos(angle)[()].said_unit == "1" and words.abs(angle)[()].said_unit == "rad"
    assert words.sqrt(x)[()].said_unit == "unknown"
    assert len(words.sum(np.array([Quantity("n" * 90, METRE)] * 2, object))[()].name) <= 100
