"""A part is a frozen dataclass of settings and a pytree whose leaves are the traced ones."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.config.parts import (
    Part,
    as_arrays,
    bound,
    map_traced,
    path_name,
    setting,
    setting_named,
    settings_of,
    subpart,
    subparts,
    traced,
)
from gailfe_jax.config.run import EnvSettings, MjxSettings, WarpSettings
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.base import Rollout
from gailfe_jax.learners.methods import METHODS, find_method, with_policy
from gailfe_jax.learners.schedule import Schedule
from gailfe_jax.policies.actor import Actor, CloneStart
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.policies.trpo import TRPO
from gailfe_jax.rewards.discriminator import Discriminator
from gailfe_jax.types import Problem
from tests.toy import Cliff


class Inner(Part):
    """A part of its own."""

    width: tuple[int, ...] = setting((4,))
    """Layers."""
    rate: float = traced(0.1, step_size="policy")
    """How far a step
    goes."""


class Outer(Part):
    """A part with parts."""

    count: int = setting(2, least=1, most=5)
    """How many."""
    share: float = setting(0.5, above=0, below=1)
    """How much."""
    kind: Literal["a", "b"] = setting("a")
    """Which."""
    on: bool = setting(False)
    """Whether."""
    limit: int | None = setting(None, least=0)
    """At most, where there is a limit."""
    weight: float = traced(1.0)
    inner: Inner = subpart(Inner())
    other: Inner | None = subpart()
    helper: Any = bound()


class Child(Outer):
    """Inherits, with a default and a help of its own."""

    kind: Literal["a", "b"] = setting("b")
    """Which of two."""


# As a pytree.


def test_traced_settings_are_the_leaves_and_static_ones_the_structure():
    part = Outer(other=Inner(rate=0.3))
    paths = {path_name(path): value for path, value in jax.tree_util.tree_leaves_with_path(part)}
    assert paths == {"weight": 1.0, "inner.rate": 0.1, "other.rate": 0.3}
    structure = jax.tree.structure(part)
    assert structure == jax.tree.structure(part.replace(weight=7.0))
    assert structure == jax.tree.structure(part.replace(inner=Inner(rate=0.0)))
    for other in (
        part.replace(count=3),
        part.replace(inner=Inner(width=(5,))),
        part.replace(other=None),
        part.replace(helper="mine"),
    ):
        assert structure != jax.tree.structure(other)
    assert hash(structure) == hash(jax.tree.structure(part.replace(weight=7.0)))


@pytest.mark.parametrize("kind", [Outer, Child])
def test_a_round_trip_through_a_tree_is_the_part_itself(kind):
    part = kind(count=3, helper=len, other=Inner())
    leaves, structure = jax.tree.flatten(part)
    again = jax.tree.unflatten(structure, leaves)
    assert again == part and type(again) is kind and again.helper is len
    # Inside JAX leaves may be anything; nothing is checked then.
    strange = jax.tree.map(lambda x: "placeholder", part)
    assert strange.weight == strange.inner.rate == "placeholder" and strange.count == 3


def test_a_new_traced_value_compiles_nothing_and_a_new_static_one_does():
    seen = []

    @jax.jit
    def run(part):
        seen.append(part.count)
        return part.count * part.weight * part.inner.rate

    assert float(run(as_arrays(Outer()))) == pytest.approx(0.2)
    assert float(run(as_arrays(Outer(weight=3.0)))) == pytest.approx(0.6)
    assert float(run(as_arrays(Outer(count=4, weight=3.0)))) == pytest.approx(1.2)
    assert seen == [2, 4]


def test_many_values_of_a_traced_setting_are_mapped_over():
    part = as_arrays(Outer(weight=np.array([1.0, 2.0, 3.0])))
    axes = jax.tree.map(lambda x: 0 if jnp.ndim(x) else None, part)
    found = jax.vmap(lambda part: part.weight * part.inner.rate, in_axes=(axes,))(part)
    np.testing.assert_allclose(found, [0.1, 0.2, 0.3], rtol=1e-6)


def test_a_gradient_reaches_a_traced_setting():
    gradient = jax.grad(lambda part: part.weight**2 * part.inner.rate)(as_arrays(Outer(weight=3.0)))
    assert float(gradient.weight) == pytest.approx(0.6) and float(gradient.inner.rate) == pytest.approx(9.0)
    assert gradient.count == 2


@pytest.mark.parametrize("name", METHODS)
def test_every_methods_leaves_are_its_traced_settings(name):
    method = find_method(name)
    leaves = {path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(method)}

    def named(part, prefix=""):
        own = {prefix + s.name for s in settings_of(type(part)) if s.marks.traced}
        return own.union(*(named(inner, f"{prefix}{name}.") for name, inner in subparts(part)))

    assert leaves == named(method)
    bound_to = method.on(Cliff())
    assert jax.tree.structure(bound_to) == jax.tree.structure(method.on(bound_to.env))


# As settings.


def test_what_a_class_declares_is_read_off_it():
    names = [s.name for s in settings_of(Outer)]
    assert names == ["count", "share", "kind", "on", "limit", "weight"]
    assert setting_named(Outer, "count").help == "How many."
    assert setting_named(Inner, "rate").help == "How far a step goes."
    assert setting_named(Outer, "weight").help == ""
    kind, limit = setting_named(Outer, "kind"), setting_named(Outer, "limit")
    assert (kind.kind, kind.choices, kind.optional) == (str, ("a", "b"), False)
    assert (limit.kind, limit.choices, limit.optional) == (int, (), True)
    assert (setting_named(Child, "kind").default, setting_named(Child, "kind").help) == ("b", "Which of two.")
    assert setting_named(Child, "count") == setting_named(Outer, "count")
    with pytest.raises(KeyError):
        setting_named(Outer, "inner")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("count", "a whole number from 1 to 5"),
        ("share", "a finite number above 0 below 1"),
        ("kind", "one of a, b"),
        ("on", "true or false"),
        ("limit", "a whole number from 0, or none"),
        ("weight", "a finite number"),
    ],
)
def test_a_setting_says_what_it_takes(name, expected):
    assert setting_named(Outer, name).expected == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 0),
        ("count", 6),
        ("count", 2.0),
        ("count", True),
        ("count", None),
        ("share", 0),
        ("share", 1.0),
        ("share", float("nan")),
        ("kind", "c"),
        ("kind", 1),
        ("on", 1),
        ("on", "true"),
        ("limit", -1),
        ("weight", float("inf")),
        ("weight", "1"),
        ("weight", None),
    ],
)
def test_a_value_of_another_type_or_out_of_bounds_is_one_line_that_names_the_setting(name, value):
    for kind in (Outer, Child):
        with pytest.raises(GailfeError, match=rf"^{kind.__name__}\.{name}: got .*; expected ") as error:
            kind(**{name: value})
        assert setting_named(Outer, name).expected in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(GailfeError, match=rf"^Outer\.{name}"):
        Outer().replace(**{name: value})


def test_values_have_one_spelling_whichever_was_written():
    part = Outer(weight=2, share=0.25, limit=3, inner=Inner(width=[3, 4]))
    assert part == Outer(weight=2.0, share=0.25, limit=3, inner=Inner(width=(3, 4)))
    assert type(part.weight) is float and type(part.inner.width) is tuple
    assert hash(jax.tree.structure(part)) == hash(jax.tree.structure(Outer(share=0.25, limit=3, inner=part.inner)))


def test_a_part_is_frozen_and_is_changed_by_copies():
    part = Outer()
    with pytest.raises(dataclasses.FrozenInstanceError):
        part.count = 3
    assert part.replace(count=3).count == 3 and part.count == 2
    with pytest.raises(TypeError):
        Outer(colour="red")
    with pytest.raises(TypeError):
        Outer(3)


def test_it_shows_its_settings_and_not_what_binding_fills_in():
    part = Outer(helper=len).bind(Problem(Cliff.spec, 2, 3))
    assert repr(part) == (
        "Outer(count=2, share=0.5, kind='a', on=False, limit=None, weight=1.0, "
        "inner=Inner(width=(4,), rate=0.1), other=None)"
    )
    assert part.values() == {"count": 2, "share": 0.5, "kind": "a", "on": False, "limit": None, "weight": 1.0}


def test_binding_reaches_the_parts_inside():
    problem = Problem(Cliff.spec, 2, 3)
    part = as_arrays(Outer(other=Inner())).bind(problem)
    assert part.problem is part.inner.problem is part.other.problem is problem
    assert Outer().problem is None


def test_traced_settings_are_mapped_with_what_they_follow():
    def scaled(marks, value):
        return 10 * value if marks.step_size == "policy" else value

    part = map_traced(Outer(other=Inner(rate=0.3)), scaled)
    assert (part.weight, part.inner.rate, part.other.rate) == (1.0, 1.0, 3.0)
    assert part.count == 2 and part.inner.width == (4,)


def test_arrays_are_float32_and_finite():
    part = as_arrays(Outer(weight=np.array([1, 2])))
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(part))
    assert part.weight.shape == (2,) and part.inner.rate.shape == ()
    for values in (np.array([1.0, np.nan]), np.array(np.inf)):
        with pytest.raises(GailfeError, match=r"^inner\.rate: got .*; expected a finite number"):
            as_arrays(Outer(inner=Inner(rate=values)))


# The parts that there are.


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        (TRPO, "hidden", (-3,)),
        (Actor, "hidden", (3.0,)),
        (Discriminator, "hidden", (100, 0)),
        (TRPO, "init_log_std", float("nan")),
        (TRPO, "mixture", 0),
        (Rollout, "num_envs", 0),
        (Rollout, "unroll_length", 0),
        (CloneStart, "steps", -1),
        (Schedule, "warmup_iterations", -1),
        (Schedule, "warm_restarts", -1),
        (TRPO, "average", 1.0),
        (TRPO, "fisher_fraction", 1.5),
        (TRPO, "fisher_fraction", 0.0),
        (PPO, "minibatches", 0),
        (MjxSettings, "iterations", 0),
        (MjxSettings, "ls_iterations", 0),
        (MjxSettings, "tolerance", -1.0),
        (MjxSettings, "solver", "pgs"),
        (WarpSettings, "nconmax", 0),
        (WarpSettings, "njmax", 0),
    ],
)
def test_a_value_out_of_range_is_one_line_that_names_the_field(part, field, value):
    with pytest.raises(GailfeError, match=rf"^{part.__name__}\.{field}: got ") as error:
        part(**{field: value})
    assert "\n" not in str(error.value)


def test_more_minibatches_than_samples_is_refused_for_ppo_only():
    small = Rollout(num_envs=1, unroll_length=4)
    method = find_method("gail").replace(rollout=small)
    with pytest.raises(GailfeError, match=r"^policy\.minibatches: got 8; expected"):
        with_policy(method, "ppo").replace(policy=PPO(minibatches=8)).verify()
    assert method.replace(policy=TRPO()).rollout.batch_size == 4
    method.replace(policy=TRPO()).verify()


def test_engine_options_are_those_that_are_not_the_models_own():
    assert EnvSettings().options == {}
    place = EnvSettings(mjx=MjxSettings(iterations=4, euler_damping=False), warp=WarpSettings(njmax=50))
    assert place.options == {"iterations": 4, "euler_damping": False, "njmax": 50}


@pytest.mark.parametrize("kind", sorted({type(m) for m in METHODS.values()}, key=lambda kind: kind.__name__))
def test_every_setting_of_a_method_says_what_it_does(kind):
    def silent(part):
        yield from (f"{type(part).__name__}.{s.name}" for s in settings_of(type(part)) if not s.help.endswith("."))
        for _, inner in subparts(part):
            yield from silent(inner)

    assert list(silent(next(m for m in METHODS.values() if type(m) is kind))) == []
