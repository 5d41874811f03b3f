"""A new policy step: one step of Adam along the policy gradient. Run it: python examples/new_policy_step.py"""

from __future__ import annotations

import jax
import jax.numpy as jnp

import gailfe_jax as gf
from gailfe_jax.nn.optimisers import adam_step
from gailfe_jax.parallel.devices import local_rows, mean_over_devices
from gailfe_jax.policies.actor import AgentState
from gailfe_jax.types import Array, Metrics, PyTree, Transition


class A2C(gf.ActorCritic):
    """Advantage actor-critic (Mnih et al. 2016), with generalised advantages and a value network fitted in epochs."""

    summary = "one first-order step along the policy gradient"

    lr: float = gf.traced(3e-3, step_size="policy")
    """Adam learning rate of the policy."""
    value_epochs: int = gf.setting(5, least=1)
    """Passes over the batch when the value network is fitted."""

    def update(
        self, state: AgentState, transition: Transition, objective: gf.Objective, key: Array
    ) -> tuple[AgentState, Metrics]:
        state, batch, metrics = self.make_batch(state, transition, objective)
        mine = local_rows(batch)  # Several devices share the batch; on one it is all of it.

        def loss(policy: PyTree) -> Array:
            dist = self.policy(policy, mine.x)
            gain = jnp.mean(dist.log_prob(mine.action) * mine.advantage) + self.entropy * dist.entropy()
            return -gain - self.auxiliary(state, policy, objective.auxiliary)

        grads = mean_over_devices(jax.grad(loss)(state.policy))
        policy, policy_opt = adam_step(grads, state.policy_opt, state.policy, self.lr)
        value, value_opt, value_loss = self.fit_value(state, batch, key, self.value_epochs, minibatch=256)
        state = state.replace(policy=policy, policy_opt=policy_opt, value=value, value_opt=value_opt)
        return self.finish(state, transition), metrics | {"value_loss": value_loss}


gf.register_policy_update("a2c", A2C)


def main(env: str = "hopper", expert: gf.Policy | None = None, **settings: object) -> None:
    demos = gf.collect_demonstrations(gf.make_env(env), expert or gf.load_expert(env), trajectories=4)
    start = {"algo": "gail", "policy": "a2c", "env": env, "steps": 400_000, "eval_every": 100_000}
    setup = gf.build_setup(start | settings)
    result = gf.train(setup.method, setup.environment, setup.run, demos=demos)
    print("Mean return:", *(f"{x:.0f}" for x in result.metrics["return_mean"][1].mean(0)))


if __name__ == "__main__":
    main()
