"""What training starts from, for few environments and for thousands."""

from __future__ import annotations

import pytest

from gailfe_jax.config.tree import leaves
from gailfe_jax.learners.methods import METHODS, policy_choices
from gailfe_jax.learners.presets import SCALE_FROM, preset
from gailfe_jax.learners.setup import ConfigFile, build_setup
from gailfe_jax.policies.replayed import ReplayedUpdate

STEPPED = [name for name, method in METHODS.items() if "rollout.num_envs" in leaves(method)]


def test_from_a_thousand_environments_on_the_preset_is_another():
    few, many = (build_setup({"num_envs": num_envs}) for num_envs in (SCALE_FROM - 1, SCALE_FROM))
    assert few.changed({"num_envs": 8}).record() == build_setup({}).record()
    assert many.get("rollout.unroll_length") == 16 and many.get("reward.minibatch") == 1024
    # The minibatch grows with the batch, so that the number of steps stays.
    larger = build_setup({"rollout.num_envs": 4 * SCALE_FROM})
    assert larger.get("policy.value_minibatch") == 4 * many.get("policy.value_minibatch")
    assert larger.get("steps") == 4 * many.get("steps")


@pytest.mark.parametrize(("policy", "few", "many"), [("ppo", 3e-4, 1e-3), ("sac", 3e-4, 3e-4)])
def test_only_ppos_steps_are_larger_at_scale(policy, few, many):
    found = [build_setup({"policy": policy, "num_envs": n}).get("policy.lr") for n in (8, SCALE_FROM)]
    assert found == [few, many]


@pytest.mark.parametrize("algo", ["ppo", "gasil"])
def test_ppo_on_the_true_reward_goes_further_in_an_iteration_at_scale_and_keeps_trying(algo):
    few, many, imitating = (
        build_setup(values | {"policy": "ppo"} if values["algo"] == "gail" else values)
        for values in ({"algo": algo}, {"algo": algo, "num_envs": SCALE_FROM}, {"algo": "gail", "num_envs": SCALE_FROM})
    )
    for name in ("policy.clip", "policy.lr", "policy.entropy"):
        assert many.get(name) > max(few.get(name), imitating.get(name)), name
    # In no more steps one after the other.
    assert many.get("policy.epochs") == imitating.get("policy.epochs") < few.get("policy.epochs")


@pytest.mark.parametrize("policy", ["trpo", "mail", "sac"])
def test_other_steps_on_the_true_reward_are_not_made_larger_at_scale(policy):
    few, many = (build_setup({"algo": "gasil", "policy": policy, "num_envs": n}) for n in (64, SCALE_FROM))
    for name in ("policy.lr", "policy.entropy"):
        assert many.get(name) == few.get(name), name


def test_a_task_that_needs_more_entropy_keeps_it_at_scale():
    entropy = [
        build_setup({"algo": "ppo", "env": "mountain_car", "num_envs": n}).get("policy.entropy")
        for n in (8, SCALE_FROM)
    ]
    assert entropy[1] == entropy[0] > build_setup({"algo": "ppo", "num_envs": SCALE_FROM}).get("policy.entropy")


def test_mails_loops_are_shorter_at_scale_and_its_model_sees_as_large_a_part_of_the_batch_as_the_values():
    few, many, larger = (build_setup({"algo": "mail", "num_envs": n}) for n in (8, SCALE_FROM, 4 * SCALE_FROM))
    assert few.get("policy.model.fit_steps") == larger.get("policy.model.fit_steps")
    assert larger.get("policy.model.minibatch") == 4 * many.get("policy.model.minibatch")
    assert larger.get("policy.model.minibatch") == larger.get("policy.value_minibatch")
    assert (few.get("policy.horizon"), few.get("policy.line_search_steps")) == (16, 10)
    assert (larger.get("policy.horizon"), larger.get("policy.line_search_steps")) == (8, 3)
    # TRPO's line search holds no rollouts.
    assert build_setup({"num_envs": SCALE_FROM}).get("policy.line_search_steps") == 10


def test_what_is_given_comes_after_the_preset_for_thousands():
    setup = build_setup({"algo": "gail", "num_envs": "4096", "unroll_length": 8, "reward.steps": 3, "steps": 1e5})
    assert (setup.get("rollout.unroll_length"), setup.get("reward.steps"), setup.get("steps")) == (8, 3, 1e5)
    file = ConfigFile("run.toml", {"rollout.num_envs": 4096, "reward.steps": 7})
    setup = build_setup({}, config=file)
    assert (setup.get("rollout.unroll_length"), setup.get("reward.steps")) == (16, 7)
    # A run that is resumed keeps its settings.
    start = build_setup({})
    assert build_setup({"num_envs": 4096}, start).get("rollout.unroll_length") == start.get("rollout.unroll_length")


@pytest.mark.parametrize("policy", ["td3", "sac"])
@pytest.mark.parametrize("env", ["hopper", "halfcheetah"])
def test_steps_from_replay_take_as_many_updates_at_scale_from_larger_minibatches(policy, env):
    few, many, larger = (
        build_setup({"policy": policy, "env": env, "num_envs": n}) for n in (8, SCALE_FROM, 4 * SCALE_FROM)
    )
    for setup in (many, larger):
        num_envs, step = setup.method.rollout.num_envs, setup.method.policy
        batch = setup.method.rollout.batch_size
        assert setup.method.rollout.unroll_length == few.method.rollout.unroll_length
        assert step.draws(batch)[0] == few.method.policy.draws(few.method.rollout.batch_size)[0]
        assert step.minibatch == num_envs and setup.get("reward.minibatch") == num_envs // 4
        assert step.replay >= 32 * batch and setup.run.steps == 150 * batch
        assert step.n_step == few.method.policy.n_step
        assert setup.get("reward.steps") == few.get("reward.steps")


@pytest.mark.parametrize("name", STEPPED)
def test_thousands_of_environments_take_few_steps_one_after_the_other(name):
    for policy in (None, *policy_choices(METHODS[name])):
        method, _ = preset(name, policy=policy, num_envs=4096)
        method.verify()
        found = {key: leaf.value for key, leaf in leaves(method).items()}
        batch = method.rollout.batch_size
        # Of each kind, passes by minibatches; BC and DAgger fit demonstrations, whatever the environments.
        fits = [found[key] for key in ("reward.steps", "policy.model.fit_steps") if key in found]
        if "policy.value_epochs" in found:
            fits.append(found["policy.value_epochs"] * batch // found["policy.value_minibatch"])
        if "policy.epochs" in found and "policy.minibatches" in found:
            fits.append(found["policy.epochs"] * found["policy.minibatches"])
        if isinstance(method.policy, ReplayedUpdate):
            critics = method.policy.draws(batch)[0]
            fits.append(critics + critics // method.policy.policy_delay)
        assert sum(fits) <= 400
