"""What every method promises about its settings: what is read is read, what is not is not, and records keep all."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters import partial_eval

from gailfe_jax.buffers.storage import PaddedTrajectories
from gailfe_jax.config.parts import as_arrays, path_name
from gailfe_jax.config.tree import Leaf, leaves, put, set_values
from gailfe_jax.data.annotators import parse_annotator, parse_success
from gailfe_jax.envs import TASKS
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.adversarial import Adversarial
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.combinations import COMBINATIONS
from gailfe_jax.learners.methods import GAIL, METHODS, policy_choices
from gailfe_jax.learners.presets import preset
from gailfe_jax.learners.record import method_record, read_method
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.sweep.planner import stack_methods
from gailfe_jax.training.program import Trainer
from gailfe_jax.types import Problem
from tests.tiny import noise_demos, tiny
from tests.toy import Cliff, cliff_expert

ENV = Cliff()
# Refused rather than unread: their part does not go with the others, or the method stands for one value.
SWITCHES = ("self_imitation.updates", "true_reward.add", "self_demonstrations.use")
# Settings that can be given beside others: each is on in one case at least.
_ON = {"start.steps": 2, "schedule.warmup_iterations": 1, "policy.average": 0.9, "likelihood.add": True}
_BOUNDS = {
    "reward.recent": 0.5, "reward.spectral_norm": True, "policy.critics.ensemble": 3, "policy.critics.subset": 2,
    "policy.critics.bounded": True, "policy.critics.huber": 1.0, "policy.policy_delay": 3,
    "rollout.demonstrated_starts": 0.5,
}  # fmt: skip
_OWN = {"self_demonstrations.use": "both", "self_demonstrations.episodes": "survived", "reward.replay": 20}


@dataclasses.dataclass(frozen=True)
class Case:
    """A method with some of its settings, and whether a test of it is quick."""

    name: str
    policy: str | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    quick: bool = False

    @property
    def method(self) -> Learner:
        return set_values(tiny(self.name, self.policy), self.settings)

    def __str__(self) -> str:
        words = [self.name, *([self.policy] if self.policy else []), *self.settings]
        return " ".join(words)


def cases() -> list[Case]:
    """Every method with every policy step as it comes, and settings that switch further ones on."""
    every = [Case(name, policy) for name in METHODS for policy in policy_choices(METHODS[name]) or (None,)]
    # A step from replay reads the same with every reward.
    plain = [case for case in every if case.policy not in ("sac", "td3", "svg") or case.name == "gail"]
    return [
        *plain,
        Case("gailfe", None, _ON | _OWN | {"schedule.anneal": True}, quick=True),
        Case("gail", "td3", _BOUNDS, quick=True),
        Case("gailfe", "ppo", {"constraint.multiplier": "fixed", "reward.gradient_penalty": False}),
        Case("gail", "ppo", {"true_reward.add": True, "self_imitation.updates": 2}, quick=True),
        Case("mail", None, {"policy.step": "adam", "policy.rollouts": "model", "policy.model.ensemble": 2}, quick=True),
        Case("mail", None, _ON | {"schedule.warm_restarts": 1}),
        Case("ppo", None, {"likelihood.add": True, "self_imitation.updates": 1}),
        Case("bc", None, {"validation": 0.0}, quick=True),
        Case("dagger", None, {"schedule.anneal": True}),
    ]


CASES = cases()
MARKED = [pytest.param(case, id=str(case), marks=[] if case.quick else [pytest.mark.slow]) for case in CASES]
# One trace for every setting: a second each, or more.
RETRACED = [pytest.param(case, id=str(case), marks=[] if case.name == "bc" else [pytest.mark.slow]) for case in CASES]


@pytest.fixture(autouse=True)
def plain_traces(monkeypatch):
    """Loops over seeds and programs inside programs, which the CPU alone has, would hide what is used."""
    monkeypatch.setattr(jax, "default_backend", lambda: "none")


def bound(method: Learner) -> Learner:
    """The method on the cliff, whatever it says of itself."""
    failures, own = getattr(method, "failures", None), getattr(method, "self_demonstrations", None)
    judge, success = None, None
    if failures is not None:
        judge = parse_annotator(failures.annotator, task="cliff", default="terminated", expert_return=12.0)
    if own is not None and own.use != "none" and own.episodes != "top_k":
        success = parse_success(own.episodes, task="cliff", expert_return=12.0)
    problem = Problem(ENV.spec, method.rollout.num_envs, method.rollout.unroll_length)
    return method.resolve().judged(judge, success).bind(problem).replace(env=ENV, total_iterations=3)


def trace(method: Learner) -> tuple[str, set[str]]:
    """What a fresh state and one iteration compute, as text, and the traced settings that it depends on."""
    learner = as_arrays(bound(method))
    demos = noise_demos(ENV, expert=cliff_expert() if learner.asks_expert else None)
    failures = getattr(learner, "failures", None)
    if failures is not None and failures.source != "own":
        held = np.ones((min(failures.capacity, 4), 5, 4), np.float32)
        demos = demos.replace(failures=PaddedTrajectories(jnp.asarray(held), jnp.full(len(held), 5)))

    def run(learner: Learner, key: Any, demos: Any) -> Any:
        state, metrics = learner.step(learner.init(key, demos), demos)
        # A dual variable moves where the multiplier is fixed, too, and nothing reads it; else metrics show it.
        return jax.tree.leaves((state.replace(dual=None), metrics))

    names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(learner)]
    jaxpr = jax.make_jaxpr(run)(learner, jax.random.key(0), demos).jaxpr
    live, used = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return str(live), {name for name, reads in zip(names, used) if reads}


def others(leaf: Leaf) -> list[Any]:
    """Further values that a static setting can take."""
    kind, value = leaf.setting.kind, leaf.value
    named = {
        "annotator": ["return_below:0.5"],
        "episodes": ["survived" if value == "top_k" else "top_k"],
        "features": ["0" if value == "all" else "linear"],
    }
    last = leaf.name.rpartition(".")[2]
    if leaf.setting.choices:
        return [choice for choice in leaf.setting.choices if choice != value]
    if last in named and kind is str:
        return named[last]
    if kind is bool:
        return [not value]
    if kind is int:
        # What is replayed is whole unrolls.
        return [value + max(value, 1) if last == "replay" else value + 1]
    if kind is tuple:
        return [(*(size + 1 for size in value),)]
    return [0.5 * value if value else 0.5]


@pytest.mark.parametrize("case", MARKED)
def test_traced_settings_are_used_where_they_are_read(case):
    method = case.method
    traced = {name: leaf for name, leaf in leaves(method).items() if leaf.setting.marks.traced}
    used = trace(method)[1]
    assert used == {name for name, leaf in traced.items() if leaf.unread is None}


@pytest.mark.parametrize("case", RETRACED)
def test_static_settings_change_the_program_where_they_are_read(case):
    method = case.method
    before = trace(method)[0]
    for name, leaf in leaves(method).items():
        if leaf.setting.marks.traced:
            continue
        changed = []
        for value in others(leaf):
            new = put(method, {name: value})
            if leaf.unread is None:
                try:
                    new.verify()
                except GailfeError:
                    changed.append(True)
                    continue
            elif name in SWITCHES:
                with pytest.raises(GailfeError, match=f"^{name}: "):
                    new.verify()
                continue
            changed.append(trace(new)[0] != before)
        if leaf.unread is None:
            assert all(changed), f"{name} should change the program"
        else:
            assert not any(changed), f"{name} should change nothing: {leaf.unread}"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_record_holds_the_method(case):
    method = case.method
    again = read_method(method.name, json.loads(json.dumps(method_record(method))))
    assert repr(again) == repr(method) and type(again) is type(method)


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda combination: combination.name)
def test_a_record_holds_a_combination(combination):
    method = combination.build()
    method.verify()
    again = read_method(method.name, json.loads(json.dumps(method_record(method))))
    assert repr(again) == repr(method)


@pytest.mark.parametrize("name", METHODS)
def test_presets_go_together_on_every_task(name):
    for task in TASKS:
        for policy in policy_choices(METHODS[name]) or (None,):
            method, run = preset(name, task, policy=policy)
            method.verify()
            assert run.steps >= (run.eval_every or 0)
            again = read_method(name, json.loads(json.dumps(method_record(method))))
            assert repr(again) == repr(method)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_in_haste")
def test_a_method_with_several_values_is_several_methods():
    """Traced settings side by side give what each gives alone."""
    values = [{"reward.lr": 1e-3, "policy.gamma": 0.9}, {"reward.lr": 3e-3, "policy.gamma": 0.9}]
    methods = [set_values(tiny("gail", "ppo"), chosen) for chosen in values]
    demos = noise_demos(ENV)

    def advanced(method: Learner, seeds: list[int]) -> Any:
        trainer = Trainer(method.on(ENV), np.array(seeds), chunk=2, eval_episodes=1)
        state, metrics = trainer.advance(trainer.init(demos), demos)
        return jax.tree.map(np.asarray, (state.agent, state.reward, metrics["disc_loss"].T))

    together = advanced(stack_methods(methods, 2), [0, 1, 0, 1])
    for i, method in enumerate(methods):
        rows = jax.tree.map(lambda x, i=i: x[2 * i : 2 * i + 2], together)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), rows, advanced(method, [0, 1])
        )
    assert not np.allclose(together[2][:2, -1], together[2][2:, -1])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("policy", 5, "got 5; expected an object of PolicyUpdate"),
        ("policy", None, "got None; expected an object of PolicyUpdate"),
        ("policy", PPO, "got the class PPO; expected an object of PolicyUpdate"),
        ("reward", PPO(), r"got PPO\(.*\); expected an object of Reward"),
        ("reward", None, "got None; expected an object of Reward"),
        ("rollout", None, "got None; expected an object of Rollout"),
        ("likelihood", 1.0, "got 1.0; expected an object of LikelihoodTerm or None"),
    ],
)
def test_a_part_of_another_kind_is_refused(field, value, message):
    with pytest.raises(GailfeError, match=f"^GAIL.{field}: {message}$"):
        GAIL(**{field: value})
    with pytest.raises(GailfeError, match=f"^GAIL.{field}: {message}$"):
        METHODS["gail"].replace(**{field: value})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, "hopper"), "algo: got 5; expected the name of a method"),
        ((GAIL, "hopper"), "algo: got the class GAIL; expected the name of a method"),
        (("gail", 5), "env: got 5; expected the name of a task"),
    ],
)
def test_a_preset_is_asked_for_by_names(arguments, message):
    with pytest.raises(GailfeError, match=f"^{message}$"):
        preset(*arguments)


def test_parts_that_do_not_go_together_are_refused():
    constrained = METHODS["gailfe"]
    assert isinstance(constrained, Adversarial)
    with pytest.raises(GailfeError, match=r"^constraint: nothing but a discriminator"):
        constrained.replace(reward=METHODS["fem"].reward).verify()
    with pytest.raises(GailfeError, match=r"^failures: got none; gailfe learns from them"):
        constrained.replace(failures=None).verify()
    with pytest.raises(GailfeError, match=r"^failures: got none; irlf learns from them"):
        METHODS["irlf"].replace(failures=None).verify()
    with pytest.raises(
        GailfeError, match=r"^self_demonstrations.use: got 'alone'; the reward reads demonstrations alone"
    ):
        METHODS["fem"].replace(self_demonstrations=METHODS["gasil"].self_demonstrations).verify()
