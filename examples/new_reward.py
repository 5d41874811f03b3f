"""A new reward: what looks like the demonstrations and unlike the policy. Run it: python examples/new_reward.py"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

import gailfe_jax as gf
from gailfe_jax.nn.normaliser import RunningStats
from gailfe_jax.rewards.base import join
from gailfe_jax.types import Array, Metrics, StateAction


@struct.dataclass
class KernelState:
    features: Array  # [o + a, k], random.
    stats: RunningStats  # They standardise pairs.
    means: Array  # [2, 2 k], mean features of the policy's and of the expert's pairs.


class KernelReward(gf.Reward):
    """The witness of the maximum mean discrepancy (Kim & Park 2018) on random features (Rahimi & Recht 2007)."""

    size: int = gf.setting(256, least=1)
    """Random features, of which each has a sine and a cosine."""
    width: float = gf.traced(4.0)
    """Width of the Gaussian kernel, in standard deviations of pairs."""

    def init(self, key: Array, expert: StateAction | None) -> KernelState:
        features = jax.random.normal(key, (self.problem.pair_size, self.size))
        return KernelState(features, RunningStats.init(len(features)), jnp.zeros((2, 2 * self.size)))

    def fit(self, state: KernelState, batch: gf.RewardBatch, key: Array) -> tuple[KernelState, Metrics]:
        pairs = join(batch.policy), batch.positives(key)
        state = state.replace(stats=state.stats.update(pairs[0]).update(pairs[1]))
        means = jnp.stack([jnp.mean(self.phi(state, x), axis=(0, 1)) for x in pairs])
        return state.replace(means=means), {"mean_discrepancy": jnp.linalg.norm(means[1] - means[0])}

    def score(self, state: KernelState, obs: Array, action: Array) -> Array:
        return (self.phi(state, join(StateAction(obs, action))) - state.means[0]) @ (state.means[1] - state.means[0])

    def phi(self, state: KernelState, x: Array) -> Array:
        angle = state.stats.normalise(x) @ state.features / self.width
        return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1) / jnp.sqrt(self.size)


gf.register_reward("kernel", KernelReward)


def main(env: str = "hopper", expert: gf.Policy | None = None, **settings: object) -> None:
    demos = gf.collect_demonstrations(gf.make_env(env), expert or gf.load_expert(env), trajectories=4)
    setup = gf.build_setup({"algo": "kernel", "env": env, "steps": 400_000, "eval_every": 100_000} | settings)
    result = gf.train(setup.method, setup.environment, setup.run, demos=demos)
    print("Mean return:", *(f"{x:.0f}" for x in result.metrics["return_mean"][1].mean(0)))


if __name__ == "__main__":
    main()
