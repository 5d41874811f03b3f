"""The doctor: every finding is found where made-up metrics show it, and not where they just do not."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from typing import Any

import numpy as np
import pytest

from gailfe_jax.analysis.doctor import NO_SETTING, SYMPTOMS, examine, too_few
from gailfe_jax.analysis.health import THRESHOLDS, Advice, Run, advised, seeds_of
from gailfe_jax.errors import GailfeError

RESULTS = pathlib.Path(__file__).parent.parent.parent / "experiments" / "results"
K = 20
STEPS = 1000 * np.arange(1, K + 1)
SETTINGS = {
    "policy.max_kl": 0.02, "policy.lr": 3e-4, "policy.clip": 0.2, "policy.entropy": 0.01, "policy.value_lr": 1e-3,
    "policy.gamma": 0.9, "policy.average": 0.0, "policy.critics.bounded": False, "policy.model.fit_steps": 10,
    "reward.steps": 20, "reward.gradient_penalty": True, "reward.lr": 3e-4, "reward.absorbing": False,
    "constraint.multiplier": "dual", "constraint.threshold": -0.69, "failures.source": "own", "steps": 2e4,
    "snapshots": False,
}  # fmt: skip


def ramp(start, end):
    return np.linspace(start, end, K)


def part(share, inside, outside):
    """`inside` in the first `share` of the evaluations, `outside` in the others."""
    return np.where(np.arange(K) < share * K, inside, outside)


def peak(top, end):
    """A rise to `top` in the first half, and a fall to `end`."""
    return np.concatenate(
        [np.linspace(0, top, K // 2), np.full(4, top), np.linspace(top, end, K // 2 - 4 - 3), [end] * 3]
    )


@dataclasses.dataclass
class Case:
    """Metrics that show a finding, and what in them is otherwise where they just do not."""

    name: str
    ill: dict
    well: dict
    run: dict = dataclasses.field(default_factory=dict)
    well_run: dict = dataclasses.field(default_factory=dict)

    def __str__(self):
        return self.name


APART = {"disc_logit_expert": -3.1, "disc_logit_policy": 3.1}
PAYS = "is positive in every step, so that staying alive pays by itself"
ENDS = "is negative in every step, so that ending early pays by itself"
CASES = [
    Case("no_failures", {"failures_in_buffer": 0.0}, {"failures_in_buffer": part(0.9, 0.0, 1.0)}),
    Case("discriminator_saturated", {"discriminator_accuracy": 0.98} | APART, {"discriminator_accuracy": 0.96}),
    Case("discriminator_saturated", {"discriminator_accuracy": 0.98} | APART, {"disc_logit_policy": 2.8}),
    Case(
        "discriminator_saturated", {"discriminator_accuracy": part(0.65, 0.98, 0.7)} | APART,
        {"discriminator_accuracy": part(0.55, 0.98, 0.7)},
    ),
    Case(
        "discriminator_saturated", {"discriminator_accuracy": 0.98, "return_mean": 79.0} | APART,
        {"return_mean": 81.0}, {"expert_return": 100.0},
    ),
    Case("discriminator_blind", {"discriminator_accuracy": 0.52}, {"discriminator_accuracy": 0.54}),
    Case("discriminator_blind", {"discriminator_accuracy": 0.48}, {"discriminator_accuracy": 0.46}),
    Case(
        "discriminator_blind", {"discriminator_accuracy": 0.5, "return_mean": 79.0}, {"return_mean": 81.0},
        {"expert_return": 100.0},
    ),
    Case(
        "critics_diverge", {"value_mean": ramp(1, 80), "target_std": 9.0, "reward_mean": 1.0},
        {"value_mean": ramp(1, 50)},
    ),
    Case("critics_diverge", {"value_mean": ramp(60, 80), "reward_mean": 1.0}, {"value_mean": ramp(80, 60)}),
    Case(
        "critics_diverge", {"value_mean": ramp(1, 15), "reward_low": 0.0, "reward_high": 1.0},
        {"value_mean": ramp(1, 9.9)},
    ),
    Case(
        "critics_diverge", {"value_mean": ramp(1, 80), "reward_mean": 1.0}, {"temperature": 0.5, "entropy": -2.0},
    ),
    Case("multiplier_runs_away", {"multiplier": ramp(1, 6), "violation": 0.1}, {"violation": part(0.7, 0.1, -0.1)}),
    Case("multiplier_runs_away", {"multiplier": ramp(1, 6), "violation": 0.1}, {"multiplier": ramp(1, 4.9)}),
    Case(
        "multiplier_runs_away", {"multiplier": ramp(1, 6), "violation": 0.1}, {},
        well_run={"settings": SETTINGS | {"constraint.multiplier": "fixed"}},
    ),
    Case("policy_still", {"kl": 0.01, "step_accepted": part(0.6, 1.0, 0.05)}, {"step_accepted": part(0.6, 1.0, 0.15)}),
    Case("policy_still", {"kl": part(0.6, 0.01, 1e-7)}, {"kl": part(0.6, 0.01, 1e-5)}),
    Case(
        "policy_still", {"kl": part(0.6, 0.01, 0.0)}, {}, well_run={"settings": SETTINGS | {"schedule.anneal": True}}
    ),
    Case("paid_for_ending", {"train_falls": 0.85, "reward_mean": -0.5}, {"train_falls": 0.75}, {"bias": ENDS}),
    Case("paid_for_ending", {"falls": 0.85, "reward_mean": -0.5}, {}, {"bias": ENDS}, {"bias": None}),
    Case("ends_early", {"train_falls": 0.85, "reward_mean": 0.5}, {"train_falls": 0.75}, {"bias": PAYS}),
    Case("entropy_collapsed", {"entropy": part(0.15, 1.0, -2.5)}, {"entropy": part(0.15, 1.0, -1.5)}),
    Case("entropy_collapsed", {"entropy": part(0.15, 1.0, -2.5)}, {"entropy": part(0.25, 1.0, -2.5)}),
    Case("entropy_rises", {"entropy": ramp(0.0, 1.5)}, {"entropy": ramp(0.0, 0.9)}),
    Case(
        "entropy_rises", {"entropy": ramp(0.0, 1.5)}, {},
        well_run={"settings": SETTINGS | {"policy.temperature": "tuned"}},
    ),
    Case("value_explains_nothing", {"explained_variance": 0.05}, {"explained_variance": 0.15}),
    Case("model_wrong", {"model_unexplained": 0.35}, {"model_unexplained": 0.25}),
    Case("declined", {"return_mean": peak(100, 70)}, {"return_mean": peak(100, 80)}),
    Case("declined", {"demo_distance": 9 - peak(8, 4)}, {"demo_distance": 9 - peak(8, 7)},
         {"judged": "demo_distance", "lower_is_better": True}),
    Case("evaluation_below", {"return_mean": 40.0, "train_return": 90.0}, {"train_return": 70.0}),
    Case("evaluation_above", {"return_mean": 90.0, "train_return": 40.0}, {"return_mean": 70.0}),
    Case("evaluation_above", {"return_mean": -40.0, "train_return": -90.0}, {"return_mean": -50.0}),
    Case(
        "survives_only", {"falls": part(0.5, 1.0, 0.05), "reward_mean": 0.5, "return_mean": 45.0},
        {"return_mean": 55.0}, {"bias": PAYS, "expert_return": 100.0},
    ),
    Case(
        "survives_only", {"falls": part(0.5, 1.0, 0.05), "reward_mean": 0.5, "return_mean": 45.0},
        {"falls": 0.0}, {"bias": PAYS, "expert_return": 100.0},
    ),
    Case("steps_too_far", {"kl": 0.11}, {"kl": 0.09}),
    Case(
        "steps_too_far", {"kl": 0.16}, {"kl": 0.14}, {"settings": SETTINGS | {"policy.max_kl": 0.1}},
    ),
    Case("clipped", {"clip_fraction": 0.55}, {"clip_fraction": 0.45}),
    Case("multiplier_idle", {"multiplier": part(0.3, 1.0, 0.0)}, {"multiplier": part(0.5, 1.0, 0.0)}),
    Case("multiplier_idle", {"multiplier": 0.0, "failures_in_buffer": 3.0}, {"failures_in_buffer": 0.0}),
]  # fmt: skip


def lines(*seeds, steps=STEPS) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl of seeds 0, 1, ..."""
    return [
        {"seed": i, "step": int(step)} | {name: float(np.broadcast_to(v, len(steps))[k]) for name, v in values.items()}
        for i, values in enumerate(seeds)
        for k, step in enumerate(steps)
    ]


def run_of(*seeds, steps=STEPS, **options):
    found, diverged = seeds_of(lines(*seeds, steps=steps))
    return Run(**{"seeds": found, "diverged": diverged, "settings": SETTINGS} | options)


def names(run):
    return [finding.name for finding in examine(run)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_finding_is_found_where_it_is_seen(case):
    (finding,) = [f for f in examine(run_of(case.ill, **case.run)) if f.name == case.name]
    assert finding.seeds == (0,) and 1000 <= finding.steps[0] <= finding.steps[1] <= 1000 * K
    assert any(sign.isdigit() for sign in finding.seen) and finding.seen.endswith(".") and "nan" not in finding.seen[:9]
    assert finding.attempt.startswith("Try ") or finding.attempt == NO_SETTING
    assert set(finding.settings) <= set(SETTINGS)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_finding_is_not_found_where_it_just_is_not_seen(case):
    assert case.name not in names(run_of(case.ill | case.well, **case.run | case.well_run))


def cell(name):
    """A committed experiment's run, with GAILFE's settings."""
    record = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    every = record["evaluations"]
    seeds = [
        {metric: np.array(rows[i], np.float64) for metric, rows in every.items()}
        for i in range(len(every["return_mean"]))
    ]
    return run_of(*seeds, steps=record["steps"], expert_return=record["expert_return"])


def test_committed_runs_have_the_findings_that_are_known_of_them():
    """docs/results.md: GAIL learns HalfCheetah; GAILFE's constraint is slack there; GAIL fails on Ant, noisily."""
    assert names(cell("figure1/halfcheetah-gail")) == []
    (idle,) = examine(cell("figure1/halfcheetah-gailfe"))
    assert idle.name == "multiplier_idle" and len(idle.seeds) == 20
    (noisy,) = examine(cell("tasks/ant-gail"))
    assert noisy.name == "evaluation_above" and len(noisy.seeds) == 5


def test_every_symptom_is_tested():
    alone = {"seed_diverged", "seed_behind"}
    assert {symptom.name for symptom in SYMPTOMS} == {case.name for case in CASES} | alone
    assert len({symptom.name for symptom in SYMPTOMS}) == len(SYMPTOMS)


def test_every_bound_has_a_reason():
    assert all(len(threshold.why) > 20 and math.isfinite(threshold.value) for threshold in THRESHOLDS.values())


def test_a_healthy_run_has_no_findings():
    healthy = {
        "return_mean": ramp(10, 95), "train_return": ramp(8, 80), "falls": ramp(1, 0), "train_falls": ramp(1, 0.3),
        "discriminator_accuracy": ramp(0.95, 0.6), "disc_logit_expert": ramp(-3, -0.3),
        "disc_logit_policy": ramp(3, 0.3), "reward_mean": 0.6, "kl": 0.01, "step_accepted": 1.0,
        "entropy": ramp(2.8, -1.6), "explained_variance": ramp(0.1, 0.9), "multiplier": ramp(1, 0.2),
        "violation": ramp(0.1, -0.1), "failures_in_buffer": 40.0, "model_unexplained": 0.05,
    }  # fmt: skip
    assert examine(run_of(*[healthy] * 3, expert_return=100.0, bias=PAYS)) == []


def test_a_seed_that_diverged_is_named_and_judged_until_then():
    records = lines({"return_mean": 50.0, "explained_variance": 0.9})
    for record in records[12:]:
        record["diverged"] = {"step": 13000, "quantity": "the policy\n\x1b[2J", "also": []}
        record["explained_variance"] = math.nan
    seeds, diverged = seeds_of(records)
    (finding,) = examine(Run(seeds, settings=SETTINGS, diverged=diverged))
    assert (finding.name, finding.steps, finding.seeds) == ("seed_diverged", (13000, 13000), (0,))
    assert "the policy  [2J" in finding.seen and finding.seen.isprintable()
    assert seeds[0].count == 12 and "--policy.max-kl" in finding.attempt


@pytest.mark.parametrize(
    ("levels", "behind"),
    [
        ((100, 95, 90, 50), (3,)),
        ((100, 95, 90, 60), ()),
        ((100, 40, 90, 20), ()),  # A wide field.
        ((100, 50), ()),  # Of two, neither is the rule.
        ((-100, -105, -110, -160), (3,)),
    ],
)
def test_a_seed_behind_the_others(levels, behind):
    found = [
        f for f in examine(run_of(*({"return_mean": float(level)} for level in levels))) if f.name == "seed_behind"
    ]
    assert tuple(seed for finding in found for seed in finding.seeds) == behind


def test_a_seed_that_diverged_is_not_behind():
    records = lines(*({"return_mean": float(level)} for level in (100, 95, 90, 20)))
    records[-1]["diverged"] = {"step": 20000, "quantity": "a loss"}
    seeds, diverged = seeds_of(records)
    assert names(Run(seeds, settings=SETTINGS, diverged=diverged)) == ["seed_diverged"]


def test_seeds_that_share_a_symptom_share_a_finding():
    ill, well = {"explained_variance": 0.0}, {"explained_variance": 0.9}
    (finding,) = examine(run_of(ill, well, {"explained_variance": 0.08}))
    assert finding.seeds == (0, 2) and "4%" in finding.seen


def test_warnings_come_first():
    found = examine(run_of({"clip_fraction": 0.9, "return_mean": peak(100, 10), "model_unexplained": 0.9}))
    assert [(f.name, f.severity) for f in found] == [
        ("model_wrong", "warning"), ("declined", "warning"), ("clipped", "note"),
    ]  # fmt: skip


def test_few_evaluations_are_not_judged():
    few = run_of({"explained_variance": np.zeros(4), "failures_in_buffer": np.zeros(4)}, steps=STEPS[:4])
    assert too_few(few) and names(few) == ["no_failures"]
    enough = run_of({"explained_variance": np.zeros(5)}, steps=STEPS[:5])
    assert not too_few(enough) and names(enough) == ["value_explains_nothing"]


def test_a_symptom_needs_the_part_that_has_it():
    ill = {"discriminator_accuracy": 0.5, "multiplier": 0.0}
    assert names(run_of(ill, settings={"policy.lr": 1e-3})) == []


def test_a_kept_snapshot_is_named():
    run = run_of({"return_mean": peak(100, 10)}, settings=SETTINGS | {"snapshots": True})
    (finding,) = examine(run)
    assert "snapshots/ still holds" in finding.seen and "--snapshots" not in finding.attempt


@pytest.mark.parametrize(
    ("advice", "now", "words"),
    [
        (Advice("reward.lr", "smaller"), 3e-4, "a smaller --reward.lr (now 0.0003)"),
        (Advice("policy.entropy", "smaller"), 0.0, None),
        (Advice("policy.hidden", "larger"), (100, 100), "a larger --policy.hidden (now 100x100)"),
        (Advice("reward.spectral_norm", True), False, "--reward.spectral-norm"),
        (Advice("reward.spectral_norm", True), True, None),
        (Advice("policy.pathwise", False), True, "--policy.no-pathwise"),
        (Advice("policy.average", 0.9), 0.0, "--policy.average 0.9"),
        (Advice("policy.average", 0.9), 0.95, None),
        (Advice("constraint.multiplier", "fixed"), "dual", "--constraint.multiplier fixed"),
        (Advice("steps", "larger"), None, None),
    ],
)
def test_advice_in_words(advice, now, words):
    assert advice.words({advice.setting: now}) == words
    assert advice.words({}) is None


def test_at_most_three_settings_are_named():
    said, settings = advised([Advice(name, "larger") for name in "abcd"], dict.fromkeys("abcd", 1))
    assert said == "Try a larger --a (now 1), a larger --b (now 1) or a larger --c (now 1)."
    assert settings == ("a", "b", "c")
    assert advised([Advice("a", "larger")], {}) == ("", ())


def test_what_is_no_number_is_left_out():
    records = [{"seed": 0, "step": 2, "kl": "x", "x": [1]}, {"seed": 0, "step": 1, "kl": 0.5, "on": True}]
    (seed,), diverged = seeds_of(records)
    assert seed.steps.tolist() == [1, 2] and list(seed.values) == ["kl"] and diverged == {}
    assert seed.values["kl"][0] == 0.5 and np.isnan(seed.values["kl"][1])


def test_a_number_beyond_all_metrics_is_refused():
    with pytest.raises(GailfeError, match="too large"):
        seeds_of([{"seed": 0, "step": 1, "kl": 10**400}])


def test_a_record_is_json():
    (finding,) = examine(run_of({"explained_variance": 0.0}))
    record = json.loads(json.dumps(finding.record(), allow_nan=False))
    assert record["name"] == "value_explains_nothing" and record["try"] == finding.attempt
    assert record["seeds"] == [0] and record["steps"] == [15000, 20000]
