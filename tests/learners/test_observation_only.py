"""Learning from demonstrations without actions: every method with a discriminator does, every other one refuses."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.artifacts.confidence import Confidence
from gailfe_jax.config.run import DemoSettings
from gailfe_jax.config.tree import put
from gailfe_jax.data.annotators import terminated
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import METHODS, find_method, with_policy
from gailfe_jax.training.export import to_confidences, to_policies
from gailfe_jax.training.inputs import prepare_inputs
from gailfe_jax.training.program import Trainer
from tests.tiny import tiny, toy_demonstrations
from tests.toy import Cliff, cliff_expert

ENV = Cliff()
CASES = [
    ("gail", "trpo", {"reward.inputs": "transitions"}),
    ("gail", "ppo", {"reward.inputs": "states", "reward.features": "0", "reward.replay": 40}),
    ("gail", "sac", {"reward.inputs": "transitions", "reward.absorbing": True, "reward.form": "logit"}),
    ("gail", "td3", {"reward.inputs": "states"}),
    ("gail", "svg", {"reward.inputs": "transitions", "policy.rollouts": "real", "policy.imagined": 0.5}),
    ("gailfe", "ppo", {"reward.inputs": "transitions", "reward.absorbing": True, "self_demonstrations.use": "both"}),
    ("gailfe", "td3", {"reward.inputs": "transitions"}),
    ("mail", None, {"reward.inputs": "transitions"}),
    ("mail", None, {"reward.inputs": "states", "policy.rollouts": "model"}),
    ("gasil", None, {"reward.inputs": "transitions"}),
]


def made(name, policy, settings):
    return put(tiny(name, policy, rollout__unroll_length=16), settings)


@pytest.fixture(scope="module")
def shown():
    """Demonstrations and failures of the cliff, without actions."""
    demos = toy_demonstrations(ENV, cliff_expert(), trajectories=4, failures=4)
    bare = lambda part: dataclasses.replace(part, action=part.action[:, :0])  # noqa: E731
    return dataclasses.replace(demos, expert=bare(demos.expert), failures=bare(demos.failures))


def begun(method, shown):
    """`(trainer, demonstrations on the device)`."""
    demos = prepare_inputs(method, ENV, DemoSettings(), shown).demos if method.needs_demonstrations else None
    learner = method.on(ENV, total_iterations=3, annotator=terminated())
    return Trainer(learner, np.arange(1), chunk=3, eval_episodes=1), demos


@pytest.mark.usefixtures("compiled_in_haste")
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case[:2] == ("gailfe", "ppo") else pytest.mark.slow) for case in CASES]
)
def test_methods_with_a_discriminator_train(case, shown, tmp_path):
    method = made(*case)
    trainer, demos = begun(method, shown)
    before = trainer.init(demos)
    state, metrics = trainer.advance(trainer.init(demos), demos)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((state.agent.policy, state.reward)))
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), before.reward.params, state.reward.params)
    assert any(jax.tree.leaves(moved)) and np.isfinite(metrics["discriminator_accuracy"][-1]).all()
    if method.name == "gailfe":
        assert np.isfinite(metrics["failure_log_d"]).all()
        # What the file's failures did is not known, and never asked.
        pool = before.sources.failures.storage
        assert np.isnan(pool[..., 2:]).any() and not np.isnan(pool[..., :2]).any()
    judge = to_confidences(state, trainer.learner, "cliff", 1, np.array([0]))[0]
    assert (judge.inputs, judge.features) == (method.reward.inputs, trainer.learner.reward.columns)
    loaded = Confidence.load(judge.save(tmp_path / "judge.safetensors"))
    obs, action, following = (np.random.default_rng(i).normal(size=(5, 2)).astype(np.float32) for i in range(3))
    one = jax.tree.map(lambda x: x[0], state.reward)
    expected = trainer.learner.reward.logit(one, jnp.asarray(obs), jnp.asarray(action), jnp.asarray(following))
    np.testing.assert_allclose(loaded.logit(obs, next_obs=following), expected, rtol=1e-3, atol=1e-3)
    assert loaded(obs, action, following).shape == (5,)
    policy = to_policies(state, trainer.learner, "cliff", 1, np.array([0]))[0]
    assert policy is not None and policy.metadata["reward_inputs"] == method.reward.inputs


@pytest.mark.parametrize("case", CASES)
def test_a_fresh_state_needs_no_actions(case, shown):
    """The quick half of the test above."""
    method = made(*case)
    trainer, demos = begun(method, shown)
    assert method.needs_actions() is None
    if demos is not None:
        assert demos.expert.action.shape[-1] == 0
    state = jax.eval_shape(trainer.learner.init, jax.random.key(0), demos)
    width = len(trainer.learner.reward.columns or (0, 1))
    rows = width * (2 if method.reward.inputs == "transitions" else 1) + method.reward.absorbing
    assert state.reward.params["params"]["Dense_0"]["kernel"].shape == (rows, 8)


REFUSED = [
    ("gail", None, {}, r"gail judges them; expected reward\.inputs transitions or states"),
    ("gailfe", "sac", {}, r"gailfe judges them; expected reward\.inputs transitions or states"),
    ("fem", None, {}, r"fem judges them; expected demonstrations with actions, or gail with --reward\.inputs"),
    ("irlf", None, {}, r"irlf judges them; expected demonstrations with actions, or gail with --reward\.inputs"),
    ("bc", None, {}, r"bc imitates them; expected demonstrations with actions, or gail with --reward\.inputs"),
    ("gail", None, {"reward.inputs": "states", "start.steps": 3}, r"start\.steps clones them; expected 0$"),
    ("mail", None, {"reward.inputs": "states", "start.steps": 3}, r"start\.steps clones them; expected 0$"),
    ("gail", "ppo", {"reward.inputs": "states", "likelihood.add": True}, r"likelihood\.add makes them likely; expec"),
    ("ppo", None, {"likelihood.add": True}, r"likelihood\.add makes them likely; expected false$"),
    ("gail", "td3", {"reward.inputs": "states", "policy.demonstrated": 0.5}, r"policy\.demonstrated replays them; ex"),
]


@pytest.mark.parametrize(("name", "policy", "settings", "message"), REFUSED)
def test_what_needs_actions_refuses_in_a_line(name, policy, settings, message, shown):
    with pytest.raises(GailfeError, match=rf"^demos: seen\.npz hold no actions, and {message}") as error:
        prepare_inputs(made(name, policy, settings), ENV, DemoSettings(demos="seen.npz"), shown)
    assert "\n" not in str(error.value)


def test_every_method_says_whether_it_needs_them():
    for name in METHODS:
        method = find_method(name)
        assert (method.needs_actions() is None) == (not method.needs_demonstrations), name
        if "reward.inputs" in dict(method.reward.values() if getattr(method, "reward", None) else ()):
            assert put(method, {"reward.inputs": "states"}).needs_actions() is None
    assert with_policy(put(find_method("gail"), {"reward.inputs": "states"}), "sac").needs_actions() is None


def test_the_record_knows_where_actions_led_only_where_it_is_asked(shown):
    records = [
        prepare_inputs(made("gail", None, {"reward.inputs": inputs}), ENV, DemoSettings(), shown).record
        for inputs in ("states", "transitions")
    ]
    assert records[0]["content_sha256"] != records[1]["content_sha256"]
