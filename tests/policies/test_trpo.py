from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from gailfe_jax.config.parts import as_arrays
from gailfe_jax.nn.distributions import GaussianPolicy, MixturePolicy
from gailfe_jax.policies.base import Objective
from gailfe_jax.policies.trpo import TRPO, conjugate_gradient, fisher_product
from gailfe_jax.types import EnvSpec, Problem, Transition

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

SPEC = EnvSpec("toy", None, "none", 4, 2, (-1.0, -1.0), (1.0, 1.0), 100)


def small_policy(net):
    x = jax.random.normal(jax.random.key(1), (32, 4))
    theta, unravel = ravel_pytree(net.init(jax.random.key(0), x))
    # Away from the nearly-zero output layer the Jacobian has full structure.
    theta = theta + 0.3 * jax.random.normal(jax.random.key(2), theta.shape)
    return (lambda t: net.apply(unravel(t), x)), theta


@pytest.mark.parametrize(
    "net", [GaussianPolicy((5,), 2, "tanh", -0.3), MixturePolicy((5,), 2, 3, "tanh", -0.3)], ids=["gaussian", "mixture"]
)
def test_fisher_product_is_the_hessian_of_the_mean_kl(net):
    dist_fn, theta = small_policy(net)
    old = jax.lax.stop_gradient(dist_fn(theta))
    hessian = jax.jit(jax.hessian(lambda t: jnp.mean(old.kl(dist_fn(t)))))(theta)
    product = jax.jit(fisher_product(dist_fn, theta))
    vectors = jax.random.normal(jax.random.key(3), (5, theta.size))
    for v in vectors:
        np.testing.assert_allclose(product(v), hessian @ v, rtol=1e-3, atol=1e-4)


def test_conjugate_gradient_solves_and_freezes_when_done():
    a = jax.random.normal(jax.random.key(0), (6, 6))
    a = a @ a.T + jnp.eye(6)
    b = jnp.arange(1.0, 7.0)
    exact = jnp.linalg.solve(a, b)
    np.testing.assert_allclose(conjugate_gradient(lambda v: a @ v, b, 12), exact, rtol=1e-3)
    np.testing.assert_array_equal(conjugate_gradient(lambda v: a @ v, jnp.zeros(6), 12), jnp.zeros(6))
    batched = jax.vmap(lambda b: conjugate_gradient(lambda v: a @ v, b, 12))(jnp.stack([b, 2 * b]))
    np.testing.assert_allclose(batched[1], 2 * exact, rtol=1e-3)


def made(max_kl, unroll_length=64, **settings):
    """A bound TRPO and its first state; the bound on the step is a number inside the program."""
    trpo = TRPO(hidden=(16,), max_kl=max_kl, **settings).bind(Problem(SPEC, num_envs=4, unroll_length=unroll_length))
    return as_arrays(trpo), jax.jit(trpo.init)(jax.random.key(0))


@jax.jit
def act(trpo, state, obs, key):
    return trpo.act(state, obs, key)


@jax.jit
def update(trpo, state, transition, key):
    return trpo.update(state, transition, Objective(), key)


def fake_unroll(trpo, state, key):
    length, num_envs = trpo.problem.unroll_length, trpo.problem.num_envs
    obs = jax.random.normal(key, (length + 1, num_envs, 4))
    action, log_prob = jax.vmap(lambda o, k: act(trpo, state, o, k))(obs[:-1], jax.random.split(key, length))
    reward = -jnp.sum(jnp.square(action - 0.5 * obs[:-1, :, :2]), -1)
    flag = jnp.zeros((length, num_envs), bool)
    return Transition(obs[:-1], action, log_prob, obs[1:], reward, flag, flag.at[-1].set(True))


@pytest.mark.parametrize(
    ("max_kl", "mixture"),
    [(1e-3, 1), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((1e-2, 1), (5e-2, 1))), (1e-2, 3)],
)
def test_the_step_stays_inside_its_kl_bound_and_improves_the_surrogate(max_kl, mixture):
    trpo, state = made(max_kl, mixture=mixture, fisher_fraction=1.0)
    kls = []
    for i in range(5):
        transition = fake_unroll(trpo, state, jax.random.key(i))
        new, metrics = update(trpo, state, transition, jax.random.key(i))
        flat = transition.obs.reshape(-1, 4)
        # Measured apart from the update, in the normaliser that the step used.
        old_dist = trpo.distribution(state, flat)
        new_dist = trpo.distribution(state.replace(policy=new.policy), flat)
        kls.append(float(jnp.mean(old_dist.kl(new_dist))))
        assert metrics["step_accepted"] == 1.0 and metrics["improvement"] > 0
        state = new
    assert max(kls) <= max_kl * 1.001
    assert max(kls) > 0.2 * max_kl


def test_a_hopeless_line_search_leaves_the_policy_alone():
    trpo, state = made(0.0, unroll_length=16)
    transition = fake_unroll(trpo, state, jax.random.key(0))
    new, metrics = update(trpo, state, transition, jax.random.key(0))
    assert metrics["step_accepted"] == 0.0
    for a, b in zip(jax.tree.leaves(state.policy), jax.tree.leaves(new.policy), strict=True):
        np.testing.assert_array_equal(a, b)
