from __future__ import annotations

import dataclasses

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.apps.collection import collect_demonstrations, roll_out
from gailfe_jax.artifacts.policy import Policy, expert_names, load_expert
from gailfe_jax.data.annotators import annotate, from_function, parse_annotator, return_below
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.digests import file_sha256
from tests.toy import Cliff, cliff_expert

CLIFF = Cliff()


def policy(seed=0, obs_size=11, action_size=3, scale=1.0, **metadata):
    rng = np.random.default_rng(seed)
    shapes = [(obs_size, 8), (8, action_size)]
    return Policy(
        weights=[(scale * rng.normal(size=shape), np.zeros(shape[1])) for shape in shapes], activation="tanh",
        obs_mean=np.zeros(obs_size), obs_std=np.ones(obs_size), log_std=np.zeros(action_size), action_low=-1,
        action_high=1, metadata=metadata,
    )  # fmt: skip


@pytest.fixture(scope="module")
def env():
    return make_env("hopper", "mujoco_c")


@pytest.fixture(scope="module")
def collected(env):
    return collect_demonstrations(env, policy(), trajectories=5, failures=9, seed=3, keep_failed=True)


def arrays(demonstrations):
    parts = (demonstrations.expert, demonstrations.failures)
    return [getattr(part, field.name) for part in parts for field in dataclasses.fields(part)]


def test_trajectories_are_whole_and_valid(collected, env, tmp_path):
    collected.validate()
    assert (collected.env_id, collected.expert.num_trajectories) == ("Hopper-v5", 5)
    assert collected.failures.num_trajectories == 9
    # A random policy falls; nothing was cut from its attempts.
    assert collected.expert.lengths.min() > 3 and collected.expert.terminated.sum() == 5
    starts = collected.expert.obs[collected.expert.offsets[:-1]]
    assert len(np.unique(starts, axis=0)) == 5
    np.testing.assert_allclose(starts, np.tile([1.25, *[0] * 10], (5, 1)), atol=5.01e-3)
    collected.save(tmp_path / "demos.h5")
    for ours, loaded in zip(arrays(collected), arrays(Demonstrations.load(tmp_path / "demos.h5")), strict=True):
        np.testing.assert_array_equal(ours, loaded)


@pytest.mark.parametrize("part", ["expert", "failures"])
def test_gymnasium_goes_on_from_a_stored_simulator_state(collected, part):
    trajectories = getattr(collected, part)
    assert trajectories.simulator_state.dtype == np.float64
    unwrapped = gymnasium.make("Hopper-v5").unwrapped
    unwrapped.reset()
    model, data = unwrapped.model, unwrapped.data
    firsts = set(trajectories.offsets.tolist())
    for row in [0, 1, 2, trajectories.offsets[1], trajectories.num_transitions // 2, trajectories.num_transitions - 1]:
        state = trajectories.simulator_state[row]
        time, qpos, qvel, warm_start = np.split(state, np.cumsum([1, model.nq, model.nv]))
        unwrapped.set_state(qpos, qvel)
        if row not in firsts:
            data.time, data.qacc_warmstart[:] = time[0], warm_start
        obs, reward, terminated, *_ = unwrapped.step(trajectories.action[row])
        np.testing.assert_array_equal(obs.astype(np.float32), trajectories.next_obs[row])
        assert np.float32(reward) == trajectories.reward[row] and terminated == trajectories.terminated[row]


def test_failures_are_what_the_annotator_calls_failed(collected, env):
    annotator = parse_annotator("default", task="hopper")
    assert annotate(annotator, collected.failures).all()
    # An annotator of one's own, which about half of the attempts fail.
    judge = from_function(lambda episode: episode.length % 2 == 0, "even length", reads_reward=False)
    demonstrations = collect_demonstrations(
        env, policy(), trajectories=1, failures=9, annotator=judge, keep_failed=True
    )
    assert (demonstrations.failures.lengths % 2 == 0).all() and demonstrations.failures.num_trajectories == 9
    assert demonstrations.provenance["annotator"] == "even length"
    assert 0.1 < demonstrations.provenance["failed_share"] < 1


def test_the_seed_decides(collected, env):
    again = collect_demonstrations(env, policy(), trajectories=5, failures=9, seed=3, keep_failed=True)
    for ours, theirs in zip(arrays(collected), arrays(again), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    other = collect_demonstrations(env, policy(), trajectories=5, seed=4, keep_failed=True)
    assert not np.array_equal(other.expert.obs[:3], collected.expert.obs[:3])
    shown = collect_demonstrations(env, policy(), trajectories=2, seed=3, deterministic=True, keep_failed=True)
    np.testing.assert_array_equal(shown.expert.action, policy().act(shown.expert.obs))


def test_provenance_says_where_everything_comes_from(collected, env, tmp_path):
    path = policy(env="hopper", expert_return="12.5").save(tmp_path / "expert.safetensors")
    provenance = collect_demonstrations(
        env, Policy.load(path), trajectories=1, failures=2, noise=0.7, expert_name="mine", expert_file=path,
        command="gailfe demos", keep_failed=True,
    ).provenance  # fmt: skip
    expected = dict(
        env_id="Hopper-v5", engine="mujoco_c", expert="mine", expert_sha256=file_sha256(path), seed=0,
        command="gailfe demos", annotator="terminated", failure_source="noised expert", noise=0.7,
        action_mode="stochastic", expert_return=12.5,
    )  # fmt: skip
    assert {name: provenance[name] for name in expected} == expected
    assert provenance["versions"]["mujoco"] and provenance["created"]
    # Where the policy's file does not tell its return, it is that of the trajectories shown.
    assert collected.provenance["expert_return"] == pytest.approx(collected.expert.returns.mean())


def test_snapshots_attempt_in_turn(env):
    demonstrations = collect_demonstrations(
        env,
        policy(),
        trajectories=1,
        failures=20,
        snapshots=[policy(1), policy(2)],
        deterministic=True,
        keep_failed=True,
    )
    assert demonstrations.failures.num_trajectories == 20
    provenance = demonstrations.provenance
    assert (provenance["failure_source"], provenance["noise"]) == ("expert snapshots", None)


def test_without_failures_there_are_none(env):
    demonstrations = collect_demonstrations(env, policy(), trajectories=1, keep_failed=True)
    assert demonstrations.failures.num_trajectories == 0
    assert demonstrations.provenance["failure_source"] == "none"
    assert demonstrations.provenance["annotator"] is None and demonstrations.provenance["failed_share"] is None


def stumbler():
    """The cliff's expert with so much noise that some of its episodes fall."""
    return dataclasses.replace(cliff_expert(), log_std=np.full(2, 0.3, np.float32))


def test_what_fails_among_the_demonstrations_is_a_failure():
    kept = collect_demonstrations(CLIFF, stumbler(), trajectories=20, keep_failed=True)
    fell = int(kept.expert.terminated.sum())
    assert 3 <= fell <= 12 and kept.failures.num_trajectories == 0 and kept.provenance["annotator"] is None
    sorted_out = collect_demonstrations(CLIFF, stumbler(), trajectories=20)
    assert sorted_out.expert.num_trajectories == 20 and not sorted_out.expert.terminated.any()
    failed, record = sorted_out.failures, sorted_out.provenance
    assert failed.terminated.sum() == failed.num_trajectories >= fell
    assert record["expert_failures"] == failed.num_trajectories
    assert record["expert_episodes"] == 20 + failed.num_trajectories
    assert (record["failure_source"], record["annotator"], record["noise"]) == ("expert", "terminated", None)
    # The episodes are the same, in their order, and what comes behind them is new.
    good = kept.expert.select(~kept.expert.terminated[kept.expert.offsets[1:] - 1])
    np.testing.assert_array_equal(sorted_out.expert.take(20 - fell).obs, good.obs)
    assert len({part.tobytes() for part in sorted_out.expert.obs[sorted_out.expert.offsets[:-1]]}) == 20


def test_an_experts_own_failures_are_the_first_of_those_asked_for():
    asked = collect_demonstrations(CLIFF, stumbler(), trajectories=20, failures=30, noise=2.0)
    alone = collect_demonstrations(CLIFF, stumbler(), trajectories=20)
    own = alone.failures.num_trajectories
    assert asked.failures.num_trajectories == 30 > own
    np.testing.assert_array_equal(asked.failures.take(own).obs, alone.failures.obs)
    assert asked.provenance["failure_source"] == "noised expert"
    few = collect_demonstrations(CLIFF, stumbler(), trajectories=20, failures=1)
    assert few.failures.num_trajectories == own  # all that there are


def test_an_annotator_that_ranks_episodes_sorts_only_where_it_is_asked_to():
    env = Cliff()
    env.spec = dataclasses.replace(env.spec, annotator="bottom_quantile:0.4")
    shown = collect_demonstrations(env, stumbler(), trajectories=20)
    assert shown.failures.num_trajectories == 0 and shown.provenance["annotator"] is None
    asked = collect_demonstrations(env, stumbler(), trajectories=20, annotator="bottom_quantile:0.4")
    assert asked.failures.num_trajectories > 0 and asked.provenance["annotator"] == "bottom_quantile:0.4"


def test_an_expert_that_always_fails_is_an_error():
    fallen = dataclasses.replace(cliff_expert(), log_std=np.full(2, 2.0, np.float32))
    with pytest.raises(
        GailfeError, match=r"of the expert did not fail by annotator 'terminated'; expected 2; try --keep"
    ):
        collect_demonstrations(CLIFF, fallen, trajectories=2)


def test_too_few_failures_are_an_error(env):
    with pytest.raises(GailfeError, match=r"^failures: 0 of 64 attempts failed by annotator 'return_below\(-1e\+06\)'"):
        collect_demonstrations(env, policy(), trajectories=1, failures=2, annotator=return_below(-1e6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(trajectories=0), "trajectories: got 0; expected a whole number from 1 to 1000000"),
        (dict(failures=-1), "failures: got -1; expected a whole number from 0 to 1000000"),
        (dict(seed=-1), "seed: got -1; expected a whole number from 0 to"),
        (dict(noise=float("nan")), "noise: got nan; expected a finite number from 0"),
        (dict(annotator="nonsense"), "annotator 'nonsense': expected one of"),
        (dict(expert=policy(obs_size=17, action_size=6)), r"expert: observation and action sizes are \(17, 6\)"),
        (dict(expert=policy(env="walker2d")), "expert: a policy for walker2d; expected one for hopper"),
        (dict(snapshots=[policy(), policy(env="walker2d")]), r"snapshots\[1\]: a policy for walker2d"),
    ],
)
def test_what_cannot_be_collected_is_named(env, options, message):
    with pytest.raises(GailfeError, match=f"^{message}"):
        collect_demonstrations(env, **(dict(expert=policy(), trajectories=1) | options))


def test_a_roll_out_ends_at_the_time_limit():
    env = make_env("halfcheetah", "mujoco_c")
    trajectories = roll_out(env, lambda obs: np.zeros((len(obs), 6)), 2, 0)
    assert trajectories.lengths.tolist() == [1000, 1000]
    assert trajectories.truncated.nonzero()[0].tolist() == [999, 1999] and not trajectories.terminated.any()


def test_an_expert_that_is_shipped_shows_what_it_promises():
    if "hopper" not in expert_names():
        pytest.skip("no Hopper expert is shipped yet")
    expert = load_expert("hopper")
    shown = roll_out(make_env("hopper"), expert.act, 4, 0)
    assert shown.returns.mean() > 0.9 * float(expert.metadata["expert_return"])


def test_a_function_of_the_last_observation_may_be_an_annotator(env):
    low = from_function(lambda episode: episode.final_obs[0] < 0.7 + 0 * jnp.sum(episode.obs), "low")
    trajectories = roll_out(env, policy().act, 4, 0)
    last = trajectories.next_obs[trajectories.offsets[1:] - 1]
    np.testing.assert_array_equal(annotate(low, trajectories), last[:, 0] < np.float32(0.7))


@pytest.mark.parametrize("failures", [0, 3])
def test_a_task_without_a_reward_has_none_recorded(failures, tmp_path):
    """Its environment pays zeros; as returns of 0 they would be numbers that nobody measured."""
    unpaid = Cliff()
    unpaid.spec = dataclasses.replace(Cliff.spec, has_reward=False)
    found = collect_demonstrations(unpaid, cliff_expert(), trajectories=3, failures=failures, noise=2.0)
    for name in ("demos.npz", "demos.h5"):
        found.save(tmp_path / name)
        loaded = Demonstrations.load(tmp_path / name)
        assert loaded.expert.reward is None and not loaded.failures.reward
        assert loaded.failures.num_trajectories >= failures
    paid = collect_demonstrations(CLIFF, cliff_expert(), trajectories=3, failures=failures, noise=2.0)
    assert paid.expert.reward is not None and paid.failures.reward is not None
