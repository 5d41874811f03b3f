"""Twin delayed deterministic policy gradients (Fujimoto et al. 2018)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gailfe_jax.config.parts import traced
from gailfe_jax.nn.clipping import clip_inward
from gailfe_jax.nn.distributions import Gaussian, GaussianPolicy
from gailfe_jax.parallel.devices import draw_rows
from gailfe_jax.parallel.seeds import per_seed
from gailfe_jax.policies.actor import CloneStart
from gailfe_jax.policies.base import Objective
from gailfe_jax.policies.replayed import Minibatch, ReplayedState, ReplayedUpdate
from gailfe_jax.types import Array, Metrics, PyTree, StateAction


class TD3(ReplayedUpdate):
    """The deterministic policy gradient from replay.

    Differences from the paper: actions are clipped to their bounds and not squashed, with a gradient that passes at a
    bound only where it leads back inside; the policy ascends the mean of the critics where the paper takes the first.
    """

    summary = "a deterministic policy up its critics, from replay"

    exploration: float = traced(0.2, least=0)
    """Standard deviation of the noise on the actions taken, in units of their bounds."""
    target_noise: float = traced(0.2, least=0)
    """Standard deviation of the noise on a target's action, in units of its bounds."""
    target_noise_limit: float = traced(0.5, least=0)
    """That noise is clipped to so much."""

    def unread(self) -> dict[str, str]:
        return super().unread() | {"init_log_std": "exploration is the standard deviation"}

    @property
    def _policy_net(self) -> GaussianPolicy:
        # Its standard deviation is set by `init`.
        return GaussianPolicy(self.hidden, self.problem.spec.action_size, self.activation, 0.0, self.action_units)

    def init(self, key: Array) -> ReplayedState:
        state = super().init(key)
        policy = self._explore(state.policy)
        return state.replace(policy=policy, average=policy if self.average else ())

    def init_extra(self, policy: PyTree, key: Array) -> PyTree:
        """The policy's slow copy."""
        return policy

    def clone(
        self, state: ReplayedState, demos: StateAction, next_obs: Array | None, key: Array, start: CloneStart
    ) -> ReplayedState:
        """Starts the policy from a clone, and its slow copy with it; the exploration stays."""
        state = super().clone(state, demos, next_obs, key, start)
        policy = self._explore(state.policy)
        return state.replace(policy=policy, average=policy if self.average else (), extra=policy)

    def _explore(self, policy: PyTree) -> PyTree:
        """`policy` whose standard deviation is the exploration's; nothing moves it."""
        log_std = policy["params"]["log_std"]
        fixed = jnp.broadcast_to(jnp.log(jnp.asarray(self.exploration, jnp.float32)), log_std.shape)
        return {"params": dict(policy["params"]) | {"log_std": fixed}}

    def draw(self, state: ReplayedState, obs: Array, key: Array) -> tuple[Array, Array]:
        """The deterministic action inside its bounds, and noise on it: a mean far outside would never be left."""

        def draw(policy: PyTree, obs_stats: Any, obs: Array, key: Array) -> tuple[Array, Array]:
            x = obs_stats.normalise(obs)
            dist: Any = self.policy(policy, x)
            around = Gaussian(self.from_units(jnp.clip(self._action(policy, x), -1, 1)), dist.log_std)
            action = around.from_noise(draw_rows(lambda rows: self.policy(policy, rows).draw_noise(key), x))
            return action, around.log_prob(action)

        return per_seed(draw)(state.policy, state.obs_stats, obs, key)

    def _action(self, policy: PyTree, x: Array) -> Array:
        """`[m, a]` the deterministic action, in units of its bounds, where it may lie outside."""
        return self.to_units(self.policy(policy, x).mode)

    def next_value(self, state: ReplayedState, batch: Minibatch, objective: Objective, key: Array) -> Array:
        """`[m]` the least value of the slow policy's action under smoothing noise."""
        action = jnp.clip(self._action(state.extra, batch.next_x), -1, 1)
        noise = self.target_noise * draw_rows(lambda rows: jax.random.normal(key, rows.shape), action)
        limit = self.target_noise_limit
        action = jnp.clip(action + jnp.clip(noise, -limit, limit), -1, 1)
        least = self.critics.least(state.target, batch.next_x, action, jax.random.fold_in(key, 1))
        return self.within(state, least)

    def actor_step(
        self, state: ReplayedState, batch: Minibatch, objective: Objective, key: Array
    ) -> tuple[ReplayedState, Metrics]:
        """One step up the critics, and the slow copy's after it."""

        def gain(policy: PyTree) -> tuple[Array, Array]:
            action = clip_inward(self._action(policy, batch.x), jnp.float32(-1), jnp.float32(1))
            values = self.ascended(state, batch.x, action)
            value = jnp.mean(values)
            return value + self.beside(state, policy, objective, values), value

        policy, opt, value = self.policy_gradient_step(state, gain)
        slow = self.critics.follow(state.extra, policy)
        return state.replace(policy=policy, policy_opt=opt, extra=slow), {"policy_value": value}
