"""MAIL from replay: the reward's gradient through a learned model, and critics where a rollout ends.

Shapes: `m` windows of a minibatch, `H` steps of a rollout, `E` models, `o`, `a` observation and action sizes.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct

from gailfe_jax.config.parts import setting, subpart, traced
from gailfe_jax.errors import GailfeError
from gailfe_jax.nn.mlp import MLP
from gailfe_jax.nn.optimisers import adam, adam_step
from gailfe_jax.nn.squashed import Squashed
from gailfe_jax.parallel.devices import draw_rows, mean_over_devices
from gailfe_jax.parallel.phases import phase
from gailfe_jax.policies.base import Objective, asks_next
from gailfe_jax.policies.forward_model import ForwardModel, ModelState
from gailfe_jax.policies.replayed import Minibatch, ReplayedState
from gailfe_jax.policies.sac import SAC, Gain, Temperature
from gailfe_jax.types import Array, ForwardTransitions, Metrics, PyTree, Transition


@struct.dataclass
class Learned(Temperature):
    """What is kept beside policy and critics.

    Attributes:
      model: the forward model.
      ends: parameters of the network that tells where the task ends; ends_opt: Adam's state of them.
    """

    model: ModelState
    ends: PyTree
    ends_opt: PyTree


@struct.dataclass
class Ahead:
    """Where a rollout in the model has come to.

    Attributes:
      obs: `[m, o]`.
      gain: `[m]` rewards so far, discounted.
      discount: `[m]` of what comes next.
    """

    obs: Array
    gain: Array
    discount: Array


class SVG(SAC):
    """Stochastic value gradients with the fitted reward.

    The policy ascends `H` steps' rewards and entropies, discounted, and the critics' values behind them, by their
    gradient through policy, reward and a learned forward model. Rollouts start at replayed states. They are the model's
    own (`rollouts = "model"`), or go along the steps that were really taken (`"real"`): the noise is then inferred
    anew, as that with which today's policy would have acted so, the model's error at each step is added to its
    prediction, so that only derivatives come from the model, and each window counts by how much likelier its actions
    are today than they were.

    Where a task can end, a network learns from the same minibatches where it does.

    Source: Heess et al. 2015 (with a critic, and with importance weights for replayed steps), Baram et al. 2016 (the
    discriminator's gradient), Feinberg et al. 2018 (value expansion), Janner et al. 2019 (short rollouts as
    experience).
    """

    summary = "SAC whose policy also sees the reward's gradient through a learned model"
    model_based = True
    keeps_windows = True

    horizon: int = setting(2, least=1)
    """Steps of a rollout before the critics value what follows; of real steps at most rollout.unroll_length."""
    rollouts: Literal["model", "real"] = setting("model")
    """Roll out in the model from replayed states, or differentiate along replayed steps."""
    importance_limit: float = traced(2.0, least=0)
    """Real steps: a window's weight, by how much likelier its actions are today, is at most this; 0 weighs all
    alike."""
    value_expansion: int = setting(0, least=0)
    """Steps of the model before the critics' slow copies go on in a target; the mean over all shorter ones is taken."""
    imagined: float = setting(0.0, least=0, most=1)
    """Share of each minibatch whose action is today's policy's and whose outcome is the model's."""
    disagreement_limit: float = traced(0.5, least=0)
    """Where the models disagree by more, in standardised changes, the real step stays in the place of the imagined."""
    termination: bool = setting(True)
    """Learn where the task ends; else rollouts in the model never do."""
    model: ForwardModel = subpart(ForwardModel(ensemble=2))

    def unread(self) -> dict[str, str]:
        found = super().unread()
        found |= dict.fromkeys(
            ("model.capacity", "model.fit_steps", "model.minibatch"), "the model learns from the critics' minibatches"
        )
        if self.rollouts == "model":
            found["importance_limit"] = "rollouts is model"
        if not self.imagined:
            found["disagreement_limit"] = "imagined is 0"
        return found

    def verify(self, num_envs: int, unroll_length: int) -> None:
        super().verify(num_envs, unroll_length)
        if self.rollouts == "real" and self.horizon > unroll_length:
            raise GailfeError(
                f"policy.horizon: got {self.horizon}; expected at most rollout.unroll_length = {unroll_length}"
            )
        if not self.model.hidden:
            raise GailfeError("policy.model.hidden: got no layers; expected at least one")

    def draws(self, batch_size: int) -> tuple[int, int, int]:
        count, size, length = super().draws(batch_size)
        return count, size, max(length, self.horizon if self.rollouts == "real" else 1)

    @property
    def _ends_net(self) -> MLP:
        return MLP((64, 64), 1, "relu")

    def init_extra(self, policy: PyTree, key: Array) -> Learned:
        """The temperature, an untrained model, and nowhere to end."""
        base = super().init_extra(policy, key)
        ends = self._ends_net.init(jax.random.fold_in(key, 1), jnp.zeros((1, self.problem.pair_size)))
        return Learned(base.log, base.opt, model=self.model.init(key), ends=ends, ends_opt=adam(ends))

    def observe(self, state: ReplayedState, transition: Transition) -> ReplayedState:
        """Takes an unroll into the model's statistics."""
        moves = ForwardTransitions(transition.obs, self._inside(transition.action), transition.next_obs)
        return state.replace(extra=state.extra.replace(model=self.model.observe(state.extra.model, moves)))

    def _inside(self, action: Array) -> Array:
        return jnp.clip(action, *self.problem.action_bounds)

    def _ending(self, extra: Learned, obs: Array, action: Array) -> Array:
        """`[...]` logit of the task ending with `action [..., a]` at `obs [..., o]`."""
        x = extra.model.inputs.normalise(jnp.concatenate([obs, action], axis=-1))
        out: Any = self._ends_net.apply(extra.ends, x)
        return out[..., 0]

    def _going(self, extra: Learned, obs: Array, action: Array) -> Array:
        """`[...]` probability that the task goes on."""
        return jax.nn.sigmoid(-self._ending(extra, obs, action)) if self.termination else jnp.ones(obs.shape[:-1])

    def critic_step(
        self, state: ReplayedState, batch: Minibatch, objective: Objective, key: Array
    ) -> tuple[ReplayedState, Metrics]:
        """One update of the model, of what tells where the task ends, and of the critics."""
        with phase("model"):
            extra, metrics = self.fit_model(state.extra, batch, jax.random.fold_in(key, 2))
        state = state.replace(extra=extra)
        if self.imagined:
            batch = self.imagine(state, batch, objective, jax.random.fold_in(key, 3))
        state, critic_metrics = super().critic_step(state, batch, objective, key)
        return state, metrics | critic_metrics

    def fit_model(self, extra: Learned, batch: Minibatch, key: Array) -> tuple[Learned, Metrics]:
        """One Adam step of each network on the minibatch's first steps; every model on rows of its own draw."""
        assert batch.windows is not None
        first = jax.tree.map(lambda x: x[:, 0], batch.windows)
        moves = ForwardTransitions(first.obs, self._inside(first.action), first.next_obs)
        size = first.reward.shape[0]
        rows = jax.random.randint(key, (1, self.model.ensemble, size), 0, size)
        model, metrics = self.model.fit_rows(extra.model, jax.tree.map(lambda x: x[rows], moves))
        extra = extra.replace(model=model)
        if not self.termination:
            return extra, metrics

        def loss(ends: PyTree) -> Array:
            logit = self._ending(extra.replace(ends=ends), moves.obs, moves.action)
            return jnp.mean(optax.sigmoid_binary_cross_entropy(logit, first.terminated.astype(jnp.float32)))

        value, grads = mean_over_devices(jax.value_and_grad(loss)(extra.ends))
        ends, opt = adam_step(grads, extra.ends_opt, extra.ends, self.model.lr)
        return extra.replace(ends=ends, ends_opt=opt), metrics | {"termination_loss": value}

    def imagine(self, state: ReplayedState, batch: Minibatch, objective: Objective, key: Array) -> Minibatch:
        """`batch`, of which a share acts as the policy does today, with the outcome that the model predicts.

        Where the models disagree too much the real step stays.
        """
        assert batch.windows is not None and objective.score is not None
        count = round(self.imagined * len(batch.reward))
        obs = batch.windows.obs[:, 0]
        unit, _ = self.drawn(state.policy, batch.x, key)
        action = self.from_units(unit)
        following, disagreement = self.model.predict(state.extra.model, obs, action)
        believed = (disagreement <= self.disagreement_limit) & (jnp.arange(len(obs)) >= len(obs) - count)
        going = self._going(state.extra, obs, action)
        made = batch.replace(
            action=unit,
            reward=self.reward_scale * objective.score(obs, action, following)
            + (1 - going) * self.after_end(objective),
            discount=self.gamma * going,
            next_x=state.obs_stats.normalise(following),
        )

        return _where(believed, made, batch)

    def _step_ahead(
        self,
        state: ReplayedState,
        policy: PyTree,
        at: Ahead,
        noise: Array,
        objective: Objective,
        error: Array | None = None,
    ) -> tuple[Ahead, Array]:
        """One step in the model with a policy whose noise is given; also the log-density `[m]` of its action. Where the
        model's `error [m, o]` is known, it is the real outcome that is judged."""
        assert objective.score is not None
        dist: Squashed = self.policy(policy, state.obs_stats.normalise(at.obs))  # type: ignore[assignment]
        u = dist.inner.from_noise(noise)
        action, log_prob = self.from_units(jnp.tanh(u)), dist.unit_log_prob(u)

        def paid(outcome: Array | None) -> Array:
            assert objective.score is not None
            scored = objective.score(at.obs, action, outcome)
            return self.reward_scale * scored - self.price(state) * log_prob

        late = asks_next(objective.score)
        reward = jnp.float32(0.0) if late else paid(None)
        following, _ = self.model.predict(state.extra.model, at.obs, action)
        if late:
            reward = paid(following if error is None else following + error)
        going = self._going(state.extra, at.obs, action)
        gain = at.gain + at.discount * (reward + (1 - going) * self.after_end(objective))
        return Ahead(following, gain, at.discount * self.gamma * going), log_prob

    def _noise(self, like: Array, key: Array) -> Array:
        return draw_rows(lambda rows: jax.random.normal(key, (len(rows), self.problem.spec.action_size)), like)

    def next_value(self, state: ReplayedState, batch: Minibatch, objective: Objective, key: Array) -> Array:
        """`[m]` as SAC's; with value expansion the mean over that and those some steps further on in the model."""
        value = super().next_value(state, batch, objective, key)
        if not self.value_expansion:
            return value
        # The normalised observation is all that is known of an imagined step's outcome.
        obs = state.obs_stats.mean + state.obs_stats.std * batch.next_x
        at, total = Ahead(obs, jnp.zeros(len(obs)), jnp.ones(len(obs))), value
        for i in range(self.value_expansion):
            step_key = jax.random.fold_in(key, i + 5)
            at, _ = self._step_ahead(state, state.policy, at, self._noise(at.obs, step_key), objective)
            there = batch.replace(next_x=state.obs_stats.normalise(at.obs))
            behind = super().next_value(state, there, objective, jax.random.fold_in(step_key, 1))
            total = total + at.gain + at.discount * behind
        return total / (self.value_expansion + 1)

    def gain(self, state: ReplayedState, policy: PyTree, batch: Minibatch, objective: Objective, key: Array) -> Gain:
        """What the policy with parameters `policy` is worth along rollouts from a minibatch's states."""
        assert batch.windows is not None
        first = batch.windows.obs[:, 0]
        at = Ahead(first, jnp.zeros(len(first)), jnp.ones(len(first)))
        if self.rollouts == "model":
            at, log_prob = self._in_model(state, policy, at, objective, key)
        else:
            at, log_prob = self._along_steps(state, policy, at, batch.windows, objective)
        tail = batch.replace(x=state.obs_stats.normalise(at.obs))
        behind = super().gain(state, policy, tail, objective, jax.random.fold_in(key, 99))
        total = at.gain + at.discount * behind.total
        if self.rollouts == "real":
            total = total * self._weights(state, batch.windows)
        return Gain(total, total, log_prob)

    def _in_model(
        self, state: ReplayedState, policy: PyTree, at: Ahead, objective: Objective, key: Array
    ) -> tuple[Ahead, Array]:
        """`H` steps of the model's own; also the log-density `[m]` of the first action."""
        first = jnp.zeros(0)
        for i in range(self.horizon):
            noise = self._noise(at.obs, jax.random.fold_in(key, i))
            at, log_prob = self._step_ahead(state, policy, at, noise, objective)
            first = log_prob if i == 0 else first
        return at, first

    def _along_steps(
        self, state: ReplayedState, policy: PyTree, at: Ahead, windows: Transition, objective: Objective
    ) -> tuple[Ahead, Array]:
        """`H` replayed steps, derivatives by the model; a window goes no further than its episode."""
        going, first = jnp.ones(len(at.obs), bool), jnp.zeros(0)
        for i in range(self.horizon):
            step = jax.tree.map(lambda x, i=i: x[:, i], windows)
            now: Squashed = self.policy(state.policy, state.obs_stats.normalise(step.obs))  # type: ignore[assignment]
            noise = jax.lax.stop_gradient(now.infer_noise(step.action))
            predicted, _ = self.model.predict(state.extra.model, step.obs, self._inside(step.action))
            error = jax.lax.stop_gradient(step.next_obs - predicted)
            # What really happened: nothing is guessed of the end, and what is behind it is no matter of the policy's.
            aim = dataclasses.replace(objective, after_end=None)
            after, log_prob = self._step_ahead(state, policy, at, noise, aim, error)
            discount = at.discount * self.gamma * jnp.where(step.terminated, 0.0, 1.0)
            after = Ahead(after.obs + error, after.gain, discount)
            at = _where(going, after, at)
            going = going & ~step.done
            first = log_prob if i == 0 else first
        return at, first

    def _weights(self, state: ReplayedState, windows: Transition) -> Array:
        """`[m]` how much likelier each window's actions are today than when they were taken, up to `importance_limit`,
        divided by the minibatch's mean."""
        steps = jax.tree.map(lambda x: x[:, : self.horizon], windows)
        # A step behind the episode's end is none of the window's.
        ended = jnp.cumsum(steps.done, axis=1) - steps.done > 0
        now = self.distribution(state, steps.obs).log_prob(steps.action)
        # Nobody knows how likely a demonstrated action was.
        known = ~ended & ~jnp.isnan(steps.log_prob)
        ratio = jnp.sum(jnp.where(known, now - steps.log_prob, 0.0), axis=1)
        limit = jnp.asarray(self.importance_limit, jnp.float32)
        weight = jnp.minimum(jnp.exp(jnp.minimum(ratio, 20.0)), limit)
        weight = weight / jnp.maximum(jnp.mean(weight), 1e-6)
        return jax.lax.stop_gradient(jnp.where(limit > 0, weight, 1.0))


def _where(condition: Array, new: PyTree, old: PyTree) -> PyTree:
    """`new` in the rows `[m]` where `condition` holds, else `old`."""
    return jax.tree.map(lambda a, b: jnp.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old)
