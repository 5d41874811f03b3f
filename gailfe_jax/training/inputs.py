"""Demonstrations, or the expert that is asked, made ready for a learner."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.analysis.occupancy import Reference, reference_of
from gailfe_jax.artifacts.host_policy import HostPolicy
from gailfe_jax.artifacts.policy import check_policy, expert_names, load_expert
from gailfe_jax.config.run import DemoSettings
from gailfe_jax.data.annotators import Annotator, parse_annotator, parse_success
from gailfe_jax.data.formats import check_demonstrations, load_demonstrations
from gailfe_jax.data.trajectories import Demonstrations, StateActionPairs, Trajectories
from gailfe_jax.data.validation import PARTS, check_choices
from gailfe_jax.envs import also_called, warn_if_changed
from gailfe_jax.errors import GailfeError
from gailfe_jax.foreign.host_oracle import oracle_of
from gailfe_jax.foreign.registry import as_expert, read_expert
from gailfe_jax.io.digests import file_sha256
from gailfe_jax.learners.adversarial import Adversarial
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.cloning import BC
from gailfe_jax.learners.sources import Demos, Failures
from gailfe_jax.policies.replayed import ReplayedUpdate
from gailfe_jax.types import Env, EnvSpec, Problem, Starts, StateAction


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a learner is shown.

    Attributes:
      demos: what goes to the device; None for methods without demonstrations.
      annotator: what counts as failed, or None where nothing asks.
      success: what of its own counts as a success, or None where nothing asks.
      expert_return: mean return of the expert, by which returns are normalised; None if unknown.
      record: what config.json says of them.
      reference: demonstrated pairs that policies are compared with where there is no reward; None with one.
      shown_ends: whether the task ended some of the demonstrations or failures.
    """

    demos: Demos | None = None
    annotator: Annotator | None = None
    success: Annotator | None = None
    expert_return: float | None = None
    record: dict[str, Any] = dataclasses.field(default_factory=dict)
    reference: Reference | None = None
    shown_ends: bool = False


def prepare_inputs(
    method: Learner,
    env: Env,
    settings: DemoSettings,
    demonstrations: Demonstrations | None = None,
    annotator: Annotator | None = None,
    expert: Any = None,
) -> Inputs:
    """Loads, cuts and subsamples demonstrations, and settles the annotator.

    Args:
      method: what will learn from them.
      env: the environment.
      settings: which file and which part of it.
      demonstrations: use these instead of `settings.demos`.
      annotator: use this one instead of the one that `method.failures` names.
      expert: ask this one instead of `settings.expert`; see `gailfe_jax.foreign.registry.as_expert`.

    Raises:
      GailfeError: the method needs demonstrations and there are none, they do not fit the environment, or it has no
        use for what is given.
    """
    _refuse_unread(method, settings, demonstrations, annotator)
    if method.asks_expert:
        return _prepare_expert(method, env.spec, settings, expert)
    if expert is not None:
        raise GailfeError(f"expert: got one; nothing reads it: {method.name} asks no expert")
    if not method.needs_demonstrations:
        judges = _annotators(method, env, None, annotator)
        return Inputs(annotator=judges[0], success=judges[1], record=_judged(*judges))
    record: dict[str, Any] = settings.values()
    if demonstrations is None:
        demonstrations = _load(method, env, settings)
        if settings.demos is not None and pathlib.Path(settings.demos).is_file():
            record["sha256"] = file_sha256(settings.demos)
    else:
        # As a file is, in the types that a file has. What is learned from stays as it was given.
        check_demonstrations("demos", demonstrations.cast(), env, also_called(env.spec))
    _check_sizes(demonstrations, env.spec)
    reader = None if demonstrations.expert.acted else method.needs_actions()
    if reader is not None:
        raise GailfeError(f"demos: {settings.demos or 'they'} hold no actions, and {reader}")
    warn_if_changed(settings.demos or "demos", demonstrations.provenance.get("task"), env)
    expert = demonstrations.expert
    if settings.trajectories is not None:
        expert = expert.take(settings.trajectories, settings.demo_seed)
    pairs = expert.subsample(settings.subsample, settings.demo_seed or 0)
    # Where nobody recorded the reward, returns are unknown: None, as on a task that has none.
    demo_return = None if expert.reward is None else float(np.mean(expert.returns))
    recorded = demonstrations.provenance.get("expert_return")
    known = isinstance(recorded, int | float) and math.isfinite(recorded)
    expert_return = float(recorded) if known else demo_return  # type: ignore[arg-type]
    reference = None
    if not env.spec.has_reward:
        expert_return = demo_return = None
        reference = reference_of(expert)
    content = hashlib.sha256(pairs.obs.tobytes() + pairs.action.tobytes())
    if _asks_next(method):
        content.update(pairs.next_obs.tobytes())
    record |= {
        "expert_trajectories": expert.num_trajectories,
        "expert_pairs": len(pairs),
        "demonstrated_return": demo_return,
        "expert_return": expert_return,
        "provenance": demonstrations.provenance,
    }
    annotator, success = _annotators(method, env, expert_return, annotator)
    record |= _judged(annotator, success)
    padded = None
    failures = _failures(method)
    if failures is not None:
        padded = _collected(failures, demonstrations, method, env, settings)
    if padded is not None:
        content.update(np.asarray(padded.data).tobytes() + np.asarray(padded.lengths).tobytes())
        padded = jax.tree.map(jnp.asarray, padded)
        record["collected_failures"] = len(padded.lengths)
    # Numbers in memory may be of a type that JAX has not, or be whole.
    arrays = (np.asarray(x, np.float32) for x in (pairs.obs, pairs.action, pairs.next_obs))
    obs, action, next_obs = map(jnp.asarray, arrays)
    demos = Demos(StateAction(obs, action), padded, next_obs)
    reward = getattr(method, "reward", None)
    if isinstance(method.policy, ReplayedUpdate) or (reward is not None and reward.asks_ends):
        demos = demos.replace(terminated=jnp.asarray(pairs.terminated))
    if isinstance(method, BC):
        # Which pairs belong together decides what is held out.
        trajectory = pairs.trajectory.astype(np.int32)
        content.update(trajectory.tobytes())
        demos = demos.replace(trajectory=jnp.asarray(trajectory))
    # Where the environment has no such starts, the method is refused once it is put there.
    if method.rollout.demonstrated_starts and getattr(env, "starting_from", None) is not None:
        states = _states(expert, pairs, settings.demos or "demos")
        content.update(states.tobytes())
        demos = demos.replace(starts=_starts(env, states, pairs.obs, settings.demos or "demos"))
    record["content_sha256"] = content.hexdigest()
    ends = any(getattr(demonstrations, part).terminated.any() for part in PARTS)
    return Inputs(demos, annotator, success, expert_return, record, reference, ends)


def _states(expert: Trajectories, pairs: StateActionPairs, name: str) -> np.ndarray:
    """`[m, s]` the simulator's state before each pair; `name` is what to call the demonstrations.

    Raises:
      GailfeError: they hold none.
    """
    if expert.simulator_state is None:
        raise GailfeError(
            f"rollout.demonstrated_starts: {name} holds no simulator states; expected a file of gailfe demos, made on "
            "the engine mujoco_c"
        )
    return expert.simulator_state[expert.offsets[pairs.trajectory] + pairs.step]


def _starts(env: Env, states: np.ndarray, obs: np.ndarray, name: str) -> Starts:
    """What `rollout.demonstrated_starts` draws from."""
    known: Any = env
    try:
        return known.starts_of(states, obs)
    except GailfeError as error:
        raise GailfeError(f"{name}: field 'expert/simulator_state': {error}") from None


def _refuse_unread(
    method: Learner, settings: DemoSettings, demonstrations: Demonstrations | None, annotator: Annotator | None
) -> None:
    names = DemoSettings().values()
    if method.asks_expert:
        why, unread = f"{method.name} asks the expert itself", [name for name in names if name != "expert"]
    elif method.needs_demonstrations:
        why, unread = f"{method.name} asks no expert", ["expert"]
    else:
        why, unread = f"{method.name} learns without demonstrations", list(names)
    given = {name: value for name, value in settings.values().items() if value != names[name]}
    if demonstrations is not None:
        given["demos"] = "demonstrations"
    for name in unread:
        if name in given:
            raise GailfeError(f"{name}: got {given[name]}; nothing reads it: {why}")
    if annotator is not None and _failures(method) is None:
        raise GailfeError(f"annotator: got {annotator.name}; nothing reads it: {method.name} learns from no failures")


def _load(method: Learner, env: Env, settings: DemoSettings) -> Demonstrations:
    if settings.demos is None:
        raise GailfeError(f"demos: {method.name} needs a demonstration file; make one with gailfe demos")
    return load_demonstrations(settings.demos, env, also_called(env.spec))


def _check_sizes(demonstrations: Demonstrations, spec: EnvSpec) -> None:
    sizes = (demonstrations.expert.obs.shape[1], demonstrations.expert.action.shape[1] or spec.action_size)
    if sizes != (spec.obs_size, spec.action_size):
        raise GailfeError(
            f"demos: observation and action sizes are {sizes}; expected {(spec.obs_size, spec.action_size)} "
            f"for {spec.name}"
        )
    if spec.discrete and demonstrations.expert.acted:
        for part in PARTS:
            check_choices(getattr(demonstrations, part).action, f"demos: field '{part}/action'")


def _asks_next(method: Learner) -> bool:
    """Whether the method's reward judges where actions led."""
    return isinstance(method, Adversarial) and method.reward is not None and method.reward.asks_next


def _failures(method: Learner) -> Failures | None:
    return method.failures if isinstance(method, Adversarial) else None


def _collected(
    failures: Failures, demonstrations: Demonstrations, method: Learner, env: Env, settings: DemoSettings
) -> Any:
    """The file's failures, padded for the buffer; None where they are not asked for or there are none.

    Raises:
      GailfeError: they alone are asked for, and there are none.
    """
    held = demonstrations.failures
    if failures.source != "own" and held.num_trajectories:
        return (
            failures.bind(Problem(env.spec, method.rollout.num_envs, method.rollout.unroll_length))
            .buffer(_asks_next(method))
            .pad(held)
        )
    if failures.source == "collected":
        raise GailfeError(f"demos: failures.source is collected, but {settings.demos or 'they'} have no failures")
    return None


def _prepare_expert(method: Learner, spec: EnvSpec, settings: DemoSettings, given: Any) -> Inputs:
    """The expert's policy for methods that ask it: the one that was `given`, the settings', or the shipped one.

    Raises:
      GailfeError: no such file, a damaged one, one for another task, or none is shipped for this one.
    """
    if given is not None and settings.expert is not None:
        raise GailfeError(f"expert: got {settings.expert} and another in memory; expected one of them")
    if given is None and settings.expert is None and spec.name not in expert_names():
        raise GailfeError(
            f"expert: {method.name} asks an expert's policy and none is shipped for {spec.name}; expected a policy "
            "file (.safetensors, .onnx, .zip of Stable-Baselines3) or a function (module:name)"
        )
    if given is not None:
        policy = as_expert(given, spec)
    else:
        policy = load_expert(spec.name) if settings.expert is None else read_expert(settings.expert, spec)
    check_policy("expert", policy, spec, also_called(spec))
    if isinstance(policy, HostPolicy):
        content = hashlib.sha256(policy.digest.encode())
    else:
        content = hashlib.sha256(policy.activation.encode())
        for array in (*(x for layer in policy.weights for x in layer), policy.obs_mean, policy.obs_std):
            content.update(array.tobytes())
    try:
        expert_return = float(policy.metadata["expert_return"])
    except (KeyError, ValueError):
        expert_return = math.nan
    known = expert_return if math.isfinite(expert_return) else None
    record = {"expert": settings.expert, "expert_return": known, "content_sha256": content.hexdigest()}
    return Inputs(Demos(None, oracle=oracle_of(policy)), expert_return=known, record=record)


def _annotators(
    method: Learner, env: Env, expert_return: float | None, annotator: Annotator | None
) -> tuple[Annotator | None, Annotator | None]:
    """What counts as a failure and what as a success, None where nothing asks."""
    failures = _failures(method)
    if failures is None:
        annotator = None
    elif annotator is None:
        spec = env.spec
        annotator = parse_annotator(
            failures.annotator, task=spec.name, default=spec.annotator, expert_return=expert_return
        )
    own = method.self_demonstrations if isinstance(method, Adversarial) else None
    if own is None or own.use == "none" or own.episodes == "top_k":
        return annotator, None
    return annotator, parse_success(own.episodes, task=env.spec.name, expert_return=expert_return)


def _judged(annotator: Annotator | None, success: Annotator | None) -> dict[str, Any]:
    """What config.json says of the annotators."""
    record: dict[str, Any] = {}
    if annotator is not None:
        record |= {"annotator": annotator.name, "annotator_reads_reward": annotator.reads_reward}
    if success is not None:
        record |= {"success": success.name, "success_reads_reward": success.reads_reward}
    return record
