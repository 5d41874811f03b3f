"""The policy: acting, and maximum likelihood."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.config.parts import Part, setting, traced
from gailfe_jax.nn.categorical import CategoricalPolicy
from gailfe_jax.nn.distributions import ActionUnits, Distribution, GaussianPolicy, MixturePolicy
from gailfe_jax.nn.normaliser import RunningStats
from gailfe_jax.nn.optimisers import adam, adam_step
from gailfe_jax.parallel.devices import draw_rows, local_rows, mean_over_devices
from gailfe_jax.parallel.seeds import per_seed
from gailfe_jax.types import Array, AuxiliaryFn, Problem, PyTree, Scalar, StateAction


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
class AgentState:
    """The agent: what a policy step moves.

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
    def evaluated(self) -> PyTree:
        """Parameters of the policy that is evaluated and saved: the average where there is one."""
        return self.average if jax.tree.leaves(self.average) else self.policy


StateT = TypeVar("StateT", bound=AgentState)


class CloneStart(Part):
    """Imitation starts from behavioural cloning of the demonstrations."""

    steps: int = setting(0, least=0)
    """Maximum-likelihood steps before the first iteration; 0 starts from nothing."""
    minibatch: int = setting(256, least=1)
    """Pairs per such step."""
    lr: float = traced(1e-3, least=0)
    """Adam learning rate of these steps; it decays linearly to zero."""

    def unread(self) -> dict[str, str]:
        return {} if self.steps else dict.fromkeys(("minibatch", "lr"), "start.steps is 0")


def unread_of_choices() -> dict[str, str]:
    """An `Actor`'s settings that nothing reads where actions are choices."""
    return dict.fromkeys(("mixture", "init_log_std"), "actions are choices, whose policy is no Gaussian")


class Actor(Part):
    """A stochastic policy with its observation normaliser. Functions are for one seed."""

    hidden: tuple[int, ...] = setting((100, 100))
    """Hidden layers of the policy, and of the value network where there is one."""
    activation: Literal["tanh", "relu"] = setting("tanh")
    """Activation of these networks."""
    mixture: int = setting(1, least=1)
    """Components of the policy's Gaussian mixture; 1 is a plain Gaussian. Where actions are choices the policy is
    neither."""
    init_log_std: float = setting(-0.5)
    """Initial log standard deviation of the Gaussian policy, or of each of its components, where actions are bounded
    by -1 and 1; for other bounds it is scaled with them."""
    obs_normaliser: Literal["demonstrations", "running"] = setting("demonstrations")
    """Standardise observations by the demonstrations' statistics, or by running ones of the policy's own; every move of
    running statistics moves the policy too, unseen by its trust region."""
    average: float = setting(0.0, least=0, below=1)
    """Evaluate and save an exponential average of the policy's parameters with this decay per iteration: single steps
    can make a deterministic gait stumble. 0 takes the newest parameters; the newest policy always acts."""

    def unread(self) -> dict[str, str]:
        """Before it is bound, nothing is known of its actions."""
        known: Problem | None = self.problem
        return unread_of_choices() if known is not None and known.spec.discrete else {}

    def verify_actions(self) -> None:
        """Refuses the actions of what it is bound to, where it cannot choose such; raises GailfeError."""

    def init(self, key: Array) -> AgentState:
        """A fresh policy from `key []`, without a value network."""
        key_policy, _ = jax.random.split(key)
        policy = self._policy_net.init(key_policy, jnp.zeros((1, self.problem.spec.obs_size)))
        return AgentState(
            policy=policy,
            average=policy if self.average else (),
            value=(),
            policy_opt=adam(policy),
            value_opt=(),
            obs_stats=RunningStats.init(self.problem.spec.obs_size),
            return_scale=ReturnScale.init(),
            reward_scale=RewardScale(jnp.zeros(self.problem.num_envs), RunningStats.init(1)),
        )

    @property
    def _policy_net(self) -> GaussianPolicy | MixturePolicy | CategoricalPolicy:
        size = self.problem.spec.action_size
        if self.problem.spec.discrete:
            return CategoricalPolicy(self.hidden, size, self.activation)
        if self.mixture > 1:
            return MixturePolicy(self.hidden, size, self.mixture, self.activation, self.init_log_std, self.action_units)
        return GaussianPolicy(self.hidden, size, self.activation, self.init_log_std, self.action_units)

    @property
    def action_units(self) -> ActionUnits | None:
        """What the policy network's outputs are in; None for those of the actions themselves, and for logits."""
        spec = self.problem.spec
        if spec.discrete:
            return None
        return ActionUnits.of(spec.action_low, spec.action_high, spec.action_size)

    def distribution(self, state: AgentState, obs: Array) -> Distribution:
        """The policy at `obs [..., o]`."""
        return self.policy(state.policy, state.obs_stats.normalise(obs))

    def policy(self, params: PyTree, x: Array) -> Distribution:
        """The policy with parameters `params` at normalised observations `x [..., o]`."""
        dist: Any = self._policy_net.apply(params, x)
        return dist

    def auxiliary(
        self, state: AgentState, params: PyTree, auxiliary: AuxiliaryFn | None, rows: Array | None = None
    ) -> Array:
        """`[]` what `auxiliary` says of the policy with parameters `params` beside the batch's `rows [m]`, or beside
        all of it; zero where there is none."""
        if auxiliary is None:
            return jnp.float32(0.0)
        return auxiliary(lambda obs: self.policy(params, state.obs_stats.normalise(obs)), rows)

    def init_normaliser(self, state: StateT, demos: StateAction) -> StateT:
        """Takes the normaliser from the demonstrations `[N]`."""
        return state.replace(obs_stats=state.obs_stats.update(demos.obs))

    def negative_log_likelihood(self, state: AgentState, params: PyTree, demos: StateAction) -> Array:
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
        minibatch: int,
        weight_decay: Scalar | None = None,
    ) -> tuple[StateT, Array]:
        """`K` Adam steps of maximum likelihood, each on `minibatch` pairs drawn with replacement.

        Args:
          state: its `policy` and `policy_opt` move.
          demos: `[N]`.
          order: `[N]` rows of which the first `count` are drawn from; as they come if None.
          count: `[]`, at least 1.
          keys, lr: `[K]`, of each step.
          minibatch: pairs per step.
          weight_decay: `[]`, see `adam_step`.

        Returns:
          `(state, losses [K])`.
        """

        def loss(params: PyTree, rows: Array) -> Array:
            shown = StateAction(demos.obs[rows], demos.action[rows])
            return jnp.mean(self.negative_log_likelihood(state, params, shown))

        def step(carry, inputs):
            (params, opt), (key, lr) = carry, inputs
            rows = jax.random.randint(key, (minibatch,), 0, count)
            rows = local_rows(rows if order is None else order[rows])
            value, grads = mean_over_devices(jax.value_and_grad(loss)(params, rows))
            return adam_step(grads, opt, params, lr, weight_decay), value

        (policy, opt), losses = jax.lax.scan(step, (state.policy, state.policy_opt), (keys, lr))
        return state.replace(policy=policy, policy_opt=opt), losses

    def clone(self, state: StateT, demos: StateAction, next_obs: Array | None, key: Array, start: CloneStart) -> StateT:
        """Behavioural cloning: `start.steps` steps of maximum likelihood on the demonstrations `[N]`.

        The learning rate decays linearly to zero: how a clone fares in closed loop hangs on its last few steps. The
        standard deviation becomes the expert's. `next_obs [N, o]`, where the actions led, is for forward models.
        """
        keys = jax.random.split(key, start.steps)
        left = 1.0 - jnp.arange(start.steps) / start.steps
        fitted, _ = self.imitate(
            state.replace(policy_opt=adam(state.policy)),
            demos,
            None,
            demos.obs.shape[0],
            keys,
            start.lr * left,
            start.minibatch,
        )
        policy = fitted.policy
        return state.replace(policy=policy, average=policy if self.average else ())

    def act(self, state: AgentState, obs: Array, key: Array) -> tuple[Array, Array]:
        """Draws actions for a batch of environments: `obs [B, o] -> (action [B, a], log_prob [B])`."""

        def draw(policy, obs_stats, obs, key):
            x = obs_stats.normalise(obs)
            dist = self.policy(policy, x)
            action = dist.from_noise(draw_rows(lambda x: self.policy(policy, x).draw_noise(key), x))
            return action, dist.log_prob(action)

        return per_seed(draw)(state.policy, state.obs_stats, obs, key)

    def deterministic_action(self, state: AgentState, obs: Array) -> Array:
        """The deterministic policy: `obs [B, o] -> action [B, a]`."""

        def mode(policy, obs_stats, obs):
            return self.policy(policy, obs_stats.normalise(obs)).mode

        return per_seed(mode)(state.evaluated, state.obs_stats, obs)

    def averaged(self, state: StateT) -> StateT:
        """Takes the newest policy into the average, where there is one."""
        if not self.average:
            return state
        decay = self.average
        return state.replace(
            average=jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.average, state.policy)
        )
