"""Every method trains on a task whose actions are choices."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gailfe_jax.apps.collection import collect_demonstrations
from gailfe_jax.artifacts.policy import Policy, PolicyBatch
from gailfe_jax.config.run import DemoSettings
from gailfe_jax.config.tree import leaves
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.forward_training import forward_training
from gailfe_jax.learners.methods import METHODS, policy_choices
from gailfe_jax.learners.smile import smile
from gailfe_jax.learners.stagewise import Stagewise
from gailfe_jax.policies.replayed import ReplayedUpdate
from gailfe_jax.training.loop import train
from tests.learners.stages import SETTINGS
from tests.tiny import tiny, tiny_run

pytestmark = pytest.mark.usefixtures("compiled_in_haste")
ENV = make_env("cartpole")


def keeper() -> Policy:
    """Pushes the way that the pole leans and turns, which keeps it up: logits `-/+ (3 angle + angular velocity)`."""
    kernel = np.array([[0, 0], [0, 0], [-30, 30], [-10, 10]])
    return Policy([(kernel, np.zeros(2))], "tanh", [0] * 4, [1] * 4, None, 0, 1, {"env": "cartpole"})


@pytest.fixture(scope="module")
def shown() -> Demonstrations:
    return collect_demonstrations(ENV, keeper(), trajectories=3, failures=3, deterministic=True)


EVERY = [(name, policy) for name in METHODS for policy in policy_choices(METHODS[name]) or (None,)]
# What moves actions continuously has no way to choose.
REPLAYED = [case for case in EVERY if isinstance(tiny(*case).policy, ReplayedUpdate)]
CASES = [case for case in EVERY if case not in REPLAYED]
QUICK = {("gail", "trpo"), ("bc", None), ("dagger", None)}
MARKED = [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES]


@pytest.mark.parametrize(("name", "policy"), MARKED)
def test_every_method_trains_and_its_policy_chooses(name, policy, shown, tmp_path):
    method = tiny(name, policy)
    inputs = {"demos": shown} if method.needs_demonstrations else {}
    if method.asks_expert:
        inputs = {"demos": DemoSettings(expert=str(keeper().save(tmp_path / "keeper.safetensors")))}
    result = train(method, ENV, tiny_run(), **inputs)
    (ours,) = result.policies
    assert ours.discrete and ours.action_size == 2
    choices = ours.act(np.zeros((5, 4)), deterministic=False, rng=np.random.default_rng(0))
    assert (choices.dtype, choices.shape) == (np.int64, (5,)) and set(choices) <= {0, 1}
    for metric, (_, values) in result.metrics.items():
        # Nothing is there to be measured where no episode has ended.
        assert np.isfinite(values).all() or metric.startswith(("train_", "model_error_h", "own_best_return")), metric
    assert PolicyBatch([ours, ours]).act(np.zeros((2, 3, 4))).shape == (2, 3)


@pytest.mark.parametrize(("name", "policy"), REPLAYED)
def test_steps_from_replay_refuse_choices(name, policy):
    with pytest.raises(GailfeError, match=r"^policy: cartpole has actions to choose from, .*; expected trpo"):
        tiny(name, policy).on(ENV)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"rollouts": "model"}, {"step": "adam", "pathwise": 1.0}], ids=str)
def test_mail_by_its_other_ways(settings, shown):
    method = tiny("mail", **{f"policy__{name}": value for name, value in settings.items()})
    result = train(method, ENV, tiny_run(), demos=shown)
    assert np.isfinite(result.metrics["kl"][1]).all()


@pytest.mark.slow
def test_functions_that_ask_the_expert():
    mixed = smile(ENV, keeper(), SETTINGS, iterations=2, alpha=0.5)
    assert set(np.unique(mixed.act(np.zeros((4, 4)), jax.random.key(0)))) == {0.0, 1.0}
    timed = forward_training(ENV, keeper(), SETTINGS, horizon=2)
    assert set(np.unique(timed.act(np.zeros((4, 4)), step=1))) == {0.0, 1.0}


def test_settings_of_gaussians_are_refused():
    said = (
        r"^policy.(mixture|init_log_std): got .*; nothing reads it: actions are choices, whose policy is no Gaussian$"
    )
    for values in ({"policy__mixture": 3}, {"policy__init_log_std": -1.0}):
        with pytest.raises(GailfeError, match=said):
            tiny("gail", **values).on(ENV)
        with pytest.raises(GailfeError, match=said):
            tiny("mail", **values).on(ENV)
    policy = Stagewise().policy.replace(mixture=2)
    with pytest.raises(GailfeError, match=said):
        smile(ENV, keeper(), Stagewise(policy=policy))
    assert leaves(tiny("gail").on(ENV))["policy.mixture"].unread


def test_demonstrations_that_are_no_choices_are_refused(shown):
    shown.expert.action[7] = [0.5, 0.5]
    with pytest.raises(GailfeError, match=r"^demos: field 'expert/action': \[0.5, 0.5\] at step 7, expected 1 at the"):
        train(tiny("gail"), ENV, tiny_run(), demos=shown)
    shown.expert.action[7] = [0, 1]


def test_noised_experts_take_some_choices_at_random(shown):
    assert shown.expert.returns.tolist() == [500.0] * 3
    # Half of the choices drawn from all alike do not keep the pole up.
    assert shown.failures.num_trajectories == 3 and shown.failures.terminated.sum() == 3
    assert set(np.unique(shown.failures.action)) == {0.0, 1.0}
    wrong = np.any(keeper().act_rows(shown.failures.obs) != shown.failures.action, axis=1)
    assert 0.1 < np.mean(wrong) < 0.4
    with pytest.raises(GailfeError, match=r"^noise: got 2; expected a share from 0 to 1 of the choices of cartpole$"):
        collect_demonstrations(ENV, keeper(), trajectories=1, failures=1, noise=2)
