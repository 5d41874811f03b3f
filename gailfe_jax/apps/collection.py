"""Collects demonstrations and failed attempts by rolling a policy out."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from gailfe_jax.artifacts.host_policy import HostPolicy
from gailfe_jax.artifacts.policy import check_policy
from gailfe_jax.data.annotators import Annotator, annotate, parse_annotator
from gailfe_jax.data.trajectories import Demonstrations, Trajectories, make_provenance, offsets_of
from gailfe_jax.envs import also_called, policy_record, task_record, warn_if_changed
from gailfe_jax.errors import GailfeError
from gailfe_jax.foreign.registry import as_expert
from gailfe_jax.io.digests import file_sha256
from gailfe_jax.io.host_memory import free_host_bytes
from gailfe_jax.parallel.memory import tree_bytes
from gailfe_jax.types import MOST_EPISODES, Env, EnvSpec

ActFn = Callable[[np.ndarray], np.ndarray]
_MOST_ATTEMPTS = 30  # per failure asked for, and per demonstration
_NEXT_SEED = 1_000_003  # between the seeds of further demonstrations, away from those of the attempts


@functools.lru_cache(maxsize=8)
def _programs(env: Env) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compiled reset and step of many environments, for all roll-outs in one."""
    return jax.jit(jax.vmap(env.reset)), jax.jit(jax.vmap(env.step), donate_argnums=0)


def roll_out(env: Env, act: ActFn, episodes: int, seed: int) -> Trajectories:
    """Whole episodes, one in each of `episodes` environments.

    Args:
      env: the environment.
      act: `obs [E, o] -> action [E, a]` inside the bounds.
      episodes: `E`.
      seed: of the initial states.

    Returns:
      Trajectories in order of their environment, with float64 simulator states where the engine has them.

    Raises:
      GailfeError: they are more than fit into the memory.
    """
    room, kept = _check_memory(env, episodes), 0
    reset, step = _programs(env)
    state = reset(jax.random.split(jax.random.key(seed), episodes))
    simulator_state = getattr(getattr(env, "physics", None), "simulator_state", None)
    columns: dict[str, list[np.ndarray]] = {}
    running = np.ones(episodes, bool)
    lengths = np.zeros(episodes, np.int64)
    while running.any():
        obs = np.asarray(state.obs)
        row = {"obs": obs.copy(), "action": np.asarray(act(obs), np.float32)}
        if simulator_state is not None:
            row["simulator_state"] = simulator_state(getattr(state.phys, "phys", state.phys))
        state, time_step = step(state, row["action"])
        for name in ("next_obs", "reward", "terminated", "truncated"):
            row[name] = np.array(getattr(time_step, name))
        kept += sum(value.nbytes for value in row.values())
        if kept > room:
            raise _too_many(episodes, kept, room)
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
        lengths += running
        running &= ~(row["terminated"] | row["truncated"])
    stacked = {name: np.stack(values, axis=1) for name, values in columns.items()}
    inside = np.arange(lengths.max())[None] < lengths[:, None]
    flat = {name: np.ascontiguousarray(value[inside]) for name, value in stacked.items()}
    return Trajectories(offsets=offsets_of(lengths), **flat)


def _check_memory(env: Env, episodes: int) -> float:
    """How many bytes of steps may be kept: half of what is free, for they are stacked in the end.

    Raises:
      GailfeError: so many environments alone do not fit.
    """
    free, needed = free_host_bytes(), 2 * episodes * tree_bytes(jax.eval_shape(env.reset, jax.random.key(0)))
    if needed > free:
        raise _too_many(episodes, needed, free)
    return free / 2


def _too_many(episodes: int, needed: float, free: float) -> GailfeError:
    return GailfeError(
        f"memory: {episodes} episodes side by side take over {needed / 2**30:.3g} GiB and {free / 2**30:.3g} are free; "
        "expected fewer"
    )


def collect_demonstrations(
    env: Env,
    expert: Any,
    *,
    trajectories: int,
    failures: int = 0,
    seed: int = 0,
    deterministic: bool = False,
    noise: float = 0.5,
    annotator: str | Annotator = "default",
    snapshots: Sequence[Any] = (),
    keep_failed: bool = False,
    expert_name: str = "expert",
    expert_file: str | pathlib.Path | None = None,
    command: str | None = None,
) -> Demonstrations:
    """An expert's trajectories and failed attempts; without rewards where the task has none.

    An expert fails, too. What the annotator calls failed among its episodes is no demonstration but the first of the
    failures, and the expert goes on until its demonstrations are as many as asked. An annotator that ranks episodes
    among one another calls some of any expert's failed, and sorts only where it is given and not the task's default.

    Failed attempts come from early snapshots of the expert's training where given, otherwise from the expert with
    Gaussian noise on its actions, or with some of its choices drawn anew; of either, only the episodes that the
    annotator calls failed are kept.

    Args:
      env: the environment.
      expert: who shows it: a `Policy`, a function `obs [n, o] -> action [n, a]` in NumPy, or an object with `predict`,
        such as a Stable-Baselines3 model (see `gailfe_jax.foreign.registry.as_expert`).
      trajectories: demonstrations to keep, in the order in which they come.
      failures: failed episodes to keep at least, those of the expert among them.
      seed: of initial states, action noise and the order of snapshots.
      deterministic: show the expert's mean action instead of samples. Experts other than a `Policy` have no
        distribution; their actions are taken as they are.
      noise: standard deviation of the noise on actions, in action units; where actions are choices, the share of them
        that are drawn from all choices alike.
      annotator: what counts as failed.
      snapshots: policies that attempt and fail.
      keep_failed: keep every episode of the expert as a demonstration, also those that the annotator calls failed.
      expert_name, expert_file, command: for the file's provenance.

    Raises:
      GailfeError: nothing to collect, a policy for another task, a bad seed or noise, too few attempts that fail, or
        too many episodes of the expert that do.
    """
    for name, value, least in (("trajectories", trajectories, 1), ("failures", failures, 0)):
        if not least <= value <= MOST_EPISODES:
            raise GailfeError(f"{name}: got {value}; expected a whole number from {least} to {MOST_EPISODES}")
    if not 0 <= seed < 2**63:
        raise GailfeError(f"seed: got {seed}; expected a whole number from 0 to {2**63 - 1}")
    if not 0 <= noise < np.inf:
        raise GailfeError(f"noise: got {noise}; expected a finite number from 0")
    if env.spec.discrete and noise > 1:
        raise GailfeError(f"noise: got {noise}; expected a share from 0 to 1 of the choices of {env.spec.name}")
    expert = as_expert(expert, env.spec)
    snapshots = [as_expert(policy, env.spec, f"snapshots[{i}]") for i, policy in enumerate(snapshots)]
    for name, policy in (("expert", expert), *((f"snapshots[{i}]", policy) for i, policy in enumerate(snapshots))):
        check_policy(name, policy, env.spec, also_called(env.spec))
        warn_if_changed(name, policy_record(policy.metadata), env)
    rng = np.random.default_rng(seed)
    shown = roll_out(env, lambda obs: expert.act_rows(obs, deterministic=deterministic, rng=rng), trajectories, seed)
    recorded = expert.metadata.get("expert_return")
    expert_return = float(recorded) if recorded else float(np.mean(shown.returns)) if env.spec.has_reward else None
    by_default = annotator == "default"
    sorts, judge = not keep_failed, None
    if isinstance(annotator, Annotator):
        judge = annotator
    elif failures or not by_default or (sorts and _can_sort(env.spec, expert_return)):
        spec = env.spec
        judge = parse_annotator(annotator, task=spec.name, default=spec.annotator, expert_return=expert_return)
    if judge is not None and judge.reads_reward and not env.spec.has_reward:
        raise GailfeError(f"annotator: {judge.name} reads the reward, and {env.spec.name} has none")
    sorts = sorts and judge is not None and not (by_default and judge.history)
    failed = Trajectories.empty(env.spec.obs_size, env.spec.action_size)
    shown_count = trajectories
    if sorts and judge is not None:

        def more(count: int, round: int) -> Trajectories:
            act = lambda obs: expert.act_rows(obs, deterministic=deterministic, rng=rng)  # noqa: E731
            return roll_out(env, act, count, (seed + round * _NEXT_SEED) % 2**31)

        shown, failed, shown_count = _sorted(judge, shown, trajectories, more)
    expert_failures = failed.num_trajectories
    low, high = np.asarray(env.spec.action_low), np.asarray(env.spec.action_high)

    def noisy(obs: np.ndarray) -> np.ndarray:
        action = expert.act_rows(obs, deterministic=True)
        if env.spec.discrete:
            drawn = np.eye(action.shape[1], dtype=np.float32)[rng.integers(action.shape[1], size=len(action))]
            return np.where(rng.random((len(action), 1)) < noise, drawn, action)
        return np.clip(action + noise * rng.standard_normal(action.shape), low, high)

    attempt = np.uint32(0)
    tried = attempted = 0
    while failed.num_trajectories < failures and judge is not None:
        if tried >= _MOST_ATTEMPTS * failures:
            how = "other snapshots" if snapshots else "more --noise"
            raise GailfeError(
                f"failures: {attempted} of {tried} attempts failed by annotator {judge.name!r}; "
                f"expected {failures}; try {how} or another annotator"
            )
        act: ActFn = noisy
        if snapshots:
            novice = snapshots[int(attempt) % len(snapshots)]
            act = lambda obs, novice=novice: novice.act_rows(obs, deterministic=False, rng=rng)  # noqa: E731
        count = max(8, min(64, failures))
        attempts = roll_out(env, act, count, seed + 1 + int(attempt))
        tried += count
        attempt += 1
        kept = attempts.select(np.flatnonzero(annotate(judge, attempts)))
        attempted += kept.num_trajectories
        failed = _joined(failed, kept)
    if failed.num_trajectories:
        # Those of the expert are all kept, and attempts up to the number asked for.
        failed = failed.take(max(failures, expert_failures))
    source = "none" if not failed.num_trajectories else "expert"
    if tried:
        source = "expert snapshots" if snapshots else "noised expert"
    provenance = make_provenance(
        env_id=env.spec.gymnasium_id or env.spec.name,
        expert=expert_name,
        failure_source=source,
        engine=env.spec.engine,
        expert_sha256=None
        if expert_file is None or not pathlib.Path(expert_file).is_file()
        else file_sha256(expert_file),
        seed=seed,
        command=command,
        annotator=judge.name if judge is not None and (failures or sorts) else None,
        noise=None if snapshots or not failures else noise,
        action_mode="deterministic" if deterministic or isinstance(expert, HostPolicy) else "stochastic",
        expert_return=expert_return,
        failed_share=(failed.num_trajectories - expert_failures) / tried if tried else None,
        **({"expert_episodes": shown_count, "expert_failures": expert_failures} if sorts else {}),
        **({} if (task := task_record(env)) is None else {"task": task}),
    )
    if not env.spec.has_reward:
        # The zeros that the environment pays stand for no reward, and a file says so by holding none.
        shown, failed = (dataclasses.replace(part, reward=None) for part in (shown, failed))
    return Demonstrations(env.spec.gymnasium_id or env.spec.name, shown, failed, provenance)


def _can_sort(spec: EnvSpec, expert_return: float | None) -> bool:
    """Whether the task's own annotator has what it reads."""
    try:
        judge = parse_annotator("default", task=spec.name, default=spec.annotator, expert_return=expert_return)
    except GailfeError:
        return False
    return spec.has_reward or not judge.reads_reward


def _sorted(
    judge: Annotator, shown: Trajectories, wanted: int, more: Callable[[int, int], Trajectories]
) -> tuple[Trajectories, Trajectories, int]:
    """`(demonstrations, failures, episodes)`: the first `wanted` that did not fail, those before them that did, and how
    many there were of both.

    Args:
      judge: what counts as failed.
      shown: the expert's first episodes.
      wanted: how many demonstrations.
      more: `(episodes, round) -> trajectories`, further ones.

    Raises:
      GailfeError: hardly any of the expert's episodes are demonstrations.
    """
    failed, tried, round = annotate(judge, shown), shown.num_trajectories, 0
    good, bad = shown.select(~failed), shown.select(failed)
    while good.num_trajectories < wanted:
        if tried >= _MOST_ATTEMPTS * wanted:
            raise GailfeError(
                f"trajectories: {good.num_trajectories} of {tried} episodes of the expert did not fail by annotator "
                f"{judge.name!r}; expected {wanted}; try --keep-failed or another annotator"
            )
        round += 1
        further = more(max(8, wanted - good.num_trajectories), round)
        verdicts = annotate(judge, further)
        still = wanted - good.num_trajectories
        # What comes after the last one that is wanted is left out, failed or not.
        end = np.flatnonzero(~verdicts)[still - 1] + 1 if (~verdicts).sum() >= still else len(verdicts)
        tried += int(end)
        good = _joined(good, further.select(np.flatnonzero(~verdicts[:end])))
        bad = _joined(bad, further.select(np.flatnonzero(verdicts[:end])))
    return good, bad, tried


def _joined(*parts: Trajectories) -> Trajectories:
    # An empty selection has no simulator states and would drop the others'.
    return Trajectories.concatenate([part for part in parts if part.num_trajectories] or [parts[0]])
