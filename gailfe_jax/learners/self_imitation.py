"""Self-Imitation Learning (Oh et al. 2018): past steps that did better than was thought are imitated."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gailfe_jax.buffers.prioritized_episodes import PrioritizedEpisodes, PrioritizedSample
from gailfe_jax.config.parts import Part, setting, traced
from gailfe_jax.nn.optimisers import adam_step, clip_by_norm
from gailfe_jax.policies.actor import AgentState
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.policies.self_imitation import (
    clipped_advantage,
    self_imitation_policy_loss,
    self_imitation_value_loss,
)
from gailfe_jax.types import Array, Metrics, PyTree


class SelfImitation(Part):
    """PPO also imitates its own past steps that did better than was thought, by the environment's reward."""

    updates: int = setting(0, least=0)
    """Updates per iteration; 0 for none, 10 in the paper."""
    minibatch: int = setting(512, least=1)
    """Steps per update."""
    capacity: int = setting(50, least=1)
    """Past episodes held."""
    weight: float = traced(0.1, least=0)
    """Weight of the policy loss."""
    value_weight: float = traced(0.01, least=0)
    """Weight of the value loss."""
    beta: float = traced(0.1, least=0, most=1)
    """How far importance weights undo the priorities."""

    def unread(self) -> dict[str, str]:
        others = ("minibatch", "capacity", "weight", "value_weight", "beta")
        return {} if self.updates else dict.fromkeys(others, "self_imitation.updates is 0")

    @property
    def episodes(self) -> PrioritizedEpisodes:
        """The buffer of past episodes."""
        spec = self.problem.spec
        return PrioritizedEpisodes(
            capacity=self.capacity, max_length=spec.max_episode_steps, num_envs=self.problem.num_envs,
            obs_size=spec.obs_size, action_size=spec.action_size,
        )  # fmt: skip

    def update(self, ppo: PPO, state: AgentState, sample: PrioritizedSample) -> tuple[AgentState, Array, Metrics]:
        """One update of policy and value by their own optimisers (Oh et al. 2018, eq. 2 and 3).

        Args:
          ppo: the policy step whose agent it is.
          state: the agent.
          sample: `[n]` past steps, their returns in the environment's reward.

        Returns:
          `(state, new priorities [n], metrics)`.
        """
        x = state.obs_stats.normalise(sample.obs)
        returns = sample.returns / state.reward_scale.stats.std[0] if ppo.normalise_reward else sample.returns
        # In the value network's units, as the advantages of the on-policy step are standardised.
        mean, std = state.return_scale.moments
        returns = (returns - mean) / std

        def policy_loss(policy: PyTree) -> Array:
            log_prob = ppo.policy(policy, x).log_prob(sample.action)
            value = ppo.value(state.value, x)
            return self.weight * self_imitation_policy_loss(log_prob, returns, value, sample.weight)

        def value_loss(value: PyTree) -> Array:
            return self.value_weight * self_imitation_value_loss(returns, ppo.value(value, x), sample.weight)

        priority = clipped_advantage(returns, ppo.value(state.value, x))
        policy_grad = clip_by_norm(jax.grad(policy_loss)(state.policy), ppo.max_grad_norm)
        value_grad = clip_by_norm(jax.grad(value_loss)(state.value), ppo.max_grad_norm)
        policy, policy_opt = adam_step(policy_grad, state.policy_opt, state.policy, ppo.lr)
        value, value_opt = adam_step(value_grad, state.value_opt, state.value, ppo.value_lr)
        state = state.replace(policy=policy, policy_opt=policy_opt, value=value, value_opt=value_opt)
        return state, priority, {"sil_share": jnp.mean(priority > 0)}
