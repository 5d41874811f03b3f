"""Trust-region policy optimisation (Schulman et al. 2015)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from gailfe_jax.config.parts import Part, setting, traced
from gailfe_jax.nn.distributions import Distribution
from gailfe_jax.nn.optimisers import shuffled
from gailfe_jax.parallel.devices import env_shards, local_rows, mean_over_devices
from gailfe_jax.parallel.phases import at_most
from gailfe_jax.policies.actor import AgentState
from gailfe_jax.policies.actor_critic import ActorCritic, Batch
from gailfe_jax.policies.base import Objective
from gailfe_jax.policies.surrogate import importance_surrogate
from gailfe_jax.types import Array, AuxiliaryFn, Metrics, PyTree, Transition


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


class TrustRegion(Part):
    """Settings of a natural-gradient step within a bound on the KL divergence."""

    max_kl: float = traced(0.02, step_size="policy")
    """Bound on the mean KL divergence of one step, in nats."""
    cg_iterations: int = setting(10, least=1)
    """Conjugate-gradient iterations."""
    cg_damping: float = traced(0.1, least=0)
    """Added to the Fisher matrix's diagonal."""
    line_search_steps: int = setting(10, least=1)
    """Most halvings of the step."""
    fisher_fraction: float = setting(0.5, above=0, most=1)
    """Share of the batch on which Fisher products are taken; the line search's KL is over the whole batch."""


class Ascent(NamedTuple):
    """Which way a policy's step goes.

    Attributes:
      start: `[]` the objective there.
      old: the policy there, at the observations.
      direction: `[p]` the natural gradient, `(F + damping) direction = gradient` solved approximately.
      curvature: `[]` of the mean KL divergence along it.
    """

    start: Array
    old: Distribution
    direction: Array
    curvature: Array


def ascent(
    region: TrustRegion,
    policy_fn: Callable[[PyTree, Array], Distribution],
    unravel: Callable[[Array], PyTree],
    theta: Array,
    objective: Callable[[Array], tuple[Array, Distribution]],
    x: Array,
    key: Array,
) -> Ascent:
    """The natural gradient of an objective, by conjugate gradients.

    Args:
      region, policy_fn, x, key: see `trust_region_step`.
      unravel: flat parameters to those that `policy_fn` takes.
      theta: `[p]` flat parameters.
      objective: of flat parameters; see `trust_region_step`.
    """
    size = x.shape[0]
    few = max(1, round(region.fisher_fraction * size))
    some = shuffled(key, size)[:few] if few < size else jnp.arange(size)
    (start, old), gradient = jax.value_and_grad(objective, has_aux=True)(theta)
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
        return mean + region.cg_damping * v

    direction = conjugate_gradient(product, gradient, region.cg_iterations)
    return Ascent(start, old, direction, jnp.dot(direction, product(direction)))


def trust_region_step(
    region: TrustRegion,
    policy_fn: Callable[[PyTree, Array], Distribution],
    policy: PyTree,
    objective: Callable[[PyTree], tuple[Array, Distribution]],
    x: Array,
    key: Array,
) -> tuple[PyTree, Metrics]:
    """One natural-gradient step within a KL bound, with a backtracking line search (TRPO appendix C).

    Args:
      region: its settings.
      policy_fn: `(parameters, normalised observations [n, o]) -> the policy there`.
      policy: parameters to start from.
      objective: `parameters -> (what is to be maximised [], the policy at x)`; on several devices each one's, of
        `local_rows(x)`, and their mean is what counts.
      x: `[n, o]` observations over which the KL divergence is a mean; Fisher products are taken on a share of them.
      key: `[]` draws that share.

    Returns:
      `(parameters, metrics)`; the same parameters where no step inside the bound improves the objective.
    """
    theta, unravel = ravel_pytree(policy)
    flat_objective = lambda theta: objective(unravel(theta))  # noqa: E731
    start, old, direction, curvature = ascent(region, policy_fn, unravel, theta, flat_objective, x, key)
    full_step = direction * jnp.sqrt(2 * region.max_kl / (curvature + 1e-20))

    def measure(theta: Array) -> tuple[Array, Array]:
        value, dist = flat_objective(theta)
        value, kl = mean_over_devices((value, jnp.mean(old.kl(dist))))
        return value - start, kl

    def searching(carry) -> Array:
        tries, accepted, *_ = carry
        return ~accepted & (tries <= region.line_search_steps)

    def halve(carry):
        tries, _, _, _, _ = carry
        candidate = theta + full_step * 0.5 ** tries.astype(jnp.float32)
        gain, kl = measure(candidate)
        # Rounding alone can show a gain where nothing moves: a step of no length is no step.
        moves = jnp.all(jnp.isfinite(candidate)) & jnp.any(candidate != theta)
        accepted = moves & (gain > 0) & (kl <= region.max_kl)
        return tries + 1, accepted, jnp.where(accepted, candidate, theta), gain, kl

    nothing = (jnp.int32(0), jnp.array(False), theta, jnp.float32(0.0), jnp.float32(0.0))
    with at_most(region.line_search_steps + 1):
        tries, accepted, theta, gain, kl = jax.lax.while_loop(searching, halve, nothing)
    policy = unravel(theta)
    return policy, {
        "kl": jnp.where(accepted, kl, 0.0),
        "entropy": mean_over_devices(policy_fn(policy, local_rows(x)).entropy()),
        "improvement": jnp.where(accepted, gain, 0.0),
        "line_search_tries": tries.astype(jnp.float32),
        "step_accepted": accepted.astype(jnp.float32),
    }


class TRPO(TrustRegion, ActorCritic):
    """The trust-region generator.

    Differences from the textbook: Fisher products are taken on a share of the batch (as in the original GAIL code)
    and linearised once; the value network is fitted by Adam in running units of the return.
    """

    summary = "natural-gradient steps within a KL bound"

    value_epochs: int = setting(5, least=1)
    """Passes over the batch when the value network is fitted."""
    value_minibatch: int = setting(256, least=1)
    """Minibatch of the value fit."""

    def _init_policy_opt(self, policy: PyTree) -> PyTree:
        return ()

    def update(
        self, state: AgentState, transition: Transition, objective: Objective, key: Array
    ) -> tuple[AgentState, Metrics]:
        """One iteration on an unroll `[T, B, ...]`; see `ActorCritic.update`."""
        state, batch, metrics = self.make_batch(state, transition, objective)
        key_fisher, key_value = jax.random.split(key)
        policy, step_metrics = self._policy_step(state, batch, key_fisher, objective.auxiliary)
        value, value_opt, loss = self.fit_value(state, batch, key_value, self.value_epochs, self.value_minibatch)
        state = state.replace(policy=policy, value=value, value_opt=value_opt)
        return self.finish(state, transition), metrics | step_metrics | {"value_loss": loss}

    def _policy_step(
        self, state: AgentState, batch: Batch, key: Array, auxiliary: AuxiliaryFn | None
    ) -> tuple[PyTree, Metrics]:
        return trust_region_step(self, self.policy, state.policy, self.objective(state, batch, auxiliary), batch.x, key)

    def objective(
        self, state: AgentState, batch: Batch, auxiliary: AuxiliaryFn | None = None
    ) -> Callable[[PyTree], tuple[Array, Distribution]]:
        """What a policy step maximises: `parameters -> (objective [], the policy at the batch)`, each device's own."""
        part = local_rows(batch)

        def objective(policy: PyTree) -> tuple[Array, Distribution]:
            dist = self.policy(policy, part.x)
            gain = importance_surrogate(dist, part.action, part.log_prob, part.advantage)
            gain = gain + self.entropy * dist.entropy()
            return gain + self.auxiliary(state, policy, auxiliary), dist

        return objective
