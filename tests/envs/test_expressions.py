"""Expressions of task files: what `before` may stand around."""

from __future__ import annotations

import mujoco
import pytest

from gailfe_jax.envs.expressions import compile_expression
from gailfe_jax.envs.physics.names import Names
from gailfe_jax.errors import GailfeError
from tests.envs.conftest import MODEL


@pytest.fixture(scope="module")
def compiled():
    """`compiled(text)`: a reward of the slider."""
    names = Names(mujoco.MjModel.from_xml_string(MODEL.format(range="")))
    return lambda text: compile_expression(text, names, "env: arm.toml: reward", ("action", "alive", "dt"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("before(alive)", "before(alive) is not known: alive is of the step itself"),
        ("1 - before(action)", "before(action) is not known: action is of the step itself"),
        ("before(norm(action))", "before(action) is not known: action is of the step itself"),
        ("before(qpos[0] * alive)", "before(alive) is not known: alive is of the step itself"),
        ("before(dt)", "before(dt) reads nothing of the state"),
        ("qpos[0] - before(2 * dt)", "before(2 * dt) reads nothing of the state"),
        ("before(qpos[0]) - before(3)", "before(3) reads nothing of the state"),
        ("before(before(qpos[0]) + qvel[0])", "before(qpos[0]) stands inside another before"),
    ],
)
def test_before_is_for_quantities_of_the_state(compiled, text, why):
    with pytest.raises(GailfeError) as caught:
        compiled(text)
    expected = "expected quantities of the state, such as before(site:tip.x)"
    assert str(caught.value) == f"env: arm.toml: reward: {text!r}: {why}; {expected}"


@pytest.mark.parametrize(
    ("text", "fields", "fields_before"),
    [
        ("alive * (joint:slide.qpos - before(joint:slide.qpos)) / dt", {"qpos"}, {"qpos"}),
        ("before(joint:slide.qvel / dt) + before(qpos[0]) + sum(action)", {"qpos", "qvel"}, {"qpos", "qvel"}),
        ("qvel[0]", {"qvel"}, set()),
    ],
)
def test_what_is_read_before_the_step_is_noted(compiled, text, fields, fields_before):
    expression = compiled(text)
    assert (expression.fields, expression.fields_before) == (fields, fields_before)
