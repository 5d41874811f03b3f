"""Trust-region policy optimisation (Schulman et al. 2015)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from gailfe_jax.config.flat import Config, Hyper
from gailfe_jax.nn.distributions import Distribution
from gailfe_jax.parallel.seeds import env_shards, local_rows, mean_over_devices, shuffled
from gailfe_jax.policies.actor_critic import ActorCritic, ActorCriticState, Batch
from gailfe_jax.policies.surrogate import importance_surrogate
from gailfe_jax.types import Array, AuxiliaryFn, ForwardTransitions, Metrics, PyTree, ScoreFn, Transition


def fisher_product(dist_fn: Callable[[Array], Distribution], theta: Array) -> Callable[[Array], Array]:
    """Products with the Fisher matrix of a policy, linearised once.

    The Hessian of the mean KL at the policy itself is exactly `mean_i J_i^T M J_i` with `J` the Jacobian of the
    distribution's parameters and `M` their own Fisher matrix, which the distribution knows (TRPO appendix C, without
    forming second derivatives).

    Args:
      dist_fn: flat parameters `[p]` -> the policy at a fixed batch of `n` observations.
      theta: `[p]`.

    Returns:
      `v [p] -> F v [p]`.
    """
    dist, push = jax.linearize(dist_fn, theta)
    pull = jax.linear_transpose(push, theta)
    return lambda v: pull(dist.fisher(push(v)))[0]


def conjugate_gradient(product: Callable[[Array], Array], b: Array, iterations: int) -> Array:
    """Solves `A x = b` approximately by a fixed number of iterations, stopping in place once converged.

    Args:
      product: `x -> A x`, symmetric positive definite.
      b: `[p]`.
      iterations: length of the scan; a `where` freezes converged solutions, so it vmaps.
    """

    def step(carry, _):
        x, r, p, rr = carry
        ap = product(p)
        alpha = rr / (jnp.dot(p, ap) + 1e-20)
        x_new, r_new = x + alpha * p, r - alpha * ap
        rr_new = jnp.dot(r_new, r_new)
        p_new = r_new + (rr_new / (rr + 1e-20)) * p
        live = rr > 1e-10
        new = (x_new, r_new, p_new, rr_new)
        return jax.tree.map(lambda a, b: jnp.where(live, a, b), new, carry), None

    (x, *_), _ = jax.lax.scan(step, (jnp.zeros_like(b), b, b, jnp.dot(b, b)), None, length=iterations)
    return x


def trust_region_step(
    config: Config,
    policy_fn: Callable[[PyTree, Array], Distribution],
    policy: PyTree,
    objective: Callable[[PyTree], tuple[Array, Distribution]],
    x: Array,
    key: Array,
    hyper: Hyper,
) -> tuple[PyTree, Metrics]:
    """One natural-gradient step within a KL bound, with a backtracking line search (TRPO appendix C).

    Args:
      config: static settings.
      policy_fn: `(parameters, normalised observations [n, o]) -> the policy there`.
      policy: parameters to start from.
      objective: `parameters -> (what is to be maximised [], the policy at x)`; on several devices each one's, of
        `local_rows(x)`, and their mean is what counts.
      x: `[n, o]` observations over which the KL divergence is a mean; Fisher products are taken on a share of them.
      key: `[]` draws that share.
      hyper: traced settings.

    Returns:
      `(parameters, metrics)`; the same parameters where no step inside the bound improves the objective.
    """
    theta, unravel = ravel_pytree(policy)
    size = x.shape[0]
    few = max(1, round(config.fisher_fraction * size))
    some = shuffled(key, size)[:few] if few < size else jnp.arange(size)
    flat_objective = lambda theta: objective(unravel(theta))  # noqa: E731

    (start, old), gradient = jax.value_and_grad(flat_objective, has_aux=True)(theta)
    start, gradient = mean_over_devices((start, gradient))
    # Of rows that the devices do not divide, those left over are everyone's.
    left = few % env_shards() if few > env_shards() else 0
    x_left, x_some = x[some[:left]], x[local_rows(some[left:])]
    raw = fisher_product(lambda t: policy_fn(unravel(t), x_some), theta)
    rest = fisher_product(lambda t: policy_fn(unravel(t), x_left), theta) if left else raw

    def product(v: Array) -> Array:
        mean = mean_over_devices(raw(v))
        if left:
            mean = mean + (left / few) * (rest(v) - mean)
        return mean + hyper.cg_damping * v

    direction = conjugate_gradient(product, gradient, config.cg_iterations)
    curvature = jnp.dot(direction, product(direction))
    full_step = direction * jnp.sqrt(2 * hyper.max_kl / (curvature + 1e-20))

    def measure(theta: Array) -> tuple[Array, Array]:
        value, dist = flat_objective(theta)
        value, kl = mean_over_devices((value, jnp.mean(old.kl(dist))))
        return value - start, kl

    def searching(carry) -> Array:
        tries, accepted, *_ = carry
        return ~accepted & (tries <= config.line_search_steps)

    def halve(carry):
        tries, _, _, _, _ = carry
        candidate = theta + full_step * 0.5 ** tries.astype(jnp.float32)
        gain, kl = measure(candidate)
        # Rounding alone can show a gain where nothing moves: a step of no length is no step.
        moves = jnp.all(jnp.isfinite(candidate)) & jnp.any(candidate != theta)
        accepted = moves & (gain > 0) & (kl <= hyper.max_kl)
        return tries + 1, accepted, jnp.where(accepted, candidate, theta), gain, kl

    nothing = (jnp.int32(0), jnp.array(False), theta, jnp.float32(0.0), jnp.float32(0.0))
    tries, accepted, theta, gain, kl = jax.lax.while_loop(searching, halve, nothing)
    policy = unravel(theta)
    return policy, {
        "kl": jnp.where(accepted, kl, 0.0),
        "entropy": mean_over_devices(policy_fn(policy, local_rows(x)).entropy()),
        "improvement": jnp.where(accepted, gain, 0.0),
        "line_search_tries": tries.astype(jnp.float32),
        "step_accepted": accepted.astype(jnp.float32),
    }


@dataclasses.dataclass(frozen=True)
class TRPO(ActorCritic):
    """The trust-region generator.

    Differences from the textbook: Fisher products are taken on a share of the batch (as in the original GAIL code)
    and linearised once; the value network is fitted by Adam in running units of the return.
    """

    def _init_policy_opt(self, policy: PyTree) -> PyTree:
        return ()

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
        key_fisher, key_value = jax.random.split(key)
        policy, step_metrics = self._policy_step(state, batch, key_fisher, hyper, auxiliary)
        value, value_opt, loss = self.fit_value(state, batch, key_value, hyper)
        state = state.replace(policy=policy, value=value, value_opt=value_opt)
        return self.finish(state, transition), metrics | step_metrics | {"value_loss": loss}

    def _policy_step(
        self, state: ActorCriticState, batch: Batch, key: Array, hyper: Hyper, auxiliary: AuxiliaryFn | None
    ) -> tuple[PyTree, Metrics]:
        part = local_rows(batch)

        def objective(policy: PyTree) -> tuple[Array, Distribution]:
            dist = self.policy(policy, part.x)
            gain = importance_surrogate(dist, part.action, part.log_prob, part.advantage)
            gain = gain + hyper.entropy * dist.entropy()
            return gain + self.auxiliary(state, policy, auxiliary), dist

        return trust_region_step(self.config, self.policy, state.policy, objective, batch.x, key, hyper)
