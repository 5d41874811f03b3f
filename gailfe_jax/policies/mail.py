"""MAIL's policy step: the discriminator's gradient, carried back through a learned model (Baram et al. 2016)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.config.parts import setting, subpart, traced
from gailfe_jax.errors import GailfeError
from gailfe_jax.nn.clipping import clip_inward
from gailfe_jax.nn.distributions import Distribution
from gailfe_jax.nn.optimisers import adam, adam_step, clip_by_norm
from gailfe_jax.parallel.devices import local_rows, mean_over_devices
from gailfe_jax.parallel.phases import phase
from gailfe_jax.policies.actor import AgentState, CloneStart
from gailfe_jax.policies.actor_critic import ActorCritic, Batch
from gailfe_jax.policies.base import Objective, asks_next
from gailfe_jax.policies.forward_model import ForwardModel, ModelState
from gailfe_jax.policies.surrogate import importance_surrogate
from gailfe_jax.policies.trpo import TrustRegion, trust_region_step
from gailfe_jax.types import Array, ForwardTransitions, Metrics, PyTree, ScoreFn, StateAction, Transition


@struct.dataclass
class MAILState(AgentState):
    """State of the model-based generator: an actor-critic's, and the forward model."""

    model: ModelState


@struct.dataclass
class Windows:
    """Stretches of `H` consecutive real steps, `W` of them.

    Attributes:
      obs: `[H, W, o]`; action: `[H, W, a]` as drawn; next_obs: `[H, W, o]` before any reset.
      following: `[H, W, o]` what the policy saw next, after a reset if there was one.
      terminated, done: `[H, W]` bool.
    """

    obs: Array
    action: Array
    next_obs: Array
    following: Array
    terminated: Array
    done: Array


def cut_windows(transition: Transition, last_obs: Array, horizon: int) -> Windows:
    """Cuts an unroll `[T, B]` into windows of `horizon` steps; `horizon` divides `T`.

    Args:
      transition: `[T, B, ...]`.
      last_obs: `[B, o]`; what follows the last step (unused by any gradient).
      horizon: `H`.
    """

    def cut(x: Array) -> Array:
        x = x.reshape(-1, horizon, *x.shape[1:])
        return jnp.moveaxis(x, 0, 1).reshape(horizon, -1, *x.shape[3:])

    following = jnp.concatenate([transition.obs[1:], last_obs[None]])
    parts = (transition.obs, transition.action, transition.next_obs, following, transition.terminated, transition.done)
    return Windows(*(cut(x) for x in parts))


class MAIL(TrustRegion, ActorCritic):
    """The model-based generator.

    It ascends the discounted sum of rewards along windows of `horizon` steps, differentiating through the
    policy, the discriminator's reward and the model. With `rollouts = "real"` states and actions are the
    real ones and only derivatives come from the model: noise is inferred from the stored action, and the model's error
    at each real step is added to its prediction. With `"model"` the model runs freely from real states. A mixture's
    choice of component, and an action that is itself a choice, have no exact derivative of this kind; `retrace` and
    `from_noise` of `Mixture` and `Categorical` say which estimators stand in.

    Both the gradient through the model and the likelihood-ratio gradient estimate that of the same return per step: one
    is biased by the model, the other noisy. `pathwise` is the first one's share (interpolated policy gradients,
    Gu et al. 2017); 1 is the paper's MAIL.

    Source: Baram et al. 2016, eq. 8 to 11 and algorithm 1; a value at the window's end as in stochastic value
    gradients (Heess et al. 2015).
    """

    summary = "the reward's gradient through a learned model"
    model_based = True

    max_kl: float = traced(0.01, step_size="policy")
    """Bound on the mean KL divergence of each of an iteration's steps, in nats."""
    value_epochs: int = setting(5, least=1)
    """Passes over the batch when the value network is fitted."""
    value_minibatch: int = setting(256, least=1)
    """Minibatch of the value fit."""
    horizon: int = setting(16, least=1)
    """Steps a gradient is carried back through the model; divides rollout.unroll_length."""
    terminal_value: bool = setting(True)
    """Add a learned value where a window ends, without which a short horizon is greedy."""
    rollouts: Literal["real", "model"] = setting("real")
    """Differentiate along real steps, or roll out in the model from real states."""
    step: Literal["trust_region", "adam"] = setting("trust_region")
    """Natural-gradient steps within max_kl, or Adam steps at lr with the gradient clipped."""
    steps: int = setting(3, least=1)
    """Policy steps per iteration; the reward and the model are fitted once."""
    pathwise: float = traced(0.5, least=0, most=1)
    """Share of the gradient through the model; the rest is the likelihood-ratio gradient. 1 is the paper's."""
    disagreement_weight: float = traced(0.0)
    """Model rollouts: reward paid per step and unit of the models' disagreement."""
    disagreement_limit: float = traced(1e6, least=0)
    """Model rollouts: a rollout stops where the models disagree by more, in standardised changes."""
    lr: float = traced(3e-4, step_size="policy")
    """Adam steps: learning rate of the policy."""
    max_grad_norm: float = traced(0.5, above=0)
    """Adam steps: bound on the global norm of the policy's gradient."""
    model: ForwardModel = subpart(ForwardModel())

    @property
    def asks_time(self) -> bool:
        return False

    def unread(self) -> dict[str, str]:
        found = super().unread() | {"timed_value": "the ends of windows do not say when they are"}
        if self.rollouts == "real":
            found |= dict.fromkeys(("disagreement_weight", "disagreement_limit"), "rollouts is real")
        if self.step == "trust_region":
            return found | dict.fromkeys(("lr", "max_grad_norm"), "step is trust_region")
        region = ("max_kl", "cg_iterations", "cg_damping", "line_search_steps", "fisher_fraction")
        return found | dict.fromkeys(region, "step is adam")

    def verify(self, num_envs: int, unroll_length: int) -> None:
        if unroll_length % self.horizon:
            raise GailfeError(
                f"policy.horizon: got {self.horizon}; expected a divisor of rollout.unroll_length = {unroll_length}"
            )
        if not self.model.hidden:
            raise GailfeError("policy.model.hidden: got no layers; expected at least one")

    def _init_policy_opt(self, policy: PyTree) -> PyTree:
        return adam(policy) if self.step == "adam" else ()

    def init(self, key: Array) -> MAILState:
        base = super().init(key)  # As every generator starts from this key, so that clones are the same.
        fields = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
        return MAILState(**fields, model=self.model.init(jax.random.fold_in(key, 1)))

    def clone(
        self, state: MAILState, demos: StateAction, next_obs: Array | None, key: Array, start: CloneStart
    ) -> MAILState:
        """Starts the policy from a clone and, where `next_obs [N, o]` is known, the model from the same moves."""
        state = super().clone(state, demos, next_obs, key, start)
        if next_obs is None:
            return state
        moves = ForwardTransitions(demos.obs, demos.action, next_obs)

        def step(model: ModelState, key: Array):
            rows = jax.random.randint(key, (1, self.model.ensemble, self.model.minibatch), 0, len(next_obs))
            return self.model.fit(model, jax.tree.map(lambda x: x[rows], moves))[0], None

        keys = jax.random.split(jax.random.fold_in(key, 1), start.steps)
        model, _ = jax.lax.scan(step, self.model.observe(state.model, moves), keys)
        return state.replace(model=model)

    def update(
        self, state: MAILState, transition: Transition, objective: Objective, key: Array
    ) -> tuple[MAILState, Metrics]:
        """One iteration on an unroll `[T, B, ...]`; see `ActorCritic.update`.

        There is always a score, for the true reward has no gradient here, and always past transitions for the model.
        """
        assert objective.score is not None and objective.transitions is not None
        state, batch, metrics = self.make_batch(state, transition, objective)
        low, high = self.problem.action_bounds
        windows = cut_windows(transition, transition.next_obs[-1], self.horizon)
        moves = ForwardTransitions(windows.obs, jnp.clip(windows.action, low, high), windows.next_obs)

        # Before the fit, which is the first to see these moves: up to here they are held out.
        with phase("model"):
            metrics |= self.model.errors(state.model, moves, windows.done)
            model, model_metrics = self.model.fit(self.model.observe(state.model, moves), objective.transitions)
        key_value, key_policy = jax.random.split(key)
        value, value_opt, value_loss = self.fit_value(state, batch, key_value, self.value_epochs, self.value_minibatch)
        state = state.replace(model=model, value=value, value_opt=value_opt)

        def step(carry, key):
            policy, opt = carry
            policy, opt, step_metrics = self._policy_step(
                state, policy, opt, batch, metrics["advantage_std"], windows, objective, key
            )
            return (policy, opt), step_metrics

        keys = jax.random.split(key_policy, self.steps)
        (policy, opt), step_metrics = jax.lax.scan(step, (state.policy, state.policy_opt), keys)
        step_metrics = {
            name: jnp.sum(x) if name in ("kl", "improvement") else jnp.mean(x) for name, x in step_metrics.items()
        }
        state = state.replace(policy=policy, policy_opt=opt)
        return self.finish(state, transition), metrics | model_metrics | step_metrics | {"value_loss": value_loss}

    def _policy_step(
        self,
        state: MAILState,
        policy: PyTree,
        opt: PyTree,
        batch: Batch,
        scale: Array,
        windows: Windows,
        aim: Objective,
        key: Array,
    ) -> tuple[PyTree, PyTree, Metrics]:
        key_noise, key_fisher = jax.random.split(key)
        objective = self.objective(state, policy, batch, scale, windows, aim, key_noise)
        if self.step == "trust_region":
            policy, metrics = trust_region_step(self, self.policy, policy, objective, batch.x, key_fisher)
            return policy, opt, metrics
        (gain, old), gradient = jax.value_and_grad(objective, has_aux=True)(policy)
        gain, gradient = mean_over_devices((gain, gradient))
        descent = jax.tree.map(jnp.negative, clip_by_norm(gradient, self.max_grad_norm))
        policy, opt = adam_step(descent, opt, policy, self.lr)
        new_gain, new = objective(policy)
        new_gain, kl, entropy = mean_over_devices((new_gain, jnp.mean(old.kl(new)), new.entropy()))
        return policy, opt, {"kl": kl, "entropy": entropy, "improvement": new_gain - gain}

    def objective(
        self,
        state: MAILState,
        policy: PyTree,
        batch: Batch,
        scale: Array,
        windows: Windows,
        aim: Objective,
        key: Array,
    ) -> Callable[[PyTree], tuple[Array, Distribution]]:
        """What a policy step maximises: `parameters -> (objective [], the policy at the batch)`, each device's own.

        Args:
          state: the agent, its model fitted.
          policy: parameters that the step starts from.
          batch: the unroll.
          scale: `[]` standard deviation of the advantages before they were standardised.
          windows: the same unroll, cut.
          aim: the score, and what is maximised besides.
          key: `[]` of the noise of rollouts in the model.
        """
        assert aim.score is not None
        if self.rollouts == "real":
            rollout = self.real_rollout(state, policy, local_rows(windows, axis=1), aim.score)
        else:
            rollout = self.free_rollout(state, windows, aim.score, key)
        part = local_rows(batch)

        def objective(policy: PyTree) -> tuple[Array, Distribution]:
            dist = self.policy(policy, part.x)
            through_model = rollout(policy)
            likelihood = importance_surrogate(dist, part.action, part.log_prob, part.advantage) * scale
            gain = self.pathwise * through_model + (1 - self.pathwise) * likelihood
            gain = gain + self.entropy * dist.entropy()
            return gain + scale * self.auxiliary(state, policy, aim.auxiliary), dist

        return objective

    def _executed(self, action: Array, low: Array, high: Array) -> Array:
        """What an environment with bounds `low` and `high` receives of `action [..., a]`; see `clip_inward`.

        A choice's row lies at its bounds everywhere, and moves along them by its weights: nothing is to be clipped.
        """
        return action if self.problem.spec.discrete else clip_inward(action, low, high)

    def real_rollout(self, state: MAILState, policy: PyTree, windows: Windows, score: ScoreFn):
        """The objective along real windows, as a function of the policy's parameters.

        At `policy` states and actions are the real ones: the noise is what the stored action says it was, and the
        model's error at each real step is added as a constant (`f(s,a) + stop_gradient(s' - f(s,a))`). Its gradient is
        eq. 10 and 11 of Baram et al. 2016 with the reward in place of `-D`. No gradient crosses an episode's end.

        Returns:
          `parameters -> []`, to be maximised.
        """
        low, high = self.problem.action_bounds
        late = asks_next(score)
        dist = self.policy(policy, state.obs_stats.normalise(windows.obs))
        noise = dist.infer_noise(windows.action)
        predicted, _ = self.model.predict(state.model, windows.obs, jnp.clip(windows.action, low, high))
        noise, error = jax.lax.stop_gradient((noise, windows.next_obs - predicted))

        def total(params: PyTree) -> Array:
            def step(carry, inputs):
                obs, discount, gain = carry
                window, noise, error = inputs
                dist = self.policy(params, state.obs_stats.normalise(obs))
                action = self._executed(dist.retrace(noise), low, high)
                gain = gain if late else gain + discount * score(obs, action)
                next_obs = self.model.predict(state.model, obs, action)[0] + error
                gain = gain + discount * score(obs, action, next_obs) if late else gain
                discount = discount * self.gamma
                # The time limit cuts the episode, not the task: its value goes on.
                cut = window.done & ~window.terminated
                if self.terminal_value:
                    gain = gain + jnp.where(cut, discount * self._values(state, next_obs), 0.0)
                obs = jnp.where(window.done[:, None], window.following, next_obs)
                return (obs, jnp.where(window.done, 1.0, discount), gain), None

            width = windows.obs.shape[1]
            start = (windows.obs[0], jnp.ones(width), jnp.zeros(width))
            (obs, discount, gain), _ = jax.lax.scan(step, start, (windows, noise, error))
            if self.terminal_value:
                gain = gain + jnp.where(windows.done[-1], 0.0, discount * self._values(state, obs))
            return jnp.mean(gain) / self.horizon

        return total

    def free_rollout(self, state: MAILState, windows: Windows, score: ScoreFn, key: Array):
        """The objective along the model's own rollouts of `H` steps from the windows' first states.

        A rollout pays `disagreement_weight` per step times the members' disagreement, and ends where that exceeds
        `disagreement_limit`: beyond its data the model is not to be believed. Falls are unknown to the model.

        Returns:
          `parameters -> []`, to be maximised; on several devices each one's, of its share of the windows.
        """
        low, high = self.problem.action_bounds
        # Of the windows' shape; which policy says so is all the same.
        noises = self.policy(state.policy, state.obs_stats.normalise(windows.obs)).draw_noise(key)
        windows, noises = local_rows((windows, noises), axis=1)

        def total(params: PyTree) -> Array:
            def step(carry, noise):
                obs, discount, gain, alive = carry
                dist = self.policy(params, state.obs_stats.normalise(obs))
                action = self._executed(dist.from_noise(noise), low, high)
                next_obs, disagreement = self.model.predict(state.model, obs, action)
                reward = score(obs, action, next_obs) - self.disagreement_weight * disagreement
                alive = alive * (disagreement <= self.disagreement_limit)
                # A stopped rollout stays where it was believed last, and is worth what that state is.
                gain = gain + alive * discount * reward
                obs = jnp.where(alive[:, None] > 0, next_obs, obs)
                return (obs, discount * jnp.where(alive > 0, self.gamma, 1.0), gain, alive), None

            width = windows.obs.shape[1]
            start = (windows.obs[0], jnp.ones(width), jnp.zeros(width), jnp.ones(width))
            (obs, discount, gain, _), _ = jax.lax.scan(step, start, noises)
            if self.terminal_value:
                gain = gain + discount * self._values(state, obs)
            return jnp.mean(gain) / self.horizon

        return total
