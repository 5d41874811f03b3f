from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.config.tree import put
from gailfe_jax.data.annotators import Annotator
from gailfe_jax.envs.rollout import unroll
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.keys import Keys
from gailfe_jax.learners.methods import find_method, with_policy
from gailfe_jax.learners.sources import SourceStates
from gailfe_jax.policies.mail import MAIL
from gailfe_jax.training.export import to_policies
from gailfe_jax.training.program import Trainer
from gailfe_jax.types import StateAction, Transition
from tests.states import ITERATIONS, Runner, differing, named, on_host
from tests.tiny import noise_demos, tiny
from tests.toy import Cliff, Drift

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

ENV, LENGTH, ENVS, CAPACITY = Cliff(), 32, 4, 6
NEVER = Annotator("never", reads_reward=False, verdict=lambda episode: episode.length < 0)


def small(name, policy=None, **values):
    """Rates so large that runs drift apart at once; long enough for failures."""
    rates = {"reward__lr": 3e-3} if name in ("gail", "gailfe", "gasil", "mail") else {}
    return tiny(name, policy, **({"rollout__unroll_length": LENGTH} | rates | values))


def test_settings_of_another_shape_are_refused():
    learner = put(small("gailfe"), {"policy.gamma": np.array([0.9, 0.99], np.float32)}).on(ENV)
    with pytest.raises(GailfeError, match=r"^policy.gamma: got shape \(2,\); expected one number or 3 of them"):
        Trainer(learner, np.arange(3), chunk=1, eval_episodes=1)


@pytest.mark.slow
def test_the_failure_buffer_holds_the_last_failed_episodes():
    runner = Runner(small("gailfe"), ENV)
    learner, states = runner.learner, runner.run([4])[0]

    def again(agent, env, key, iteration):
        key = jax.random.split(jax.random.fold_in(jax.random.wrap_key_data(key), iteration), 4)[0]
        env = env.replace(key=jax.random.wrap_key_data(env.key))
        env, transition, _ = unroll(learner.env, learner.policy.act, agent, env, key, LENGTH)
        return env.obs, transition

    rerun = jax.jit(jax.vmap(again))
    failed, running, outside = [], [[] for _ in range(ENVS)], 0
    for before, after in itertools.pairwise(states):
        obs, transition = jax.tree.map(np.asarray, rerun(before.agent, before.env, before.key, before.iteration))
        np.testing.assert_array_equal(obs, after.env.obs)
        outside += np.sum(np.abs(transition.action) > 1)
        for t in range(LENGTH):
            for b in range(ENVS):
                step = jax.tree.map(lambda x, t=t, b=b: x[0, t, b], transition)
                running[b].append((step.obs, np.clip(step.action, -1, 1)))
                if step.terminated:
                    failed.append(running[b])
                if step.terminated or step.truncated:
                    running[b] = []
        kept = failed[-CAPACITY:]
        contents = learner.failures.buffer().contents(jax.tree.map(lambda x: x[0], after.sources.failures))
        assert len(contents) == len(kept)
        for (obs, action), episode in zip(contents, kept, strict=True):
            np.testing.assert_array_equal(obs, [step[0] for step in episode])
            np.testing.assert_array_equal(action, [step[1] for step in episode])
    # The ring has turned over, and clipping mattered.
    assert len(failed) > 2 * CAPACITY and outside > 0


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["trpo", "ppo"])
def test_the_policy_waits_while_it_warms_up(policy):
    states, _ = Runner(small("gail", policy, schedule__warmup_iterations=2), ENV).run([0])
    policies = [named(state.agent.policy) for state in states]
    assert [bool(differing(a, b)) for a, b in itertools.pairwise(policies)] == [False, False, True, True]
    for part in (lambda state: state.reward.params, lambda state: state.agent.value):
        fitted = [named(part(state)) for state in states]
        assert all(differing(a, b) for a, b in itertools.pairwise(fitted))


@pytest.mark.parametrize(
    ("normaliser", "clone_steps"),
    [*(pytest.param(name, 0, marks=pytest.mark.slow) for name in ("demonstrations", "running")), ("running", 1)],
)
def test_whose_statistics_standardise_observations(normaliser, clone_steps):
    runner = Runner(small("gail", policy__obs_normaliser=normaliser, start__steps=clone_steps), ENV)
    stats = [state.agent.obs_stats for state in runner.run([0])[0]]
    demos = np.asarray(runner.demos.expert.obs)
    from_demos = np.allclose(stats[0].mean[0], demos.mean(0), atol=1e-4)
    assert from_demos == (normaliser == "demonstrations" or clone_steps > 0)
    moved = [bool(differing(named(a), named(b))) for a, b in itertools.pairwise(stats)]
    assert moved == [normaliser == "running"] * ITERATIONS


def test_on_the_true_reward_the_normaliser_runs():
    states, _ = Runner(small("ppo"), ENV).run([0])
    assert differing(*(named(state.agent.obs_stats) for state in (states[0], states[1])))


@pytest.mark.parametrize("clone_steps", [0, 2])
def test_every_policy_step_starts_from_the_same_policy(clone_steps):
    runners = [Runner(small(name, start__steps=clone_steps), ENV) for name in ("gail", "mail")]
    gail, mail = (on_host(runner.trainer.init(runner.demos)) for runner in runners)
    for name in ("policy", "value", "obs_stats"):
        assert differing(named(getattr(gail.agent, name)), named(getattr(mail.agent, name))) == []


def test_warm_restarts_move_the_discriminator_and_the_model_in_cycles():
    learner = small("mail", schedule__warm_restarts=3, schedule__warmup_iterations=2).on(ENV, total_iterations=12)
    scaled = [learner.scaled(learner._factors(jnp.int32(i))) for i in range(12)]
    cycle = 0.5 * (1 + np.cos(np.pi * np.arange(4) / 4))
    for rate in (lambda x: x.reward.lr, lambda x: x.policy.model.lr):
        share = [rate(x) / rate(learner) for x in scaled]
        np.testing.assert_allclose(share, np.tile(cycle, 3), rtol=1e-5)
    assert [float(x.policy.max_kl / learner.policy.max_kl) for x in scaled] == [0.0] * 2 + [1.0] * 10
    with pytest.raises(GailfeError, match=r"^schedule.warm_restarts: got cycles beside schedule.anneal"):
        small("gail", schedule__warm_restarts=2, schedule__anneal=True).verify()


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["trpo", "ppo", "mail"])
def test_the_demonstrations_likelihood_beside_the_reward(policy):
    runner = Runner(small("gail", policy, likelihood__add=True), ENV)
    # Actions that a fresh policy finds unlikely, so that there is something to learn.
    expert = runner.demos.expert
    expert = StateAction(expert.obs, jnp.full_like(expert.action, 0.9))
    runner.demos = runner.demos.replace(expert=expert)

    def run(weight):
        states, _ = runner.run([0], {"likelihood.weight": weight})
        first, last = (jax.tree.map(lambda x: x[0], state.agent) for state in (states[0], states[-1]))
        before, after = (
            float(jnp.mean(runner.learner.policy.distribution(x, expert.obs).log_prob(expert.action)))
            for x in (first, last)
        )
        return after - before

    heavy = run(100.0)
    assert heavy > 0.02
    assert heavy > run(0.0) + 0.01


def test_irlf_has_failures_and_no_multiplier():
    states, rows = Runner(small("irlf"), ENV).run([0])
    assert states[-1].dual is None and "multiplier" not in rows[-2] and "violation" not in rows[-2]
    assert rows[-2]["failures_in_buffer"][0] == CAPACITY and rows[-2]["failure_weights_norm"][0] > 0
    assert "discriminator_accuracy" not in rows[-2]


def test_the_control_needs_no_demonstrations_and_pays_the_same_for_every_step():
    runner = Runner(small("constant"), ENV)
    assert runner.demos is None and runner.learner.policy.obs_normaliser == "running"
    states, rows = runner.run([0])
    assert all(state.reward == () for state in states)
    assert [row["reward_mean"][0] for row in rows[:-1]] == [1.0] * ITERATIONS


def test_without_a_good_episode_gasil_learns_nothing():
    # No episode ends within four of its six steps.
    short = dict(rollout__unroll_length=1, reward__minibatch=4)
    method = small("gasil", self_demonstrations__capacity=3, **short)
    assert method.rollout.unroll_length * ITERATIONS < Drift.spec.max_episode_steps
    states, rows = Runner(method, Drift()).run([0])
    assert rows[-2]["own_episodes"][0] == 0
    assert differing(named(states[0].reward), named(states[-1].reward)) == []
    assert rows[-2]["reward_mean"][0] == 0


def test_without_a_good_episode_the_multiplier_waits():
    own = dict(self_demonstrations__use="alone", self_demonstrations__episodes="survived")
    states, rows = Runner(small("gailfe", **own), ENV, success=NEVER).run([0])
    assert rows[-2]["own_episodes"][0] == 0 and rows[-2]["failures_in_buffer"][0] > 0
    assert [float(state.dual[0]) for state in states] == [1.0] * (ITERATIONS + 1)


@pytest.mark.parametrize(
    ("method", "values", "message"),
    [
        (
            ("mail",),
            dict(true_reward__add=True),
            r"^true_reward.add: nothing reads it: the true reward has no gradient through a model",
        ),
        (("ppo",), dict(self_demonstrations__use="alone"), r"^self_demonstrations.use: no such setting"),
        (("trpo",), dict(true_reward__add=True), r"^true_reward.add: no such setting"),
        (
            ("trpo",),
            dict(self_imitation__updates=1),
            r"^self_imitation.updates: nothing reads it: only ppo has an optimiser for it",
        ),
        (
            ("gail", "ppo"),
            dict(self_imitation__updates=1),
            r"^self_imitation.updates: nothing reads it: it goes by the true reward; expected true_reward.add",
        ),
        (
            ("gail",),
            dict(self_demonstrations__episodes="survived"),
            r"^self_demonstrations.episodes: nothing reads it: self_demonstrations.use is none",
        ),
        (("fem",), dict(self_demonstrations__use="both"), r"^self_demonstrations.use: no such setting"),
        (("gtal",), dict(reward__form="logit"), r"^reward.form: no such setting"),
        (("irlf",), dict(reward__replay=9), r"^reward.replay: no such setting"),
        (("irlf",), dict(constraint__multiplier="fixed"), r"^constraint.multiplier: no such setting"),
        (
            ("fem",),
            dict(reward__features="cubic"),
            r"^features: unknown features 'cubic'; expected one of linear, quadratic",
        ),
        (("gail",), dict(reward__offset=0.0), r"^reward.offset: no such setting"),
        (("constant",), dict(reward__offset="none"), r"^reward.offset: no such setting"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(method, values, message):
    with pytest.raises(GailfeError, match=message):
        tiny(*method, **values).on(ENV)


def test_a_constant_reward_is_not_maximised_through_a_model():
    constant = find_method("constant")
    with pytest.raises(GailfeError, match=r"^policy: got 'mail' for constant; expected one of trpo, ppo"):
        with_policy(constant, "mail")
    with pytest.raises(GailfeError, match=r"^policy: constant has no reward with a gradient through a model"):
        constant.replace(policy=MAIL()).on(ENV)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["trpo", "ppo", "mail"])
def test_three_iterations_with_a_mixture_and_the_policy_they_leave(policy, tmp_path):
    learner, demos = small("gail", policy, policy__mixture=3, policy__entropy=0.01).on(ENV), noise_demos(ENV)
    trainer = Trainer(learner, np.arange(1), chunk=3, eval_episodes=1)
    state = trainer.init(demos)
    first = jax.tree.map(np.asarray, state.agent.policy)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), state)
    state, metrics = trainer.advance(state, demos)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == shapes
    for name, x in metrics.items():
        # Means over episodes that have not ended, and over windows that have, are of nothing.
        assert np.isfinite(x).all() or name.startswith("train_") or name == "model_error_h", name
    assert metrics["kl"].min() > 0
    params = state.agent.policy
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))
    # Every part of the policy has moved: weights, means and standard deviations.
    moved = jax.tree.map(lambda a, b: a != b, first, jax.tree.map(np.asarray, params))["params"]
    assert moved["log_std"].all() and moved["components"]["Dense_1"]["bias"].all()

    saved = to_policies(state, learner, "cliff", 3 * learner.rollout.batch_size, np.arange(1))[0]
    saved = Policy.load(saved.save(tmp_path / "policy.safetensors"))
    assert (saved.components, saved.action_size) == (3, 2)
    obs = np.asarray(demos.expert.obs)
    agent = jax.tree.map(lambda x: np.asarray(x)[0], state.agent)
    mode = jax.jit(learner.policy.deterministic_action)(agent, obs)
    np.testing.assert_allclose(saved.act(obs), np.clip(mode, -1, 1), atol=1e-5)


def test_the_discriminator_sees_no_step_twice_before_the_batch_is_through():
    sources = small("gail", reward__steps=5, reward__minibatch=30).on(ENV).sources
    number = jnp.broadcast_to(jnp.arange(128.0).reshape(LENGTH, ENVS, 1), (LENGTH, ENVS, 2))
    executed = Transition(number, number, *[None] * 5)

    def drawn(key):
        return sources.add_and_sample(SourceStates(), executed, Keys.of(key, jnp.int32(0)).sample)[1].batch.policy

    pairs = jax.jit(drawn)(jax.random.key(0))
    rows = np.asarray(pairs.obs[..., 0])
    assert rows.shape == (5, 30) and len(np.unique(rows[:4])) == 120 and len(np.unique(rows[4])) == 30
    np.testing.assert_array_equal(rows, pairs.action[..., 0])
