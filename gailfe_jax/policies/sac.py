"""Soft actor-critic (Haarnoja et al. 2018)."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.config.parts import setting, traced
from gailfe_jax.nn.optimisers import adam, adam_step
from gailfe_jax.nn.squashed import Squashed, SquashedPolicy
from gailfe_jax.parallel.devices import draw_rows, mean_over_devices
from gailfe_jax.policies.base import Objective
from gailfe_jax.policies.replayed import Minibatch, ReplayedState, ReplayedUpdate
from gailfe_jax.types import Array, Metrics, PyTree


@struct.dataclass
class Temperature:
    """What a nat of entropy is worth.

    Attributes:
      log: `[]` its logarithm.
      opt: Adam's state of that.
    """

    log: Array
    opt: PyTree


@struct.dataclass
class Gain:
    """What the policy ascends, at each of `m` observations.

    Attributes:
      total: `[m]` values and the price of entropy.
      value: `[m]` without the price.
      log_prob: `[m]` log-density of the action drawn there, in units of its bounds.
    """

    total: Array
    value: Array
    log_prob: Array


class SAC(ReplayedUpdate):
    """Maximum-entropy reinforcement learning from replay: a squashed Gaussian whose entropy is paid for.

    Entropies are those of actions in units of their bounds, so that one target suits all.

    Source: Haarnoja et al. 2018 ("Soft actor-critic algorithms and applications"), eq. 5 to 7 and 18.
    """

    summary = "a stochastic policy up its critics and its entropy, from replay"

    init_log_std: float = setting(-1.0)
    """Initial log standard deviation of the Gaussian before it is squashed."""
    actor_values: Literal["mean", "min"] = setting("min")
    """What of the critics the policy ascends."""
    temperature: Literal["tuned", "fixed"] = setting("tuned")
    """The entropy's price: moved until the policy has the target's entropy, or held."""
    init_temperature: float = traced(0.1, above=0)
    """The entropy's first price, per nat; the price where it is fixed."""
    target_entropy: float = traced(-1.0)
    """Entropy that a tuned temperature holds, in nats per action dimension."""
    temperature_lr: float = traced(3e-4, step_size="policy")
    """Adam learning rate of the temperature's logarithm."""

    def unread(self) -> dict[str, str]:
        found = super().unread()
        if self.temperature == "fixed":
            found |= dict.fromkeys(("target_entropy", "temperature_lr"), "temperature is fixed")
        return found

    @property
    def _policy_net(self) -> Any:
        size = self.problem.spec.action_size
        return SquashedPolicy(self.hidden, size, self.activation, self.init_log_std, self.action_units)

    def init_extra(self, policy: PyTree, key: Array) -> Any:
        """The temperature."""
        log = jnp.log(jnp.asarray(self.init_temperature, jnp.float32))
        return Temperature(log, adam(log))

    def price(self, state: ReplayedState) -> Array:
        """`[]` what a nat of entropy is worth."""
        return jnp.exp(state.extra.log)

    def drawn(self, policy: PyTree, x: Array, key: Array) -> tuple[Array, Array]:
        """`(action [m, a] in units of its bounds, its log-density [m] in these units)`."""
        dist: Squashed = self.policy(policy, x)  # type: ignore[assignment]
        noise = draw_rows(lambda rows: jax.random.normal(key, rows.shape), dist.inner.mean)
        u = dist.inner.from_noise(noise)
        return jnp.tanh(u), dist.unit_log_prob(u)

    def next_value(self, state: ReplayedState, batch: Minibatch, objective: Objective, key: Array) -> Array:
        """`[m]` the least value of an action that is drawn there, and the price of its entropy."""
        action, log_prob = self.drawn(state.policy, batch.next_x, key)
        least = self.critics.least(state.target, batch.next_x, action, jax.random.fold_in(key, 1))
        bonus = -self.price(state) * log_prob
        return self.within(state, least + bonus, bonus)

    def gain(self, state: ReplayedState, policy: PyTree, batch: Minibatch, objective: Objective, key: Array) -> Gain:
        """What the policy with parameters `policy` is worth at a minibatch."""
        action, log_prob = self.drawn(policy, batch.x, key)
        value = self.ascended(state, batch.x, action)
        return Gain(value - self.price(state) * log_prob, value, log_prob)

    def actor_step(
        self, state: ReplayedState, batch: Minibatch, objective: Objective, key: Array
    ) -> tuple[ReplayedState, Metrics]:
        """One step up values and entropy, and one of the temperature."""

        def ascend(policy: PyTree) -> tuple[Array, Gain]:
            gain = self.gain(state, policy, batch, objective, key)
            return jnp.mean(gain.total) + self.beside(state, policy, objective, gain.value), gain

        policy, opt, gain = self.policy_gradient_step(state, ascend)
        entropy, price, extra = -jnp.mean(gain.log_prob), self.price(state), state.extra
        metrics = {"policy_value": jnp.mean(gain.value), "entropy": entropy, "temperature": price}
        if self.temperature == "tuned":
            # Of the logarithm: the price rises while there is less entropy than asked for.
            surplus = mean_over_devices(entropy) - self.target_entropy * self.problem.spec.action_size
            log, log_opt = adam_step(price * surplus, extra.opt, extra.log, self.temperature_lr)
            extra = extra.replace(log=log, opt=log_opt)
        return state.replace(policy=policy, policy_opt=opt, extra=extra), metrics
