"""What on-policy steps share: values, advantages, and the scales of rewards and values."""

from __future__ import annotations

from typing import Any, TypeVar

import chex
import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.config.parts import setting, traced
from gailfe_jax.nn.mlp import MLP
from gailfe_jax.nn.optimisers import adam, adam_step, shuffled_minibatches
from gailfe_jax.parallel.devices import local_rows, mean_over_devices
from gailfe_jax.parallel.phases import phase
from gailfe_jax.parallel.seeds import isolated_compilation
from gailfe_jax.policies.actor import AgentState, RewardScale
from gailfe_jax.policies.advantage import generalised_advantage
from gailfe_jax.policies.base import Objective, PolicyUpdate
from gailfe_jax.types import Array, PyTree, Transition

StateT = TypeVar("StateT", bound=AgentState)


@struct.dataclass
class Batch:
    """A flat on-policy batch, `n = T * B`.

    Attributes:
      x: `[n, o]` normalised observations; action `[n, a]`; log_prob `[n]`; advantage `[n]` standardised;
      target: `[n]` value targets in the network's units.
      share: `[n]` of the time limit that had passed; None where the value network does not see it.
    """

    x: Array
    action: Array
    log_prob: Array
    advantage: Array
    target: Array
    share: Array | None = None

    @property
    def seen(self) -> Array:
        """`[n, ...]` what the value network sees."""
        return beside(self.x, self.share)


def beside(x: Array, share: Array | None) -> Array:
    """`[..., o + 1]` observations `[..., o]` and the share `[...]` of the time limit; `x` itself without one."""
    return x if share is None else jnp.concatenate([x, share[..., None]], axis=-1)


class ActorCritic(PolicyUpdate):
    """Base of the policy steps that learn from the newest unroll alone.

    A subclass defines `update(state, transition, objective, key) -> (state, metrics)`.
    """

    gae_lambda: float = traced(0.97, least=0, most=1)
    """Trace decay of the advantage estimator (that of the original GAIL code)."""
    entropy: float = traced(0.0, least=0)
    """Weight of the policy's entropy (lambda_H), subtracted under min over theta."""
    value_lr: float = traced(1e-3, step_size="value")
    """Adam learning rate of the value network."""
    normalise_reward: bool = setting(True)
    """Divide the environment's rewards by the running standard deviation of their discounted sum."""
    timed_value: bool = setting(False)
    """Let the value network see the share of the time limit that has passed, and let the limit end what it sums, as the
    public code of FEM and GTAL does (Ho et al. 2016)."""

    @property
    def asks_time(self) -> bool:
        return self.timed_value

    @property
    def _value_net(self) -> MLP:
        return MLP(self.hidden, 1, self.activation)

    def _init_policy_opt(self, policy: PyTree) -> PyTree:
        return adam(policy)

    def init(self, key: Array) -> AgentState:
        """Fresh state from `key []`."""
        state = super().init(key)
        _, key_value = jax.random.split(key)
        value = self._value_net.init(key_value, jnp.zeros((1, self.problem.spec.obs_size + self.asks_time)))
        return state.replace(policy_opt=self._init_policy_opt(state.policy), value=value, value_opt=adam(value))

    def _values(self, state: AgentState, obs: Array, share: Array | None = None) -> Array:
        mean, std = state.return_scale.moments
        return mean + std * self.value(state.value, beside(state.obs_stats.normalise(obs), share))

    def _reward(self, state: AgentState, transition: Transition, objective: Objective) -> tuple[Array, RewardScale]:
        """The reward `[T, B]` to maximise: the fitted one, the scaled true one, or both."""
        if objective.score is None:
            return self._true_reward(state, transition)
        scored = self.scored(transition, objective.score)
        if not objective.true_reward:
            return scored, state.reward_scale
        reward, scale = self._true_reward(state, transition)
        # Sealed, as what comes out without a cost, so that with alpha zero both are the same to the bit.
        return isolated_compilation(lambda reward, scored: reward + scored)(reward, scored), scale

    def _true_reward(self, state: AgentState, transition: Transition) -> tuple[Array, RewardScale]:
        """The environment's reward `[T, B]`, scaled where the configuration says so."""
        if not self.normalise_reward:
            return transition.reward, state.reward_scale

        def accumulate(returns, step):
            reward, done = step
            returns = returns * self.gamma + reward
            return jnp.where(done, 0.0, returns), returns

        with phase("rest"):
            last, sums = jax.lax.scan(accumulate, state.reward_scale.returns, (transition.reward, transition.done))
        scale = RewardScale(last, state.reward_scale.stats.update(sums[..., None]))
        return isolated_compilation(jnp.divide)(transition.reward, scale.stats.std[0]), scale

    def make_batch(
        self, state: StateT, transition: Transition, objective: Objective
    ) -> tuple[StateT, Batch, dict[str, Array]]:
        """Rewards, advantages and value targets of an unroll, flattened.

        Returns:
          `(state with new scales, batch, metrics)`.
        """
        chex.assert_rank([transition.obs, transition.reward], [3, 2])
        reward, reward_scale = self._reward(state, transition, objective)
        share = next_share = None
        if self.asks_time:
            assert transition.step is not None
            share, next_share = (
                step / self.problem.spec.max_episode_steps for step in (transition.step, transition.step + 1)
            )
        value = self._values(state, transition.obs, share)
        next_value = self._values(state, transition.next_obs, next_share)
        terminated = transition.terminated
        if objective.after_end is not None:
            # The task's end is a state like others, with a value that is known.
            next_value = jnp.where(terminated, objective.after_end / (1 - self.gamma), next_value)
            terminated = jnp.zeros_like(terminated)
        if self.asks_time:
            terminated = terminated | transition.truncated
        advantage = generalised_advantage(
            reward, value, next_value, terminated, transition.done, gamma=self.gamma,
            gae_lambda=self.gae_lambda,
        )  # fmt: skip
        target = advantage + value
        return_scale = state.return_scale.update(target)
        mean, std = return_scale.moments
        # The network's output keeps its meaning when the units change only through the next fit; the units move
        # slowly, so the fit follows.
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), transition)
        advantage = advantage.reshape(-1)
        batch = Batch(
            x=state.obs_stats.normalise(flat.obs),
            action=flat.action,
            log_prob=flat.log_prob,
            advantage=(advantage - jnp.mean(advantage)) / (jnp.std(advantage) + 1e-8),
            target=(target.reshape(-1) - mean) / std,
            share=None if share is None else share.reshape(-1),
        )
        residual = jnp.var(target - value) / (jnp.var(target) + 1e-8)
        metrics = {
            "reward_mean": jnp.mean(reward),
            "explained_variance": 1.0 - residual,
            "advantage_std": jnp.std(advantage),
        }
        return state.replace(return_scale=return_scale, reward_scale=reward_scale), batch, metrics

    def finish(self, state: StateT, transition: Transition) -> StateT:
        """Takes the new policy into its average, and the unroll into the normaliser (the step used the old one).

        Statistics of the demonstrations stay as they are: to move them is to move the policy.
        """
        state = self.averaged(state)
        if self.obs_normaliser == "demonstrations":
            return state
        return state.replace(obs_stats=state.obs_stats.update(transition.obs))

    def fit_value(
        self, state: AgentState, batch: Batch, key: Array, epochs: int, minibatch: int
    ) -> tuple[PyTree, PyTree, Array]:
        """Fits the value network to the batch's targets by Adam; returns `(value, value_opt, mean loss)`."""
        size = batch.target.shape[0]
        count = max(1, size // minibatch)

        def step(carry, indices):
            value, opt = carry
            rows = local_rows(indices)
            loss, grads = jax.value_and_grad(self.value_loss)(value, batch.seen[rows], batch.target[rows])
            loss, grads = mean_over_devices((loss, grads))
            return adam_step(grads, opt, value, self.value_lr), loss

        partition = jax.vmap(lambda k: shuffled_minibatches(k, size, count))
        indices = partition(jax.random.split(key, epochs)).reshape(epochs * count, -1)
        with phase("value"):
            (value, opt), losses = jax.lax.scan(step, (state.value, state.value_opt), indices)
        return value, opt, jnp.mean(losses)

    def value_loss(self, value: PyTree, x: Array, target: Array) -> Array:
        """`[]` half mean squared error in the network's units."""
        return 0.5 * jnp.mean(jnp.square(self.value(value, x) - target))

    def value(self, params: PyTree, x: Array) -> Array:
        """`[...]` the value network at what it sees, normalised observations `x [..., o]` and perhaps the share of the
        time limit, in its own units."""
        net: Any = self._value_net.apply(params, x)
        return net[..., 0]
