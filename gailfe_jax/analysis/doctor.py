"""What can be wrong with a run, seen in its metrics alone, and which settings to try.

A symptom is an entry of `SYMPTOMS`, gravest first; its bounds are in `gailfe_jax.analysis.health.THRESHOLDS`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gailfe_jax.analysis.health import Advice, Finding, Run, Seed, Sign, Symptom, advised, bound, mean, smooth

NO_SETTING = "No setting of this method bears on it alone; docs/diagnostics.md says how to read it."
_SMOOTHED = 3


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
        words = all(isinstance(value, str) for value in held)
        shown[name] = ", ".join(map(str, dict.fromkeys(held))) if words else _Number(np.mean(held))
    attempt, settings = advised(symptom.advice, run.settings)
    steps = min(sign.first for sign in signs.values()), max(sign.last for sign in signs.values())
    seen = symptom.seen.format(**shown)
    return Finding(symptom.name, symptom.severity, symptom.title, tuple(signs), steps, seen, attempt or NO_SETTING,
                   settings)  # fmt: skip


def _sign(seed: Seed, mask: np.ndarray | None = None, **numbers: Any) -> Sign:
    """Seen in the last third of the evaluations, or from the first to the last that `mask [k]` marks."""
    where = np.arange(seed.count - seed.third, seed.count) if mask is None else np.flatnonzero(mask)
    return Sign(numbers, int(seed.steps[where[0]]), int(seed.steps[where[-1]]))


def _diverged(run: Run, seed: Seed) -> Sign | None:
    if seed.name not in run.diverged:
        return None
    step, quantity = run.diverged[seed.name]
    return Sign({"quantity": quantity}, step, step)


def _no_failures(run: Run, seed: Seed) -> Sign | None:
    if not seed.has("failures_in_buffer") or seed.late("failures_in_buffer") > 0:
        return None
    return _sign(seed, seed.values["failures_in_buffer"] == 0)


def _saturated(run: Run, seed: Seed) -> Sign | None:
    names = ("discriminator_accuracy", "disc_logit_expert", "disc_logit_policy")
    if not seed.has(*names) or run.reached(seed):
        return None
    accuracy, expert, policy = (seed.values[name] for name in names)
    mask = (accuracy >= bound("saturated_accuracy")) & ((policy - expert) / 2 >= bound("saturated_logit"))
    if mask.mean() < bound("most"):
        return None
    apart = float((policy - expert)[mask].mean())
    return _sign(seed, mask, accuracy=mean(accuracy[mask]), apart=apart, share=float(mask.mean()))


def _blind(run: Run, seed: Seed) -> Sign | None:
    if not seed.has("discriminator_accuracy") or run.reached(seed):
        return None
    accuracy = seed.values["discriminator_accuracy"]
    mask = np.abs(accuracy - 0.5) <= bound("blind_accuracy")
    if mask.mean() < bound("most"):
        return None
    return _sign(seed, mask, accuracy=mean(accuracy[mask]), share=float(mask.mean()))


def _still(run: Run, seed: Seed) -> Sign | None:
    if run.reached(seed):
        return None
    # Annealed steps shrink to nothing, as they should.
    end = seed.count - seed.third if run.settings.get("schedule.anneal") is True else seed.count
    where = slice(end - seed.third, end)
    for name, least in (("step_accepted", bound("still_accepted")), ("kl", bound("still_kl"))):
        if seed.has(name) and mean(seed.values[name][where]) < least:
            mask = np.zeros(seed.count, bool)
            mask[where] = True
            what = {"step_accepted": "share of steps accepted", "kl": "KL divergence of a step"}[name]
            return _sign(seed, mask, what=what, value=mean(seed.values[name][where]))
    return None


def _far(run: Run, seed: Seed) -> Sign | None:
    if not seed.has("kl"):
        return None
    limit = max(bound("far_kl"), bound("far_bound") * run.setting("policy.max_kl", 0.0))
    kl = mean(seed.values["kl"])
    return _sign(seed, seed.values["kl"] > limit, kl=kl, limit=limit) if kl > limit else None


def _clipped(run: Run, seed: Seed) -> Sign | None:
    if not seed.has("clip_fraction"):
        return None
    share = mean(seed.values["clip_fraction"])
    most = bound("far_clip")
    return _sign(seed, seed.values["clip_fraction"] > most, share=share) if share > most else None


def _collapsed(run: Run, seed: Seed) -> Sign | None:
    if not seed.has("entropy") or run.reached(seed):
        return None
    held = np.isfinite(seed.values["entropy"])
    entropy, steps = seed.values["entropy"][held], seed.steps[held]
    early = np.flatnonzero(steps <= bound("entropy_early") * steps[-1])
    if len(early) < 2:
        return None
    fall, at_once = entropy[0] - seed.late("entropy"), entropy[0] - entropy[early[-1]]
    if not (fall >= bound("entropy_fall") and at_once >= bound("entropy_share") * fall):
        return None
    return Sign({"early": float(at_once), "fall": float(fall)}, int(steps[0]), int(steps[early[-1]]))


def _rises(run: Run, seed: Seed) -> Sign | None:
    # A tuned temperature moves the entropy to its target, up or down.
    if not seed.has("entropy") or run.settings.get("policy.temperature") == "tuned":
        return None
    entropy = seed.values["entropy"]
    rise = seed.late("entropy") - float(entropy[np.isfinite(entropy)][0])
    return _sign(seed, rise=rise) if rise >= bound("entropy_rise") else None


def _idle(run: Run, seed: Seed) -> Sign | None:
    if not seed.has("multiplier") or _no_failures(run, seed) is not None:
        return None
    mask = seed.values["multiplier"] < bound("idle_multiplier")
    return _sign(seed, mask, share=float(mask.mean())) if mask.mean() >= bound("most") else None


def _runs_away(run: Run, seed: Seed) -> Sign | None:
    if not seed.has("multiplier", "violation") or run.settings.get("constraint.multiplier") == "fixed":
        return None
    multiplier, broken = seed.values["multiplier"], seed.values["violation"] > 0
    last, middle = multiplier[-1], multiplier[seed.count // 2]
    if broken.mean() < bound("broken") or not (last >= bound("high_multiplier") and last > middle):
        return None
    return _sign(seed, broken, last=float(last), share=float(broken.mean()))


def _falls(seed: Seed) -> float:
    """Share of episodes that end early in the last third: of training, else of evaluations; nan where unknown."""
    late = seed.late("train_falls")
    return late if math.isfinite(late) else seed.late("falls")


def _one_signed(run: Run, seed: Seed, negative: bool) -> Sign | None:
    falls, reward = _falls(seed), seed.late("reward_mean")
    if run.bias is None or not falls >= bound("falls") or run.reached(seed) or (reward < 0) != negative:
        return None
    return _sign(seed, falls=falls, reward=reward, bias=run.bias)


def _paid_for_ending(run: Run, seed: Seed) -> Sign | None:
    return _one_signed(run, seed, True)


def _ends_early(run: Run, seed: Seed) -> Sign | None:
    return _one_signed(run, seed, False)


def _survives(run: Run, seed: Seed) -> Sign | None:
    falls, expert = seed.values.get("falls", seed.values.get("train_falls")), run.known_expert
    if run.bias is None or expert is None or falls is None or not seed.late("reward_mean") > 0:
        return None
    share = seed.late("return_mean") / expert
    late = mean(falls[-seed.third :])
    # Where no episode ever ended early, none can, and staying alive is nothing to learn.
    if not (late <= bound("survives") and np.nanmax(falls) > bound("survives") and share < bound("half_expert")):
        return None
    return _sign(seed, falls=late, share=share)


def _gap(seed: Seed) -> float:
    """How far evaluation is above the noisy return late in the run, as a share of the greater; nan where unknown."""
    evaluated, noisy = seed.late("return_mean"), seed.late("train_return")
    scale = max(abs(evaluated), abs(noisy))
    return (evaluated - noisy) / scale if math.isfinite(scale) and scale > 0 else math.nan


def _evaluation_below(run: Run, seed: Seed) -> Sign | None:
    if not _gap(seed) <= -bound("noise_gap"):
        return None
    return _sign(seed, evaluated=seed.late("return_mean"), noisy=seed.late("train_return"))


def _evaluation_above(run: Run, seed: Seed) -> Sign | None:
    if not _gap(seed) >= bound("noise_gap"):
        return None
    return _sign(seed, evaluated=seed.late("return_mean"), noisy=seed.late("train_return"))


def _value_blind(run: Run, seed: Seed) -> Sign | None:
    late = seed.late("explained_variance")
    return _sign(seed, explained=late) if late < bound("explained") else None


def _critics(run: Run, seed: Seed) -> Sign | None:
    gamma = run.setting("policy.gamma", 0.99)
    if not seed.has("value_mean") or gamma >= 1:
        return None
    paid = _paid(run, seed)
    value, late = np.abs(seed.values["value_mean"]), abs(seed.late("value_mean"))
    most = paid / (1 - gamma)
    if not (late > most and late > mean(value[: seed.count - seed.third])):
        return None
    spread = seed.late("target_std")
    return _sign(seed, value=seed.late("value_mean"), most=most, spread=spread)


def _paid(run: Run, seed: Seed) -> float:
    """The greatest reward of a step, about: the range that bounds values, or a multiple of the mean reward; with the
    price of entropy. nan where nothing says it."""
    price = 0.0
    if seed.has("temperature", "entropy"):
        price = float(np.nanmax(np.abs(seed.values["temperature"] * seed.values["entropy"])))
    if seed.has("reward_low", "reward_high"):
        # Values beyond that are worth more than the best step, paid for ever.
        return max(float(np.nanmax(np.abs(seed.values[name]))) for name in ("reward_low", "reward_high")) + price
    if not seed.has("reward_mean"):
        return math.nan
    # With targets of n steps it is the mean of their sum.
    mean_reward = float(np.nanmax(np.abs(seed.values["reward_mean"]))) / max(run.setting("policy.n_step", 1), 1)
    return bound("critic_excess") * (mean_reward + price)


def _model(run: Run, seed: Seed) -> Sign | None:
    late = seed.late("model_unexplained")
    return _sign(seed, unexplained=late) if late > bound("model_unexplained") else None


def _behind(run: Run, seed: Seed) -> Sign | None:
    sign = -1.0 if run.lower_is_better else 1.0
    levels = {other.name: sign * other.late(run.judged) for other in run.seeds if other.name not in run.diverged}
    levels = {name: level for name, level in levels.items() if math.isfinite(level)}
    if len(levels) < 3 or seed.name not in levels or levels[seed.name] > min(levels.values()):
        return None
    mine = levels.pop(seed.name)
    others = np.array(list(levels.values()))
    median = float(np.median(others))
    scale = run.known_expert or abs(median)
    if median - mine <= max(bound("behind") * scale, bound("behind_spread") * float(others.std())):
        return None
    return _sign(seed, mine=sign * mine, median=sign * median)


def _declined(run: Run, seed: Seed) -> Sign | None:
    values = seed.values.get(run.judged, np.zeros(0))
    held = np.isfinite(values)
    if held.sum() < 2 * _SMOOTHED:
        return None
    sign = -1.0 if run.lower_is_better else 1.0
    steps, level = seed.steps[held][1:-1], smooth(sign * values[held], _SMOOTHED)
    best = int(level.argmax())
    gained = float(level[best] - level[: best + 1].min())
    lost = float(level[best] - level[-1])
    # A clone gains nothing before its peak: what it lost is then measured by what it had.
    if lost <= bound("decline") * max(gained, abs(float(level[best])) / 2):
        return None
    kept = ", whose policy snapshots/ still holds," if run.settings.get("snapshots") is True else ""
    numbers = {"peak": sign * float(level[best]), "end": sign * float(level[-1]), "at": float(steps[best])}
    return Sign({**numbers, "kept": kept}, int(steps[best]), int(seed.steps[-1]))


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
        "seed_diverged", "warning", "a seed diverged", _diverged,
        "The first quantity that was no longer finite is {quantity}.",
        (*_SHORTER[:2], Advice("reward.lr", "smaller"), Advice("policy.critics.lr", "smaller")),
        brief=True,
    ),
    Symptom(
        "no_failures", "warning", "there are no failures to learn from", _no_failures,
        "The failures' buffer holds 0 episodes, so that failures change nothing.",
        (
            Advice("failures.source", "both"), Advice("failures.annotator", "bottom_quantile:0.1"),
            Advice("failures.capacity", "larger"),
        ),
        part="failures.", brief=True,
    ),
    Symptom(
        "discriminator_saturated", "warning", "the discriminator is saturated", _saturated,
        "It sorts {accuracy:.1%} of all pairs rightly with logits {apart} apart in {share:.0%} of the evaluations, so "
        "that its reward hardly points anywhere.",
        _CALMER, part="reward.",
    ),
    Symptom(
        "discriminator_blind", "warning", "the discriminator is blind", _blind,
        "It sorts {accuracy:.1%} of all pairs rightly in {share:.0%} of the evaluations, as by chance, while the "
        "policy is not known to be near the expert.",
        (Advice("reward.lr", "larger"), Advice("reward.steps", "larger"),
         Advice("reward.gradient_penalty_weight", "smaller"), Advice("reward.spectral_limit", "larger")),
        part="reward.",
    ),
    Symptom(
        "critics_diverge", "warning", "the critics' values diverge", _critics,
        "The mean value is {value} and grows, with targets that vary by {spread}, where rewards come to no more than "
        "about {most}.",
        (Advice("policy.critics.bounded", True), Advice("policy.critics.layer_norm", True),
         Advice("policy.update_ratio", "smaller"), Advice("policy.critics.ensemble", "larger"),
         Advice("policy.critics.lr", "smaller")),
        part="policy.critics.",
    ),
    Symptom(
        "multiplier_runs_away", "warning", "the multiplier grows without end", _runs_away,
        "The constraint is broken in {share:.0%} of the evaluations, and its multiplier has reached {last}.",
        (Advice("constraint.threshold", "smaller"), Advice("constraint.dual_lr", "smaller"),
         Advice("constraint.multiplier", "fixed")),
        part="constraint.",
    ),
    Symptom(
        "policy_still", "warning", "the policy has stopped moving", _still,
        "The {what} is {value} on the mean of a third of the run.",
        (Advice("policy.max_kl", "larger"), Advice("policy.lr", "larger"), Advice("rollout.num_envs", "larger"),
         Advice("policy.cg_damping", "smaller")),
        part="policy.",
    ),
    Symptom(
        "paid_for_ending", "warning", "the reward pays for ending an episode", _paid_for_ending,
        "{falls:.0%} of the episodes end early, and the reward, {reward} on the mean, {bias}.",
        _UNBIASED,
    ),
    Symptom(
        "entropy_collapsed", "warning", "entropy has collapsed", _collapsed,
        "It fell by {early} of {fall} nats within the first fifth of the run.",
        (Advice("policy.entropy", "larger"), Advice("policy.target_entropy", "larger"),
         Advice("policy.max_kl", "smaller"), Advice("policy.lr", "smaller")),
        part="policy.",
    ),
    Symptom(
        "entropy_rises", "warning", "entropy rises", _rises,
        "It is {rise} nats above its start, so that the policy acts ever more at random.",
        (Advice("policy.entropy", "smaller"), Advice("policy.init_temperature", "smaller"),
         *_SHORTER[:2], Advice("rollout.num_envs", "larger")),
        part="policy.",
    ),
    Symptom(
        "value_explains_nothing", "warning", "the value function explains nothing", _value_blind,
        "It foretells {explained:.0%} of the returns' variance in the last third of the run.",
        (Advice("policy.value_epochs", "larger"), Advice("policy.value_lr", "larger"),
         Advice("policy.epochs", "larger"), Advice("reward.lr", "smaller")),
        part="policy.value_lr",
    ),
    Symptom(
        "model_wrong", "warning", "the forward model is wrong", _model,
        "It misses {unexplained:.0%} of the variance of the moves in the last third of the run.",
        (Advice("policy.model.fit_steps", "larger"), Advice("policy.horizon", "smaller"),
         Advice("policy.model.hidden", "larger"), Advice("policy.model.capacity", "larger")),
        part="policy.model.",
    ),
    Symptom(
        "declined", "warning", "the run ended below what it once had", _declined,
        "Over three evaluations the mean was {peak} around step {at}{kept} and is {end} at the end.",
        (Advice("policy.average", 0.9), Advice("schedule.anneal", True), Advice("snapshots", True),
         Advice("steps", "smaller")),
    ),
    Symptom(
        "seed_behind", "warning", "a seed is far behind the others", _behind,
        "It stands at {mine}, and the median of the others at {median}.",
        (Advice("rollout.num_envs", "larger"), Advice("steps", "larger"), Advice("seeds", "larger")),
    ),
    Symptom(
        "evaluation_below", "warning", "evaluation is far below the return while training", _evaluation_below,
        "The deterministic policy earns {evaluated}, the one that draws its actions {noisy}: it lives on its noise.",
        (Advice("policy.average", 0.9), *_QUIETER),
    ),
    Symptom(
        "survives_only", "note", "the policy stays alive and does little else", _survives,
        "{falls:.0%} of the episodes end early, but it earns {share:.0%} of the expert's return, and the reward pays "
        "for each step.",
        _UNBIASED,
    ),
    Symptom(
        "ends_early", "note", "episodes end early under a reward of one sign", _ends_early,
        "{falls:.0%} of the training episodes end early, and the reward, {reward} on the mean, {bias}.",
        _UNBIASED,
    ),
    Symptom(
        "evaluation_above", "note", "evaluation is far above the return while training", _evaluation_above,
        "The deterministic policy earns {evaluated}, the one that draws its actions {noisy}: what it learns from is "
        "worse than what it can.",
        _QUIETER,
    ),
    Symptom(
        "steps_too_far", "note", "the policy moves too far in a step", _far,
        "An update moves it by {kl} nats on the mean, where {limit} is far.",
        (*_SHORTER[:2], Advice("policy.epochs", "smaller"), Advice("policy.steps", "smaller")),
        part="policy.",
    ),
    Symptom(
        "clipped", "note", "most ratios are clipped", _clipped,
        "PPO's clipping acts at {share:.0%} of the pairs on the mean of the run.",
        (Advice("policy.lr", "smaller"), Advice("policy.epochs", "smaller"), Advice("policy.minibatches", "smaller")),
        part="policy.clip",
    ),
    Symptom(
        "multiplier_idle", "note", "the multiplier does not act", _idle,
        "It is 0 in {share:.0%} of the evaluations: failures change nothing there, because the discriminator tells "
        "them from the expert anyway.",
        (Advice("constraint.threshold", "larger"), Advice("constraint.multiplier", "fixed"),
         Advice("failures.last_steps", 50), Advice("constraint.weight", "larger")),
        part="constraint.",
    ),
)  # fmt: skip
"""All symptoms, gravest first."""


def gravest(findings: Sequence[Finding]) -> Finding | None:
    """The finding to name where there is room for one."""
    return findings[0] if findings else None
