"""A reward or policy step of the user's own that is wrong inside the program is told before a run folder is made."""

from __future__ import annotations

import re

import jax.numpy as jnp
import pytest

from gailfe_jax.data.annotators import Annotator, from_function
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import GAIL
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.policies.registry import POLICY_UPDATES, register_policy_update
from gailfe_jax.rewards.base import Reward
from gailfe_jax.training.loop import train
from tests.tiny import tiny, tiny_run, toy_demonstrations
from tests.toy import Cliff, cliff_expert

ENV = Cliff()


class Mine(Reward):
    """A reward that is right."""

    def init(self, key, expert):
        return jnp.zeros(2)

    def fit(self, state, batch, key):
        return state + jnp.mean(batch.policy.obs), {"loss": jnp.mean(batch.positives(key))}

    def score(self, state, obs, action):
        return obs @ state


class Step(PPO):
    """A policy step that is right."""


@pytest.fixture(autouse=True)
def own_table(monkeypatch):
    """What is registered here is forgotten afterwards."""
    monkeypatch.setattr(POLICY_UPDATES, "_added", {})
    register_policy_update("step", Step)


def attempt(folder, **parts):
    """Starts a run with these parts, up to where its folder is made."""
    method = tiny("gail").replace(name="mine", **parts)
    assert isinstance(method, GAIL)
    demos = toy_demonstrations(ENV, cliff_expert(), trajectories=2, failures=0)
    (folder / "run").mkdir()
    (folder / "run" / "notes.txt").write_text("Not a run.")
    train(method, ENV, tiny_run(), demos=demos, out=folder / "run")


@pytest.mark.parametrize(
    ("function", "wrong", "message"),
    [
        ("init", lambda self, key, expert: expert.nothing, "init, traced by JAX, fails (AttributeError: "),
        ("fit", lambda self, state, batch, key: state, "fit gives a ShapeDtypeStruct; expected the pair (state, dict"),
        ("fit", lambda self, state, batch, key: (state, 1.0), "fit gives (ShapeDtypeStruct, ShapeDtypeStruct); expec"),
        ("fit", lambda self, state, batch, key: state @ state @ state, "fit, traced by JAX, fails ("),
        (
            "fit",
            lambda self, state, batch, key: ((state, state), {}),
            "fit changes the structure of the state; expected the one that init gives",
        ),
        (
            "fit",
            lambda self, state, batch, key: (state[:1], {}),
            "fit gives the state of float32[1]; expected float32[2], as init gives",
        ),
        (
            "fit",
            lambda self, state, batch, key: (state, {"loss": state}),
            "fit gives the metric loss of float32[2]; expected one number",
        ),
        (
            "score",
            lambda self, state, obs, action: obs * state,
            "score gives float32[8, 4, 2]; expected float32[8, 4], one a pair",
        ),
        ("score", lambda self, state, obs, action: 1.0, "score gives float32[]; expected float32[8, 4], one a pair"),
    ],
)
def test_a_wrong_reward_is_told_by_part_and_function(function, wrong, message, tmp_path):
    kind = type(Mine)("Wrong", (Mine,), {"__module__": __name__, function: wrong})
    with pytest.raises(GailfeError, match=f"^Wrong.{re.escape(message)}") as error:
        attempt(tmp_path, reward=kind())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda self, state, transition, objective, key: state, "gives a AgentState; expected the pair"),
        (lambda self, state, transition, objective, key: (state.policy, {}), "changes the structure of the state"),
        (lambda self, state, *others: (state, {"loss": jnp.ones(3)}), "gives the metric loss of float32[3]; exp"),
    ],
)
def test_a_wrong_policy_step_is_told_by_part_and_function(wrong, message, tmp_path):
    kind = type(Step)("Wrong", (Step,), {"__module__": __name__, "update": wrong})
    register_policy_update("step", kind)
    with pytest.raises(GailfeError, match=rf"^Wrong\.update {re.escape(message)}"):
        attempt(tmp_path, policy=kind(minibatches=2))


def test_what_is_right_goes_on_to_its_folder(tmp_path):
    with pytest.raises(GailfeError, match=r"exists and holds no run; choose another --out"):
        attempt(tmp_path, reward=Mine(), policy=Step(minibatches=2))


def _raises(episode):
    raise ValueError("no such\nepisode")


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        (from_function(_raises), r"^annotator '_raises', traced by JAX, fails \(ValueError: no such\)"),
        (from_function(lambda e: e.length), r"^annotator '<lambda>' gives int32\[\]; expected bool\[\]"),
        (from_function(lambda e: e.obs[:, 0] > 1, "far"), r"^annotator 'far' gives bool\[12\]; expected bool\[\]"),
        (
            Annotator("mine", False, verdict=lambda s: s.flagged > 0, flag=lambda obs, action, after: obs > after),
            r"^annotator 'mine': its flag gives bool\[2\]; expected bool\[\]",
        ),
        (Annotator("mine", False, verdict=lambda s: s.nothing), r"^annotator 'mine', traced by JAX, fails \(Attribute"),
    ],
)
def test_an_annotator_that_fails_is_told_before_a_run_folder_is_made(tmp_path, judge, message):
    demos = toy_demonstrations(ENV, cliff_expert(), trajectories=2, failures=0)
    with pytest.raises(GailfeError, match=message) as error:
        train(tiny("gailfe"), ENV, tiny_run(), demos=demos, out=tmp_path / "run", annotator=judge)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()
