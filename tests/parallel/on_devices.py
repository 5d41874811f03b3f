"""What test_devices.py runs in a process of its own, because the number of virtual devices is fixed when JAX starts."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import jax
import numpy as np

from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.config.run import EnvSettings, RunSettings
from gailfe_jax.config.tree import leaves, put, set_values, without_unread
from gailfe_jax.envs import make_env
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.sources import Demos
from gailfe_jax.policies import actor
from gailfe_jax.training import loop, plan
from gailfe_jax.training.program import Trainer
from tests.haste import OfFirst
from tests.tiny import noise_demos, tiny

DEVICES, ITERATIONS = 8, 2
ENV = EnvSettings(env="hopper", engine="mujoco_c")
SMALL: dict[str, Any] = {
    "rollout.num_envs": 8, "policy.hidden": (4,), "policy.value_minibatch": 32, "policy.epochs": 1,
    "policy.cg_iterations": 3, "policy.minibatch": 32, "policy.model.hidden": (4,), "policy.model.minibatch": 16,
    "policy.model.capacity": 200, "policy.steps": 1, "reward.hidden": (4,), "reward.steps": 2, "reward.minibatch": 32,
}  # fmt: skip
CASES: dict[str, tuple[str, str | None, dict[str, Any], int]] = {
    # A fifth of 64 rows is 13, which 8 devices do not divide.
    "gail": ("gail", None, {"likelihood.add": True, "policy.fisher_fraction": 0.2}, 1),
    # Long enough for the first falls.
    "gailfe": ("gailfe", "ppo", {"constraint.multiplier": "fixed", "rollout.unroll_length": 24}, 2),
    "mail": ("mail", None, {"policy.rollouts": "model"}, 1),
    "dagger": ("dagger", None, {"fit_steps": 2, "aggregate_capacity": 300}, 1),
    "ppo": ("ppo", None, {}, 8),
}


def method_of(case: str) -> Learner:
    name, policy, settings, _ = CASES[case]
    method = tiny(name, policy)
    known = leaves(method)
    small = {setting: value for setting, value in SMALL.items() if setting in known}
    return set_values(without_unread(put(method, small)), settings)


def shown(method: Learner) -> Demos | None:
    if not (method.needs_demonstrations or method.asks_expert):
        return None
    return noise_demos(make_env("hopper"), pairs=102, expert=load_expert("hopper") if method.asks_expert else None)


def trained(case: str, devices: int) -> dict[str, np.ndarray]:
    """Parameters before and after, the rest of the state, metrics of every iteration and one evaluation, by name."""
    method = method_of(case)
    demos, seeds = shown(method), np.arange(CASES[case][3])
    if len(seeds) > 1:
        # A setting that differs from seed to seed is sharded with them.
        method = put(method, {"policy.gamma": np.linspace(0.9, 0.99, len(seeds), dtype=np.float32)})
    learner = method.on(make_env(ENV.env, ENV.engine))
    trainer = Trainer(learner, seeds, chunk=1, eval_episodes=DEVICES, devices=devices)
    state = trainer.init(demos)
    found = {"start": (state.agent.policy, state.agent.value)}
    for iteration in range(ITERATIONS):
        # Copied before the state is donated.
        found = jax.tree.map(np.array, found)
        state, metrics = trainer.advance(state, demos)
        found[f"metrics{iteration}"] = metrics
    assert trainer.traces == 1
    agent = state.agent
    found["end"] = agent.policy, agent.value
    found["rest"] = agent.obs_stats, state.reward, getattr(agent, "model", None), state.env.obs, state.sources.failures
    if case == "gail":
        found["evaluation"] = vars(trainer.evaluate(state, 1))
    return {jax.tree_util.keystr(path): np.array(x) for path, x in jax.tree_util.tree_leaves_with_path(found)}


def resumed(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Final policies of PPO by the devices of the first and of the second half of a run."""
    programs: dict[int, Any] = {}

    class SharedTrainer(Trainer):
        def advance(self, state: Any, demos: Any) -> Any:
            devices = 1 if self.mesh is None else self.mesh.size
            self._compiled = programs.get(devices)
            result = super().advance(state, demos)
            programs.setdefault(devices, OfFirst(self._compiled, self.learner))
            return result

    plan.Trainer = SharedTrainer  # type: ignore[misc]
    method, found = method_of("ppo"), {}
    batch = method.rollout.batch_size
    for first, second in ((1, 1), (DEVICES, DEVICES), (1, DEVICES), (DEVICES, 1)):
        out = folder / f"{first}_{second}"
        for half, devices in enumerate((first, second)):
            run = RunSettings(
                steps=(half + 1) * batch, eval_every=batch, seeds=CASES["ppo"][3], quiet=True, tensorboard=False,
                eval_episodes=1, devices=devices,
            )  # fmt: skip
            result = loop.train(method, ENV, run, out=out, resume=True)
        for i, policy in enumerate(result.policies):
            found[f"{first}_{second}_{i}"] = np.concatenate([w.ravel() for layer in policy.weights for w in layer])
    return found


def main(folder: pathlib.Path) -> None:
    assert len(jax.devices()) == DEVICES
    for case in CASES:
        for devices in (1, DEVICES):
            np.savez(folder / f"{case}_{devices}.npz", **trained(case, devices))
    np.savez(folder / "resumed.npz", **resumed(folder))
    # What the comparison must not let pass: every device follows the gradient of its own rows.
    actor.mean_over_devices = lambda tree: tree  # type: ignore[assignment]
    # What JAX has traced still averages.
    jax.clear_caches()
    np.savez(folder / "dagger_apart.npz", **trained("dagger", DEVICES))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
