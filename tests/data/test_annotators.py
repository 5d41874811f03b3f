"""Annotators against plain Python, and the command line's names for them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.data import annotators
from gailfe_jax.data.annotators import EpisodeSummary, annotate, parse_annotator, parse_success
from gailfe_jax.data.trajectories import Trajectories
from gailfe_jax.envs import TASKS
from gailfe_jax.errors import GailfeError


def _trajectories(rewards: list[list[float]], terminated: list[bool], angles: list[list[float]]) -> Trajectories:
    """Trajectories whose `next_obs[:, 1]` is the given torso angle."""
    lengths = [len(r) for r in rewards]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    n = int(offsets[-1])
    last, fell = np.zeros(n, bool), np.zeros(n, bool)
    last[offsets[1:] - 1] = True
    fell[offsets[1:] - 1] = terminated
    next_obs = np.zeros((n, 2), np.float32)
    next_obs[:, 1] = np.concatenate(angles)
    return Trajectories(
        obs=np.roll(next_obs, 1, axis=0),
        action=np.ones((n, 1), np.float32),
        next_obs=next_obs,
        reward=np.concatenate(rewards).astype(np.float32),
        terminated=fell,
        truncated=last & ~fell,
        offsets=offsets,
    )


def _returns(returns: list[float]) -> Trajectories:
    return _trajectories([[r] for r in returns], [False] * len(returns), [[0.0]] * len(returns))


def test_terminated():
    stored = _trajectories([[1, 1], [1], [1, 1, 1]], [True, False, True], [[0, 0], [0], [0, 0, 0]])
    np.testing.assert_array_equal(annotate(annotators.terminated(), stored), [True, False, True])


def test_return_below_is_strict():
    np.testing.assert_array_equal(
        annotate(annotators.return_below(2.0), _returns([1.9, 2.0, 2.1, -5.0])), [True, False, False, True]
    )


@pytest.mark.parametrize(
    ("angles", "failed"),
    [
        ([0.0, 0.0, 3.1, 3.1], True),
        ([3.1, 3.1, 3.1, 0.0], False),  # recovered
        ([0.0, 0.0, 0.0, 3.1], False),  # too short a streak
        ([0.0, 0.0, 1.5, -1.5], False),  # within a quarter turn
        ([0.0, 0.0, 1.6, -1.6], True),
        ([0.0, 0.0, 6.2, 6.2], False),  # a full turn
        ([0.0, 0.0, -9.5, 9.5], True),  # one and a half
        ([3.1, 3.1, 3.1, 3.1], True),
    ],
)
def test_flipped_needs_a_streak_at_the_end(angles, failed):
    stored = _trajectories([[1.0] * 4], [False], [angles])
    assert annotate(annotators.flipped(1, min_steps=2), stored).tolist() == [failed]


def test_bottom_quantile_ranks_against_the_last_returns():
    annotator = annotators.bottom_quantile(0.5, window=4, min_episodes=2)
    returns = [9.0, 1.0, 0.0, 2.0, 0.5, 8.0, 1.0, 1.0]
    # Against: nothing, one; then [9 1], [9 1 0], [9 1 0 2], [1 0 2 .5], [0 2 .5 8], [2 .5 8 1].
    expected = [False, False, True, False, True, False, False, False]
    assert annotate(annotator, _returns(returns)).tolist() == expected
    assert annotate(annotator, _returns([3.0] * 6)).tolist() == [False] * 6


def test_own_function_sees_the_padded_trajectory():
    def wide(view):
        padding = jnp.sum(jnp.where(view.mask[:, None], 0.0, jnp.abs(view.obs)))
        ok = (jnp.sum(view.action) == view.length.astype(jnp.float32)) & (padding == 0) & (view.final_obs[1] == 7.0)
        return ok & (view.episode_return > 2.5) & ~view.terminated

    stored = _trajectories([[1.0] * 3, [1.0] * 2, [1.0] * 3], [False, False, True], [[1, 1, 7], [1, 7], [1, 1, 7]])
    annotator = annotators.from_function(wide)
    assert annotator.name == "wide"
    assert annotator.reads_reward
    assert annotate(annotator, stored).tolist() == [True, False, False]


def test_nothing_to_annotate():
    assert annotate(annotators.terminated(), Trajectories.empty(2, 1)).shape == (0,)


@pytest.mark.parametrize(
    ("spec", "task", "name", "reads_reward"),
    [
        ("default", "hopper", "terminated", False),
        ("default", "walker2d", "terminated", False),
        ("default", "halfcheetah", "return_below:0.5", True),
        ("default", "ant", "terminated", False),
        ("terminated", "halfcheetah", "terminated", False),
        ("return_below:0.25", "hopper", "return_below:0.25", True),
        ("flipped", "halfcheetah", "flipped", False),
        ("bottom_quantile:0.2", "hopper", "bottom_quantile:0.2", True),
    ],
)
def test_parse(spec, task, name, reads_reward):
    options = {"default": TASKS[task].annotator} if task in TASKS else {}
    annotator = parse_annotator(spec, task=task, expert_return=1000.0, **options)
    assert (annotator.name, annotator.reads_reward) == (name, reads_reward)


def test_parsed_threshold_is_a_fraction_of_the_expert_return():
    annotator = parse_annotator("return_below:0.25", task="hopper", expert_return=1000.0)
    assert annotate(annotator, _returns([249.0, 251.0])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("spec", "expert_return", "message"),
    [
        ("fell", 1.0, "'fell': expected one of default, terminated"),
        ("terminated:1", 1.0, "expected one of"),
        ("return_below", 1.0, "a number after the colon"),
        ("return_below:half", 1.0, "got 'half'"),
        ("return_below:nan", 1.0, "got 'nan'"),
        ("return_below:0.5", None, "positive expert return, got None"),
        ("return_below:0.5", -3.0, "positive expert return, got -3"),
        ("bottom_quantile:1.5", 1.0, "q is 1.5"),
        ("flipped", 1.0, "got 'ant'"),
    ],
)
def test_parse_errors(spec, expert_return, message):
    with pytest.raises(GailfeError, match=message) as error:
        parse_annotator(spec, task="ant", expert_return=expert_return)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: annotators.return_below(float("nan")),
        lambda: annotators.flipped(-1),
        lambda: annotators.flipped(1, min_steps=0),
        lambda: annotators.bottom_quantile(0.0),
        lambda: annotators.bottom_quantile(0.5, window=3, min_episodes=4),
        lambda: annotators.Annotator("nothing", reads_reward=False),
        lambda: annotators.Annotator("history", False, verdict=lambda e: e.terminated, history=-1),
    ],
)
def test_bad_arguments_are_refused(make):
    with pytest.raises(GailfeError):
        make()


def test_successes_are_what_the_failures_are_not():
    summary = EpisodeSummary(
        length=jnp.int32(3),
        episode_return=jnp.float32(0.0),
        terminated=jnp.bool_(False),
        flagged=jnp.int32(0),
        streak=jnp.int32(0),
        recent_returns=jnp.zeros(0),
    )
    success, failure = parse_success("return_above:0.5", expert_return=10.0), annotators.return_below(5.0)
    for value in (4.0, 5.0, 6.0):
        episode = summary.replace(episode_return=jnp.float32(value))
        assert bool(success.verdict(episode)) == (value >= 5.0) != bool(failure.verdict(episode))
    for ended in (False, True):
        episode = summary.replace(terminated=jnp.bool_(ended))
        assert bool(parse_success("survived").verdict(episode)) != ended
    assert (success.name, success.reads_reward) == ("return_above:0.5", True)


@pytest.mark.parametrize(
    ("spec", "expert_return", "message"),
    [
        ("return_above:0.5", None, "needs a positive expert return, got None"),
        ("return_above:x", 1.0, "expected a number after the colon, got 'x'"),
        ("terminated", 1.0, "expected top_k or one of survived, return_above:FRACTION"),
    ],
)
def test_a_success_that_does_not_parse_is_refused(spec, expert_return, message):
    with pytest.raises(GailfeError, match=message):
        parse_success(spec, expert_return=expert_return)


@pytest.mark.parametrize("part", ["verdict", "flag", "trajectory", "factory"])
def test_one_that_raises_is_named(part, monkeypatch):
    labelled = {labels: dict(forms) for labels, forms in annotators._annotators.items()}
    monkeypatch.setattr(annotators, "_annotators", labelled)

    def fails(*_):
        raise RuntimeError("boom\nand more")

    def make(request):
        if part == "factory":
            fails()
        verdict = {"verdict": lambda episode: episode.flagged > 0} if part == "flag" else {}
        return annotators.Annotator("boom", reads_reward=False, **verdict | {part: fails})

    annotators.register_annotator("boom", make)
    shown = _trajectories([[1.0, 1.0]], [True], [[0.0, 0.0]])
    with pytest.raises(GailfeError, match=r"^annotator 'boom' fails \(RuntimeError: boom\)$"):
        annotate(parse_annotator("boom", task=None), shown)
