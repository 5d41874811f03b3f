from __future__ import annotations

import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.artifacts.policy import Policy, load_expert
from gailfe_jax.config.flat import Config, Hyper, hyper_arrays
from gailfe_jax.data.annotators import Annotator, survived
from gailfe_jax.envs import make_env
from gailfe_jax.envs.rollout import unroll
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.adversarial import Demos
from gailfe_jax.learners.methods import COMBINATIONS, asks_expert, make_learner, needs_demos
from gailfe_jax.training.checkpoint import CheckpointManager
from gailfe_jax.training.loop import Trainer, to_policies
from gailfe_jax.types import StateAction, Transition

ITERATIONS = 4
TINY = dict(
    env="hopper", engine="mujoco_c", num_envs=4, unroll_length=32, hidden=(8,), value_minibatch=64, ppo_epochs=2,
    ppo_minibatches=2, disc_hidden=(8,), disc_minibatch=64, failure_capacity=6,
)  # fmt: skip
NEVER = Annotator("never", reads_reward=False, verdict=lambda episode: episode.length < 0)
# Rates so large that the runs drift apart at once, and a threshold that holds the multiplier up.
HYPER = Hyper(disc_lr=3e-3, failure_threshold=-0.3, dual_lr=0.1)
SWEEP = (
    HYPER.replace(disc_lr=1e-2, gamma=0.9, failure_weight=1.0, dual_init=1.0, dual_lr=0.0),
    HYPER.replace(failure_weight=0.0),
)


def random_demos():
    rng = np.random.default_rng(0)
    obs, action = rng.normal(size=(200, 11)), rng.uniform(-1, 1, (200, 3))
    return Demos(StateAction(jnp.asarray(obs, jnp.float32), jnp.asarray(action, jnp.float32)))


class Runner:
    """A trainer that can be run again with other seeds and hyper-parameters."""

    def __init__(self, config, num_seeds, hyper=HYPER, annotator=None):
        success = survived() if config.own_episodes == "survived" else None
        env = make_env(config.env, config.engine)
        self.learner = make_learner(config, env, annotator=annotator, success=success)
        self.demos = random_demos() if needs_demos(self.learner.config) else None
        if asks_expert(config):
            self.demos = Demos(None, oracle=Oracle.of(load_expert("hopper")))
        self.trainer = Trainer(self.learner, hyper, np.arange(num_seeds), chunk=1, eval_episodes=2)

    def run(self, seeds, hyper=None):
        """`[state before each iteration and at the end], [metrics of each iteration]`, on the host."""
        self.trainer.seeds = jnp.asarray(seeds, jnp.uint32)
        if hyper is not None:
            self.trainer.hyper = hyper_arrays(hyper)
        state = self.trainer.init(self.demos)
        states, rows = [on_host(state)], []
        for _ in range(ITERATIONS):
            state, metrics = self.trainer.advance(state, self.demos)
            states.append(on_host(state))
            rows.append(jax.tree.map(lambda x: np.array(x)[0], metrics))
        rows.append(jax.tree.map(np.array, vars(self.trainer.evaluate(state, 7))))
        return states, rows


def on_host(state):
    return jax.tree.map(lambda x: np.array(jax.random.key_data(x)) if is_key(x) else np.array(x), state)


def from_host(state, template):
    wrap = lambda x, like: jax.random.wrap_key_data(jnp.asarray(x)) if is_key(like) else jnp.asarray(x)  # noqa: E731
    return jax.tree.map(wrap, state, template)


def is_key(x):
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def leaves(tree, index=None):
    named = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): x if index is None else x[index] for path, x in named}


def differing(a, b):
    """Names of the leaves whose bits differ; equal names expected."""
    assert a.keys() == b.keys()
    return [name for name in a if a[name].dtype != b[name].dtype or a[name].tobytes() != b[name].tobytes()]


def assert_same_run(one, many, index):
    for state, states in zip(one[0], many[0], strict=True):
        assert differing(leaves(state, 0), leaves(states, index)) == []
    for row, rows in zip(one[1], many[1], strict=True):
        assert differing(leaves(row, 0), leaves(rows, index)) == []


@pytest.fixture(scope="module")
def single():
    return Runner(Config(algo="gailfe", **TINY), 1)


@pytest.fixture(scope="module")
def alone(single):
    """GAILFE, seed 4, by itself."""
    return single.run([4], HYPER)


@pytest.fixture(scope="module")
def gail():
    """GAIL, seeds 9 and 4, side by side."""
    return Runner(Config(algo="gail", **TINY), 2).run([9, 4])


@pytest.fixture(scope="module")
def fixed():
    """GAILFE with a fixed multiplier, seeds 9 and 4, each with its own hyper-parameters."""
    swept = Hyper(**{name: tuple(getattr(hyper, name) for hyper in SWEEP) for name in vars(HYPER)})
    return Runner(Config(algo="gailfe", multiplier="fixed", **TINY), 2, swept).run([9, 4])


def test_a_seed_and_its_hyper_parameters_alone_equal_a_row_of_the_vmapped_run(single, alone, fixed):
    """And a dual variable that does not move is a fixed multiplier."""
    assert_same_run(single.run([9], SWEEP[0]), fixed, 0)
    # New values, and not one new trace.
    assert single.trainer.traces == 1
    policies = [leaves(fixed[0][-1].generator.policy, i) for i in range(2)]
    assert differing(*policies)


def test_on_the_true_reward_too_a_seed_alone_equals_itself_among_others():
    config = Config(algo="ppo", **TINY)
    one, two = Runner(config, 1), Runner(config, 2)
    assert_same_run(one.run([3]), two.run([2, 3]), 1)


def test_through_a_model_too_a_seed_alone_equals_itself_among_others():
    """GAILFE's constraint with MAIL's step: all that MAIL has, and more."""
    small = dict(horizon=8, model_hidden=(8,), model_fit_steps=2, model_minibatch=16, model_capacity=200)
    config = Config(algo="gailfe", generator="backprop", policy_steps=2, **TINY, **small)
    one, two = Runner(config, 1), Runner(config, 2)
    alone = one.run([3])
    assert_same_run(alone, two.run([2, 3]), 1)
    states, rows = alone
    assert int(states[-1].experience.size[0]) == min(200, ITERATIONS * config.batch_size)
    assert np.isfinite(rows[-2]["model_error_1"]).all() and "multiplier" in rows[-2]
    # The experience holds the executed actions and what they led to.
    last = jax.tree.map(lambda x: x[0], states[-1].experience.rows)
    assert np.abs(last.action).max() <= 1.0 and np.ptp(last.next_obs - last.obs) > 0


def test_the_same_seed_gives_the_same_bits(single, alone):
    again = single.run([4], HYPER)
    assert_same_run(alone, again, 0)


def test_settings_of_another_shape_are_refused(single):
    with pytest.raises(GailfeError, match=r"^gamma: got shape \(2,\); expected one number or 3 of them"):
        Trainer(single.learner, Hyper(gamma=(0.9, 0.99)), np.arange(3), chunk=1, eval_episodes=1)


def without_effect(kind, single, request):
    """A run of GAILFE whose failures must not matter, and which of its seeds is seed 4."""
    if kind == "a dual variable that starts at 0 and is slack":
        return single.run([4], HYPER.replace(dual_init=0.0, failure_threshold=-1e3)), 0
    if kind == "a fixed multiplier of 0":
        return request.getfixturevalue("fixed"), 1
    return Runner(Config(algo="gailfe", failure_source="own", **TINY), 1, annotator=NEVER).run([4]), 0


@pytest.mark.parametrize(
    "kind", ["a dual variable that starts at 0 and is slack", "a fixed multiplier of 0", "an empty buffer"]
)
def test_gailfe_is_gail_to_the_bit_with(kind, single, gail, request):
    (states, rows), index = without_effect(kind, single, request)
    for ours, theirs in zip(states, gail[0], strict=True):
        for part in ("generator", "cost", "env", "key", "iteration"):
            assert differing(leaves(getattr(ours, part), index), leaves(getattr(theirs, part), 1)) == [], part
    for ours, theirs in zip(rows, gail[1], strict=True):
        ours = {name: x for name, x in ours.items() if name in theirs}
        assert differing(leaves(ours, index), leaves(theirs, 1)) == []
    failures = [row["failures_in_buffer"][index] for row in rows[:-1]]
    assert failures[-1] == (0 if kind == "an empty buffer" else TINY["failure_capacity"])


def test_gailfe_with_a_multiplier_is_not_gail(alone, gail):
    assert alone[1][-2]["multiplier"] > 0
    assert differing(leaves(alone[0][-1].cost.params, 0), leaves(gail[0][-1].cost.params, 1))


def test_the_failure_buffer_holds_the_last_failed_episodes(single, alone):
    learner, states = single.learner, alone[0]

    def again(generator, env, key, iteration):
        key = jax.random.split(jax.random.fold_in(jax.random.wrap_key_data(key), iteration), 4)[0]
        env = env.replace(key=jax.random.wrap_key_data(env.key))
        env, transition, _ = unroll(learner.env, learner.generator.act, generator, env, key, TINY["unroll_length"])
        return env.obs, transition

    rerun = jax.jit(jax.vmap(again))
    failed, running, outside = [], [[] for _ in range(TINY["num_envs"])], 0
    for before, after in itertools.pairwise(states):
        obs, transition = jax.tree.map(np.asarray, rerun(before.generator, before.env, before.key, before.iteration))
        np.testing.assert_array_equal(obs, after.env.obs)
        outside += np.sum(np.abs(transition.action) > 1)
        for t in range(TINY["unroll_length"]):
            for b in range(TINY["num_envs"]):
                step = jax.tree.map(lambda x, t=t, b=b: x[0, t, b], transition)
                running[b].append((step.obs, np.clip(step.action, -1, 1)))
                if step.terminated:
                    failed.append(running[b])
                if step.terminated or step.truncated:
                    running[b] = []
        kept = failed[-TINY["failure_capacity"] :]
        contents = learner.failures.contents(jax.tree.map(lambda x: x[0], after.failures))
        assert len(contents) == len(kept)
        for (obs, action), episode in zip(contents, kept, strict=True):
            np.testing.assert_array_equal(obs, [step[0] for step in episode])
            np.testing.assert_array_equal(action, [step[1] for step in episode])
    # The ring has turned over, and clipping mattered.
    assert len(failed) > 2 * TINY["failure_capacity"] and outside > 0


@pytest.mark.usefixtures("compiled_in_haste")
@pytest.mark.parametrize("generator", ["trpo", "ppo"])
def test_the_policy_waits_while_it_warms_up(generator):
    config = Config(algo="gail", generator=generator, warmup_iterations=2, **TINY)
    states, _ = Runner(config, 1).run([0])
    policies = [leaves(state.generator.policy) for state in states]
    assert [bool(differing(a, b)) for a, b in itertools.pairwise(policies)] == [False, False, True, True]
    for part in (lambda state: state.cost.params, lambda state: state.generator.value):
        fitted = [leaves(part(state)) for state in states]
        assert all(differing(a, b) for a, b in itertools.pairwise(fitted))


@pytest.mark.usefixtures("compiled_in_haste")
@pytest.mark.parametrize(("normaliser", "bc_steps"), [("demonstrations", 0), ("running", 0), ("running", 1)])
def test_whose_statistics_standardise_observations(normaliser, bc_steps):
    config = Config(algo="gail", obs_normaliser=normaliser, bc_steps=bc_steps, **TINY)
    runner = Runner(config, 1)
    stats = [state.generator.obs_stats for state in runner.run([0])[0]]
    demos = np.asarray(runner.demos.expert.obs)
    from_demos = np.allclose(stats[0].mean[0], demos.mean(0), atol=1e-4)
    assert from_demos == (normaliser == "demonstrations" or bc_steps > 0)
    moved = [bool(differing(leaves(a), leaves(b))) for a, b in itertools.pairwise(stats)]
    assert moved == [normaliser == "running"] * ITERATIONS


def test_on_the_true_reward_the_normaliser_runs():
    states, _ = Runner(Config(algo="ppo", **TINY), 1).run([0])
    assert differing(*(leaves(state.generator.obs_stats) for state in (states[0], states[1])))


def test_the_average_policy_is_judged_and_the_newest_acts():
    decay = 0.75
    plain = Runner(Config(algo="gail", **TINY), 1).run([0])[0]
    averaged = Runner(Config(algo="gail", policy_average=decay, **TINY), 1).run([0])[0]
    expected = leaves(plain[0].generator.policy)
    for before, after in zip(plain[1:], averaged[1:], strict=True):
        newest = leaves(before.generator.policy)
        assert differing(newest, leaves(after.generator.policy)) == []
        expected = {name: decay * x + (1 - decay) * newest[name] for name, x in expected.items()}
        for name, x in leaves(after.generator.judged).items():
            np.testing.assert_allclose(x, expected[name], atol=1e-6)
    assert differing(leaves(averaged[-1].generator.judged), leaves(averaged[-1].generator.policy))
    assert differing(leaves(plain[-1].generator.judged), leaves(plain[-1].generator.policy)) == []


@pytest.mark.usefixtures("compiled_in_haste")
@pytest.mark.parametrize("bc_steps", [0, 2])
def test_every_generator_starts_from_the_same_policy(bc_steps):
    tiny = TINY | dict(unroll_length=32, horizon=8, bc_steps=bc_steps)
    runners = [Runner(Config(algo=algo, **tiny), 1) for algo in ("gail", "mail")]
    gail, mail = (on_host(runner.trainer.init(runner.demos)) for runner in runners)
    for name in ("policy", "value", "obs_stats"):
        assert differing(leaves(getattr(gail.generator, name)), leaves(getattr(mail.generator, name))) == []


def test_warm_restarts_move_the_discriminator_and_the_model_in_cycles():
    config = Config(algo="mail", warm_restarts=3, warmup_iterations=2, **TINY | dict(unroll_length=32, horizon=8))
    learner = make_learner(config, make_env("hopper"), total_iterations=12)
    hyper = hyper_arrays(Hyper())
    scaled = [learner._scheduled(hyper, jnp.int32(i)) for i in range(12)]
    cycle = 0.5 * (1 + np.cos(np.pi * np.arange(4) / 4))
    for name in ("disc_lr", "model_lr"):
        share = [getattr(x, name) / getattr(hyper, name) for x in scaled]
        np.testing.assert_allclose(share, np.tile(cycle, 3), rtol=1e-5)
    assert [float(x.max_kl / hyper.max_kl) for x in scaled] == [0.0] * 2 + [1.0] * 10
    with pytest.raises(GailfeError, match=r"^warm_restarts: got cycles beside anneal"):
        Config(warm_restarts=2, anneal=True)


@pytest.mark.usefixtures("compiled_in_haste")
@pytest.mark.parametrize("generator", ["trpo", "ppo", "backprop"])
def test_the_demonstrations_likelihood_beside_the_reward(generator):
    sizes = TINY | dict(unroll_length=32, horizon=8)
    runner = Runner(Config(algo="gail", generator=generator, bc_auxiliary=True, **sizes), 1)
    # Actions that a fresh policy finds unlikely, so that there is something to learn.
    runner.demos = Demos(StateAction(runner.demos.expert.obs, jnp.full_like(runner.demos.expert.action, 0.9)))

    def run(bc_weight):
        states, _ = runner.run([0], HYPER.replace(bc_weight=bc_weight))
        first, last = (jax.tree.map(lambda x: x[0], state.generator) for state in (states[0], states[-1]))
        expert = runner.demos.expert
        before, after = (
            float(jnp.mean(runner.learner.generator.distribution(x, expert.obs).log_prob(expert.action)))
            for x in (first, last)
        )
        return after - before

    heavy = run(100.0)
    assert heavy > 0.02
    assert heavy > run(0.0) + 0.01


@pytest.mark.usefixtures("compiled_in_haste")
@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda c: c.name)
def test_every_combination_trains_and_resumes(combination, tmp_path):
    small = dict(unroll_length=32, horizon=8, own_capacity=3, model_fit_steps=2, sil_minibatch=16, sil_capacity=4)
    small |= dict(bc_minibatch=32, fit_steps=4, aggregate_capacity=300)
    # Nothing here comes near the expert's return.
    own = {"own_episodes": "survived"} if "own_episodes" in combination.settings else {}
    runner = Runner(Config(**TINY | small | combination.settings | own), 1)
    states, rows = runner.run([0])
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), state) for state in (states[0], states[-1])]
    assert shapes[0] == shapes[1]
    assert all(np.isfinite(x).all() for x in leaves(states[-1].generator.policy).values())
    assert differing(*(leaves(state.generator.policy) for state in (states[0], states[-1])))
    if getattr(runner.learner, "own", None) is not None and not own:
        assert 1 <= rows[-2]["own_episodes"][0] <= 3

    checkpoints = CheckpointManager(tmp_path)
    checkpoints.save(ITERATIONS - 1, from_host(states[-2], runner.trainer.template(runner.demos)), {})
    step, state = checkpoints.restore(runner.trainer.template(runner.demos))
    assert step == ITERATIONS - 1
    resumed, _ = runner.trainer.advance(state, runner.demos)
    assert differing(leaves(on_host(resumed)), leaves(states[-1])) == []


@pytest.mark.usefixtures("compiled_in_haste")
def test_irlf_has_failures_and_no_multiplier():
    states, rows = Runner(Config(algo="irlf", **TINY), 1).run([0])
    assert states[-1].dual is None and "multiplier" not in rows[-2] and "violation" not in rows[-2]
    assert rows[-2]["failures_in_buffer"][0] == TINY["failure_capacity"] and rows[-2]["failure_weights_norm"][0] > 0
    assert "discriminator_accuracy" not in rows[-2]


@pytest.mark.usefixtures("compiled_in_haste")
def test_the_control_needs_no_demonstrations_and_pays_the_same_for_every_step():
    runner = Runner(Config(algo="constant", **TINY), 1)
    assert runner.demos is None and runner.learner.config.obs_normaliser == "running"
    states, rows = runner.run([0])
    assert all(state.cost == () for state in states)
    assert [row["reward_mean"][0] for row in rows[:-1]] == [1.0] * ITERATIONS


def test_gasil_with_alpha_zero_is_ppo_to_the_bit():
    hyper = HYPER.replace(alpha=0.0)
    ppo = Runner(Config(algo="ppo", **TINY), 2, hyper).run([0, 5])[0]
    gasil = Runner(Config(algo="gasil", generator="ppo", env_reward=True, **TINY), 2, hyper).run([0, 5])[0]
    for one, other in zip(ppo, gasil, strict=True):
        assert differing(leaves(one.generator), leaves(other.generator)) == []
        assert differing(leaves(one.env), leaves(other.env)) == []
    with_alpha = Runner(Config(algo="gasil", generator="ppo", env_reward=True, **TINY), 2).run([0, 5])[0]
    assert differing(leaves(ppo[-1].generator), leaves(with_alpha[-1].generator))


@pytest.mark.usefixtures("compiled_in_haste")
def test_without_a_good_episode_gasil_learns_nothing():
    # No episode of the cheetah ends within so few steps.
    config = Config(algo="gasil", **TINY | dict(env="halfcheetah"))
    states, rows = Runner(config, 1).run([0])
    assert rows[-2]["own_episodes"][0] == 0
    assert differing(leaves(states[0].cost), leaves(states[-1].cost)) == []
    assert rows[-2]["reward_mean"][0] == 0


@pytest.mark.usefixtures("compiled_in_haste")
def test_without_a_good_episode_the_multiplier_waits():
    config = Config(algo="gailfe", positives="own", own_episodes="survived", **TINY)
    states, rows = Runner(config, 1).run([0])
    assert rows[-2]["own_episodes"][0] == 0 and rows[-2]["failures_in_buffer"][0] > 0
    assert [float(state.dual[0]) for state in states] == [1.0] * (ITERATIONS + 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(algo="mail", env_reward=True), r"^env_reward: the true reward has no gradient through a model"),
        (dict(algo="ppo", positives="own"), r"^positives: --algo ppo has no discriminator"),
        (dict(algo="trpo", env_reward=True), r"^env_reward: --algo trpo has no discriminator"),
        (dict(algo="trpo", sil_updates=1), r"^sil_updates: --generator trpo has no optimiser for them; expected ppo"),
        (dict(algo="gail", generator="ppo", sil_updates=1), r"^sil_updates: they go by the true reward"),
        (dict(algo="gail", own_episodes="survived"), r"^own_episodes: nothing is done with them"),
        (dict(algo="constant", generator="backprop"), r"^generator: a constant reward has no gradient through a model"),
        (dict(algo="fem", positives="both"), r"^positives: --algo fem has no discriminator"),
        (dict(algo="gtal", disc_reward="logit"), r"^disc_reward: --algo gtal has no discriminator"),
        (dict(algo="irlf", disc_replay=9), r"^disc_replay: --algo irlf has no discriminator"),
        (dict(algo="irlf", multiplier="fixed"), r"^multiplier: --algo irlf has none; expected gailfe, or irlf_lambda"),
        (dict(algo="fem", features="cubic"), r"^features: unknown features 'cubic'; expected one of linear, quadratic"),
        (
            dict(algo="gail", features="linear"),
            r"^features: --algo gail has no linear cost; expected fem",
        ),
        (dict(algo="constant", linear_offset="none"), r"^linear_offset: --algo constant has no linear cost"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(GailfeError, match=message):
        make_learner(Config(**TINY | settings), make_env("hopper"))


@pytest.mark.usefixtures("compiled_in_haste")
@pytest.mark.parametrize("generator", ["trpo", "ppo", "backprop"])
def test_three_iterations_with_a_mixture_and_the_policy_they_leave(generator, tmp_path):
    small = dict(horizon=8, model_hidden=(8,), model_fit_steps=2, model_minibatch=16, model_capacity=200)
    config = Config(algo="gail", generator=generator, mixture=3, **TINY, **small)
    env = make_env(config.env, config.engine)
    learner, demos = make_learner(config, env), random_demos()
    trainer = Trainer(learner, Hyper(entropy=0.01), np.arange(1), chunk=3, eval_episodes=1)
    state = trainer.init(demos)
    first = jax.tree.map(np.asarray, state.generator.policy)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), state)
    state, metrics = trainer.advance(state, demos)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == shapes
    for name, x in metrics.items():
        # Means over episodes that have not ended, and over windows that have, are of nothing.
        assert np.isfinite(x).all() or name.startswith("train_") or name == "model_error_h", name
    assert metrics["kl"].min() > 0
    params = state.generator.policy
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))
    # Every part of the policy has moved: weights, means and standard deviations.
    moved = jax.tree.map(lambda a, b: a != b, first, jax.tree.map(np.asarray, params))["params"]
    assert moved["log_std"].all() and moved["components"]["Dense_1"]["bias"].all()

    policy = to_policies(state, config, env, 3 * config.batch_size, np.arange(1))[0]
    policy = Policy.load(policy.save(tmp_path / "policy.safetensors"))
    assert (policy.components, policy.action_size) == (3, 3)
    obs = np.asarray(demos.expert.obs)
    agent = jax.tree.map(lambda x: np.asarray(x)[0], state.generator)
    mode = jax.jit(learner.generator.mode)(agent, obs)
    np.testing.assert_allclose(policy.act(obs), np.clip(mode, -1, 1), atol=1e-5)


def test_the_discriminator_sees_no_step_twice_before_the_batch_is_through():
    config = Config(algo="gail", **TINY | dict(disc_steps=5, disc_minibatch=30))
    learner = make_learner(config, make_env("hopper", "mujoco_c"))
    number = jnp.broadcast_to(jnp.arange(128.0).reshape(32, 4, 1), (32, 4, 11))
    executed = Transition(number, number[..., :3], *[None] * 5)
    state = types.SimpleNamespace(replay=None, failures=None, own=None)
    pairs = jax.jit(lambda key: learner._select(state, executed, key)[3].policy)(jax.random.key(0))
    rows = np.asarray(pairs.obs[..., 0])
    assert rows.shape == (5, 30) and len(np.unique(rows[:4])) == 120 and len(np.unique(rows[4])) == 30
    np.testing.assert_array_equal(rows, pairs.action[..., 0])
