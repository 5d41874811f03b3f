"""The contract of every annotator that a command line can name, and the table of their names.

`slow` and `early` are a user's annotators: they are registered here and nowhere else.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gailfe_jax
from gailfe_jax.buffers.labelled import LabelledTrajectories
from gailfe_jax.data import annotators
from gailfe_jax.data.annotators import (
    Annotator,
    annotate,
    annotator_forms,
    from_function,
    parse_annotator,
    parse_success,
    register_annotator,
)
from gailfe_jax.data.trajectories import Trajectories, offsets_of
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import Transition

OBS, ACTION, LONGEST, SEEDS = 2, 1, 32, 3
LENGTHS = [3, 30, 1, 2, 2, 5, 1, 4, 1, 2, 1, 3, 30, 1, 2, 4]


def slow(request):
    least = request.number()
    return from_function(lambda view: jnp.abs(view.obs[0]).sum() < 2 * least, reads_reward=False)


def early(request):
    return Annotator("early", reads_reward=False, verdict=lambda episode: episode.length < 3)


@pytest.fixture(autouse=True)
def users_annotators(monkeypatch):
    monkeypatch.setattr(annotators, "_annotators", {kind: dict(made) for kind, made in annotators._annotators.items()})
    gailfe_jax.register_annotator("slow", slow, argument="LEAST")
    gailfe_jax.register_annotator("early", early, labels="successes")


FORMS = [
    *(("failures", form) for form in (*annotator_forms("failures"), "slow:LEAST")),
    *(("successes", form) for form in (*annotator_forms("successes"), "early")),
]


def make(labels: str, form: str) -> Annotator:
    name, colon, _ = form.partition(":")
    parse = {"failures": parse_annotator, "successes": parse_success}[labels]
    return parse(name + colon + ("0.5" if colon else ""), task="hopper", expert_return=2.0)


def stored(seed: int) -> Trajectories:
    """Trajectories of many lengths and returns, some fallen; the long ones end upside down."""
    rng = np.random.default_rng(seed)
    n, offsets = sum(LENGTHS), offsets_of(np.array(LENGTHS))
    last = np.zeros(n, bool)
    last[offsets[1:] - 1] = True
    fell = last & (rng.random(n) < 0.5)
    next_obs = rng.normal(size=(n, OBS)).astype(np.float32)
    next_obs[:, 1] = np.repeat(np.where(np.array(LENGTHS) > 20, 3.1, 0.1), LENGTHS)
    return Trajectories(
        obs=rng.normal(size=(n, OBS)).astype(np.float32), action=rng.uniform(-1, 1, (n, ACTION)).astype(np.float32),
        next_obs=next_obs, reward=rng.integers(-2, 3, n).astype(np.float32), terminated=fell, truncated=last & ~fell,
        offsets=offsets,
    )  # fmt: skip


def unroll(trajectories: Trajectories) -> Transition:
    """The same steps as one environment made them, `[n, 1, ...]`."""
    names = ("obs", "action", "next_obs", "reward", "terminated", "truncated")
    columns = {name: jnp.asarray(getattr(trajectories, name))[:, None] for name in names}
    return Transition(log_prob=jnp.zeros_like(columns["reward"]), **columns)


@pytest.mark.parametrize(("labels", "form"), FORMS)
def test_host_and_device_agree_under_jit_and_vmap(labels, form):
    annotator = make(labels, form)
    buffer = LabelledTrajectories(len(LENGTHS), LONGEST, 1, OBS, ACTION, annotator)
    seeds = [stored(seed) for seed in range(SEEDS)]
    unrolls = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(unroll, seeds))
    states = jax.jit(jax.vmap(lambda steps: buffer.add(buffer.init(), steps)))(unrolls)
    add = jax.jit(lambda steps: buffer.add(buffer.init(), steps))
    for seed, trajectories in enumerate(seeds):
        labelled = annotate(annotator, trajectories)
        assert (labelled.dtype, labelled.shape) == (np.bool_, (len(LENGTHS),))
        expected = [trajectories.trajectory(int(i)) for i in np.flatnonzero(labelled)]
        alone = add(unroll(trajectories))
        for state in (alone, jax.tree.map(lambda x: x[seed], states)):  # noqa: B023
            assert int(state.num_episodes) == len(LENGTHS)
            held = buffer.contents(state)
            assert len(held) == len(expected)
            for (obs, action), trajectory in zip(held, expected, strict=True):
                np.testing.assert_array_equal(obs, trajectory.obs)
                np.testing.assert_array_equal(action, trajectory.action)


@pytest.mark.parametrize(("labels", "form"), FORMS)
def test_it_tells_some_episodes_from_others(labels, form):
    labelled = annotate(make(labels, form), stored(0))
    assert 0 < labelled.sum() < len(labelled)


@pytest.mark.parametrize(("labels", "form"), FORMS)
def test_an_annotator_that_reads_no_reward_does_not_depend_on_it(labels, form):
    annotator = make(labels, form)
    trajectories = stored(0)
    other = Trajectories(**{**vars(trajectories), "reward": 100.0 - trajectories.reward})
    changed = not np.array_equal(annotate(annotator, trajectories), annotate(annotator, other))
    assert changed == annotator.reads_reward


def test_a_registered_annotator_is_named_by_what_was_asked_for():
    assert parse_annotator("slow:1.5", task="ant").name == "slow:1.5"
    assert parse_success("early").name == "early"
    assert annotator_forms()[0] == "default"
    assert annotator_forms()[-1] == "slow:LEAST"
    assert annotator_forms("successes")[-1] == "early"


def test_the_factory_is_told_what_the_command_line_knows():
    told = []
    register_annotator("ask", lambda request: told.append(request) or annotators.terminated(), argument="X")
    for spec, task, expert_return in (("ask:a:b", "ant", 5.0), ("ask", "hopper", None)):
        parse_annotator(spec, task=task, expert_return=expert_return)
    assert [(each.spec, each.argument, each.task, each.expert_return) for each in told] == [
        ("ask:a:b", "a:b", "ant", 5.0),
        ("ask", "", "hopper", None),
    ]


def test_unknown_names_are_told_the_known_ones():
    with pytest.raises(GailfeError) as error:
        parse_annotator("early", task="hopper")
    assert str(error.value) == (
        "annotator 'early': expected one of default, terminated, truncated, return_below:FRACTION, flipped, "
        "bottom_quantile:Q, slow:LEAST, or one given to gailfe_jax.register_annotator"
    )
    for spec in ("slow:1", "early:3"):
        with pytest.raises(GailfeError, match="expected top_k or one of survived, return_above:FRACTION, early, or"):
            parse_success(spec)
    with pytest.raises(GailfeError, match="'slow:x': expected a number after the colon, got 'x'"):
        parse_annotator("slow:x", task="hopper")


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("terminated", "failures", "got the name 'terminated'; expected one word without a colon, other than default"),
        ("survived", "successes", "got the name 'survived'"),
        ("default", "failures", "got the name 'default'"),
        ("top_k", "successes", "got the name 'top_k'"),
        ("two words", "failures", "got the name 'two words'"),
        ("a:b", "failures", "got the name 'a:b'"),
        ("", "failures", "got the name ''"),
        ("mine", "both", "labels is 'both', expected one of failures, successes"),
    ],
)
def test_names_that_are_refused(name, labels, message):
    with pytest.raises(GailfeError, match=message) as error:
        register_annotator(name, early, labels=labels)
    assert "\n" not in str(error.value)


def test_a_later_registration_replaces_an_earlier_one():
    register_annotator("slow", lambda request: annotators.terminated())
    assert parse_annotator("slow", task="hopper").trajectory is None
    with pytest.raises(GailfeError, match="expected one of"):
        parse_annotator("slow:1", task="hopper")


def test_a_factory_must_return_an_annotator():
    register_annotator("odd", lambda request: lambda view: view.terminated)  # type: ignore
    with pytest.raises(GailfeError, match="'odd': its factory returned function, expected an Annotator"):
        parse_annotator("odd", task="hopper")
