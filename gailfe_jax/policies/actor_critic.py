"""What the generators share: acting, values, advantages, reward and value scales."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import chex
import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.config.flat import Config, Hyper
from gailfe_jax.nn.distributions import Distribution, GaussianPolicy, MixturePolicy
from gailfe_jax.nn.mlp import MLP
from gailfe_jax.nn.normaliser import RunningStats
from gailfe_jax.nn.optimisers import adam, adam_step, shuffled_minibatches
from gailfe_jax.parallel.seeds import draw_rows, isolated_compilation, local_rows, mean_over_devices, per_seed
from gailfe_jax.policies.advantage import generalised_advantage
from gailfe_jax.types import Array, AuxiliaryFn, EnvSpec, PyTree, Scalar, ScoreFn, StateAction, Transition


@struct.dataclass
class ReturnScale:
    """Exponential moving mean and second moment of value targets; values are learned in these units.

    Attributes:
      mean, square: `[]` bias-corrected by `weight`.
      weight: `[]` total weight so far, in [0, 1).
    """

    mean: Array
    square: Array
    weight: Array

    DECAY = 0.95

    @classmethod
    def init(cls) -> ReturnScale:
        return cls(jnp.float32(0.0), jnp.float32(0.0), jnp.float32(0.0))

    def update(self, target: Array) -> ReturnScale:
        """Moves towards the moments of `target [...]`."""
        keep = jnp.float32(self.DECAY)
        return ReturnScale(
            mean=keep * self.mean + (1 - keep) * jnp.mean(target),
            square=keep * self.square + (1 - keep) * jnp.mean(jnp.square(target)),
            weight=keep * self.weight + (1 - keep),
        )

    @property
    def moments(self) -> tuple[Array, Array]:
        """`(mean, std)`, (0, 1) before the first update."""
        weight = jnp.maximum(self.weight, 1e-8)
        mean = self.mean / weight
        std = jnp.sqrt(jnp.maximum(self.square / weight - jnp.square(mean), 1e-6))
        return mean, jnp.where(self.weight > 0, std, 1.0)


@struct.dataclass
class RewardScale:
    """Running scale of environment rewards: the standard deviation of their discounted sum.

    Attributes:
      returns: `[B]` discounted sums so far.
      stats: statistics over all of them.
    """

    returns: Array
    stats: RunningStats


@struct.dataclass
class ActorCriticState:
    """State of a generator.

    Attributes:
      policy, value: parameters; policy_opt, value_opt: Adam states (TRPO's policy_opt is empty).
      average: exponential average of the policy's parameters, or () without.
      obs_stats: the observation normaliser `[o]`.
      return_scale: units of the value network.
      reward_scale: units of environment rewards.
    """

    policy: PyTree
    average: PyTree
    value: PyTree
    policy_opt: PyTree
    value_opt: PyTree
    obs_stats: RunningStats
    return_scale: ReturnScale
    reward_scale: RewardScale

    @property
    def judged(self) -> PyTree:
        """Parameters of the policy that is evaluated and saved: the average where there is one."""
        return self.average if jax.tree.leaves(self.average) else self.policy


StateT = TypeVar("StateT", bound=ActorCriticState)


@struct.dataclass
class Batch:
    """A flat on-policy batch, `n = T * B`.

    Attributes:
      x: `[n, o]` normalised observations; action `[n, a]`; log_prob `[n]`; advantage `[n]` standardised;
      target: `[n]` value targets in the network's units.
    """

    x: Array
    action: Array
    log_prob: Array
    advantage: Array
    target: Array


@dataclasses.dataclass(frozen=True)
class ActorCritic:
    """Base of the generators. Functions are for one seed.

    Attributes:
      config: static settings.
      spec: the environment's.
    """

    config: Config
    spec: EnvSpec

    @property
    def _policy_net(self) -> GaussianPolicy | MixturePolicy:
        config, size = self.config, self.spec.action_size
        if config.mixture > 1:
            return MixturePolicy(config.hidden, size, config.mixture, config.activation, config.init_log_std)
        return GaussianPolicy(config.hidden, size, config.activation, config.init_log_std)

    @property
    def _value_net(self) -> MLP:
        return MLP(self.config.hidden, 1, self.config.activation)

    def _init_policy_opt(self, policy: PyTree) -> PyTree:
        return adam(policy)

    def init(self, key: Array) -> ActorCriticState:
        """Fresh state from `key []`."""
        key_policy, key_value = jax.random.split(key)
        x = jnp.zeros((1, self.spec.obs_size))
        policy, value = self._policy_net.init(key_policy, x), self._value_net.init(key_value, x)
        return ActorCriticState(
            policy=policy,
            average=policy if self.config.policy_average else (),
            value=value,
            policy_opt=self._init_policy_opt(policy),
            value_opt=adam(value),
            obs_stats=RunningStats.init(self.spec.obs_size),
            return_scale=ReturnScale.init(),
            reward_scale=RewardScale(jnp.zeros(self.config.num_envs), RunningStats.init(1)),
        )

    def distribution(self, state: ActorCriticState, obs: Array) -> Distribution:
        """The policy at `obs [..., o]`."""
        return self.policy(state.policy, state.obs_stats.normalise(obs))

    def policy(self, params: PyTree, x: Array) -> Distribution:
        """The policy with parameters `params` at normalised observations `x [..., o]`."""
        dist: Any = self._policy_net.apply(params, x)
        return dist

    def auxiliary(
        self, state: ActorCriticState, params: PyTree, auxiliary: AuxiliaryFn | None, rows: Array | None = None
    ) -> Array:
        """`[]` what `auxiliary` says of the policy with parameters `params` beside the batch's `rows [m]`, or beside
        all of it; zero where there is none."""
        if auxiliary is None:
            return jnp.float32(0.0)
        return auxiliary(lambda obs: self.policy(params, state.obs_stats.normalise(obs)), rows)

    def standardise(self, state: ActorCriticState, demos: StateAction) -> ActorCriticState:
        """Takes the normaliser from the demonstrations `[N]`, where the configuration or cloning asks for it."""
        if self.config.obs_normaliser == "running" and not self.config.bc_steps:
            return state
        return state.replace(obs_stats=state.obs_stats.update(demos.obs))

    def negative_log_likelihood(self, state: ActorCriticState, params: PyTree, demos: StateAction) -> Array:
        """`[n]` nats: minus the log-density of `demos [n]` under the policy with parameters `params`."""
        return -self.policy(params, state.obs_stats.normalise(demos.obs)).log_prob(demos.action)

    def imitate(
        self,
        state: StateT,
        demos: StateAction,
        order: Array | None,
        count: Scalar,
        keys: Array,
        lr: Array,
        weight_decay: Scalar | None = None,
    ) -> tuple[StateT, Array]:
        """`K` Adam steps of maximum likelihood, each on `Config.bc_minibatch` pairs drawn with replacement.

        Args:
          state: its `policy` and `policy_opt` move.
          demos: `[N]`.
          order: `[N]` rows of which the first `count` are drawn from; as they come if None.
          count: `[]`, at least 1.
          keys, lr: `[K]`, of each step.
          weight_decay: `[]`, see `adam_step`.

        Returns:
          `(state, losses [K])`.
        """

        def loss(params: PyTree, rows: Array) -> Array:
            shown = StateAction(demos.obs[rows], demos.action[rows])
            return jnp.mean(self.negative_log_likelihood(state, params, shown))

        def step(carry, inputs):
            (params, opt), (key, lr) = carry, inputs
            rows = jax.random.randint(key, (self.config.bc_minibatch,), 0, count)
            rows = local_rows(rows if order is None else order[rows])
            value, grads = mean_over_devices(jax.value_and_grad(loss)(params, rows))
            return adam_step(grads, opt, params, lr, weight_decay), value

        (policy, opt), losses = jax.lax.scan(step, (state.policy, state.policy_opt), (keys, lr))
        return state.replace(policy=policy, policy_opt=opt), losses

    def clone(self, state: StateT, demos: StateAction, next_obs: Array | None, key: Array, hyper: Hyper) -> StateT:
        """Behavioural cloning: `Config.bc_steps` steps of maximum likelihood on the demonstrations `[N]`.

        The learning rate decays linearly to zero: how a clone fares in closed loop hangs on its last few steps. The
        standard deviation becomes the expert's. `next_obs [N, o]`, where the actions led, is for forward models.
        """
        keys = jax.random.split(key, self.config.bc_steps)
        left = 1.0 - jnp.arange(self.config.bc_steps) / self.config.bc_steps
        fitted, _ = self.imitate(
            state.replace(policy_opt=adam(state.policy)), demos, None, demos.obs.shape[0], keys, hyper.bc_lr * left
        )
        policy = fitted.policy
        return state.replace(policy=policy, average=policy if self.config.policy_average else ())

    def act(self, state: ActorCriticState, obs: Array, key: Array) -> tuple[Array, Array]:
        """Draws actions for a batch of environments: `obs [B, o] -> (action [B, a], log_prob [B])`."""

        def draw(policy, obs_stats, obs, key):
            x = obs_stats.normalise(obs)
            dist = self.policy(policy, x)
            action = dist.from_noise(draw_rows(lambda x: self.policy(policy, x).draw_noise(key), x))
            return action, dist.log_prob(action)

        return per_seed(draw)(state.policy, state.obs_stats, obs, key)

    def mode(self, state: ActorCriticState, obs: Array) -> Array:
        """The deterministic policy: `obs [B, o] -> action [B, a]`."""

        def mode(policy, obs_stats, obs):
            return self.policy(policy, obs_stats.normalise(obs)).mode

        return per_seed(mode)(state.judged, state.obs_stats, obs)

    def _values(self, state: ActorCriticState, obs: Array) -> Array:
        mean, std = state.return_scale.moments
        return mean + std * self._value(state.value, state.obs_stats.normalise(obs))

    def _reward(
        self, state: ActorCriticState, transition: Transition, score: ScoreFn | None, hyper: Hyper
    ) -> tuple[Array, RewardScale]:
        """The reward `[T, B]` to maximise: the cost's score, the scaled true reward where there is no cost, or both."""
        if score is None:
            return self._true_reward(state, transition, hyper)
        low, high = jnp.asarray(self.spec.action_low), jnp.asarray(self.spec.action_high)
        scored = score(transition.obs, jnp.clip(transition.action, low, high))
        if not self.config.env_reward:
            return scored, state.reward_scale
        reward, scale = self._true_reward(state, transition, hyper)
        # Sealed, as what comes out without a cost, so that with alpha zero both are the same to the bit.
        return isolated_compilation(lambda reward, scored: reward + scored)(reward, scored), scale

    def _true_reward(self, state: ActorCriticState, transition: Transition, hyper: Hyper) -> tuple[Array, RewardScale]:
        """The environment's reward `[T, B]`, scaled where the configuration says so."""
        if not self.config.normalise_reward:
            return transition.reward, state.reward_scale

        def accumulate(returns, step):
            reward, done = step
            returns = returns * hyper.gamma + reward
            return jnp.where(done, 0.0, returns), returns

        last, sums = jax.lax.scan(accumulate, state.reward_scale.returns, (transition.reward, transition.done))
        scale = RewardScale(last, state.reward_scale.stats.update(sums[..., None]))
        return isolated_compilation(jnp.divide)(transition.reward, scale.stats.std[0]), scale

    def prepare(
        self, state: StateT, transition: Transition, score: ScoreFn | None, hyper: Hyper
    ) -> tuple[StateT, Batch, dict[str, Array]]:
        """Rewards, advantages and value targets of an unroll, flattened.

        Returns:
          `(state with new scales, batch, metrics)`.
        """
        chex.assert_rank([transition.obs, transition.reward], [3, 2])
        reward, reward_scale = self._reward(state, transition, score, hyper)
        value, next_value = self._values(state, transition.obs), self._values(state, transition.next_obs)
        advantage = generalised_advantage(
            reward, value, next_value, transition.terminated, transition.done, gamma=hyper.gamma,
            gae_lambda=hyper.gae_lambda,
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
        decay = self.config.policy_average
        if decay:
            average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.average, state.policy)
            state = state.replace(average=average)
        if self.config.obs_normaliser == "demonstrations":
            return state
        return state.replace(obs_stats=state.obs_stats.update(transition.obs))

    def fit_value(
        self, state: ActorCriticState, batch: Batch, key: Array, hyper: Hyper
    ) -> tuple[PyTree, PyTree, Array]:
        """Fits the value network to the batch's targets by Adam; returns `(value, value_opt, mean loss)`."""
        config, size = self.config, batch.target.shape[0]
        count = max(1, size // config.value_minibatch)

        def step(carry, indices):
            value, opt = carry
            rows = local_rows(indices)
            loss, grads = jax.value_and_grad(self.value_loss)(value, batch.x[rows], batch.target[rows])
            loss, grads = mean_over_devices((loss, grads))
            return adam_step(grads, opt, value, hyper.value_lr), loss

        partition = jax.vmap(lambda k: shuffled_minibatches(k, size, count))
        indices = partition(jax.random.split(key, config.value_epochs)).reshape(config.value_epochs * count, -1)
        (value, opt), losses = jax.lax.scan(step, (state.value, state.value_opt), indices)
        return value, opt, jnp.mean(losses)

    def value_loss(self, value: PyTree, x: Array, target: Array) -> Array:
        """`[]` half mean squared error in the network's units."""
        return 0.5 * jnp.mean(jnp.square(self._value(value, x) - target))

    def _value(self, params: PyTree, x: Array) -> Array:
        net: Any = self._value_net.apply(params, x)
        return net[..., 0]
