"""How each symptom is seen in one seed's metrics: `(run, seed) -> Sign`, or None where the seed is well.

Late is the last third of the evaluations. The bounds are in `gailfe_jax.analysis.health.THRESHOLDS`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gailfe_jax.analysis.health import Run, Seed, Sign, bound, mean, smooth

_SMOOTHED = 3
"""Evaluations whose mean is taken for what a policy was worth."""


def _sign(seed: Seed, mask: np.ndarray | None = None, **numbers: Any) -> Sign:
    """Seen in the last third of the evaluations, or from the first to the last that `mask [k]` marks."""
    where = np.arange(seed.count - seed.third, seed.count) if mask is None else np.flatnonzero(mask)
    return Sign(numbers, int(seed.steps[where[0]]), int(seed.steps[where[-1]]))


def diverged(run: Run, seed: Seed) -> Sign | None:
    """The numbers of this seed ceased to be finite."""
    if seed.name not in run.diverged:
        return None
    step, quantity = run.diverged[seed.name]
    return Sign({"quantity": quantity}, step, step)


def no_failures(run: Run, seed: Seed) -> Sign | None:
    """The failures' buffer is empty."""
    if not seed.has("failures_in_buffer") or seed.late("failures_in_buffer") > 0:
        return None
    return _sign(seed, seed.values["failures_in_buffer"] == 0)


def saturated(run: Run, seed: Seed) -> Sign | None:
    """The discriminator is sure and right in most evaluations."""
    names = ("discriminator_accuracy", "disc_logit_expert", "disc_logit_policy")
    if not seed.has(*names) or run.reached(seed):
        return None
    accuracy, expert, policy = (seed.values[name] for name in names)
    mask = (accuracy >= bound("saturated_accuracy")) & ((policy - expert) / 2 >= bound("saturated_logit"))
    if mask.mean() < bound("most"):
        return None
    apart = float((policy - expert)[mask].mean())
    return _sign(seed, mask, accuracy=mean(accuracy[mask]), apart=apart, share=float(mask.mean()))


def blind(run: Run, seed: Seed) -> Sign | None:
    """The discriminator tells nothing apart in most evaluations."""
    if not seed.has("discriminator_accuracy") or run.reached(seed):
        return None
    accuracy = seed.values["discriminator_accuracy"]
    mask = np.abs(accuracy - 0.5) <= bound("blind_accuracy")
    if mask.mean() < bound("most"):
        return None
    return _sign(seed, mask, accuracy=mean(accuracy[mask]), share=float(mask.mean()))


def still(run: Run, seed: Seed) -> Sign | None:
    """The policy's steps are refused, or have no length."""
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


def far(run: Run, seed: Seed) -> Sign | None:
    """The policy's steps are long on the mean of the run."""
    if not seed.has("kl"):
        return None
    limit = max(bound("far_kl"), bound("far_bound") * run.setting("policy.max_kl", 0.0))
    kl = mean(seed.values["kl"])
    return _sign(seed, seed.values["kl"] > limit, kl=kl, limit=limit) if kl > limit else None


def clipped(run: Run, seed: Seed) -> Sign | None:
    """PPO's clipping acts at most pairs."""
    if not seed.has("clip_fraction"):
        return None
    share = mean(seed.values["clip_fraction"])
    most = bound("far_clip")
    return _sign(seed, seed.values["clip_fraction"] > most, share=share) if share > most else None


def collapsed(run: Run, seed: Seed) -> Sign | None:
    """The entropy's fall is over early in the run."""
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


def rises(run: Run, seed: Seed) -> Sign | None:
    """The entropy ends above its start."""
    # A tuned temperature moves the entropy to its target, up or down.
    if not seed.has("entropy") or run.settings.get("policy.temperature") == "tuned":
        return None
    entropy = seed.values["entropy"]
    rise = seed.late("entropy") - float(entropy[np.isfinite(entropy)][0])
    return _sign(seed, rise=rise) if rise >= bound("entropy_rise") else None


def idle(run: Run, seed: Seed) -> Sign | None:
    """The multiplier is zero in most evaluations, although there are failures."""
    if not seed.has("multiplier") or no_failures(run, seed) is not None:
        return None
    mask = seed.values["multiplier"] < bound("idle_multiplier")
    return _sign(seed, mask, share=float(mask.mean())) if mask.mean() >= bound("most") else None


def runs_away(run: Run, seed: Seed) -> Sign | None:
    """The constraint stays broken, and its multiplier grows."""
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


def paid_for_ending(run: Run, seed: Seed) -> Sign | None:
    """Episodes end early, and the reward is negative in every step."""
    return _one_signed(run, seed, True)


def ends_early(run: Run, seed: Seed) -> Sign | None:
    """Episodes end early, and the reward is positive in every step."""
    return _one_signed(run, seed, False)


def survives(run: Run, seed: Seed) -> Sign | None:
    """Episodes last, and the policy earns little, under a reward that pays for each step."""
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


def evaluation_below(run: Run, seed: Seed) -> Sign | None:
    """The deterministic policy is far worse than the one that draws its actions."""
    if not _gap(seed) <= -bound("noise_gap"):
        return None
    return _sign(seed, evaluated=seed.late("return_mean"), noisy=seed.late("train_return"))


def evaluation_above(run: Run, seed: Seed) -> Sign | None:
    """The deterministic policy is far better than the one that draws its actions."""
    if not _gap(seed) >= bound("noise_gap"):
        return None
    return _sign(seed, evaluated=seed.late("return_mean"), noisy=seed.late("train_return"))


def value_blind(run: Run, seed: Seed) -> Sign | None:
    """The value network foretells no more than a constant."""
    late = seed.late("explained_variance")
    return _sign(seed, explained=late) if late < bound("explained") else None


def critics(run: Run, seed: Seed) -> Sign | None:
    """The critics' values grow beyond what rewards can come to."""
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
        price = mean(np.abs(seed.values["temperature"] * seed.values["entropy"]))
    if seed.has("reward_low", "reward_high"):
        # Values beyond that are worth more than the best step, paid for ever.
        return max(float(np.nanmax(np.abs(seed.values[name]))) for name in ("reward_low", "reward_high")) + price
    if not seed.has("reward_mean"):
        return math.nan
    # With targets of n steps it is the mean of their sum.
    mean_reward = float(np.nanmax(np.abs(seed.values["reward_mean"]))) / max(run.setting("policy.n_step", 1), 1)
    return bound("critic_excess") * (mean_reward + price)


def model(run: Run, seed: Seed) -> Sign | None:
    """The forward model misses much of how the environment moves."""
    late = seed.late("model_unexplained")
    return _sign(seed, unexplained=late) if late > bound("model_unexplained") else None


def behind(run: Run, seed: Seed) -> Sign | None:
    """The seed is the worst, and far below the median of the others."""
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


def declined(run: Run, seed: Seed) -> Sign | None:
    """The policy ends below what it was."""
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
