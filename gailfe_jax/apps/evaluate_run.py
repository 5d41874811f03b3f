"""Judges what a run folder or a policy file holds."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from gailfe_jax.analysis.evaluation import evaluate_policies, normalised_score
from gailfe_jax.analysis.occupancy import MOST_STEPS, Distance, reference_of
from gailfe_jax.analysis.statistics import bootstrap_interval
from gailfe_jax.artifacts.host_policy import AnyPolicy
from gailfe_jax.artifacts.oracle import AsksExpert, ask
from gailfe_jax.artifacts.policy import Policy, check_borrowed, check_policy, check_spaces, expert_names, load_expert
from gailfe_jax.data.formats import load_demonstrations
from gailfe_jax.envs import also_called, base_name, make_env, policy_record, task_file, warn_if_changed
from gailfe_jax.envs.rollout import Episodes, Visited, evaluate, visit
from gailfe_jax.errors import GailfeError, GailfeWarning
from gailfe_jax.foreign.host_oracle import oracle_of
from gailfe_jax.foreign.registry import is_foreign, read_expert
from gailfe_jax.io.digests import file_sha256
from gailfe_jax.io.provenance import provenance
from gailfe_jax.training.run_folder import copied_task, load_policies, load_run, refused_env, unknown_of_file
from gailfe_jax.types import MOST_EPISODES, Array, Env

"""Episodes of an evaluation; they are held in memory."""


class Judged(NamedTuple):
    """Policies, and the environment to judge them in.

    Attributes:
      policies: one per seed.
      name: what `make_env` calls the environment.
      env: the environment.
    """

    policies: Sequence[AnyPolicy]
    name: str
    env: Env


def policies_of(path: str | pathlib.Path, env: str | None = None) -> Judged:
    """The policies of a run folder, or the one in a policy file, and the environment they are for.

    A run on a user's own task file keeps a copy of it, which is taken first: it is what the policies were made on.
    Where the copy, the file itself, or the one in `env`, has changed, a warning names what has. Another warning says
    that `env` is another task than theirs.

    Args:
      path: run folder or `.safetensors` file; or another source of `gailfe_jax.foreign.registry`.
      env: task; the one the first policy was trained on by default. Other sources do not say one.

    Raises:
      GailfeError: nothing is there, a file is damaged, the task is unknown or its file is gone, or the policies do not
        fit the task.
    """
    if not pathlib.Path(path).is_dir() and is_foreign(path):
        return _foreign(path, env)
    path = pathlib.Path(path)
    run_dir = path if path.is_dir() else _run_around(path)
    record = {} if run_dir is None else load_run(run_dir)
    policies = load_policies(path) if path.is_dir() else [Policy.load(path)]
    name = env or policies[0].metadata.get("env")
    if name is None:
        raise GailfeError(f"{path}: does not say which task it is for; add --env")
    file, before = task_file(name), record.get("task") or policy_record(policies[0].metadata)
    copy = None if run_dir is None or env is not None or file is None else copied_task(run_dir, record)
    if copy is None and file is not None and not os.path.isfile(os.path.expanduser(file)):
        hint = "expected a task in TOML" if env else "expected --env and where its task file is now"
        raise GailfeError(f"{path}: {file} is not there; {hint}")
    try:
        made = make_env(copy or name)
    except GailfeError as error:
        # What the caller asks for has nothing to do with how the run came by its environment.
        held = record if env is None else {"imports": record.get("imports", [])}
        if env is None and run_dir is None:
            raise unknown_of_file(path, name, error) from None
        raise refused_env(path, held, error) from None
    for policy in policies:
        check_spaces(str(path), policy, made.spec)
    if env is not None:
        check_borrowed(str(path), policies[0], made.spec)
    if copy is None:
        warn_if_changed(str(path), before, made)
        return Judged(policies, name, made)
    warn_if_changed(str(pathlib.Path(task_file(copy) or copy).parent), before, made)
    if file is not None and pathlib.Path(file).is_file():
        with contextlib.suppress(GailfeError):  # What no longer loads is not asked for.
            warn_if_changed(f"{path}: the run's own copy of its task is taken", before, make_env(name))
    return Judged(policies, copy, made)


def _foreign(source: str | pathlib.Path, env: str | None) -> Judged:
    if env is None:
        raise GailfeError(f"{source}: does not say which task it is for; add --env")
    made = make_env(env)
    policy = read_expert(source, made.spec)
    check_spaces(str(source), policy, made.spec)
    return Judged([policy], env, made)


def _run_around(path: pathlib.Path) -> pathlib.Path | None:
    """The run folder in whose policies/ or snapshots/ a policy file lies; None elsewhere."""
    folder = path.absolute().parent
    inside = folder.name in ("policies", "snapshots") and (folder.parent / "config.json").is_file()
    return folder.parent if inside else None


def expert_for(source: str, env: Env, made_env: str) -> AnyPolicy:
    """The expert that a word stands for: `expert` is the one that is shipped for the task, others see `read_expert`.

    Args:
      source: the word.
      env: what it is to act in.
      made_env: what `make_env` calls that.

    Raises:
      GailfeError: none is shipped, or the source is missing, damaged, or not for this environment.
    """
    if source != "expert":
        policy = read_expert(source, env.spec)
    elif base_name(made_env) in expert_names():
        policy = load_expert(base_name(made_env))
    else:
        raise GailfeError(f"expert: none is shipped for {env.spec.name}; expected a policy's file")
    check_policy("expert", policy, env.spec, also_called(env.spec))
    return policy


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
    demos: str | None = None,
    expert: str | None = None,
) -> dict[str, Any]:
    """Deterministic policies over fresh episodes.

    Args:
      path: run folder or policy file; or another source of `gailfe_jax.foreign.registry`, with `env`.
      episodes: per policy.
      backend: `gymnasium`, or `engine` for this package's own; by default Gymnasium where it has the task.
      env: task; the policy's own by default.
      expert_return: normalise by this; by `known_expert_return` by default.
      seed: of the episodes.
      demos: demonstrations that the policies' pairs are compared with (`gailfe_jax.analysis.occupancy`); where the task
        has no reward, by default those of the run, if they are where they were.
      expert: play this expert (see `gailfe_jax.foreign.registry`) for the same episodes, and normalise by its return.

    Returns:
      A JSON-able report: per seed raw returns, mean, std, length, share of falls, expert-normalised mean, and `demos`,
      the distance to the demonstrations where they are asked for; over seeds the mean, the interquartile mean of the
      seeds' means with its 95% bootstrap interval, and provenance. Nothing of returns where the task has no reward.

    Raises:
      GailfeError: there is nothing to evaluate, the policies do not fit the task, or Gymnasium lacks the task.
    """
    if not 1 <= episodes <= MOST_EPISODES:
        raise GailfeError(f"episodes: got {episodes}; expected a whole number from 1 to {MOST_EPISODES}")
    if seed < 0:
        raise GailfeError(f"seed: got {seed}; expected 0 or more")
    judged = policies_of(path, env)
    policies, world, spec = judged.policies, judged.env, judged.env.spec
    if expert_return is not None and not spec.has_reward:
        raise GailfeError(f"expert_return: got {expert_return}; nothing reads it: {spec.name} has no reward")
    judge = None
    if expert is not None:
        if expert_return is not None:
            raise GailfeError(f"expert: got {expert} and expert_return {expert_return}; expected one of them")
        if not spec.has_reward:
            raise GailfeError(f"expert: got {expert}; nothing reads it: {spec.name} has no reward")
        judge = read_expert(expert, spec)
        check_policy("expert", judge, spec, also_called(spec))
    known = expert_return
    if expert_return is None and expert is None:
        known = known_expert_return(path, spec.name) if spec.has_reward else None
        # A share of a return that is not positive means nothing. It is an error only where the caller gave it.
        expert_return = None if known is None or not known > 0 else known
    if backend is None:
        backend = "engine" if spec.gymnasium_id is None else "gymnasium"
    if backend == "gymnasium" and spec.gymnasium_id is None:
        raise GailfeError(f"{path}: {spec.name} has no Gymnasium environment; use --backend engine")
    played = [*policies, *([] if judge is None else [judge])]
    if backend == "gymnasium":
        results = evaluate_policies(played, spec.gymnasium_id or spec.name, episodes=episodes, seed=seed)
        columns = [(r.returns, r.lengths, r.terminated) for r in results]
    else:
        columns = [evaluate_on_engine(policy, world, episodes, seed) for policy in played]
    if judge is not None:
        known = float(np.mean(columns.pop()[0]))
        expert_return = known if known > 0 else None
    rows = []
    for index, (policy, (returns, lengths, terminated)) in enumerate(zip(policies, columns, strict=True)):
        row: dict[str, Any] = {"seed": int(policy.metadata.get("seed", index))}
        if spec.has_reward:
            row |= {"mean": float(np.mean(returns)), "std": float(np.std(returns))}
            row["expert_normalised"] = _score(row["mean"], expert_return)
            row["returns"] = [float(x) for x in returns]
        row |= {"length": float(np.mean(lengths)), "falls": float(np.mean(terminated))}
        rows.append(row)
    report: dict[str, Any] = {
        "path": pathlib.Path(path).name,
        "env": spec.name,
        "gymnasium_id": spec.gymnasium_id,
        "backend": backend,
        "episodes": episodes,
        "seed": seed,
        "has_reward": spec.has_reward,
    }
    if spec.has_reward:
        means = np.array([row["mean"] for row in rows])
        interval = bootstrap_interval(means)
        report |= {
            **({} if expert is None else {"expert": pathlib.Path(expert).name}),
            "expert_return": expert_return,
            "known_expert_return": known,
            "mean": float(means.mean()),
            "iqm": interval.estimate,
            "interval": [interval.low, interval.high],
            "expert_normalised": _score(float(means.mean()), expert_return),
        }
    if demos is None and not spec.has_reward:
        demos = _own_demonstrations(path)
    if demos is not None:
        report["demos"] = pathlib.Path(demos).name
        for row, distance in zip(rows, _distances(policies, world, demos, episodes, seed), strict=True):
            row["demos"] = None if distance is None else distance._asdict()
    return report | {"seeds": rows, "provenance": provenance()}


def _score(mean: float, expert_return: float | None) -> float | None:
    return None if expert_return is None else float(normalised_score(mean, expert_return))


def _own_demonstrations(path: str | pathlib.Path) -> str | None:
    """The demonstrations that a run was trained on, if they are still where they were."""
    held = load_run(path)["demos"] if pathlib.Path(path).is_dir() else {}
    file = held.get("demos")
    if not isinstance(file, str):
        return None
    there = pathlib.Path(file).is_file()
    if there and file_sha256(file) == held.get("sha256"):
        return file
    name = pathlib.Path(file).name
    what = f"{file} has changed since" if there else f"its demonstrations {name} are not at {file}"
    warnings.warn(f"{path}: {what}; no distance without --demos and where they are", GailfeWarning, stacklevel=2)
    return None


def _distances(policies: Sequence[AnyPolicy], env: Env, demos: str, episodes: int, seed: int) -> list[Distance | None]:
    """How far each deterministic policy's pairs, on this package's own engine, are from the demonstrations'."""
    shown = load_demonstrations(demos, env, also_called(env.spec))
    warn_if_changed(demos, shown.provenance.get("task"), env)
    reference, steps = reference_of(shown.expert), min(env.spec.max_episode_steps, MOST_STEPS)
    found = []
    for policy in policies:
        visited = _visitor(env, episodes, steps)(oracle_of(policy), jax.random.key(seed))
        obs, action, inside = (np.asarray(x) for x in (visited.obs, visited.action, visited.inside))
        found.append(reference.compare_visited(obs, action, inside))
    return found


@functools.lru_cache(maxsize=8)
def _visitor(env: Env, episodes: int, steps: int) -> Callable[[AsksExpert, Array], Visited]:
    return jax.jit(lambda oracle, key: visit(env, ask, oracle, key, episodes, steps))


def evaluate_on_engine(
    policy: AnyPolicy, env: Env, episodes: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`(returns [E], lengths [E], terminated [E])` of the deterministic policy on this package's own environment."""
    result = _evaluator(env, episodes)(oracle_of(policy), jax.random.key(seed))
    return np.asarray(result.returns), np.asarray(result.lengths), np.asarray(result.terminated)


@functools.lru_cache(maxsize=8)
def _evaluator(env: Env, episodes: int) -> Callable[[AsksExpert, Array], Episodes]:
    """The compiled evaluation, for all policies of a run."""
    return jax.jit(lambda oracle, key: evaluate(env, ask, oracle, key, episodes))
