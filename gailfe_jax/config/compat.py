"""Old runs and result files: flat names of settings, and which setting of a part each has become."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

# Until version 2 all settings of all methods stood in two flat records, `config` (static) and `hyper` (traced).
# What one flat name stood for may be a setting of several parts: it goes to each of them that a method has.
FLAT: dict[str, tuple[str, ...]] = {
    "num_envs": ("rollout.num_envs",),
    "unroll_length": ("rollout.unroll_length",),
    "hidden": ("policy.hidden",),
    "activation": ("policy.activation", "reward.activation"),
    "obs_normaliser": ("policy.obs_normaliser",),
    "init_log_std": ("policy.init_log_std",),
    "mixture": ("policy.mixture",),
    "policy_average": ("policy.average",),
    "normalise_reward": ("policy.normalise_reward",),
    "gamma": ("policy.gamma",),
    "gae_lambda": ("policy.gae_lambda",),
    "entropy": ("policy.entropy",),
    "value_lr": ("policy.value_lr",),
    "value_epochs": ("policy.value_epochs",),
    "value_minibatch": ("policy.value_minibatch",),
    "max_kl": ("policy.max_kl",),
    "cg_iterations": ("policy.cg_iterations",),
    "cg_damping": ("policy.cg_damping",),
    "line_search_steps": ("policy.line_search_steps",),
    "fisher_fraction": ("policy.fisher_fraction",),
    "policy_lr": ("rewards:policy.lr",),
    "clip": ("policy.clip",),
    "max_grad_norm": ("policy.max_grad_norm",),
    "ppo_epochs": ("policy.epochs",),
    "ppo_minibatches": ("policy.minibatches",),
    "horizon": ("policy.horizon",),
    "terminal_value": ("policy.terminal_value",),
    "model_rollouts": ("policy.rollouts",),
    "model_step": ("policy.step",),
    "policy_steps": ("policy.steps",),
    "pathwise": ("policy.pathwise",),
    "disagreement_weight": ("policy.disagreement_weight",),
    "disagreement_limit": ("policy.disagreement_limit",),
    "model": ("policy.model.kind",),
    "model_hidden": ("policy.model.hidden",),
    "model_ensemble": ("policy.model.ensemble",),
    "model_capacity": ("policy.model.capacity",),
    "model_fit_steps": ("policy.model.fit_steps",),
    "model_minibatch": ("policy.model.minibatch",),
    "model_lr": ("policy.model.lr",),
    "bc_steps": ("start.steps",),
    "bc_minibatch": ("start.minibatch", "likelihood:policy.minibatch"),
    "bc_lr": ("start.lr", "likelihood:policy.lr"),
    "bc_weight_decay": ("policy.weight_decay",),
    "bc_validation": ("validation",),
    "bc_patience": ("patience",),
    "fit_steps": ("fit_steps",),
    "aggregate_capacity": ("aggregate_capacity",),
    "dagger_beta": ("beta",),
    "bc_auxiliary": ("likelihood.add",),
    "bc_weight": ("likelihood.weight",),
    "warmup_iterations": ("schedule.warmup_iterations",),
    "anneal": ("schedule.anneal",),
    "warm_restarts": ("schedule.warm_restarts",),
    "sil_updates": ("self_imitation.updates",),
    "sil_minibatch": ("self_imitation.minibatch",),
    "sil_capacity": ("self_imitation.capacity",),
    "sil_weight": ("self_imitation.weight",),
    "sil_value_weight": ("self_imitation.value_weight",),
    "sil_beta": ("self_imitation.beta",),
    "disc_reward": ("reward.form",),
    "disc_hidden": ("reward.hidden",),
    "disc_steps": ("reward.steps",),
    "disc_minibatch": ("reward.minibatch",),
    "disc_replay": ("reward.replay",),
    "disc_lr": ("discriminator:reward.lr",),
    "disc_entropy": ("discriminator:reward.entropy",),
    "gradient_penalty": ("reward.gradient_penalty",),
    "gradient_penalty_weight": ("reward.gradient_penalty_weight",),
    "expert_noise": ("reward.expert_noise",),
    "features": ("fem:reward.features", "gtal:reward.features", "irlf:reward.features"),
    "linear_offset": ("reward.offset",),
    "irlf_lr": ("irlf:reward.lr",),
    "irlf_slack": ("reward.slack",),
    "irlf_lambda": ("reward.lambda_init",),
    "irlf_lambda_min": ("reward.lambda_min",),
    "irlf_decay": ("reward.decay",),
    "failure_capacity": ("failures.capacity",),
    "failure_last_steps": ("failures.last_steps",),
    "failure_source": ("failures.source",),
    "annotator": ("failures.annotator",),
    "multiplier": ("constraint.multiplier",),
    "failure_threshold": ("constraint.threshold",),
    "failure_weight": ("constraint.weight",),
    "dual_lr": ("constraint.dual_lr",),
    "dual_init": ("constraint.dual_init",),
    "positives": ("self_demonstrations.use",),
    "own_episodes": ("self_demonstrations.episodes",),
    "own_capacity": ("self_demonstrations.capacity",),
    "env_reward": ("true_reward.add",),
    "alpha": ("true_reward.alpha",),
    "alpha_decay": ("true_reward.alpha_decay",),
    "env": ("env",),
    "engine": ("engine",),
    "mjx_solver": ("mjx.solver",),
    "mjx_iterations": ("mjx.iterations",),
    "mjx_ls_iterations": ("mjx.ls_iterations",),
    "mjx_tolerance": ("mjx.tolerance",),
    "mjx_integrator": ("mjx.integrator",),
    "mjx_euler_damping": ("mjx.euler_damping",),
    "warp_nconmax": ("warp.nconmax",),
    "warp_njmax": ("warp.njmax",),
    "generator": ("policy",),
    "algo": ("algo",),
}
"""Flat names and the settings that they have become. A word before a colon says for which methods: those with that
reward, those whose policy steps on `rewards`, or those that fit a `likelihood`."""

_VALUES: dict[str, dict[Any, Any]] = {
    "positives": {"demonstrations": "none", "own": "alone"},
    "own_episodes": {"best": "top_k"},
    "generator": {"backprop": "mail"},
}
# Parts of a learner's state that have other names now, outermost first.
_STATE = {
    ".generator": ".agent",
    ".cost": ".reward",
    ".failures.pool": ".sources.failures.storage",
    ".failures": ".sources.failures",
    ".own.pool": ".sources.self_demonstrations.storage",
    ".own": ".sources.self_demonstrations",
    ".replay": ".sources.policy_replay",
    ".experience": ".sources.transitions",
    ".episodes.pool": ".sources.episodes.storage",
    ".episodes": ".sources.episodes",
}


def today(flat: Mapping[str, Any], kinds: Collection[str]) -> dict[str, Any]:
    """What flat settings have become: `dotted name -> value`, of parts that a method may or may not have.

    Args:
      flat: `name -> value` of the old records.
      kinds: the words of `FLAT` that hold for the method.

    Raises:
      KeyError: a name that there never was.
    """
    found: dict[str, Any] = {}
    for name, value in flat.items():
        value = tuple(value) if isinstance(value, list) else value
        choices = _VALUES.get(name, {})
        value = choices.get(value, value) if isinstance(value, str) else value
        for target in FLAT[name]:
            kind, colon, dotted = target.rpartition(":")
            if not colon or kind in kinds:
                found[dotted] = value
    return found


def leaf_name(old: str) -> str:
    """Today's name of a leaf of an old checkpoint's state."""
    for before, now in _STATE.items():
        if old == before or old.startswith((f"{before}.", f"{before}[")):
            return now + old.removeprefix(before)
    return old
