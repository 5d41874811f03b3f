"""The Gymnasium adapters against Gymnasium's checker, its registry and its own vector environments."""

from __future__ import annotations

import warnings

import gymnasium
import jax
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from gailfe_jax.envs import CLASSIC
from gailfe_jax.envs.gymnasium import GymnasiumEnv, GymnasiumVectorEnv, register_gymnasium_envs
from gailfe_jax.envs.tasks import TASKS
from gailfe_jax.errors import GailfeError
from tests.toy import Cliff

IDS = register_gymnasium_envs()
QUICK = ("gailfe_jax/hopper", "gailfe_jax/ant", "gailfe_jax/cartpole")
EACH = [pytest.param(id, marks=() if id in QUICK else pytest.mark.slow) for id in IDS]


@pytest.mark.parametrize("id", EACH)
def test_passes_gymnasiums_checker(id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Gymnasium's own MuJoCo tasks have no observation bounds either.
        warnings.filterwarnings("ignore", message=r".*A Box observation space (minimum|maximum) value is -?infinity")
        # Nor are their action bounds always one.
        warnings.filterwarnings("ignore", message=r".*For Box action spaces, we recommend")
        # A picture needs an OpenGL platform, which is chosen once per process: `record_video` has a child for that.
        check_env(gymnasium.make(id, engine="mujoco_c").unwrapped, skip_render_check=True)


@pytest.mark.parametrize("id", EACH)
def test_make_vec_finds_it_and_the_passive_contract_holds(id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        envs = gymnasium.make_vec(id, num_envs=3, engine="mujoco_c")
    assert isinstance(envs.unwrapped, GymnasiumVectorEnv)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert envs.spec.id == id
    assert envs.action_space.shape == (3, *envs.single_action_space.shape)
    obs, infos = envs.reset(seed=0)
    assert (obs in envs.observation_space, infos) == (True, {})
    assert all(one in envs.single_observation_space for one in obs)
    envs.action_space.seed(0)
    for _ in range(3):
        obs, rewards, terminated, truncated, infos = envs.step(envs.action_space.sample())
        assert obs in envs.observation_space
        assert (rewards.shape, rewards.dtype) == ((3,), np.float64)
        assert (terminated.shape, terminated.dtype) == ((3,), bool)
        assert (truncated.shape, truncated.dtype) == ((3,), bool)
        assert infos == {}
    envs.close()
    envs.close()


def test_same_step_autoreset_is_gymnasiums():
    """Side by side with Gymnasium's SyncVectorEnv in the same mode, from the same states, over many falls."""
    n = 4
    ours = GymnasiumVectorEnv("hopper", n, engine="mujoco_c")
    theirs = gymnasium.make_vec(
        "Hopper-v5", n, vectorization_mode="sync", vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP}
    )
    obs, _ = ours.reset(seed=3)
    theirs.reset(seed=3)

    def align(which):
        """Puts Gymnasium's environments at our states, which it draws with its own random numbers."""
        assert ours._state is not None
        qpos, qvel = jax.vmap(ours.env.physics.view)(ours._state.phys)
        for i in which:
            inner = theirs.envs[i].unwrapped
            mujoco.mj_resetData(inner.model, inner.data)
            inner.set_state(np.asarray(qpos[i], np.float64), np.asarray(qvel[i], np.float64))

    align(range(n))
    ours.action_space.seed(5)
    falls = 0
    for _ in range(150):
        actions = ours.action_space.sample()
        obs, rewards, terminated, truncated, infos = ours.step(actions)
        their_obs, their_rewards, their_terminated, their_truncated, their_infos = theirs.step(actions)
        assert np.array_equal(rewards, their_rewards.astype(np.float32))
        assert np.array_equal(terminated, their_terminated)
        assert np.array_equal(truncated, their_truncated)
        done = terminated | truncated
        assert np.array_equal(obs[~done], their_obs[~done].astype(np.float32))
        assert ("final_obs" in infos) == ("final_obs" in their_infos) == done.any()
        if done.any():
            assert np.array_equal(infos["_final_obs"], their_infos["_final_obs"])
            assert np.array_equal(infos["_final_info"], their_infos["_final_info"])
            for i in range(n):
                if done[i]:
                    assert np.array_equal(infos["final_obs"][i], their_infos["final_obs"][i].astype(np.float32))
                    assert abs(obs[i][0] - 1.25) < 0.01
                else:
                    assert infos["final_obs"][i] is None
            align(np.flatnonzero(done))
            falls += done.sum()
    assert falls > n
    theirs.close()


def test_time_limit_is_in_the_single_environment():
    env = GymnasiumEnv("halfcheetah", engine="mujoco_c")
    env.reset(seed=0)
    for t in range(1000):
        obs, _, terminated, truncated, _ = env.step(np.zeros(6, np.float32))
        assert (terminated, truncated) == (False, t == 999)
    # The last observation, not the next episode's first one: half a minute in, the cheetah lies still.
    assert np.abs(obs[8:]).max() < 1e-2
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(6, np.float32))


def test_seeds_decide():
    envs = GymnasiumVectorEnv("hopper", 3, engine="mujoco_c")
    first, _ = envs.reset(seed=1)
    following, _ = envs.reset()
    again, _ = envs.reset(seed=1)
    other, _ = envs.reset(seed=2)
    assert np.array_equal(first, again)
    assert len(np.unique(np.concatenate([first, following, other]), axis=0)) == 9


def test_results_are_the_callers_to_keep_and_to_write():
    envs = GymnasiumVectorEnv("hopper", 2, engine="mujoco_c")
    obs, _ = envs.reset(seed=0)
    kept = obs.copy()
    stepped = envs.step(np.zeros((2, 3), np.float32))
    for array in stepped[:4]:
        array[:] = 0
    assert np.array_equal(obs, kept)
    assert envs.step(np.zeros((2, 3), np.float32))[0][0, 0] > 1


def test_gymnasiums_vector_wrappers_work():
    envs = gymnasium.wrappers.vector.RecordEpisodeStatistics(GymnasiumVectorEnv("hopper", 2, engine="mujoco_c"))
    envs.reset(seed=0)
    total, length = np.zeros(2), 0
    for _ in range(200):
        _, rewards, terminated, _, infos = envs.step(np.ones((2, 3), np.float32))
        total, length = total + rewards, length + 1
        if terminated.any():
            break
    who = int(np.flatnonzero(terminated)[0])
    assert infos["episode"]["l"][who] == length
    np.testing.assert_allclose(infos["episode"]["r"][who], total[who])


@pytest.mark.parametrize("make", [GymnasiumEnv, GymnasiumVectorEnv])
def test_step_before_reset_says_so(make):
    env = make("hopper", engine="mujoco_c")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(env.action_space.sample())


def test_bad_arguments_are_one_clear_error():
    with pytest.raises(GailfeError, match=r"^num_envs: got 0; expected at least 1"):
        GymnasiumVectorEnv("hopper", 0)
    envs = GymnasiumVectorEnv("hopper", 2, engine="mujoco_c")
    envs.reset(seed=0)
    with pytest.raises(GailfeError, match=r"^actions: got shape \(3,\); expected \(2, 3\)"):
        envs.step(np.zeros(3))


def test_choices_are_numbers_to_gymnasium():
    envs, one = GymnasiumVectorEnv("mountain_car", 3), GymnasiumEnv("mountain_car")
    assert one.action_space == gymnasium.spaces.Discrete(3)
    envs.reset(seed=0)
    one.reset(seed=0)
    obs, rewards, *_ = envs.step(np.array([0, 1, 2]))
    # What the velocity is beside the pull of the slope, which depends on where the step began.
    np.testing.assert_allclose(
        obs[:, 1] + 0.0025 * np.cos(3 * (obs[:, 0] - obs[:, 1])), [-0.001, 0.0, 0.001], atol=1e-6
    )
    assert rewards.tolist() == [-1.0] * 3 and one.step(2)[1] == -1.0
    for wrong in (np.zeros(3), np.array([0, 1, 3]), np.array([0, -1, 2])):
        with pytest.raises(GailfeError, match=r"^actions: got \[.*\]; expected whole numbers from 0 to 2$"):
            envs.step(wrong)
    with pytest.raises(GailfeError, match=r"^actions: got shape \(3, 3\); expected \(3,\)$"):
        envs.step(np.eye(3))


def test_ids_cover_the_tasks():
    assert register_gymnasium_envs() == IDS == [f"gailfe_jax/{name}" for name in sorted((*TASKS, *CLASSIC))]


def test_what_draws_no_picture_says_so():
    with pytest.raises(GailfeError, match=r"^env: cliff draws no picture; expected a MuJoCo task"):
        GymnasiumEnv(Cliff(), render_mode="rgb_array")
    with pytest.raises(GailfeError, match=r"^render_mode: got 'human'; expected rgb_array or None"):
        GymnasiumEnv(Cliff(), render_mode="human")
    assert GymnasiumEnv(Cliff()).render() is None
