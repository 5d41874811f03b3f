"""Episodes to look at in three dimensions: a run's policy beside an expert and a failure, or those of a file."""

from __future__ import annotations

import dataclasses
import pathlib
import warnings
from typing import Any, NamedTuple

import numpy as np

from gailfe_jax.apps.closer_look import own_demonstrations
from gailfe_jax.apps.collection import roll_out
from gailfe_jax.apps.evaluate_run import expert_for, policies_of
from gailfe_jax.artifacts import confidence
from gailfe_jax.artifacts import value as values
from gailfe_jax.artifacts.confidence import Confidence
from gailfe_jax.artifacts.host_policy import AnyPolicy
from gailfe_jax.artifacts.policy import expert_names
from gailfe_jax.artifacts.value import ValueEstimate
from gailfe_jax.data.formats import load_demonstrations
from gailfe_jax.data.trajectories import Demonstrations, Trajectories
from gailfe_jax.envs import also_called, base_name, known_env, make_env, on_c_engine, task_of
from gailfe_jax.envs.physics.recorded import recorded_states
from gailfe_jax.errors import GailfeError, GailfeWarning
from gailfe_jax.training.chosen import choose_policy
from gailfe_jax.training.run_folder import policy_files
from gailfe_jax.types import Env, Task
from gailfe_jax.viewer.page import Episode


class Played(NamedTuple):
    """What there is to see.

    Attributes:
      task: the task.
      episodes: in the order in which they stand.
      title: of the page.
      about: a sentence about them.
    """

    task: Task
    episodes: list[Episode]
    title: str
    about: str


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Which episodes.

    Attributes:
      seed_index: which of a run's seeds, counted from 0; the best if None.
      seed: of the initial state of what is played.
      expert: play this expert instead of showing a demonstration: `expert` for the one that is shipped, or its file.
      demos: where the run's demonstrations are now.
      demonstration, failure: which of the file's.
      max_steps: cut episodes after so many steps.
    """

    seed_index: int | None = None
    seed: int = 0
    expert: str | None = None
    demos: str | None = None
    demonstration: int = 0
    failure: int = 0
    max_steps: int = 1000


class _Stage:
    """A task on the C engine, and what judges its episodes."""

    def __init__(self, name: str, env: Env, longest: int):
        task = task_of(env)
        if task is None:
            other = "; gailfe video films a policy in it" if "gym:" in env.spec.name else ""
            raise GailfeError(f"env: {env.spec.name} is no MuJoCo task; expected one, which has a model to draw{other}")
        self.name, self.task, self.longest = name, task, longest
        self.env = on_c_engine(env) or env
        self.judge: Confidence | None = None
        self.value: ValueEstimate | None = None
        self._physics: Any = getattr(make_env(base_name(name), "mujoco_c"), "physics")  # noqa: B009

    def play(self, policy: AnyPolicy, seed: int, kind: str, label: str) -> Episode:
        """The deterministic policy's episode."""
        played = roll_out(self.env, lambda obs: policy.act_rows(obs, deterministic=True), 1, seed)
        return self.show(played, kind, label)

    def show(self, episode: Trajectories, kind: str, label: str) -> Episode:
        """A recorded episode."""
        if not episode.acted:
            raise GailfeError(f"{label}: holds no actions, so it cannot be replayed; expected a file with actions")
        steps = min(episode.num_transitions, self.longest)
        obs = np.concatenate([episode.obs, episode.next_obs[-1:]])
        states = recorded_states(self._physics, obs, episode.action, episode.simulator_state)
        curves = {}
        if episode.reward is not None and self.env.spec.has_reward:
            curves["reward"] = episode.reward[:steps]
        if self.judge is not None:
            curves["belief"] = self.judge(episode.obs[:steps], episode.action[:steps], episode.next_obs[:steps])
        if self.value is not None:
            curves["value"] = self.value(episode.obs[:steps])
        note = "" if states.stored else states.words
        return Episode(kind, label, states.qpos[: steps + 1], _ended(episode, steps, curves), curves, note)


def _ended(episode: Trajectories, steps: int, curves: dict[str, np.ndarray]) -> str:
    words = f"{steps:,} steps"
    if "reward" in curves:
        words += f", return {float(curves['reward'].sum(dtype=np.float64)):,.1f}"
    if steps < episode.num_transitions:
        return f"{words}; cut here, of {episode.num_transitions:,}"
    return f"{words}; {'the task' if episode.terminated[-1] else 'the time limit'} ended it"


def of_policy(path: str, env: str | None, wanted: Wanted) -> Played:
    """A run's policy, or a policy's file, beside an expert and a failure as far as these are known.

    The discriminator and the value network of the same seed judge all of them, where the run has these.

    Args:
      path: run folder or policy file, or another source of `gailfe_jax.foreign.registry`.
      env: the task; the one that the policy was trained on by default.
      wanted: which episodes.

    Raises:
      GailfeError: nothing is there, it does not fit the task, or the task is none of MuJoCo's.
    """
    judged, run_dir = policies_of(path, env), pathlib.Path(path)
    stage = _Stage(judged.name, judged.env, wanted.max_steps)
    policy, label, why = judged.policies[0], "Policy", f"The policy is {run_dir.name}."
    if run_dir.is_dir():
        seeds = list(policy_files(run_dir))
        if wanted.seed_index is not None and not 0 <= wanted.seed_index < len(seeds):
            raise GailfeError(f"seed_index: got {wanted.seed_index}; expected 0 to {len(seeds) - 1}")
        chosen = choose_policy(run_dir, None if wanted.seed_index is None else seeds[wanted.seed_index])
        policy, label, why = chosen.policy, f"Policy of seed {chosen.seed}", f"The policy is that of {chosen.why}."
        judge, value = (
            run_dir / folder / f"seed_{chosen.seed}.safetensors" for folder in (confidence.FOLDER, values.FOLDER)
        )
        stage.judge = Confidence.load(judge) if judge.is_file() else None
        stage.value = ValueEstimate.load(value) if value.is_file() else None
    elif wanted.seed_index not in (None, 0):
        raise GailfeError(f"seed_index: got {wanted.seed_index}; expected 0, for {path} is one policy's file")
    episodes = [stage.play(policy, wanted.seed, "policy", label)]
    demos = _demonstrations_of(run_dir, judged.env, wanted)
    episodes += _beside(stage, demos, wanted)
    return Played(stage.task, episodes, f"{run_dir.resolve().name} on {judged.env.spec.name}", why)


def _beside(stage: _Stage, demos: Demonstrations | None, wanted: Wanted) -> list[Episode]:
    expert = wanted.expert
    if expert is None and demos is None and base_name(stage.name) in expert_names():
        expert = "expert"
    found = []
    if expert is not None:
        policy = expert_for(expert, stage.env, stage.name)
        found.append(stage.play(policy, wanted.seed, "expert", "Expert"))
    elif demos is not None:
        found += _recorded(stage, demos.expert, "expert", "demonstration", wanted.demonstration)
    if demos is not None:
        found += _recorded(stage, demos.failures, "failure", "failure", wanted.failure)
    return found


def of_file(path: str, env: str | None, wanted: Wanted) -> Played:
    """A demonstration and a failure of a demonstration file, or `minari:ID`.

    Args:
      path: the file.
      env: the task; the one that the file names by default.
      wanted: which episodes.

    Raises:
      GailfeError: the file cannot be read, it is about no MuJoCo task that is known here, or it has no such episode.
    """
    demos = Demonstrations.load(path)
    made = known_env(demos.env_id) if env is None else make_env(env)
    if made is None:
        raise GailfeError(f"{path}: {demos.env_id} is not known here; expected --env with the environment's name")
    sizes = demos.expert.obs.shape[1], demos.expert.action.shape[1]
    if demos.expert.acted and sizes != (made.spec.obs_size, made.spec.action_size):
        raise GailfeError(
            f"{path}: {sizes[0]} numbers observed and {sizes[1]} done; expected {made.spec.obs_size} and "
            f"{made.spec.action_size}, as {made.spec.name} has"
        )
    stage = _Stage(made.spec.name if env is None else env, made, wanted.max_steps)
    episodes = _recorded(stage, demos.expert, "expert", "demonstration", wanted.demonstration)
    if wanted.expert is not None:
        expert = expert_for(wanted.expert, stage.env, stage.name)
        episodes.append(stage.play(expert, wanted.seed, "expert", "Expert"))
    episodes += _recorded(stage, demos.failures, "failure", "failure", wanted.failure)
    return Played(stage.task, episodes, f"{pathlib.PurePath(path).name} on {made.spec.name}", "")


def _recorded(stage: _Stage, held: Trajectories, kind: str, name: str, number: int) -> list[Episode]:
    """The episode of this number; none where the file has no such episodes and the first is asked for."""
    if not held.num_trajectories and number == 0:
        return []
    if not 0 <= number < held.num_trajectories:
        raise GailfeError(f"{name}: got {number}; expected 0 to {held.num_trajectories - 1}")
    return [stage.show(held.trajectory(number), kind, f"{name.capitalize()} {number}")]


def _demonstrations_of(run_dir: pathlib.Path, env: Env, wanted: Wanted) -> Demonstrations | None:
    """What a run was trained on; None, with a warning where it should be there, if that is not at hand."""
    if wanted.demos is None and not run_dir.is_dir():
        return None
    try:
        file = wanted.demos or own_demonstrations(run_dir)
    except GailfeError as error:
        warnings.warn(f"no demonstration is shown: {error}", GailfeWarning, stacklevel=2)
        return None
    return load_demonstrations(file, env, also_called(env.spec))
