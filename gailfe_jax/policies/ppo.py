"""Proximal policy optimisation (Schulman et al. 2017)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gailfe_jax.config.parts import setting, traced
from gailfe_jax.errors import GailfeError
from gailfe_jax.nn.optimisers import adam_step, clip_by_norm, shuffled_minibatches
from gailfe_jax.parallel.devices import local_rows, mean_over_devices
from gailfe_jax.policies.actor import AgentState
from gailfe_jax.policies.actor_critic import ActorCritic, Batch
from gailfe_jax.policies.base import Objective
from gailfe_jax.policies.surrogate import clip_fraction, clipped_surrogate
from gailfe_jax.types import Array, AuxiliaryFn, Metrics, PyTree, Transition


class PPO(ActorCritic):
    """The clipped-surrogate generator.

    Differences from the textbook: policy and value network are separate and each has its own clipped gradient;
    the value network is fitted in running units of the return; the value loss is not clipped.
    """

    summary = "first-order steps on a clipped surrogate"

    lr: float = traced(3e-4, step_size="policy")
    """Adam learning rate of the policy."""
    clip: float = traced(0.2, above=0)
    """Clip range of the probability ratio."""
    max_grad_norm: float = traced(0.5, above=0)
    """Bound on the global norm of the policy's and the value's gradients."""
    epochs: int = setting(10, least=1)
    """Passes over the batch."""
    minibatches: int = setting(8, least=1)
    """Minibatches per pass."""

    def verify(self, num_envs: int, unroll_length: int) -> None:
        if self.minibatches > num_envs * unroll_length:
            raise GailfeError(
                f"policy.minibatches: got {self.minibatches}; expected at most rollout.num_envs * unroll_length = "
                f"{num_envs * unroll_length}"
            )

    def update(
        self, state: AgentState, transition: Transition, objective: Objective, key: Array
    ) -> tuple[AgentState, Metrics]:
        """One iteration on an unroll `[T, B, ...]`; see `ActorCritic.update`."""
        state, batch, metrics = self.make_batch(state, transition, objective)

        def minibatch_step(carry, indices):
            policy, policy_opt, value, value_opt = carry
            rows = local_rows(indices)
            part = jax.tree.map(lambda x: x[rows], batch)
            policy_grad = jax.grad(self.policy_loss)(policy, state, part, rows, objective.auxiliary)
            loss, value_grad = jax.value_and_grad(self.value_loss)(value, part.seen, part.target)
            policy_grad, loss, value_grad = mean_over_devices((policy_grad, loss, value_grad))
            policy_grad = clip_by_norm(policy_grad, self.max_grad_norm)
            value_grad = clip_by_norm(value_grad, self.max_grad_norm)
            policy, policy_opt = adam_step(policy_grad, policy_opt, policy, self.lr)
            value, value_opt = adam_step(value_grad, value_opt, value, self.value_lr)
            return (policy, policy_opt, value, value_opt), loss

        size = batch.log_prob.shape[0]
        partition = jax.vmap(lambda k: shuffled_minibatches(k, size, self.minibatches))
        indices = partition(jax.random.split(key, self.epochs)).reshape(self.epochs * self.minibatches, -1)
        carry = (state.policy, state.policy_opt, state.value, state.value_opt)
        (policy, policy_opt, value, value_opt), losses = jax.lax.scan(minibatch_step, carry, indices)

        part = local_rows(batch)
        old, new = (self.policy(p, part.x) for p in (state.policy, policy))
        metrics |= {"value_loss": jnp.mean(losses)} | mean_over_devices(
            {
                "kl": jnp.mean(old.kl(new)),
                "entropy": new.entropy(),
                "clip_fraction": clip_fraction(new, part.action, part.log_prob, self.clip),
            }
        )
        state = state.replace(policy=policy, policy_opt=policy_opt, value=value, value_opt=value_opt)
        return self.finish(state, transition), metrics

    def policy_loss(
        self, policy: PyTree, state: AgentState, part: Batch, rows: Array, auxiliary: AuxiliaryFn | None = None
    ) -> Array:
        """`[]` what a minibatch's step descends: the clipped surrogate, entropy and auxiliary objective, negated.

        Args:
          policy: parameters.
          state: the agent.
          part: `[m]` rows of the batch.
          rows: `[m]` which they are.
          auxiliary: what is maximised besides.
        """
        dist = self.policy(policy, part.x)
        gain = clipped_surrogate(dist, part.action, part.log_prob, part.advantage, self.clip)
        return -gain - self.entropy * dist.entropy() - self.auxiliary(state, policy, auxiliary, rows)
