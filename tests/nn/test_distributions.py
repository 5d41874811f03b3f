"""The mixture of Gaussians against numerical integration, Monte Carlo and the plain Gaussian."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from gailfe_jax.nn.distributions import Gaussian, GaussianPolicy, Mixture, MixturePolicy

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

KEY = jax.random.key(0)


def random_mixture(key, batch=(), components=3, size=2, spread=1.5):
    keys = jax.random.split(key, 3)
    return Mixture(
        logits=jax.random.normal(keys[0], (*batch, components)),
        mean=spread * jax.random.normal(keys[1], (*batch, components, size)),
        log_std=-0.5 + 0.4 * jax.random.normal(keys[2], (components, size)),
    )


def moved(dist, key, scale):
    flat, unravel = ravel_pytree(dist)
    return unravel(flat + scale * jax.random.normal(key, flat.shape))


def many(dist, count):
    """The same distribution at `count` observations."""
    tile = lambda x: jnp.broadcast_to(x, (count, *x.shape))  # noqa: E731
    return Mixture(tile(dist.logits), tile(dist.mean), dist.log_std)


def test_the_density_integrates_to_one_and_gives_the_entropy_bound():
    grid, cell = jnp.linspace(-12, 12, 20_001)[:, None], 24 / 20_000
    for seed in range(4):
        dist = random_mixture(jax.random.key(seed), size=1)
        log_prob = dist.log_prob(grid)
        assert float(jnp.sum(jnp.exp(log_prob))) * cell == pytest.approx(1.0, abs=1e-4)
        entropy = -float(jnp.sum(jnp.exp(log_prob) * log_prob)) * cell
        choice = -float(jnp.sum(dist.weights * dist.log_weights))
        assert entropy <= float(dist.entropy()) + 1e-4 <= entropy + choice + 2e-4
    # Far apart, the bound is the entropy.
    dist = Mixture(jnp.array([0.3, 0.0]), jnp.array([[-5.0], [5.0]]), jnp.full((2, 1), -1.0))
    log_prob = dist.log_prob(grid)
    assert -float(jnp.sum(jnp.exp(log_prob) * log_prob)) * cell == pytest.approx(float(dist.entropy()), abs=1e-4)


def test_one_component_is_the_gaussian():
    mixture, other = (random_mixture(key, (5,), components=1) for key in jax.random.split(KEY))
    gaussian, target = (Gaussian(m.mean[:, 0], m.log_std[0]) for m in (mixture, other))
    action = jax.random.normal(jax.random.key(1), (5, 2))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # noqa: E731
    close(mixture.log_prob(action), gaussian.log_prob(action))
    close(mixture.kl(other), gaussian.kl(target))
    close(mixture.entropy(), gaussian.entropy())
    np.testing.assert_array_equal(mixture.mode, gaussian.mode)
    ours, theirs = mixture.fisher(other), gaussian.fisher(target)
    close(ours.mean[:, 0], theirs.mean)
    close(ours.log_std[0], theirs.log_std)
    close(ours.logits, 0.0)
    close(other.retrace(mixture.infer_noise(action)), target.retrace(gaussian.infer_noise(action)))


def test_samples_follow_the_weights_and_the_components():
    dist = Mixture(
        logits=jnp.log(jnp.array([0.5, 0.3, 0.2])),
        mean=jnp.array([[-4.0, 0.0], [0.0, 4.0], [4.0, 0.0]]),
        log_std=jnp.log(jnp.array([[0.2, 0.4], [0.6, 0.1], [0.3, 0.3]])),
    )
    sample = many(dist, 30_000).sample(KEY)
    nearest = np.argmin(np.sum((np.asarray(sample)[:, None] - dist.mean) ** 2, -1), -1)
    np.testing.assert_allclose(np.bincount(nearest) / 30_000, dist.weights, atol=0.01)
    for k in range(3):
        np.testing.assert_allclose(sample[nearest == k].mean(0), dist.mean[k], atol=0.03)
        np.testing.assert_allclose(sample[nearest == k].std(0), jnp.exp(dist.log_std[k]), rtol=0.05)
    np.testing.assert_array_equal(dist.mode, dist.mean[0])
    assert sample.shape == (30_000, 2) and dist.sample(KEY).shape == (2,)
    # Each entry of a batch has its own most probable component.
    logits = jnp.array([[0.0, 1.0, 0.5], [2.0, 1.0, 0.5]])
    np.testing.assert_array_equal(many(dist, 2).replace(logits=logits).mode, dist.mean[jnp.array([1, 0])])


@pytest.mark.parametrize("scale", [0.05, 0.3, 1.0])
def test_the_kl_is_bounded_from_above(scale):
    @jax.jit
    def measure(key):
        old = random_mixture(key, spread=0.5)
        new = moved(old, jax.random.fold_in(key, 1), scale)
        sample = many(old, 40_000).sample(jax.random.fold_in(key, 2))
        ratio = new.log_prob(sample) - old.log_prob(sample)
        # A low-variance estimator of KL(old || new): the mean of the ratio itself is one.
        terms = jnp.expm1(ratio) - ratio
        return old.kl(new), jnp.mean(terms), 3 * jnp.std(terms) / 200, old.kl(old)

    for seed in range(3):
        bound, estimate, error, none = (float(x) for x in measure(jax.random.key(seed)))
        assert bound >= estimate - error > 0
        assert none == pytest.approx(0.0, abs=1e-6)


def test_the_fisher_product_is_the_hessian_of_the_mean_kl():
    dist = random_mixture(KEY, (2,), components=3, size=2)
    flat, unravel = ravel_pytree(dist)
    hessian = jax.jit(jax.hessian(lambda x: jnp.mean(dist.kl(unravel(x)))))(flat)
    ours = jax.jit(jax.vmap(lambda v: ravel_pytree(dist.fisher(unravel(v)))[0]))(jnp.eye(flat.size))
    np.testing.assert_allclose(ours, hessian, atol=2e-5)


COUNT = 100_000
SLOPE, BEND = jnp.array([0.7, -0.4]), jnp.array([0.3, 0.5])


def expected_score(dist, bend):
    """The mean of `SLOPE a - bend a^2`, in closed form."""
    second = jnp.square(dist.mean) + jnp.exp(2 * dist.log_std)
    return jnp.sum(dist.weights * jnp.sum(SLOPE * dist.mean - bend * second, -1))


@pytest.mark.parametrize("kind", ["retrace", "from_noise"])
def test_derivatives_through_actions_are_unbiased_for_means_and_deviations(kind):
    dist = random_mixture(jax.random.key(4), spread=0.7)
    old = many(dist, COUNT)
    if kind == "retrace":
        action = old.sample(KEY)
        noise = old.infer_noise(action)
        # What was drawn stays what was drawn.
        np.testing.assert_allclose(old.retrace(noise), action, atol=1e-5)
    else:
        noise = old.draw_noise(KEY)
        np.testing.assert_array_equal(old.from_noise(noise), old.sample(KEY))

    def through_actions(dist, bend):
        action = getattr(many(dist, COUNT), kind)(noise)
        return jnp.mean(jnp.sum(SLOPE * action - bend * jnp.square(action), -1))

    for bend in (0 * BEND, BEND):
        ours, exact = (jax.jit(jax.grad(fn))(dist, bend) for fn in (through_actions, expected_score))
        np.testing.assert_allclose(ours.mean, exact.mean, atol=0.01)
        np.testing.assert_allclose(ours.log_std, exact.log_std, atol=0.01)
        if kind == "retrace" and not bend.any():
            np.testing.assert_allclose(ours.logits, exact.logits, atol=1e-4)
        # Biased, but on the right side.
        assert jnp.vdot(ours.logits, exact.logits) > 0.5 * jnp.linalg.norm(ours.logits) * jnp.linalg.norm(exact.logits)


def test_a_fresh_mixture_policy_has_its_means_apart_and_its_weights_even():
    net = MixturePolicy((16,), 3, 4, "tanh", -1.0)
    obs = jax.random.normal(KEY, (50, 5))
    params = jax.jit(net.init)(jax.random.key(2), obs)
    dist = jax.jit(net.apply)(params, obs)
    assert dist.mean.shape == (50, 4, 3) and dist.logits.shape == (50, 4) and dist.log_std.shape == (4, 3)
    np.testing.assert_allclose(dist.weights, 0.25, atol=0.02)
    np.testing.assert_array_equal(dist.log_std, -1.0)
    # Four even levels within one standard deviation, in every dimension.
    levels = np.exp(-1.0) * np.array([-1, -1 / 3, 1 / 3, 1])
    np.testing.assert_allclose(np.sort(dist.mean.mean(0), axis=0), np.tile(levels[:, None], 3), atol=0.02)
    orders = {tuple(column) for column in np.argsort(np.asarray(dist.mean[0]), axis=0).T}
    assert len(orders) > 1
    apart = np.linalg.norm(dist.mean[0, :, None] - dist.mean[0, None], axis=-1)[np.triu_indices(4, 1)]
    assert apart.min() > np.exp(-1.0)


def test_the_plain_gaussians_parameters_are_as_ever():
    params = GaussianPolicy((4,), 2).init(KEY, jnp.zeros((1, 3)))["params"]
    shapes = jax.tree.map(jnp.shape, params)
    layers = {"Dense_0": {"kernel": (3, 4), "bias": (4,)}, "Dense_1": {"kernel": (4, 2), "bias": (2,)}}
    assert shapes == {"mean": layers, "log_std": (2,)}
    assert not np.any(params["mean"]["Dense_1"]["bias"])
