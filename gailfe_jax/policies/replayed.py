"""What policy steps from replay share: acting at random first, n-step targets, critics, and the loop of updates.

Shapes: `K` updates of an iteration, `m` windows of a minibatch, `H` steps of a window, `E` critics.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from gailfe_jax.config.parts import setting, subpart, traced
from gailfe_jax.errors import GailfeError
from gailfe_jax.nn.distributions import UNBOUNDED
from gailfe_jax.nn.optimisers import adam, adam_step
from gailfe_jax.parallel.devices import draw_rows, gather_rows, local_rows, mean_over_devices
from gailfe_jax.policies.actor import AgentState
from gailfe_jax.policies.base import Objective, PolicyUpdate
from gailfe_jax.policies.critics import Critics
from gailfe_jax.types import Array, Metrics, PyTree, StateAction, Transition


@struct.dataclass
class ReplayedState(AgentState):
    """State of a step from replay: `value` are the critics.

    Attributes:
      target: `[E]` the critics' slow copies.
      seen: `[]` int32, environment steps so far.
      reward_range: `[2]` the least and the greatest reward drawn lately, and zero; () where nothing is bounded by it.
      extra: what the step itself keeps.
    """

    target: PyTree
    seen: Array
    reward_range: PyTree
    extra: PyTree


@struct.dataclass
class Minibatch:
    """What one update learns from.

    Attributes:
      x: `[m, o]` normalised observations.
      action: `[m, a]` what was done there, in units of its bounds.
      reward: `[m]` discounted sum over the window, up to its episode's end.
      discount: `[m]` of the value where the window ends: 0 after a fall.
      next_x: `[m, o]` normalised observation there.
      rewards: `[m, H]` of the steps one by one, where values are bounded by them; or None.
      windows: `[m, H]` the steps themselves, for what a step learns besides; or None.
    """

    x: Array
    action: Array
    reward: Array
    discount: Array
    next_x: Array
    rewards: Array | None = None
    windows: Transition | None = None


class ReplayedUpdate(PolicyUpdate):
    """Base of the policy steps that learn from a replay of real steps: critics by temporal differences, and a policy
    that follows their gradient.

    Every iteration takes `update_ratio` critic updates for each environment step, and one of the policy for each
    `policy_delay` of them. The fitted reward is asked anew for all that is drawn, so old steps are paid by today's.
    Time limits are bootstrapped through.
    """

    keeps_windows: ClassVar[bool] = False

    hidden: tuple[int, ...] = setting((256, 256))
    """Hidden layers of the policy."""
    activation: Literal["tanh", "relu"] = setting("relu")
    """Activation of the policy."""
    obs_normaliser: Literal["demonstrations", "running", "start"] = setting("start")
    """Standardise observations by the demonstrations' statistics, by running ones, or by those of demonstrations and
    random steps, half each, which then stay (start)."""
    gamma: float = traced(0.99, least=0, most=1)
    """Discount."""
    lr: float = traced(3e-4, step_size="policy")
    """Adam learning rate of the policy."""
    replay: int = setting(300_000, least=1)
    """Steps kept, of all environments of a seed together."""
    random_steps: int = setting(2_000, least=0)
    """Steps at the start whose actions are drawn uniformly, before anything is learned."""
    noiseless: float = setting(0.0, least=0, most=1)
    """Share of the environments in which the policy acts as it is judged: without noise, and averaged if it is. What
    goes wrong only without noise, such as standing still for ever, is otherwise never met in training."""
    update_ratio: float = setting(0.5, above=0)
    """Updates of the critics for each environment step."""
    policy_delay: int = setting(2, least=1)
    """Updates of the critics for each of the policy."""
    minibatch: int = setting(256, least=1)
    """Steps in each update."""
    demonstrated: float = setting(0.0, least=0, most=1)
    """Share of each minibatch that is demonstrated steps."""
    n_step: int = setting(1, least=1)
    """Rewards in each target before the critics go on from there; at most rollout.unroll_length."""
    reward_scale: float = traced(1.0, above=0)
    """The reward is multiplied by this."""
    actor_values: Literal["mean", "min"] = setting("mean")
    """What of the critics the policy ascends."""
    critics: Critics = subpart(Critics())

    def unread(self) -> dict[str, str]:
        return super().unread() | {"mixture": "a step from replay moves a single Gaussian"}

    def verify(self, num_envs: int, unroll_length: int) -> None:
        batch = num_envs * unroll_length
        if self.replay < batch:
            raise GailfeError(
                f"policy.replay: got {self.replay}; expected at least rollout.num_envs * unroll_length = {batch}"
            )
        if self.n_step > unroll_length:
            raise GailfeError(
                f"policy.n_step: got {self.n_step}; expected at most rollout.unroll_length = {unroll_length}"
            )
        critics = self.critics
        if critics.subset > critics.ensemble:
            raise GailfeError(
                f"policy.critics.subset: got {critics.subset}; expected at most policy.critics.ensemble = "
                f"{critics.ensemble}, or 0 for all"
            )
        if self.update_ratio * batch < 0.5 * self.policy_delay:
            raise GailfeError(
                f"policy.update_ratio: got {self.update_ratio:g}; expected one update of the policy in each iteration "
                f"of {batch} steps or more, which is {0.5 * self.policy_delay / batch:g}"
            )

    def verify_actions(self) -> None:
        if self.problem.spec.discrete:
            raise GailfeError(
                f"policy: {self.problem.spec.name} has actions to choose from, and a step from replay moves them "
                "continuously; expected trpo, ppo or mail"
            )
        low, high = np.asarray(self.problem.spec.action_low), np.asarray(self.problem.spec.action_high)
        if (low <= -UNBOUNDED).any() or (high >= UNBOUNDED).any():
            raise GailfeError(
                f"policy: an action of {self.problem.spec.name} has no bounds, and a step from replay explores between "
                "them; expected trpo, ppo or mail"
            )

    def rounds(self, batch_size: int) -> int:
        """How many updates of the policy an iteration of `batch_size` steps takes."""
        return max(1, round(self.update_ratio * batch_size / self.policy_delay))

    def draws(self, batch_size: int) -> tuple[int, int, int]:
        """`(K, m, H)`: what an iteration draws from the replay."""
        return self.rounds(batch_size) * self.policy_delay, self.minibatch, self.n_step

    @abc.abstractmethod
    def init_extra(self, policy: PyTree, key: Array) -> Any:
        """What this step keeps beside policy and critics."""

    @abc.abstractmethod
    def next_value(self, state: ReplayedState, batch: Minibatch, objective: Objective, key: Array) -> Array:
        """`[m]` value of the state where each window ends, by the critics' slow copies."""

    @abc.abstractmethod
    def actor_step(
        self, state: ReplayedState, batch: Minibatch, objective: Objective, key: Array
    ) -> tuple[ReplayedState, Metrics]:
        """One update of the policy and of what it keeps."""

    def init(self, key: Array) -> ReplayedState:
        base = super().init(key)
        critics = self.critics.init(jax.random.fold_in(key, 2))
        fields = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
        extra = self.init_extra(base.policy, jax.random.fold_in(key, 3))
        fields |= {"value": critics, "value_opt": adam(critics)}
        paid = jnp.zeros(2) if self.critics.bounded else ()
        return ReplayedState(**fields, target=critics, seen=jnp.int32(0), reward_range=paid, extra=extra)

    def init_normaliser(self, state: ReplayedState, demos: StateAction) -> ReplayedState:
        state = super().init_normaliser(state, demos)
        if self.obs_normaliser != "start":
            return state
        # As many of them as there will be random steps.
        count = jnp.float32(max(self.random_steps, 1))
        return state.replace(obs_stats=state.obs_stats.replace(count=count))

    def act(self, state: ReplayedState, obs: Array, key: Array) -> tuple[Array, Array]:
        """Draws actions `[B, a]`, uniformly in the first `random_steps` steps, and gives their `log_prob [B]`."""
        first = state.seen < self.random_steps
        action, log_prob = self.draw(state, obs, key)
        if self.noiseless:
            judged = self.deterministic_action(state, obs)
            there = draw_rows(lambda rows: jnp.arange(len(rows)) < round(self.noiseless * len(rows)), obs)
            action = jnp.where(there[:, None], judged, action)
            log_prob = jnp.where(there, self.distribution(state, obs).log_prob(judged), log_prob)
        size = self.problem.spec.action_size

        def draw(rows: Array) -> Array:
            return jax.random.uniform(jax.random.fold_in(key, 1), (len(rows), size), minval=-1.0, maxval=1.0)

        uniform = self.from_units(draw_rows(draw, obs))
        low, high = self.problem.action_bounds
        density = -jnp.sum(jnp.log(jnp.broadcast_to(high - low, (size,))))
        return jnp.where(first, uniform, action), jnp.where(first, density, log_prob)

    def draw(self, state: ReplayedState, obs: Array, key: Array) -> tuple[Array, Array]:
        """`(action [B, a], log_prob [B])` as the policy explores."""
        return super().act(state, obs, key)

    def from_units(self, action: Array) -> Array:
        """An action `[..., a]` whose bounds are -1 and 1 in the environment's own."""
        units = self.action_units
        return action if units is None else units.mean(action)

    def to_units(self, action: Array) -> Array:
        """The inverse of `from_units`."""
        units = self.action_units
        return action if units is None else units.output(action)

    def executed(self, action: Array) -> Array:
        """What the environment did of a drawn `action [..., a]`, in units of its bounds."""
        low, high = self.problem.action_bounds
        return self.to_units(jnp.clip(action, low, high))

    def update(
        self, state: ReplayedState, transition: Transition, objective: Objective, key: Array
    ) -> tuple[ReplayedState, Metrics]:
        """One iteration on an unroll `[T, B, ...]` and windows of the replay; see `PolicyUpdate.update`."""
        started = state.seen >= self.random_steps
        stats = state.obs_stats.update(transition.obs)
        moves = {"demonstrations": False, "running": True, "start": ~started}[self.obs_normaliser]
        stats = jax.tree.map(lambda new, old: jnp.where(moves, new, old), stats, state.obs_stats)
        state = self.observe(state.replace(obs_stats=stats, seen=state.seen + transition.reward.size), transition)
        batches = self.minibatches(state, objective)
        keys = jax.random.split(key, batches.reward.shape[0])

        def round_of(state: ReplayedState, inputs: tuple[Minibatch, Array]) -> tuple[ReplayedState, Metrics]:
            def fit(state: ReplayedState, inputs: tuple[Minibatch, Array]) -> tuple[ReplayedState, Metrics]:
                batch, key = inputs
                return self.critic_step(state, batch, objective, key)

            metrics: Metrics = {}
            if self.policy_delay > 2:
                # A loop, so that many updates make no larger program.
                state, fitted = jax.lax.scan(fit, state, inputs)
                metrics = jax.tree.map(lambda x: x[-1], fitted)
            else:
                for i in range(self.policy_delay):
                    state, metrics = fit(state, jax.tree.map(lambda x, i=i: x[i], inputs))
            batch, key = jax.tree.map(lambda x: x[-1], inputs)
            state, actor_metrics = self.actor_step(state, batch, objective, jax.random.fold_in(key, 1))
            return state, metrics | actor_metrics

        def learn(state: ReplayedState) -> tuple[ReplayedState, Metrics]:
            rounds = lambda x: x.reshape(-1, self.policy_delay, *x.shape[1:])  # noqa: E731
            state, metrics = jax.lax.scan(round_of, state, jax.tree.map(rounds, (batches, keys)))
            return state, jax.tree.map(jnp.mean, metrics)

        # On the CPU, where one seed runs after the other, a branch that is not taken costs nothing.
        shapes = jax.eval_shape(learn, state)[1]
        idle = lambda state: (state, jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan, x.dtype), shapes))  # noqa: E731
        state, metrics = jax.lax.cond(started, learn, idle, state)
        metrics["reward_mean"] = jnp.mean(batches.reward)
        return self.averaged(state), mean_over_devices(metrics)

    def observe(self, state: ReplayedState, transition: Transition) -> ReplayedState:
        """Takes an unroll into what else is kept of all that was seen."""
        return state

    def minibatches(self, state: ReplayedState, objective: Objective) -> Minibatch:
        """`[K, m]` of the windows `[K, m, H]`: paid, summed and normalised; each device's own share of `m`."""
        assert objective.experience is not None
        steps = local_rows(objective.experience, axis=1)
        reward = self.reward_scale * self._reward(steps, objective)
        total, discount = jnp.zeros(reward.shape[:-1]), jnp.ones(reward.shape[:-1])
        going, last = jnp.ones(discount.shape, bool), steps.next_obs[..., 0, :]
        for i in range(self.n_step):
            total = total + jnp.where(going, discount * reward[..., i], 0.0)
            total = total + jnp.where(going & steps.terminated[..., i], discount * self.after_end(objective), 0.0)
            last = jnp.where(going[..., None], steps.next_obs[..., i, :], last)
            after = self.gamma * jnp.where(steps.terminated[..., i], 0.0, 1.0)
            discount = jnp.where(going, discount * after, discount)
            going = going & ~steps.done[..., i]
        return Minibatch(
            x=state.obs_stats.normalise(steps.obs[..., 0, :]),
            action=self.executed(steps.action[..., 0, :]),
            reward=total,
            discount=discount,
            next_x=state.obs_stats.normalise(last),
            rewards=reward if self.critics.bounded else None,
            windows=steps if self.keeps_windows else None,
        )

    def after_end(self, objective: Objective) -> Array:
        """`[]` what is behind the task's end, from the step on that it ends with."""
        if objective.after_end is None:
            return jnp.float32(0.0)
        return self.reward_scale * objective.after_end * self.gamma / (1 - self.gamma)

    def _reward(self, steps: Transition, objective: Objective) -> Array:
        """The reward of each step: the fitted one, the environment's, or both."""
        if objective.score is None:
            return steps.reward
        scored = self.scored(steps, objective.score)
        return steps.reward + scored if objective.true_reward else scored

    def critic_step(
        self, state: ReplayedState, batch: Minibatch, objective: Objective, key: Array
    ) -> tuple[ReplayedState, Metrics]:
        """One update of all critics towards one target, and of their slow copies towards them."""
        state, metrics = self._remember_rewards(state, batch, objective)
        target = batch.reward + batch.discount * self.next_value(state, batch, objective, key)

        def loss(params: PyTree) -> tuple[Array, Array]:
            values = self.critics.values(params, batch.x, batch.action)
            return self.critics.loss(values, target), values

        (value, values), grads = jax.value_and_grad(loss, has_aux=True)(state.value)
        params, opt = adam_step(mean_over_devices(grads), state.value_opt, state.value, self.critics.lr)
        metrics |= {
            "value_loss": value / self.critics.ensemble,
            "value_mean": jnp.mean(values),
            "target_std": jnp.std(target),
        }
        return state.replace(value=params, value_opt=opt, target=self.critics.follow(state.target, params)), metrics

    def _remember_rewards(
        self, state: ReplayedState, batch: Minibatch, objective: Objective
    ) -> tuple[ReplayedState, Metrics]:
        """Takes a minibatch's rewards into the range that bounds values, where one does."""
        if batch.rewards is None:
            return state, {}
        paid = gather_rows(batch.rewards)
        after = 0.0 if objective.after_end is None else self.reward_scale * objective.after_end
        low = jnp.minimum(jnp.minimum(jnp.min(paid), after), 0.0)
        high = jnp.maximum(jnp.maximum(jnp.max(paid), after), 0.0)
        # Wider at once, narrower as slowly as the critics' slow copies forget.
        old_low, old_high = state.reward_range
        low = jnp.minimum(low, old_low + self.critics.tau * (low - old_low))
        high = jnp.maximum(high, old_high + self.critics.tau * (high - old_high))
        return state.replace(reward_range=jnp.stack([low, high])), {"reward_low": low, "reward_high": high}

    def within(self, state: ReplayedState, values: Array, bonus: Array | None = None) -> Array:
        """`values [m]` of states, clipped to what rewards of the range, with the mean `bonus [m]` beside them, come to
        if they are paid for ever; as they are where nothing is bounded."""
        if not self.critics.bounded:
            return values
        low, high = state.reward_range
        if bonus is not None:
            mean = mean_over_devices(jnp.mean(bonus))
            low, high = low + jnp.minimum(mean, 0.0), high + jnp.maximum(mean, 0.0)
        steps = 1 / jnp.maximum(1 - self.gamma, 1e-6)
        return jnp.clip(values, steps * low, steps * high)

    def beside(self, state: ReplayedState, policy: PyTree, objective: Objective, values: Array) -> Array:
        """`[]` what the policy maximises besides, in units of the standard deviation of `values [m]`."""
        if objective.auxiliary is None:
            return jnp.float32(0.0)
        return spread(jax.lax.stop_gradient(values)) * self.auxiliary(state, policy, objective.auxiliary)

    def ascended(self, state: ReplayedState, x: Array, action: Array) -> Array:
        """`[m]` what the policy ascends: the critics' values of `action [m, a]`, in units of its bounds."""
        values = self.critics.values(state.value, x, action)
        return jnp.mean(values, axis=0) if self.actor_values == "mean" else jnp.min(values, axis=0)

    def policy_gradient_step(self, state: ReplayedState, gain: Any) -> tuple[PyTree, PyTree, Any]:
        """`(policy, its Adam state, what the gain says besides)` after a step up `gain: parameters -> ([], aux)`."""
        # The gain itself is differentiated: at a bound, clipping goes by the sign of what arrives there.
        (_, aux), ascent = jax.value_and_grad(gain, has_aux=True)(state.policy)
        descent = jax.tree.map(jnp.negative, mean_over_devices(ascent))
        policy, opt = adam_step(descent, state.policy_opt, state.policy, self.lr)
        return policy, opt, aux


def spread(values: Array) -> Array:
    """`[]` the standard deviation of `values [m]`, of all devices' rows."""
    mean = mean_over_devices(jnp.mean(values))
    return jnp.sqrt(mean_over_devices(jnp.mean(jnp.square(values - mean))))
