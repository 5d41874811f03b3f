"""What can be wrong with a run, seen in its metrics alone, and which settings to try.

A symptom is an entry of `SYMPTOMS`, gravest first; its bounds are in `gailfe_jax.analysis.health.THRESHOLDS`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gailfe_jax.analysis import symptoms
from gailfe_jax.analysis.health import Advice, Finding, Run, Sign, Symptom, advised, bound

NO_SETTING = "No setting of this method bears on it alone; docs/diagnostics.md says how to read it."


def examine(run: Run) -> list[Finding]:
    """What stands out in a run: the gravest first, each symptom once for all seeds that have it."""
    found = []
    for symptom in SYMPTOMS:
        if not symptom.applies(run.settings):
            continue
        signs = {}
        for seed in run.seeds:
            if symptom.brief or seed.count >= bound("evaluations"):
                sign = symptom.look(run, seed)
                if sign is not None:
                    signs[seed.name] = sign
        if signs:
            found.append(_finding(symptom, run, signs))
    return sorted(found, key=lambda finding: finding.severity != "warning")


def too_few(run: Run) -> bool:
    """Whether no seed has been evaluated often enough to judge it by."""
    return all(seed.count < bound("evaluations") for seed in run.seeds)


class _Number(float):
    """A number that is shown by its size where no format is asked for."""

    def __format__(self, spec: str) -> str:
        if spec:
            return super().__format__(spec)
        return f"{float(self):,.0f}" if abs(self) >= 100 else f"{float(self):.3g}"


def _finding(symptom: Symptom, run: Run, signs: dict[int, Sign]) -> Finding:
    every = [sign.numbers for sign in signs.values()]
    shown: dict[str, Any] = {}
    for name in every[0]:
        held = [numbers[name] for numbers in every]
        words = [value for value in held if isinstance(value, str)]
        shown[name] = ", ".join(dict.fromkeys(words)) if words else _Number(np.mean(np.array(held, np.float64)))
    attempt, settings = advised(symptom.advice, run.settings)
    steps = min(sign.first for sign in signs.values()), max(sign.last for sign in signs.values())
    seen = symptom.seen.format(**shown)
    return Finding(symptom.name, symptom.severity, symptom.title, tuple(signs), steps, seen, attempt or NO_SETTING,
                   settings)  # fmt: skip


_CALMER = (
    Advice("reward.steps", "smaller"), Advice("reward.gradient_penalty", True),
    Advice("reward.gradient_penalty_weight", "larger"), Advice("reward.spectral_norm", True),
    Advice("reward.lr", "smaller"),
)  # fmt: skip
_SHORTER = (
    Advice("policy.max_kl", "smaller"), Advice("policy.lr", "smaller"), Advice("policy.critics.lr", "smaller"),
    Advice("policy.value_lr", "smaller"),
)  # fmt: skip
_UNBIASED = (
    Advice("reward.absorbing", True), Advice("reward.form", "logit"), Advice("reward.offset", "policy"),
    Advice("true_reward.add", True), Advice("steps", "larger"),
)  # fmt: skip
_QUIETER = (
    Advice("policy.entropy", "smaller"), Advice("policy.exploration", "smaller"),
    Advice("policy.target_entropy", "smaller"), Advice("policy.init_log_std", "smaller"),
    Advice("eval_episodes", "larger"),
)  # fmt: skip

SYMPTOMS = (
    Symptom(
        "seed_diverged", "warning", "a seed diverged", symptoms.diverged,
        "The first quantity that was no longer finite is {quantity}.",
        (*_SHORTER[:2], Advice("reward.lr", "smaller"), Advice("policy.critics.lr", "smaller")),
        brief=True,
    ),
    Symptom(
        "no_failures", "warning", "there are no failures to learn from", symptoms.no_failures,
        "The failures' buffer holds 0 episodes, so that failures change nothing.",
        (
            Advice("failures.source", "both"), Advice("failures.annotator", "bottom_quantile:0.1"),
            Advice("failures.capacity", "larger"),
        ),
        part="failures.", brief=True,
    ),
    Symptom(
        "discriminator_saturated", "warning", "the discriminator is saturated", symptoms.saturated,
        "It sorts {accuracy:.1%} of all pairs rightly with logits {apart} apart in {share:.0%} of the evaluations, so "
        "that its reward hardly points anywhere.",
        _CALMER, part="reward.gradient_penalty",
    ),
    Symptom(
        "discriminator_blind", "warning", "the discriminator is blind", symptoms.blind,
        "It sorts {accuracy:.1%} of all pairs rightly in {share:.0%} of the evaluations, as by chance, while the "
        "policy is not known to be near the expert.",
        (Advice("reward.lr", "larger"), Advice("reward.steps", "larger"),
         Advice("reward.gradient_penalty_weight", "smaller"), Advice("reward.spectral_limit", "larger")),
        part="reward.gradient_penalty",
    ),
    Symptom(
        "critics_diverge", "warning", "the critics' values diverge", symptoms.critics,
        "The mean value is {value} and grows, with targets that vary by {spread}, where rewards come to no more than "
        "about {most}.",
        (Advice("policy.critics.bounded", True), Advice("policy.critics.layer_norm", True),
         Advice("policy.update_ratio", "smaller"), Advice("policy.critics.ensemble", "larger"),
         Advice("policy.critics.lr", "smaller")),
        part="policy.critics.",
    ),
    Symptom(
        "multiplier_runs_away", "warning", "the multiplier grows without end", symptoms.runs_away,
        "The constraint is broken in {share:.0%} of the evaluations, and its multiplier has reached {last}.",
        (Advice("constraint.threshold", "smaller"), Advice("constraint.dual_lr", "smaller"),
         Advice("constraint.multiplier", "fixed")),
        part="constraint.",
    ),
    Symptom(
        "policy_still", "warning", "the policy has stopped moving", symptoms.still,
        "The {what} is {value} on the mean of a third of the run.",
        (Advice("policy.max_kl", "larger"), Advice("policy.lr", "larger"), Advice("rollout.num_envs", "larger"),
         Advice("policy.cg_damping", "smaller")),
        part="policy.",
    ),
    Symptom(
        "paid_for_ending", "warning", "the reward pays for ending an episode", symptoms.paid_for_ending,
        "{falls:.0%} of the episodes end early, and the reward, {reward} on the mean, {bias}.",
        _UNBIASED,
    ),
    Symptom(
        "entropy_collapsed", "warning", "entropy has collapsed", symptoms.collapsed,
        "It fell by {early} of {fall} nats within the first fifth of the run.",
        (Advice("policy.entropy", "larger"), Advice("policy.target_entropy", "larger"),
         Advice("policy.max_kl", "smaller"), Advice("policy.lr", "smaller")),
        part="policy.",
    ),
    Symptom(
        "entropy_rises", "warning", "entropy rises", symptoms.rises,
        "It is {rise} nats above its start, so that the policy acts ever more at random.",
        (Advice("policy.entropy", "smaller"), Advice("policy.init_temperature", "smaller"),
         *_SHORTER[:2], Advice("rollout.num_envs", "larger")),
        part="policy.",
    ),
    Symptom(
        "value_explains_nothing", "warning", "the value function explains nothing", symptoms.value_blind,
        "It foretells {explained:.0%} of the returns' variance in the last third of the run.",
        (Advice("policy.value_epochs", "larger"), Advice("policy.value_lr", "larger"),
         Advice("policy.epochs", "larger"), Advice("reward.lr", "smaller")),
        part="policy.value_lr",
    ),
    Symptom(
        "model_wrong", "warning", "the forward model is wrong", symptoms.model,
        "It misses {unexplained:.0%} of the variance of the moves in the last third of the run.",
        (Advice("policy.model.fit_steps", "larger"), Advice("policy.horizon", "smaller"),
         Advice("policy.model.hidden", "larger"), Advice("policy.model.capacity", "larger")),
        part="policy.model.",
    ),
    Symptom(
        "declined", "warning", "the run ended below what it once had", symptoms.declined,
        "Over three evaluations the mean was {peak} around step {at}{kept} and is {end} at the end.",
        (Advice("policy.average", 0.9), Advice("schedule.anneal", True), Advice("snapshots", True),
         Advice("steps", "smaller")),
    ),
    Symptom(
        "seed_behind", "warning", "a seed is far behind the others", symptoms.behind,
        "It stands at {mine}, and the median of the others at {median}.",
        (Advice("rollout.num_envs", "larger"), Advice("steps", "larger"), Advice("seeds", "larger")),
    ),
    Symptom(
        "evaluation_below", "warning", "evaluation is far below the return while training", symptoms.evaluation_below,
        "The deterministic policy earns {evaluated}, the one that draws its actions {noisy}: it lives on its noise.",
        (Advice("policy.average", 0.9), *_QUIETER),
    ),
    Symptom(
        "survives_only", "note", "the policy stays alive and does little else", symptoms.survives,
        "{falls:.0%} of the episodes end early, but it earns {share:.0%} of the expert's return, and the reward pays "
        "for each step.",
        _UNBIASED,
    ),
    Symptom(
        "ends_early", "note", "episodes end early under a reward of one sign", symptoms.ends_early,
        "{falls:.0%} of the training episodes end early, and the reward, {reward} on the mean, {bias}.",
        _UNBIASED,
    ),
    Symptom(
        "evaluation_above", "note", "evaluation is far above the return while training", symptoms.evaluation_above,
        "The deterministic policy earns {evaluated}, the one that draws its actions {noisy}: what it learns from is "
        "worse than what it can.",
        _QUIETER,
    ),
    Symptom(
        "steps_too_far", "note", "the policy moves too far in a step", symptoms.far,
        "An update moves it by {kl} nats on the mean, where {limit} is far.",
        (*_SHORTER[:2], Advice("policy.epochs", "smaller"), Advice("policy.steps", "smaller")),
        part="policy.",
    ),
    Symptom(
        "clipped", "note", "most ratios are clipped", symptoms.clipped,
        "PPO's clipping acts at {share:.0%} of the pairs on the mean of the run.",
        (Advice("policy.lr", "smaller"), Advice("policy.epochs", "smaller"), Advice("policy.minibatches", "smaller")),
        part="policy.clip",
    ),
    Symptom(
        "multiplier_idle", "note", "the multiplier does not act", symptoms.idle,
        "It is 0 in {share:.0%} of the evaluations: failures change nothing there, because the discriminator tells "
        "them from the expert anyway.",
        (Advice("constraint.threshold", "larger"), Advice("constraint.multiplier", "fixed"),
         Advice("failures.last_steps", 50), Advice("constraint.weight", "larger")),
        part="constraint.",
    ),
)  # fmt: skip
"""All symptoms, gravest first."""
