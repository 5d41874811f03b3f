from __future__ import annotations

import pathlib
import subprocess

import jax
import jax.numpy as jnp
import pytest

from benchmarks.programs import ORDER, Case, canonical, cases, differences, operations
from gailfe_jax.learners.combinations import COMBINATIONS

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

X, Y = jnp.ones(3), jnp.ones((3, 2))


def text(fn, *args):
    return canonical(jax.jit(fn).lower(*args).as_text())


def loop(x, y):
    return jax.lax.fori_loop(0, 5, lambda _, carry: (carry[0] * 2.0 + 1.0, carry[1] @ carry[1].T @ carry[1]), (x, y))


def loop_of_changed_places(unused, y, x):
    return jax.lax.fori_loop(0, 5, lambda _, carry: (carry[0] @ carry[0].T @ carry[0], carry[1] * 2.0 + 1.0), (y, x))


@pytest.mark.parametrize("wrap", [lambda fn: fn, jax.jit], ids=["inline", "function"])
def test_arguments_may_change_places(wrap):
    before, now = text(loop, X, Y), text(wrap(loop_of_changed_places), X, Y, X)
    assert before != now and operations(before) == operations(now)


def test_a_function_counts_as_often_as_it_is_called():
    double = jax.jit(lambda x: 2.0 * x)
    once, twice = text(lambda x: double(x), X), text(lambda x: double(double(x)), X)
    multiply = "stablehlo.multiply %, % : tensor<3xf32>"
    assert operations(once)[multiply] == 1 and operations(twice)[multiply] == 2
    assert operations(twice) == operations(text(lambda x: 2.0 * (2.0 * x), X))


@pytest.mark.parametrize(
    "changed",
    [
        lambda x, y: (x * 2.5 + 1.0, y @ y.T),
        lambda x, y: (x * 2.0 - 1.0, y @ y.T),
        lambda x, y: (x * 2.0 + 1.0, y.T @ y),
        lambda x, y: (x * 2.0 + 1.0, y @ y.T @ y),
    ],
    ids=["constant", "operation", "type", "one more"],
)
def test_what_is_computed_may_not_change(changed):
    assert operations(text(lambda x, y: (x * 2.0 + 1.0, y @ y.T), X, Y)) != operations(text(changed, X, Y))


def test_what_differs_is_named():
    def look(sha256, operations, **numbers):
        return {"sha256": sha256, "operations": operations, "metrics": numbers, "returns": 1.0}

    before = look("a", "b", kl="0x1p+0", loss="0x1p+1")
    assert differences(before, look("a", "b", kl="0x1p+0", loss="0x1p+1")) == []
    assert differences(before, look("x", "b", kl="0x1p+0", loss="0x1p+1")) == [ORDER]
    assert differences(before, look("x", "y", kl="0x1p+0", loss="0x1p+2")) == ["program", "loss"]


def test_every_combination_is_looked_at():
    found = cases()
    assert [found[combination.name].combination for combination in COMBINATIONS] == list(COMBINATIONS)
    assert {case.engine for case in found.values()} == {"mujoco_c", "mjx"}


@pytest.mark.parametrize("name", cases())
def test_every_case_can_be_made(name: str):
    case: Case = cases()[name]
    learner, env = case.learner()
    assert (learner.env, env.spec.engine) == (env, case.engine)


def test_make_runs_the_script():
    words = ["make", "--no-print-directory", "--dry-run", "programs", "PROGRAMS_ARGS=--only BC"]
    shown = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1].endswith("python benchmarks/programs.py --only BC")
