"""A learned forward model `f(s, a)`, or an ensemble of them."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.config.parts import Part, setting, traced
from gailfe_jax.nn.mlp import MLP, GatedForward
from gailfe_jax.nn.normaliser import RunningStats
from gailfe_jax.nn.optimisers import adam, adam_step
from gailfe_jax.parallel.devices import local_rows, mean_over_devices
from gailfe_jax.types import Array, ForwardTransitions, Metrics, PyTree


@struct.dataclass
class ModelState:
    """State of the forward model; `E` members.

    Attributes:
      params: `[E]` of the networks.
      opt: Adam's state.
      inputs: statistics of `[obs, action]`.
      change: statistics of `next_obs - obs`.
    """

    params: PyTree
    opt: PyTree
    inputs: RunningStats
    change: RunningStats


class ForwardModel(Part):
    """Predicts the standardised change of the observation. Functions are for one seed."""

    kind: Literal["mlp", "gated"] = setting("mlp")
    """Network: a ReLU MLP, or one whose action gates the state."""
    hidden: tuple[int, ...] = setting((200, 200))
    """Hidden layers of the forward model, at least one."""
    ensemble: int = setting(1, least=1)
    """Forward models; their disagreement measures how far one is from the data."""
    capacity: int = setting(100_000, least=1)
    """Past transitions the forward model learns from."""
    fit_steps: int = setting(40, least=1)
    """Adam steps on the forward model per iteration."""
    minibatch: int = setting(256, least=1)
    """Transitions per such step."""
    lr: float = traced(1e-3, step_size="model")
    """Adam learning rate of the forward model."""

    @property
    def _net(self) -> MLP | GatedForward:
        if self.kind == "gated":
            return GatedForward(self.problem.spec.obs_size, self.hidden, self.problem.spec.obs_size)
        return MLP(self.hidden, self.problem.spec.obs_size, "relu")

    def init(self, key: Array) -> ModelState:
        """Fresh state from `key []`."""
        size = self.problem.pair_size
        keys = jax.random.split(key, self.ensemble)
        params = jax.vmap(lambda k: self._net.init(k, jnp.zeros((1, size))))(keys)
        return ModelState(params, adam(params), RunningStats.init(size), RunningStats.init(self.problem.spec.obs_size))

    def observe(self, state: ModelState, moves: ForwardTransitions) -> ModelState:
        """Takes `moves [...]` into the statistics."""
        return state.replace(
            inputs=state.inputs.update(jnp.concatenate([moves.obs, moves.action], axis=-1)),
            change=state.change.update(moves.next_obs - moves.obs),
        )

    def _apply(self, params: PyTree, x: Array) -> Array:
        out: Any = self._net.apply(params, x)
        return out

    def _changes(self, state: ModelState, obs: Array, action: Array) -> Array:
        """`[E, ..., o]` standardised changes, one for each member."""
        x = state.inputs.normalise(jnp.concatenate([obs, action], axis=-1))
        return jax.vmap(self._apply, in_axes=(0, None))(state.params, x)

    def predict(self, state: ModelState, obs: Array, action: Array) -> tuple[Array, Array]:
        """Where `action [..., a]` at `obs [..., o]` leads.

        Returns:
          `(next_obs [..., o], disagreement [...])`: the members' mean, and the root mean square over dimensions of
          their standard deviation in standardised changes (zero for a single member).
        """
        changes = self._changes(state, obs, action)
        next_obs = obs + state.change.mean + state.change.std * jnp.mean(changes, axis=0)
        # The square root has no derivative where all members agree.
        spread = jnp.mean(jnp.var(changes, axis=0), axis=-1)
        return next_obs, jnp.where(spread > 0, jnp.sqrt(jnp.where(spread > 0, spread, 1.0)), 0.0)

    def fit(self, state: ModelState, batches: ForwardTransitions) -> tuple[ModelState, Metrics]:
        """Adam steps on the mean squared error of standardised changes.

        Args:
          state: the model; its statistics are used as they are.
          batches: `[K, E, m]`, a minibatch of its own for each member and step.
        """
        return self.fit_rows(state, local_rows(batches, axis=2))

    def fit_rows(self, state: ModelState, batches: ForwardTransitions) -> tuple[ModelState, Metrics]:
        """As `fit`, of each device's own share of the rows."""

        def loss(params: PyTree, x: Array, target: Array) -> Array:
            error = jax.vmap(self._apply)(params, x) - target
            return jnp.sum(jnp.mean(jnp.square(error), axis=(1, 2)))

        def step(carry, batch: ForwardTransitions):
            params, opt = carry
            x = state.inputs.normalise(jnp.concatenate([batch.obs, batch.action], axis=-1))
            # A fall's last contact can be many deviations away: bounded, it does not outweigh everything else.
            target = state.change.normalise(batch.next_obs - batch.obs)
            value, grads = mean_over_devices(jax.value_and_grad(loss)(params, x, target))
            return adam_step(grads, opt, params, self.lr), value / self.ensemble

        (params, opt), losses = jax.lax.scan(step, (state.params, state.opt), batches)
        return state.replace(params=params, opt=opt), {"model_loss": losses[-1]}

    def errors(self, state: ModelState, moves: ForwardTransitions, done: Array) -> Metrics:
        """Root mean square errors on moves the model has not been fitted to, in standard deviations of observations.

        Args:
          state: the model.
          moves: `[H, W]` windows of consecutive moves.
          done: `[H, W]` bool, an episode ended with that move.

        Returns:
          `model_error_1`, over all moves; `model_error_h`, after H steps of the model on its own predictions under the
          recorded actions, over windows inside one episode (NaN where there is none); `model_unexplained`, the share
          of the changes' variance that one step leaves unexplained.
        """
        scale = state.inputs.std[: self.problem.spec.obs_size]

        def ahead(obs: Array, action: Array):
            next_obs, _ = self.predict(state, obs, action)
            return next_obs, None

        one = (self.predict(state, moves.obs, moves.action)[0] - moves.next_obs) / scale
        last, _ = jax.lax.scan(ahead, moves.obs[0], moves.action)
        far = jnp.mean(jnp.square((last - moves.next_obs[-1]) / scale), axis=-1)
        whole = ~jnp.any(done[:-1], axis=0)
        change = (moves.next_obs - moves.obs) / scale
        spread = jnp.mean(jnp.square(change - jnp.mean(change, axis=(0, 1))))
        return {
            "model_error_1": jnp.sqrt(jnp.mean(jnp.square(one))),
            "model_error_h": jnp.sqrt(jnp.sum(jnp.where(whole, far, 0.0)) / jnp.sum(whole)),
            "model_unexplained": jnp.mean(jnp.square(one)) / (spread + 1e-12),
        }
