"""Tasks on models of a user's own, out of TOML files and of functions."""

from __future__ import annotations

import pathlib
import re
import warnings
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tomli_w

from gailfe_jax.envs import make_env, register_task, registry
from gailfe_jax.envs.check import check_env, check_task
from gailfe_jax.envs.mujoco_task import mujoco_task
from gailfe_jax.envs.physics import make_physics
from gailfe_jax.envs.physics.mujoco_c import MujocoC
from gailfe_jax.envs.task_file import load_task
from gailfe_jax.envs.tasks import INVERTED_DOUBLE_PENDULUM, TASKS
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Fields

ASSETS = pathlib.Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
PENDULUM = """
model = "{model}"
frame_skip = 5
observe = ["qpos[:1]", "sin(qpos[1:])", "cos(qpos[1:])", "clip(qvel, -10, 10)", "clip(qfrc_constraint, -10, 10)[:1]"]
terminated = ["site:tip.z in (1, inf)"]
reward = "10 * alive - (0.01 * site:tip.x**2 + (site:tip.z - 2)**2) - (1e-3 * qvel[1]**2 + 5e-3 * qvel[2]**2)"
[start]
qpos = "uniform(0.1)"
qvel = "normal(0.1)"
"""
ARM = """<mujoco>
<worldbody>
  <body name="upper"><joint name="shoulder" type="hinge" axis="0 1 0"/>
    <geom size="0.02" fromto="0 0 0 0.2 0 0" type="capsule"/>
    <body name="lower" pos="0.2 0 0"><joint name="elbow" type="hinge" axis="0 1 0"/>
      <geom size="0.02" fromto="0 0 0 0.2 0 0" type="capsule"/><site name="tip" pos="0.2 0 0"/></body></body>
  <body name="cube" pos="0.1 0 -0.3"><geom name="block" type="box" size="0.02 0.02 0.02"/></body>
</worldbody>
<actuator><motor name="m1" joint="shoulder" {range}/><motor name="m2" joint="elbow" {range}/></actuator>
<sensor><jointpos name="bend" joint="elbow"/></sensor>
<keyframe><key name="home" qpos="0.1 0.2"/><key name="up" qpos="-1 0.5" qvel="0.5 0"/></keyframe>
</mujoco>"""
LIMITS = 'ctrllimited="true" ctrlrange="-3 0.5"'


@pytest.fixture
def write(tmp_path):
    """`write(text, model) -> path` of a task file `arm.toml` beside its model `arm.xml`."""

    def make(text, model=None):
        model = ARM.format(range=LIMITS) if model is None else model
        (tmp_path / "arm.xml").write_text(model)
        path = tmp_path / "arm.toml"
        path.write_text(text)
        return path

    return make


def arm(**keys):
    record = {"model": "arm.xml", "observe": ["qpos", "qvel", "site:tip.xpos - body:cube.xpos"]} | keys
    lines = [f"{key} = {value if isinstance(value, int) else repr(value)}" for key, value in record.items()]
    return "\n".join(lines).replace("'", '"')


def refused_alone(function, *args):
    """What the refusal of a call says, which no warning stands beside."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with pytest.raises(GailfeError) as caught:
            function(*args)
    assert not shown
    return str(caught.value)


def assert_same_steps(one, two, start, table):
    """Both tasks give the same bits from `start` under the actions `table [T, n, a]`."""
    engines, n = [MujocoC(task) for task in (one, two)], table.shape[1]
    rows, fresh = [np.zeros((n, engine.nrow)) for engine in engines], np.ones(n, bool)
    for action in table:
        found = []
        for i, engine in enumerate(engines):
            rows[i], *step = engine.host_step(rows[i], fresh, *start, action)
            found.append(step)
        fresh = np.zeros(n, bool)
        assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.exact
def test_the_double_pendulum_equals_gymnasiums_bit_for_bit(write):
    task = load_task(write(PENDULUM.format(model=ASSETS / "inverted_double_pendulum.xml")))
    assert set(task.fields) == {"qfrc_constraint", "site_xpos"} and task.obs_size == 9
    rng = np.random.default_rng(0)
    start = rng.uniform(-0.1, 0.1, (3, 3)), 0.1 * rng.normal(size=(3, 3))
    table = rng.uniform(-1, 1, (200, 3, 1)).astype(np.float32)
    assert_same_steps(task, INVERTED_DOUBLE_PENDULUM, start, table)


def test_a_task_of_ones_own_keeps_its_promises(write):
    path = write(arm(frame_skip=5, max_episode_steps=7, terminated=["site:tip.z in [-0.5, 0.5]"]))
    check_task(load_task(path))
    env = make_env(str(path), "mujoco_c")
    check_env(env)
    assert (env.spec.name, env.spec.gymnasium_id, env.spec.obs_size) == ("arm", None, 7)
    assert (env.spec.action_low, env.spec.action_high) == ((-3.0, -3.0), (0.5, 0.5))
    assert make_env(str(path), "mujoco_c") is env
    state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 2))
    for _ in range(3):
        state, step = jax.jit(jax.vmap(env.step))(state, jnp.zeros((2, 2)))
    assert np.isfinite(step.obs).all() and (step.reward == 0).all()


def test_expressions_are_what_they_say(write):
    observe = [
        "qpos[1:]",
        "joint:elbow.qvel",
        "sensor:bend",
        "norm(site:tip.xpos - body:cube.xpos)",
        "-2 * site:tip.x + 1",
        "xpos[3, :2]",
        "actuator:m2",
        "mean(abs(qvel))",
    ]
    task = load_task(write(arm(observe=observe, reward="(site:tip.x - before(site:tip.x)) / dt - sum(action**2)")))
    physics = MujocoC(task)
    qpos, qvel, action = np.array([[0.3, -0.7]]), np.array([[1.0, -2.0]]), np.array([[0.25, -1.0]], np.float32)
    rows, _, _, _ = physics.host_step(np.zeros((1, physics.nrow)), np.ones(1, bool), qpos, qvel, action)
    _, obs, reward, _ = physics.host_step(rows, np.zeros(1, bool), qpos, qvel, action)

    import mujoco

    model = mujoco.MjModel.from_xml_string(ARM.format(range=LIMITS))
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:], data.ctrl[:] = qpos[0], qvel[0], action[0]
    mujoco.mj_forward(model, data)
    mujoco.mj_step(model, data)
    before = data.site("tip").xpos[0]
    before = float(before)
    mujoco.mj_step(model, data)
    tip, cube = data.site("tip").xpos, data.body("cube").xpos
    expected = [
        *data.qpos[1:], data.joint("elbow").qvel[0], data.sensor("bend").data[0], np.linalg.norm(tip - cube),
        -2 * tip[0] + 1, *data.xpos[3, :2], data.ctrl[1], np.abs(data.qvel).mean(),
    ]  # fmt: skip
    np.testing.assert_allclose(obs[0], expected, rtol=1e-12)
    np.testing.assert_allclose(reward[0], (tip[0] - before) / model.opt.timestep - (0.0625 + 1.0), rtol=1e-9)


@pytest.mark.exact
@pytest.mark.slow
def test_mjx_reads_and_remembers_the_same(write):
    text = arm(frame_skip=2, max_episode_steps=4, reward="(site:tip.x - before(site:tip.x)) / dt")
    path = write(text + '\n[start]\nqpos = "uniform(0.3)"')
    found = {}
    for engine in ("mujoco_c", "mjx"):
        env = make_env(str(path), engine)
        state, step = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 3)), jax.jit(jax.vmap(env.step))
        rows = [state.obs]
        for i in range(7):
            state, row = step(state, jnp.full((3, 2), -0.5 + 0.1 * i))
            rows.extend([row.obs, row.next_obs, row.reward])
        found[engine] = rows
    for c, other in zip(*found.values(), strict=True):
        np.testing.assert_allclose(other, c, rtol=1e-4, atol=1e-4)


def test_where_episodes_start(write, tmp_path):
    keys = jax.random.split(jax.random.key(0), 200)

    def starts(text):
        task = load_task(write(text))
        return jax.vmap(lambda key: task.start(key, np.zeros(2, np.float32), np.zeros(2, np.float32)))(keys)

    qpos, qvel = starts(arm())
    assert (qpos == 0).all() and (qvel == 0).all()
    qpos, qvel = starts(arm() + '\n[start]\nqpos = "uniform(0.3)"\nqvel = "normal(0.5)"')
    assert 0.25 < qpos.max() <= 0.3 and qvel.std() == pytest.approx(0.5, rel=0.2)
    qpos, qvel = starts(arm() + '\n[start]\nkeyframes = ["home", "up"]')
    assert {tuple(row) for row in np.round(np.asarray(qpos, np.float64), 3).tolist()} == {(0.1, 0.2), (-1.0, 0.5)}
    assert {tuple(row) for row in qvel.tolist()} == {(0.0, 0.0), (0.5, 0.0)}
    np.savez(tmp_path / "s.npz", qpos=np.array([[1.0, 2.0], [3.0, 4.0]]), qvel=np.zeros((2, 2)))
    qpos, _ = starts(arm() + '\n[start]\nstates = "s.npz"')
    assert {tuple(row) for row in qpos.tolist()} == {(1.0, 2.0), (3.0, 4.0)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = ", "arm.toml: Invalid value"),
        ('observe = ["qpos"]', "model is missing; expected an MJCF file"),
        ('model = "arm.xml"', "observe is missing; expected a list"),
        ('model = "no.xml"\nobserve = ["qpos"]', "no.xml is missing; expected an MJCF file"),
        (arm(framskip=2), "unknown key 'framskip'; did you mean frame_skip?"),
        (arm(frame_skip=0), "frame_skip: got 0; expected a whole number from 1"),
        (arm(name=3), "name: got 3; expected text"),
        (arm(observe=["qpos", "qpso"]), "observe: 'qpso': no field 'qpso'; did you mean qpos?"),
        (arm(observe=["body:cub.xpos"]), "the model has no body 'cub'; did you mean cube?"),
        (arm(observe=["site:tip.speed"]), "site:tip has no 'speed'; expected one of xpos, xmat, x, y, z"),
        (arm(observe=["qpos["]), "'qpos[' does not parse"),
        (arm(observe=["qpos[5]"]), "index 5 is beyond its 2 numbers"),
        (arm(observe=["__import__(qpos)"]), "no function '__import__'"),
        (arm(observe=["qpos.__class__"]), "is not understood"),
        (arm(observe=["before(qpos)"]), "no function 'before'"),
        (arm(observe=["clip(qpos, 1, -1)"]), "clip between 1 and -1; expected the smaller bound first"),
        (arm(observe=["sqrt(qpos - 1)"]), "is not finite in the model's initial state"),
        (arm(terminated=["site:tip.z > 1"]), "expected a healthy range such as 'body:torso.z in [0.8, 2]'"),
        (arm(terminated=["site:tip.z in [1, 0]"]), "holds nothing; expected the lower bound first"),
        (arm(terminated=["site:tip.z in [1, 2]"]), "terminated is already true where episodes start"),
        (arm() + '\n[start]\nqpos = "poisson(1)"', "start.qpos: got 'poisson(1)'; expected such as"),
        (arm() + "\n[start]\nqpos = 0.02", 'start: qpos: got 0.02; expected text such as "uniform(0.02)"'),
        (arm() + '\n[start]\nkeyframes = ["down"]', "start.keyframes: got 'down'; expected one of home, up"),
        (arm() + '\n[start]\nstates = "no.npz"', "no.npz: no such file"),
    ],
)
def test_bad_input_is_one_line(write, text, message):
    path = write(text)
    with pytest.raises(GailfeError) as caught, np.errstate(invalid="ignore"):
        make_env(str(path), "mujoco_c")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("<mujoco><worldbody/>", "MuJoCo does not load model file"),
        (ARM.format(range=""), "has no control range; expected ctrlrange for each"),
        (ARM.split("<actuator>")[0] + "</mujoco>", "has no actuators; expected at least one"),
    ],
)
def test_a_model_that_cannot_be_driven_is_one_line(write, model, message):
    with pytest.raises(GailfeError) as caught:
        make_env(str(write(arm(observe=["qpos"]), model)), "mujoco_c")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(GailfeError, match=r"nowhere\.toml: no such file; expected a task in TOML"):
        make_env(str(tmp_path / "nowhere.toml"))
    assert "nowhere" not in TASKS


def observe_tip(xp, data):
    return xp.concatenate([data.qpos, data.qvel, data.site_xpos[..., 0, :]], axis=-1)


def test_a_task_of_functions_equals_the_file(write):
    path = write(arm(observe=["qpos", "qvel", "site:tip.xpos"], reward="(site:tip.z - before(site:tip.z)) / dt"))
    from_file = load_task(path)
    task = mujoco_task(
        path.with_suffix(".xml"),
        observe=observe_tip,
        reward=lambda xp, before, data, action, dt: (data.site_xpos[..., 0, 2] - before.site_xpos[..., 0, 2]) / dt,
    )
    assert (task.fields, task.fields_before, task.obs_size) == (("site_xpos",), ("site_xpos",), 7)
    assert (from_file.fields, from_file.fields_before, from_file.obs_size) == (("site_xpos",), ("site_xpos",), 7)
    rng = np.random.default_rng(1)
    start, table = (rng.normal(size=(2, 2)), rng.normal(size=(2, 2))), rng.uniform(-1, 1, (20, 2, 2)).astype(np.float32)
    assert_same_steps(task, from_file, start, table)


def test_a_task_of_functions_is_registered_and_made(write, monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", {})
    model = write(arm()).with_suffix(".xml")
    register_task(mujoco_task(model, observe=observe_tip, name="my-arm"))
    env = make_env("my-arm", "mujoco_c")
    check_env(env)
    assert env.spec.name == "my-arm" and env.spec.annotator == "terminated"


@pytest.mark.parametrize(
    ("observe", "message"),
    [
        (lambda xp, data: data.qposs, "mjData has no array 'qposs'"),
        (lambda xp, data: data.qpos[0], "observe gives [2] for one state; expected [1, o]"),
        (lambda xp, data: data.qpos if xp is np else 2 * data.qpos + 1, "differs by"),
    ],
)
def test_functions_that_do_not_work_are_one_line(observe, message, write):
    with pytest.raises(GailfeError) as caught:
        check_task(mujoco_task(write(arm()).with_suffix(".xml"), observe=observe))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def fails_here(xp, *data_and_more):
    return np.zeros(3)[7]


@pytest.mark.parametrize("function", ["observe", "reward", "terminated"])
def test_a_function_that_raises_is_named_with_its_file_and_line(function, write):
    line = fails_here.__code__.co_firstlineno + 1
    said = rf"{function} of the initial state fails \(IndexError: .*\) in test_task_file\.py, line {line}$"
    functions: dict[str, Any] = {"observe": lambda xp, data: data.qpos} | {function: fails_here}
    model = write(arm()).with_suffix(".xml")
    with pytest.raises(GailfeError, match=rf"^task 'task': {said}"):
        mujoco_task(model, name="task", **functions)


def test_a_function_that_raises_while_it_trains_is_named_too(write):
    def reward(xp, before, data, action, dt):
        return data.qpos[..., 0 if len(data.qpos) < 4 else 99]

    task = mujoco_task(write(arm()).with_suffix(".xml"), name="task", observe=lambda xp, data: data.qpos, reward=reward)
    physics: Any = make_physics(task, "mujoco_c")
    nq, nv = physics.model.nq, physics.model.nv
    rows, action = np.zeros((4, physics.nrow)), np.zeros((4, task.action_size), np.float32)
    line = reward.__code__.co_firstlineno + 1
    said = rf"reward of a step fails \(IndexError: .*\) in test_task_file\.py, line {line}$"
    with pytest.raises(GailfeError, match=rf"^task 'task': {said}"):
        physics.host_step(rows, np.ones(4, bool), np.zeros((4, nq)), np.zeros((4, nv)), action)


NAMED = """<mujoco>
<worldbody>
  <camera name="eye" pos="0 -1 0.5"/>
  <body name="ball"><freejoint name="free"/><geom name="skin" size="0.05"/></body>
  <body name="upper" pos="0 0 1"><joint name="shoulder" type="hinge" axis="0 1 0"/>
    <geom size="0.02" fromto="0 0 0 0.2 0 0" type="capsule"/><site name="one" pos="0.1 0 0"/></body>
  <body name="lower" pos="1 0 1"><joint name="elbow" type="hinge" axis="0 1 0"/>
    <geom size="0.02" fromto="0 0 0 0.2 0 0" type="capsule"/><site name="two" pos="0.1 0 0"/></body>
</worldbody>
<tendon><spatial name="rope"><site site="one"/><site site="two"/></spatial></tendon>
<actuator>
  <motor name="m1" joint="shoulder" gear="2" ctrllimited="true" ctrlrange="-3 3"/>
  <general name="slow" joint="elbow" dyntype="filter" dynprm="0.1" ctrllimited="true" ctrlrange="-1 1"/>
</actuator>
</mujoco>"""


def test_every_kind_of_part_is_read_by_its_name(write):
    """Against MuJoCo's own access by name."""
    observe = [
        "tendon:rope.length", "tendon:rope.velocity", "actuator:m1.force", "actuator:m1.length", "actuator:m1.velocity",
        "actuator:slow.act", "camera:eye.xpos", "camera:eye.z", "joint:elbow.qacc", "joint:elbow.qfrc_bias",
        "joint:free.qvel", "joint:shoulder.axis", "joint:shoulder.anchor", "body:upper.subtree_com", "body:ball.ximat",
    ]  # fmt: skip
    task = load_task(write(arm(observe=observe), NAMED))
    import mujoco

    model = mujoco.MjModel.from_xml_string(NAMED)
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    data.qpos[:], data.qvel[:], data.ctrl[:] = 0.3 * rng.normal(size=9), rng.normal(size=8), [1.5, 0.5]
    data.qpos[3:7] /= np.linalg.norm(data.qpos[3:7])
    mujoco.mj_step(model, data)
    mujoco.mj_step(model, data)
    joint, actuator = data.joint, data.actuator
    expected = [
        data.tendon("rope").length, data.tendon("rope").velocity, actuator("m1").force, actuator("m1").length,
        actuator("m1").velocity, data.act, data.camera("eye").xpos, data.camera("eye").xpos[2:], joint("elbow").qacc,
        joint("elbow").qfrc_bias, joint("free").qvel, joint("shoulder").xaxis, joint("shoulder").xanchor,
        data.body("upper").subtree_com, data.body("ball").ximat,
    ]  # fmt: skip
    arrays = {name: np.asarray(getattr(data, name))[None] for name in ("qpos", "qvel", *task.fields)}
    obs = task.observe(np, Fields(**arrays))
    np.testing.assert_array_equal(obs[0], np.concatenate([np.ravel(part) for part in expected]))
    assert np.abs(obs).max() > 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tendon:ropes.length", "the model has no tendon 'ropes'; did you mean rope?"),
        ("tendon:rope.lenght", "tendon:rope has no 'lenght'; did you mean length?"),
        ("tendon:rope", "tendon:rope has no 'value'; expected one of length, velocity"),
        ("camera:eyes.x", "the model has no camera 'eyes'; did you mean eye?"),
        ("actuator:slwo", "the model has no actuator 'slwo'; did you mean slow?"),
        ("actuator:m1.act", "actuator:m1 has no activation; expected one with a dynamics of its own"),
        ("joint:elbow.qfrc_actuater", "joint:elbow has no 'qfrc_actuater'; did you mean qfrc_actuator?"),
    ],
)
def test_parts_that_are_not_there_name_the_nearest(text, message, write):
    with pytest.raises(GailfeError) as caught:
        load_task(write(arm(observe=[text]), NAMED))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"terminated": ["qpos[:2] in [-5, 5]"]}, r"terminated: 'qpos\[:2\]' gives 2 numbers; expected one"),
        ({"reward": "qpos[:2]"}, r"reward: 'qpos\[:2\]' gives 2 numbers; expected one"),
        ({"reward": "1 / (1 - alive)"}, "reward is not finite where episodes start"),
        ({"frame_skip": 2**40}, "frame_skip: got 1099511627776; expected a whole number from 1 to"),
        ({"max_episode_steps": 3 * 10**9}, "max_episode_steps: got 3000000000; expected a whole number from 1 to"),
        ({"start": {"qpos": "uniform(inf)"}}, "start.qpos: got 'inf'; expected a number from 0"),
        ({"start": {"qvel": "normal(-1)"}}, "start.qvel: got '-1'; expected a number from 0"),
        ({"model": "a\0b.xml"}, "model: got 'a\\\\x00b.xml'; expected the name of a file"),
        ({"name": "../x"}, "name: got '../x'; expected a word"),
        ({"observe": ["_0_"]}, "observe: '_0_' does not parse"),
        ({"observe": ["qpos[{[]:1}]"]}, "expected a whole number or a slice"),
        ({"observe": ["qpos[::0]"]}, "has step 0"),
        ({"observe": ["clip(qpos, 0, " + "9" * 400 + ")"]}, "expected a number"),
        ({"observe": ["qpos", "qpos[9:]"]}, r"observe: 'qpos\[9:\]': index '9:' selects nothing out of shape \[2\]"),
        ({"observe": ["sum(xpos[0, 3:])"]}, r"observe: 'sum\(xpos\[0, 3:\]\)': index '.*' selects nothing"),
        ({"reward": "sum(act)"}, r"reward: 'sum\(act\)': the model has no act; expected a field that holds numbers"),
        ({"observe": ["site:tip.x.y"]}, r"'site:tip.x.y' is not understood"),
        ({"observe": ["site:hand.tap.x"]}, r"the model has no site 'hand.tap'; expected one of tip"),
        ({"annotator": "nonsense"}, r"annotator 'nonsense': expected one of .*terminated"),
        ({"annotator": "default"}, r"annotator 'default' of task arm: expected one of"),
        ({"annotator": "bottom_quantile:7"}, r"bottom_quantile: q is 7.0, expected a fraction"),
        ({"annotator": "bottom_quantile:0.2"}, r"annotator 'bottom_quantile:0.2' reads the reward; expected"),
        (
            {"name": "hopper"},
            r"arm.toml: name: 'hopper' is a built-in task's; expected another name in the file \(name = ",
        ),
        ({"name": "CartPole-v1"}, r"arm.toml: name: 'CartPole-v1' is a built-in task's"),
        ({"gymnasium_id": "Nowhere-v0"}, r"gymnasium_id: env 'Nowhere-v0': expected an environment Gymnasium can make"),
        ({"gymnasium_id": "CartPole-v1"}, r"observes 4 numbers and acts by 2 choices; expected 2 and 2 numbers"),
        ({"gymnasium_id": "Hopper-v5"}, r"observes 11 numbers and acts by 3 numbers; expected 2 and 2 numbers"),
    ],
)
def test_what_nobody_means_is_refused_by_name(write, keys, words):
    text = tomli_w.dumps({"model": "arm.xml", "observe": ["qpos"]} | keys)
    said = refused_alone(make_env, str(write(text)))
    assert re.search(words, said) and "\n" not in said


def test_a_constant_reward_is_paid_in_every_step(write):
    env = make_env(str(write(arm(reward="1"))))
    state = env.reset(jax.random.key(0))
    assert float(env.step(state, jnp.zeros(env.spec.action_size))[1].reward) == 1.0


@pytest.mark.parametrize("limits", ["nan nan", "-1e39 1e39", "1 1.00000000001"])
def test_control_ranges_that_hold_nothing_are_refused(write, limits):
    model = ARM.format(range=f'ctrllimited="true" ctrlrange="{limits}"')
    with pytest.raises(GailfeError, match=r"actuator 0 .*of .* has control range"):
        make_env(str(write(arm(), model)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"max_episode_steps": 999}, "has a time limit of 1000 steps; expected max_episode_steps, 999"),
        ({"range": "-2 2"}, r"has action bounds \[-1.0\] to \[1.0\]; expected those of the task's model, \[-2.0\] to"),
    ],
)
def test_a_gymnasium_id_is_the_tasks(write, change, message):
    model = (ASSETS / "inverted_double_pendulum.xml").read_text()
    model = model.replace('ctrlrange="-1 1"', f'ctrlrange="{change.pop("range", "-1 1")}"')
    keys = {"gymnasium_id": "InvertedDoublePendulum-v5"} | change
    text = "".join(f"{key} = {value!r}\n" for key, value in keys.items())
    path = write(text + PENDULUM.format(model="arm.xml"), model)
    if message is None:
        assert make_env(str(path), "mujoco_c").spec.gymnasium_id == "InvertedDoublePendulum-v5"
        return
    with pytest.raises(GailfeError, match=r"gymnasium_id 'InvertedDoublePendulum-v5' " + message):
        make_env(str(path), "mujoco_c")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (np.ones((2, 2)) * 1j, "qpos is of type complex128; expected real numbers"),
        (np.ones((2, 2), bool), "qpos is of type bool; expected real numbers"),
        (np.full((2, 2), "1"), "qpos is of type <U1; expected real numbers"),
        (np.full((2, 2), 1e60), "qpos is not finite; expected finite numbers"),
    ],
)
def test_start_states_are_real_numbers(write, tmp_path, part, message):
    np.savez(tmp_path / "s.npz", qpos=part, qvel=np.zeros((2, 2)))
    path = write(arm() + '\n[start]\nstates = "s.npz"')
    assert f"start.states: s.npz: {message}" in refused_alone(load_task, path)


def test_names_of_parts_may_hold_dots_and_any_letters(write):
    model = ARM.format(range=LIMITS).replace('"tip"', '"рука.tip 1"').replace('"cube"', '"cube-2"')
    model = model.replace('"bend"', '"el.bow"').replace('"lower"', '"cube"')
    observe = ["site:рука.tip 1.x-body:cube-2.x", "2*sensor:el.bow[0]", "body:cube.z - body:cube-2.z"]
    plain = ["site:tip.x - body:cube.x", "2 * sensor:bend", "body:lower.z - body:cube.z"]
    task, expected = load_task(write(arm(observe=observe), model)), load_task(write(arm(observe=plain)))
    data = Fields(
        **{name: np.arange(60.0).reshape(1, -1, 3) for name in ("xpos", "site_xpos")}, sensordata=np.ones((1, 1))
    )
    assert task.fields == expected.fields and np.array_equal(task.observe(np, data), expected.observe(np, data))


def test_a_long_list_is_joined_in_groups(write):
    """XLA's time for one concatenation grows with the square of its operands."""
    task = load_task(write(arm(observe=[f"{i} * qpos[{i % 2}]" for i in range(300)])))
    data = Fields(qpos=np.array([[1.0, 2.0]], np.float32))
    widths = [
        len(equation.invars)
        for equation in jax.make_jaxpr(lambda: task.observe(jnp, data))().eqns
        if equation.primitive.name == "concatenate"
    ]
    assert max(widths) <= 64 and sum(widths) > 300
    np.testing.assert_array_equal(task.observe(jnp, data), task.observe(np, data).astype(np.float32))
