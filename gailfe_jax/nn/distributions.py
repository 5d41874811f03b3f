"""Distributions over actions (a Gaussian, a mixture of Gaussians) and the networks whose outputs they are.

Shapes: `o`, `a` observation and action sizes, `K` components of a mixture; leading batch dimensions are free.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct

from gailfe_jax.nn.mlp import MLP
from gailfe_jax.types import Array, PyTree

CHOICE_TEMPERATURE = 0.5
"""Of the softmax through which a drawn component is differentiated: lower is less biased and noisier."""

UNBOUNDED = 1e6
"""An action's bound of this size or more is none: it says nothing of what is usual."""


@dataclasses.dataclass(frozen=True)
class ActionUnits:
    """What a network's outputs are in: `action = centre + half * output`, so that 1 is an action's upper bound.

    Learning rates, and the first standard deviation, then mean the same for a motor of 300 Nm as for one of 1.

    Attributes:
      centre, half: `a` numbers each: the middle of the action's bounds, and half of their distance.
    """

    centre: tuple[float, ...]
    half: tuple[float, ...]

    @classmethod
    def of(cls, low: Sequence[float], high: Sequence[float], size: int) -> ActionUnits | None:
        """The units for bounds of one number, or of `size` numbers; None where they are -1 and 1.

        An action without bounds, or with those of `UNBOUNDED`, keeps its own unit.
        """
        bottom, top = (np.broadcast_to(np.asarray(bound, float), size) for bound in (low, high))
        free = (bottom <= -UNBOUNDED) | (top >= UNBOUNDED)
        bottom, top = np.where(free, -1.0, bottom), np.where(free, 1.0, top)
        if np.equal(bottom, -1).all() and np.equal(top, 1).all():
            return None
        return cls(tuple((0.5 * (bottom + top)).tolist()), tuple((0.5 * (top - bottom)).tolist()))

    def mean(self, output: Array) -> Array:
        """`[..., a]` the mean that a network's `output [..., a]` stands for."""
        return jnp.asarray(self.centre) + jnp.asarray(self.half) * output

    def output(self, mean: Array) -> Array:
        """The inverse of `mean`."""
        return (mean - jnp.asarray(self.centre)) / jnp.asarray(self.half)

    def log_std(self, output: Array) -> Array:
        """`[..., a]` likewise of a log standard deviation."""
        return output + jnp.log(jnp.asarray(self.half))


class GaussianPolicy(nn.Module):
    """A diagonal Gaussian over actions: mean by an MLP, one learned log standard deviation per action dimension."""

    hidden: Sequence[int]
    action_size: int
    activation: str = "tanh"
    init_log_std: float = 0.0
    units: ActionUnits | None = None

    @nn.compact
    def __call__(self, obs: Array) -> Gaussian:
        mean = MLP(self.hidden, self.action_size, self.activation, out_scale=0.01, name="mean")(obs)
        log_std = self.param("log_std", nn.initializers.constant(self.init_log_std), (self.action_size,))
        if self.units is None:
            return Gaussian(mean, log_std)
        return Gaussian(self.units.mean(mean), self.units.log_std(log_std))


class MixturePolicy(nn.Module):
    """A mixture of diagonal Gaussians over actions.

    One MLP gives the `K * a` means, component by component, and then the `K` logits of the weights; every component
    has its own learned log standard deviation per action dimension.

    Attributes:
      components: `K`.
      init_log_std: of every component.
    """

    hidden: Sequence[int]
    action_size: int
    components: int
    activation: str = "tanh"
    init_log_std: float = 0.0
    units: ActionUnits | None = None

    @nn.compact
    def __call__(self, obs: Array) -> Mixture:
        shape = (self.components, self.action_size)
        size = self.components * self.action_size
        start = means_apart(*shape, jnp.exp(self.init_log_std))
        out = MLP(self.hidden, size + self.components, self.activation, 0.01, start, name="components")(obs)
        log_std = self.param("log_std", nn.initializers.constant(self.init_log_std), shape)
        logits, mean = split_outputs(out, self.components)
        if self.units is None:
            return Mixture(logits, mean, log_std)
        return Mixture(logits, self.units.mean(mean), self.units.log_std(log_std))


def split_outputs(out: Array, components: int) -> tuple[Array, Array]:
    """Logits `[..., K]` and means `[..., K, a]` in a mixture network's output `[..., K * a + K]`."""
    size = out.shape[-1] - components
    return out[..., size:], out[..., :size].reshape(*out.shape[:-1], components, size // components)


def most_probable(logits: Array, mean: Array) -> Array:
    """`[..., a]` the entry of `mean [..., K, a]` whose logit `[..., K]` is highest."""
    return _choose(mean, jnp.argmax(logits, axis=-1))


def means_apart(components: int, action_size: int, std: Array | float) -> nn.initializers.Initializer:
    """First biases `[K * a + K]` of a mixture's output layer: means within `std` of zero, equal weights.

    Components that start alike have the same responsibility for every action, get the same gradient and so stay alike;
    those that a small output scale alone tells apart leave that saddle too slowly. In each action dimension the means
    stand on K even levels, in an order of its own, else they would all lie on one diagonal.
    """

    def init(key: Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> Array:
        levels = std * (2 * jnp.arange(components, dtype=dtype) - (components - 1)) / max(components - 1, 1)
        keys = jax.random.split(key, action_size)
        means = jax.vmap(lambda k: jax.random.permutation(k, levels))(keys).T
        return jnp.concatenate([means.ravel(), jnp.zeros(components, dtype)]).reshape(shape)

    return init


class Distribution(Protocol):
    """What the generators ask of a policy at a batch of observations.

    The last four methods serve derivatives through actions. They come in pairs, noise and the action as a function of
    it and of the distribution's parameters: one pair for fresh draws, one for actions that were drawn before.
    """

    @property
    def mode(self) -> Array:
        """`[..., a]` the deterministic action."""
        ...

    def sample(self, key: Array) -> Array:
        """`[..., a]` one draw per batch entry."""
        ...

    def log_prob(self, action: Array) -> Array:
        """`[...]` log-density of `action [..., a]`."""
        ...

    def entropy(self) -> Array:
        """`[]` nats, a mean over the batch."""
        ...

    def kl(self, other: Any) -> Array:
        """`[...]` KL(self || other), or a bound above it, in nats."""
        ...

    def fisher(self, tangent: Any) -> Any:
        """The Hessian of the batch's mean `kl` at the distribution itself, times `tangent`."""
        ...

    def draw_noise(self, key: Array) -> PyTree:
        """Noise whose `from_noise` are draws; it depends on the batch's shape only."""
        ...

    def from_noise(self, noise: PyTree) -> Array:
        """`[..., a]` the actions that `noise` stands for."""
        ...

    def infer_noise(self, action: Array) -> PyTree:
        """Noise whose `retrace`, under this very distribution, is `action [..., a]`."""
        ...

    def retrace(self, noise: PyTree) -> Array:
        """`[..., a]` the actions that `noise` was inferred from, moved as the distribution has since."""
        ...


@struct.dataclass
class Gaussian:
    """A diagonal Gaussian.

    Attributes:
      mean: `[..., a]`.
      log_std: `[a]`, or one for each of the leading entries that it broadcasts against.
    """

    mean: Array
    log_std: Array

    @property
    def mode(self) -> Array:
        """`[..., a]` the mean."""
        return self.mean

    def sample(self, key: Array) -> Array:
        """`[..., a]` one draw per batch entry."""
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape)

    def log_prob(self, action: Array) -> Array:
        """`[...]` log-density of `action [..., a]`."""
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return -0.5 * jnp.sum(jnp.square(z) + jnp.log(2 * jnp.pi), axis=-1) - jnp.sum(self.log_std, axis=-1)

    def entropy(self) -> Array:
        """`[]` differential entropy in nats; the same for every observation."""
        return jnp.sum(self.log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e), axis=-1)

    def kl(self, other: Gaussian) -> Array:
        """`[...]` KL(self || other)."""
        ratio = jnp.exp(2 * (self.log_std - other.log_std))
        shift = jnp.square((self.mean - other.mean) * jnp.exp(-other.log_std))
        return 0.5 * jnp.sum(ratio + shift - 1.0 - 2 * (self.log_std - other.log_std), axis=-1)

    def fisher(self, tangent: Gaussian) -> Gaussian:
        """The Hessian of the batch's mean KL at the distribution itself, times `tangent`: `1/sigma^2` for a mean, 2 for
        a log standard deviation (TRPO appendix C)."""
        n = self.mean[..., 0].size
        # log_std is shared by all n observations, so its mean over them is 2 and needs no division by n.
        return Gaussian(mean=tangent.mean * jnp.exp(-2 * self.log_std) / n, log_std=2 * tangent.log_std)

    def draw_noise(self, key: Array) -> Array:
        """`[..., a]` standard normal."""
        return jax.random.normal(key, self.mean.shape)

    def from_noise(self, noise: Array) -> Array:
        """`[..., a]` the actions that `noise [..., a]` stands for."""
        return self.mean + jnp.exp(self.log_std) * noise

    def infer_noise(self, action: Array) -> Array:
        """`[..., a]` the noise that made `action [..., a]`."""
        return (action - self.mean) * jnp.exp(-self.log_std)

    def retrace(self, noise: Array) -> Array:
        """As `from_noise`: one noise makes one action."""
        return self.from_noise(noise)


@struct.dataclass
class DrawnNoise:
    """Noise behind a mixture's draw.

    Attributes:
      normal: `[..., a]` standard normal, whichever component is chosen.
      gumbel: `[..., K]` standard Gumbel, which choose it.
    """

    normal: Array
    gumbel: Array


@struct.dataclass
class InferredNoise:
    """What a mixture could have drawn a given action from.

    Attributes:
      normal: `[..., K, a]` the standard normal of each component, had it been the one.
      responsibility: `[..., K]` probability that it was.
      weight: `[..., K]` the mixture's weights then.
    """

    normal: Array
    responsibility: Array
    weight: Array


@struct.dataclass
class Mixture:
    """A mixture of diagonal Gaussians.

    Attributes:
      logits: `[..., K]` of the weights.
      mean: `[..., K, a]`.
      log_std: `[K, a]`.
    """

    logits: Array
    mean: Array
    log_std: Array

    @property
    def log_weights(self) -> Array:
        """`[..., K]`."""
        return jax.nn.log_softmax(self.logits)

    @property
    def weights(self) -> Array:
        """`[..., K]`."""
        return jax.nn.softmax(self.logits)

    @property
    def components(self) -> Gaussian:
        """`[..., K]` Gaussians."""
        return Gaussian(self.mean, self.log_std)

    @property
    def mode(self) -> Array:
        """`[..., a]` the mean of the most probable component, which need not be where the density is highest."""
        return most_probable(self.logits, self.mean)

    def _joint(self, action: Array) -> Array:
        """`[..., K]` log-density of each component together with `action [..., a]`."""
        return self.log_weights + self.components.log_prob(action[..., None, :])

    def sample(self, key: Array) -> Array:
        """`[..., a]` one draw per batch entry."""
        return self.from_noise(self.draw_noise(key))

    def log_prob(self, action: Array) -> Array:
        """`[...]` log-density of `action [..., a]`."""
        return jax.nn.logsumexp(self._joint(action), axis=-1)

    def entropy(self) -> Array:
        """`[]` nats: a bound above the differential entropy, which has no closed form, averaged over the batch.

        It is the entropy of component and action together, `H(w) + sum_k w_k H(N_k)`: exact where the components do
        not overlap, and at most `H(w)` too high.
        """
        return jnp.mean(jnp.sum(self.weights * (self.components.entropy() - self.log_weights), axis=-1))

    def kl(self, other: Mixture) -> Array:
        """`[...]` a bound above KL(self || other), which has no closed form.

        It is the divergence of component and action together, `KL(w || w') + sum_k w_k KL(N_k || N'_k)`, by the
        log-sum inequality: a trust region on it holds the true divergence too. Zero at the distribution itself.
        """
        apart = self.log_weights - other.log_weights + self.components.kl(other.components)
        return jnp.sum(self.weights * apart, axis=-1)

    def fisher(self, tangent: Mixture) -> Mixture:
        """The Hessian of the batch's mean `kl` at the distribution itself, times `tangent`: a Gaussian's weighted by
        `w_k`, and `diag(w) - w w^T` for the logits."""
        w = self.weights
        n = w[..., 0].size
        logits = w * (tangent.logits - jnp.sum(w * tangent.logits, axis=-1, keepdims=True)) / n
        mean = w[..., None] * tangent.mean * jnp.exp(-2 * self.log_std) / n
        share = jnp.mean(w.reshape(n, -1), axis=0)
        return Mixture(logits, mean, 2 * share[:, None] * tangent.log_std)

    def draw_noise(self, key: Array) -> DrawnNoise:
        """Noise whose `from_noise` are draws."""
        key_normal, key_gumbel = jax.random.split(key)
        normal = jax.random.normal(key_normal, self.mean[..., 0, :].shape)
        return DrawnNoise(normal, jax.random.gumbel(key_gumbel, self.logits.shape))

    def from_noise(self, noise: DrawnNoise) -> Array:
        """`[..., a]` the actions that `noise` stands for.

        Values are draws from the mixture. The derivative with respect to means and standard deviations is the chosen
        component's, unbiased; that with respect to the weights is the straight-through Gumbel-softmax estimator (Jang,
        Gu & Poole 2016) at `CHOICE_TEMPERATURE`: the choice is differentiated as if it were a softmax's, which is
        biased, for it knows the score's slope at the drawn action only.
        """
        perturbed = self.logits + noise.gumbel
        action = self.components.from_noise(noise.normal[..., None, :])
        chosen = _choose(action, jnp.argmax(perturbed, axis=-1))
        soft = jax.nn.softmax(perturbed / CHOICE_TEMPERATURE)
        return chosen + _moved_weight(soft, jax.lax.stop_gradient(soft), action)

    def infer_noise(self, action: Array) -> InferredNoise:
        """What `action [..., a]` could have been drawn from."""
        responsibility = jax.nn.softmax(self._joint(action))
        return InferredNoise(self.components.infer_noise(action[..., None, :]), responsibility, self.weights)

    def retrace(self, noise: InferredNoise) -> Array:
        """`[..., a]` the actions that `noise` was inferred from, moved as the distribution has since.

        Under the distribution it was inferred from, every component's noise makes the given action, and so does their
        mean `sum_k r_k (mean_k + std_k noise_k)`, `r_k` the responsibilities. Its derivative with respect to means and
        standard deviations is the pathwise one, in expectation over the component: unbiased, and less noisy than for a
        drawn component. Just because all components make the same action, it has none with respect to the weights,
        however the responsibilities depend on them. There the straight-through estimator (Bengio, Leonard & Courville
        2013) is added, with the noise of a component that was not drawn at its mean: `sum_k (w_k - w_k then) mean_k`.
        That one is biased, exact for scores that are linear in the action.
        """
        action = jnp.sum(noise.responsibility[..., None] * self.components.from_noise(noise.normal), axis=-2)
        return action + _moved_weight(self.weights, noise.weight, self.mean)


def _choose(x: Array, component: Array) -> Array:
    """`[..., a]` the entries of `x [..., K, a]` at `component [...]`."""
    return jnp.take_along_axis(x, component[..., None, None], axis=-2)[..., 0, :]


def _moved_weight(weight: Array, before: Array, action: Array) -> Array:
    """`[..., a]` what moving weight `[..., K]` from component to component does to the mean of `action [..., K, a]`."""
    return jnp.sum((weight - before)[..., None] * jax.lax.stop_gradient(action), axis=-2)
