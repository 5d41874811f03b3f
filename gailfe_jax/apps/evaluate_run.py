"""Judges what a run folder or a policy file holds."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gailfe_jax.analysis.evaluation import evaluate_policies, normalised_score
from gailfe_jax.analysis.statistics import bootstrap_interval
from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.artifacts.policy import Policy, expert_names, load_expert
from gailfe_jax.envs import make_env
from gailfe_jax.envs.rollout import Episodes, evaluate
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.provenance import provenance
from gailfe_jax.io.user_modules import missing_modules
from gailfe_jax.training.run_folder import load_policies, load_run
from gailfe_jax.types import Array, Env, EnvSpec


def policies_of(path: str | pathlib.Path, env: str | None = None) -> tuple[list[Policy], EnvSpec]:
    """The policies of a run folder, or the one in a policy file, and the task they are for.

    Args:
      path: run folder or `.safetensors` file.
      env: task; the one the first policy was trained on by default.

    Raises:
      GailfeError: nothing is there, a file is damaged, or the task is unknown.
    """
    path = pathlib.Path(path)
    record = load_run(path) if path.is_dir() else {}
    policies = load_policies(path) if path.is_dir() else [Policy.load(path)]
    name = env or policies[0].metadata.get("env")
    if name is None:
        raise GailfeError(f"{path}: does not say which task it is for; add --env")
    try:
        return policies, make_env(name).spec
    except GailfeError as error:
        missing = " ".join(f"--import {module}" for module in missing_modules(record))
        raise GailfeError(f"{error}; the run was made with {missing}" if missing else str(error)) from None


def known_expert_return(path: str | pathlib.Path, task: str) -> float | None:
    """The return that scores are normalised by: the run's, else the shipped expert's, else None."""
    path = pathlib.Path(path)
    if path.is_dir():
        recorded = load_run(path).get("demos", {}).get("expert_return")
        if recorded is not None:
            return float(recorded)
    if task in expert_names():
        recorded = load_expert(task).metadata.get("expert_return")
        return None if recorded is None else float(recorded)
    return None


def evaluate_path(
    path: str | pathlib.Path,
    *,
    episodes: int = 50,
    backend: str | None = None,
    env: str | None = None,
    expert_return: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Deterministic policies over fresh episodes.

    Args:
      path: run folder or policy file.
      episodes: per policy.
      backend: `gymnasium`, or `engine` for this package's own; by default Gymnasium where it has the task.
      env: task; the policy's own by default.
      expert_return: normalise by this; by `known_expert_return` by default.
      seed: of the episodes.

    Returns:
      A JSON-able report: per seed raw returns, mean, std, length and expert-normalised mean; over seeds the mean, the
      interquartile mean of the seeds' means with its 95% bootstrap interval, and provenance.

    Raises:
      GailfeError: there is nothing to evaluate, the policies do not fit the task, or Gymnasium lacks the task.
    """
    if episodes < 1:
        raise GailfeError(f"episodes: got {episodes}; expected at least 1")
    if seed < 0:
        raise GailfeError(f"seed: got {seed}; expected 0 or more")
    policies, spec = policies_of(path, env)
    sizes, expected = (policies[0].obs_size, policies[0].action_size), (spec.obs_size, spec.action_size)
    if sizes != expected:
        raise GailfeError(f"{path}: observation and action sizes are {sizes}; expected {expected} for {spec.name}")
    if expert_return is None:
        expert_return = known_expert_return(path, spec.name)
        # A share of a return that is not positive means nothing. It is an error only where the caller gave it.
        expert_return = None if expert_return is None or not expert_return > 0 else expert_return
    if backend is None:
        backend = "engine" if spec.gymnasium_id is None else "gymnasium"
    if backend == "gymnasium":
        if spec.gymnasium_id is None:
            raise GailfeError(f"{path}: {spec.name} has no Gymnasium environment; use --backend engine")
        results = evaluate_policies(policies, spec.gymnasium_id, episodes=episodes, seed=seed)
        columns = [(r.returns, r.lengths) for r in results]
    else:
        name = env or policies[0].metadata["env"]
        columns = [evaluate_on_engine(policy, make_env(name), episodes, seed) for policy in policies]
    rows = []
    for index, (policy, (returns, lengths)) in enumerate(zip(policies, columns, strict=True)):
        mean = float(np.mean(returns))
        rows.append(
            {
                "seed": int(policy.metadata.get("seed", index)),
                "mean": mean,
                "std": float(np.std(returns)),
                "length": float(np.mean(lengths)),
                "expert_normalised": None if expert_return is None else float(normalised_score(mean, expert_return)),
                "returns": [float(x) for x in returns],
            }
        )
    means = np.array([row["mean"] for row in rows])
    interval = bootstrap_interval(means)
    return {
        "path": pathlib.Path(path).name,
        "env": spec.gymnasium_id or spec.name,
        "backend": backend,
        "episodes": episodes,
        "seed": seed,
        "expert_return": expert_return,
        "mean": float(means.mean()),
        "iqm": interval.estimate,
        "interval": [interval.low, interval.high],
        "expert_normalised": None if expert_return is None else float(normalised_score(means.mean(), expert_return)),
        "seeds": rows,
        "provenance": provenance(),
    }


def evaluate_on_engine(policy: Policy, env: Env, episodes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`(returns [E], lengths [E])` of the deterministic policy on this package's own environment."""
    result = _evaluator(env, episodes)(Oracle.of(policy), jax.random.key(seed))
    return np.asarray(result.returns), np.asarray(result.lengths)


@functools.lru_cache(maxsize=8)
def _evaluator(env: Env, episodes: int) -> Callable[[Oracle, Array], Episodes]:
    """The compiled evaluation, for all policies of a run."""
    return jax.jit(lambda oracle, key: evaluate(env, Oracle.act, oracle, key, episodes))
