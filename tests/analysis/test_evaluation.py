from __future__ import annotations

import json

import gymnasium
import numpy as np
import pytest

from gailfe_jax.analysis import evaluation as evaluate
from gailfe_jax.analysis.evaluation import (
    EvaluationResult,
    episode_seed,
    evaluate_policies,
    evaluate_policy,
    normalised_score,
)
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.errors import GailfeError

HOPPER = "Hopper-v5"


def make_policy(seed: int, *, hidden: int = 24, scale: float = 0.3, obs: int = 11, action: int = 3) -> Policy:
    rng = np.random.default_rng(seed)
    weights = [
        (rng.normal(size=(obs, hidden)) * scale, np.zeros(hidden)),
        (rng.normal(size=(hidden, action)) * scale, np.zeros(action)),
    ]
    return Policy(weights, "tanh", np.zeros(obs), np.ones(obs), np.full(action, -1.0), -1.0, 1.0)


def by_hand(policy: Policy, episodes: int, seed: int, gymnasium_id: str = HOPPER) -> list[tuple[float, int, bool]]:
    """One environment after the other, a fresh one each, as a Gymnasium user would write it."""
    found = []
    for episode in range(episodes):
        env = gymnasium.make(gymnasium_id)
        obs, _ = env.reset(seed=episode_seed(seed, episode))
        total, length, terminated, truncated = 0.0, 0, False, False
        while not (terminated or truncated):
            obs, reward, terminated, truncated, _ = env.step(policy.act(obs))
            total, length = total + float(reward), length + 1
        env.close()
        found.append((total, length, bool(terminated)))
    return found


def rows(result: EvaluationResult) -> list[tuple[float, int, bool]]:
    return list(zip(result.returns.tolist(), result.lengths.tolist(), result.terminated.tolist()))


@pytest.mark.parametrize("scale", [0.0, 0.3])
def test_returns_equal_a_plain_gymnasium_loop(scale):
    policy = make_policy(0, scale=scale)
    result = evaluate_policy(policy, HOPPER, episodes=5, seed=3)
    assert rows(result) == by_hand(policy, 5, 3)
    assert len(set(result.returns)) == 5


def test_an_episode_depends_neither_on_other_policies_nor_on_the_number_of_episodes(monkeypatch):
    policies = [make_policy(seed, hidden=hidden) for seed, hidden in enumerate([24, 16, 24, 24])]
    together = evaluate_policies(policies, HOPPER, episodes=20, seed=1)
    for policy, beside in zip(policies, together):
        assert rows(evaluate_policy(policy, HOPPER, episodes=20, seed=1)) == rows(beside)
    assert rows(evaluate_policy(policies[2], HOPPER, episodes=7, seed=1)) == rows(together[2])[:7]
    # Few environments: policies one after the other, episodes in chunks, environments used again.
    monkeypatch.setattr(evaluate, "_MAX_ENVS", 16)
    for chunked, beside in zip(evaluate_policies(policies, HOPPER, episodes=20, seed=1), together):
        assert rows(chunked) == rows(beside)
    assert len({tuple(result.returns) for result in together}) == 4


@pytest.mark.parametrize("deterministic", [True, False])
def test_evaluation_is_reproducible_and_seeded(deterministic):
    policy = make_policy(0)

    def run(seed: int) -> list[tuple[float, int, bool]]:
        return rows(evaluate_policy(policy, HOPPER, episodes=3, seed=seed, deterministic=deterministic))

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_stochastic_differs_from_deterministic_and_between_episodes():
    policy = make_policy(0, scale=0.0)
    stochastic = evaluate_policies([policy, policy], HOPPER, episodes=4, deterministic=False)
    assert rows(stochastic[0]) == rows(stochastic[1])
    assert rows(stochastic[0]) != rows(evaluate_policy(policy, HOPPER, episodes=4))


def test_a_mixture_beside_gaussians():
    gaussian, wide = make_policy(0), make_policy(1, action=8)
    # Two components: six means and two logits.
    mixture = Policy(wide.weights, "tanh", np.zeros(11), np.ones(11), np.full((2, 3), -1.0), -1.0, 1.0)
    for deterministic in (True, False):
        together = evaluate_policies([gaussian, mixture], HOPPER, episodes=3, deterministic=deterministic)
        alone = [evaluate_policy(p, HOPPER, episodes=3, deterministic=deterministic) for p in (gaussian, mixture)]
        assert [rows(x) for x in together] == [rows(x) for x in alone]
    assert rows(evaluate_policy(mixture, HOPPER, episodes=3)) == by_hand(mixture, 3, 0) != rows(together[1])


def test_time_limit_is_no_termination():
    policy = make_policy(0, obs=17, action=6)
    result = evaluate_policy(policy, "HalfCheetah-v5", episodes=2, max_steps=7)
    assert result.lengths.tolist() == [7, 7]
    assert not result.terminated.any()
    assert evaluate_policy(make_policy(0), HOPPER, episodes=2).terminated.all()


class Bottomless(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2), {}

    def step(self, action):
        return np.zeros(2), 0.5, False, False, {}


class Breaks(Bottomless):
    """Ends with an observation no policy can act on, at a step that depends on the seed."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 10))
        return np.zeros(2), {}

    def step(self, action):
        self.left -= 1
        return np.full(2, np.nan if self.left == 0 else 0.0), 1.0, self.left == 0, False, {}


def test_an_episode_may_end_in_nan_beside_others_that_go_on():
    gymnasium.register("gailfe_test/Breaks-v0", Breaks, max_episode_steps=100)
    try:
        result = evaluate_policy(make_policy(0, obs=2, action=1), "gailfe_test/Breaks-v0", episodes=8)
    finally:
        del gymnasium.registry["gailfe_test/Breaks-v0"]
    assert len(set(result.lengths)) > 1
    assert result.returns.tolist() == result.lengths.tolist()
    assert result.terminated.all()


def test_environment_without_a_time_limit_needs_one():
    gymnasium.register("gailfe_test/Bottomless-v0", Bottomless)
    policy = make_policy(0, obs=2, action=1)
    try:
        with pytest.raises(GailfeError, match="max_steps"):
            evaluate_policy(policy, "gailfe_test/Bottomless-v0")
        result = evaluate_policy(policy, "gailfe_test/Bottomless-v0", episodes=2, max_steps=4)
    finally:
        del gymnasium.registry["gailfe_test/Bottomless-v0"]
    assert result.returns.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("gymnasium_id", ["Hoper-v5", "Hopper-v99", "no_such_module:X-v0", "nowhere/X-v0", "", "a b"])
def test_unknown_environment_is_one_line(gymnasium_id):
    with pytest.raises(GailfeError, match=r"^env '.*': expected an environment") as caught:
        evaluate_policy(make_policy(0), gymnasium_id)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("gymnasium_id", ["Walker2d-v5", "CartPole-v1"])
def test_environment_that_does_not_fit_the_policy(gymnasium_id):
    with pytest.raises(GailfeError, match=r"expected an observation space of shape \(11,\)"):
        evaluate_policies([make_policy(0)], gymnasium_id)


@pytest.mark.parametrize("change", [{"episodes": 0}, {"max_steps": 0}, {"seed": -1}])
def test_bad_counts(change):
    with pytest.raises(GailfeError, match=next(iter(change))):
        evaluate_policy(make_policy(0), HOPPER, **change)


def test_no_policies_give_no_results():
    assert evaluate_policies([], HOPPER) == []


def test_summary_is_json_with_hand_computed_numbers():
    returns = np.array([0.0, 10.0, 20.0, 100.0])
    lengths, terminated = np.array([1, 2, 3, 10]), np.array([True, True, False, True])
    result = EvaluationResult(returns, lengths, terminated, HOPPER, 0, True)
    summary = json.loads(json.dumps(result.to_dict(expert_return=65.0)))
    assert summary["mean"] == 32.5
    assert summary["std"] == pytest.approx(np.sqrt((32.5**2 + 22.5**2 + 12.5**2 + 67.5**2) / 3))
    assert summary["iqm"] == 15.0
    assert 0 <= summary["iqm_interval"][0] <= 15.0 <= summary["iqm_interval"][1] <= 100
    assert (summary["mean_length"], summary["terminated_fraction"]) == (4.0, 0.75)
    assert summary["normalised_score"] == 0.5
    assert summary["returns"] == [0, 10, 20, 100]
    assert "normalised_score" not in result.to_dict()
    single = EvaluationResult(returns[1:2], lengths[1:2], terminated[1:2], HOPPER, 0, True).to_dict()
    assert (single["mean"], single["std"], single["iqm_interval"]) == (10.0, 0.0, [10.0, 10.0])


def test_normalised_score():
    assert normalised_score(50.0, 200.0) == 0.25
    assert normalised_score([100.0, 200.0, 20.0], 200.0, 20.0).tolist() == pytest.approx([80 / 180, 1.0, 0.0])
    for expert, random in ((0.0, 0.0), (10.0, 20.0), (np.nan, 0.0)):
        with pytest.raises(GailfeError, match="expert_return"):
            normalised_score(1.0, expert, random)
