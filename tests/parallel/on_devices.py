"""What test_devices.py runs in a process of its own, because the number of virtual devices is fixed when JAX starts."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.config.flat import Config, Hyper
from gailfe_jax.envs import make_env
from gailfe_jax.learners.adversarial import Demos
from gailfe_jax.learners.methods import asks_expert, make_learner, needs_demos
from gailfe_jax.policies import actor_critic
from gailfe_jax.training import loop as training
from gailfe_jax.training.loop import RunSettings, Trainer
from gailfe_jax.types import StateAction

DEVICES, ITERATIONS = 8, 2
TINY = dict(
    env="hopper", engine="mujoco_c", num_envs=8, unroll_length=8, hidden=(4,), value_minibatch=32, ppo_epochs=1,
    ppo_minibatches=2, disc_hidden=(4,), disc_steps=2, disc_minibatch=32, failure_capacity=6, cg_iterations=3,
)  # fmt: skip
MODEL = dict(horizon=4, model_hidden=(4,), model_fit_steps=2, model_minibatch=16, model_capacity=200, policy_steps=1)
CASES: dict[str, tuple[dict[str, Any], int]] = {
    # A fifth of 64 rows is 13, which 8 devices do not divide.
    "gail": (dict(algo="gail", gradient_penalty=True, bc_auxiliary=True, fisher_fraction=0.2), 1),
    # Long enough for the first falls.
    "gailfe": (dict(algo="gailfe", generator="ppo", multiplier="fixed", unroll_length=24), 2),
    "mail": (dict(algo="mail", model_rollouts="model", **MODEL), 1),
    "dagger": (dict(algo="dagger", bc_minibatch=32, fit_steps=2, aggregate_capacity=300), 1),
    "ppo": (dict(algo="ppo"), 8),
}
HYPER = Hyper(failure_weight=1.0)


def config_of(case: str) -> Config:
    return Config(**(TINY | CASES[case][0]))


def shown(config: Config) -> Demos | None:
    if asks_expert(config):
        return Demos(None, oracle=Oracle.of(load_expert("hopper")))
    if not needs_demos(config):
        return None
    rng = np.random.default_rng(0)
    obs, action = rng.normal(size=(100, 11)), rng.uniform(-1, 1, (100, 3))
    return Demos(StateAction(jnp.asarray(obs, jnp.float32), jnp.asarray(action, jnp.float32)))


def trained(case: str, devices: int) -> dict[str, np.ndarray]:
    """Parameters before and after, the rest of the state, metrics of every iteration and one evaluation, by name."""
    config, demos = config_of(case), shown(config_of(case))
    learner = make_learner(config, make_env(config.env, config.engine))
    seeds = np.arange(CASES[case][1])
    # A setting that differs from seed to seed is sharded with them.
    hyper = HYPER if len(seeds) == 1 else HYPER.replace(gamma=tuple(np.linspace(0.9, 0.99, len(seeds)).tolist()))
    trainer = Trainer(learner, hyper, seeds, chunk=1, eval_episodes=DEVICES, devices=devices)
    state = trainer.init(demos)
    found = {"start": (state.generator.policy, state.generator.value)}
    for iteration in range(ITERATIONS):
        # Copied before the state is donated.
        found = jax.tree.map(np.array, found)
        state, metrics = trainer.advance(state, demos)
        found[f"metrics{iteration}"] = metrics
    assert trainer.traces == 1
    generator, cost = state.generator, state.cost
    found["end"] = generator.policy, generator.value
    found["rest"] = generator.obs_stats, cost, getattr(generator, "model", None), state.env.obs, state.failures
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
            programs[devices] = self._compiled
            return result

    training.Trainer = SharedTrainer  # type: ignore[misc]
    config, found = config_of("ppo"), {}
    for first, second in ((1, 1), (DEVICES, DEVICES), (1, DEVICES), (DEVICES, 1)):
        out = folder / f"{first}_{second}"
        for half, devices in enumerate((first, second)):
            settings = RunSettings(
                steps=(half + 1) * config.batch_size, eval_every=config.batch_size, seeds=CASES["ppo"][1], quiet=True,
                tensorboard=False, eval_episodes=1, devices=devices,
            )  # fmt: skip
            result = training.train(config, HYPER, settings, out=out, resume=True)
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
    actor_critic.mean_over_devices = lambda tree: tree  # type: ignore[assignment]
    np.savez(folder / "dagger_apart.npz", **trained("dagger", DEVICES))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
