"""Proximal policy optimisation (Schulman et al. 2017)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from gailfe_jax.buffers.prioritized_episodes import EpisodeSample
from gailfe_jax.config.flat import Hyper
from gailfe_jax.nn.optimisers import adam_step, clip_by_norm, shuffled_minibatches
from gailfe_jax.parallel.seeds import local_rows, mean_over_devices
from gailfe_jax.policies.actor_critic import ActorCritic, ActorCriticState, Batch
from gailfe_jax.policies.self_imitation import (
    clipped_advantage,
    self_imitation_policy_loss,
    self_imitation_value_loss,
)
from gailfe_jax.policies.surrogate import clip_fraction, clipped_surrogate
from gailfe_jax.types import Array, AuxiliaryFn, ForwardTransitions, Metrics, PyTree, ScoreFn, Transition


@dataclasses.dataclass(frozen=True)
class PPO(ActorCritic):
    """The clipped-surrogate generator.

    Differences from the textbook: policy and value network are separate and each has its own clipped gradient;
    the value network is fitted in running units of the return; the value loss is not clipped.
    """

    def update(
        self,
        state: ActorCriticState,
        transition: Transition,
        score: ScoreFn | None,
        key: Array,
        hyper: Hyper,
        experience: ForwardTransitions | None = None,
        auxiliary: AuxiliaryFn | None = None,
    ) -> tuple[ActorCriticState, Metrics]:
        """One iteration on an unroll `[T, B, ...]`; `score` gives the reward, None means the true one. Without a
        forward model `experience` is not used."""
        state, batch, metrics = self.prepare(state, transition, score, hyper)

        def policy_loss(policy: PyTree, batch: Batch, rows: Array) -> Array:
            dist = self.policy(policy, batch.x)
            gain = clipped_surrogate(dist, batch.action, batch.log_prob, batch.advantage, hyper.clip)
            return -gain - hyper.entropy * dist.entropy() - self.auxiliary(state, policy, auxiliary, rows)

        def minibatch_step(carry, indices):
            policy, policy_opt, value, value_opt = carry
            rows = local_rows(indices)
            part = jax.tree.map(lambda x: x[rows], batch)
            policy_grad = jax.grad(policy_loss)(policy, part, rows)
            loss, value_grad = jax.value_and_grad(self.value_loss)(value, part.x, part.target)
            policy_grad, loss, value_grad = mean_over_devices((policy_grad, loss, value_grad))
            policy_grad = clip_by_norm(policy_grad, hyper.max_grad_norm)
            value_grad = clip_by_norm(value_grad, hyper.max_grad_norm)
            policy, policy_opt = adam_step(policy_grad, policy_opt, policy, hyper.policy_lr)
            value, value_opt = adam_step(value_grad, value_opt, value, hyper.value_lr)
            return (policy, policy_opt, value, value_opt), loss

        config, size = self.config, batch.log_prob.shape[0]
        partition = jax.vmap(lambda k: shuffled_minibatches(k, size, config.ppo_minibatches))
        indices = partition(jax.random.split(key, config.ppo_epochs)).reshape(
            config.ppo_epochs * config.ppo_minibatches, -1
        )
        carry = (state.policy, state.policy_opt, state.value, state.value_opt)
        (policy, policy_opt, value, value_opt), losses = jax.lax.scan(minibatch_step, carry, indices)

        part = local_rows(batch)
        old, new = (self.policy(p, part.x) for p in (state.policy, policy))
        metrics |= {"value_loss": jnp.mean(losses)} | mean_over_devices(
            {
                "kl": jnp.mean(old.kl(new)),
                "entropy": new.entropy(),
                "clip_fraction": clip_fraction(new, part.action, part.log_prob, hyper.clip),
            }
        )
        state = state.replace(policy=policy, policy_opt=policy_opt, value=value, value_opt=value_opt)
        return self.finish(state, transition), metrics

    def imitate_self(
        self, state: ActorCriticState, sample: EpisodeSample, hyper: Hyper
    ) -> tuple[ActorCriticState, Array, Metrics]:
        """One self-imitation update of policy and value by their own optimisers (Oh et al. 2018, eq. 2 and 3).

        Args:
          state: the generator.
          sample: `[n]` past steps, their returns in the environment's reward.
          hyper: traced settings.

        Returns:
          `(state, new priorities [n], metrics)`.
        """
        x = state.obs_stats.normalise(sample.obs)
        returns = sample.returns / state.reward_scale.stats.std[0] if self.config.normalise_reward else sample.returns
        # In the value network's units, as the advantages of the on-policy step are standardised.
        mean, std = state.return_scale.moments
        returns = (returns - mean) / std

        def policy_loss(policy: PyTree) -> Array:
            log_prob = self.policy(policy, x).log_prob(sample.action)
            value = self._value(state.value, x)
            return hyper.sil_weight * self_imitation_policy_loss(log_prob, returns, value, sample.weight)

        def value_loss(value: PyTree) -> Array:
            return hyper.sil_value_weight * self_imitation_value_loss(returns, self._value(value, x), sample.weight)

        priority = clipped_advantage(returns, self._value(state.value, x))
        policy_grad = clip_by_norm(jax.grad(policy_loss)(state.policy), hyper.max_grad_norm)
        value_grad = clip_by_norm(jax.grad(value_loss)(state.value), hyper.max_grad_norm)
        policy, policy_opt = adam_step(policy_grad, state.policy_opt, state.policy, hyper.policy_lr)
        value, value_opt = adam_step(value_grad, state.value_opt, state.value, hyper.value_lr)
        state = state.replace(policy=policy, policy_opt=policy_opt, value=value, value_opt=value_opt)
        return state, priority, {"sil_share": jnp.mean(priority > 0)}
