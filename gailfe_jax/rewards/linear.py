"""Costs that are linear in features of state and action (FEM, GTAL, IRLF), and the control that pays the same always.

Each plays the discriminator's part: `fit` on one iteration's pairs, `score` as the reward to maximise. With features
`phi` and their means `mu_E` over the demonstrations, `mu_pi` over this iteration's whole batch and `mu_F` over
failures, the reward is `w . phi(s, a)` less an offset.

The means are per step (as in the public code of GAIL's baselines), where Abbeel & Ng 2004 sum discounted features over
an episode: a feature that is constant then has no weight, so nothing says how long an episode should last. What the
reward is counted from (`Config.linear_offset`) says it instead, on tasks that can end:

- `policy`, the default: from the mean over this iteration's batch. A step pays if it is better than the policy's
  average one, which by itself favours neither staying alive nor ending;
- `none`: from zero. `w . phi` has either sign, mostly the negative one while the policy is unlike the expert: then
  every step costs, and on Hopper the policy learned to fall at once and nothing else;
- `positive`: from the least value met so far, as the public code does. That pays for staying alive by itself (compare
  with `ConstantReward`): on Hopper the policy learned to stand still;
- `negative`: from the greatest so far, which pays for ending; for tasks that end in success.

What is said of Hopper was seen in runs of one seed over 200,000 steps (FEM by TRPO).
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.config.flat import Config, Hyper
from gailfe_jax.errors import GailfeError
from gailfe_jax.nn.normaliser import RunningStats
from gailfe_jax.rewards.discriminator import DiscriminatorData, join
from gailfe_jax.types import Array, EnvSpec, Metrics, StateAction

FeatureFn: TypeAlias = Callable[[Array], Array]
"""Features: standardised `[obs, action]` `[..., o + a] -> [..., k]`, in JAX, for any leading shape."""


def _linear(x: Array) -> Array:
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)


def _quadratic(x: Array) -> Array:
    return jnp.concatenate([x, jnp.square(0.01 * x), jnp.ones_like(x[..., :1])], axis=-1)


def _moments(x: Array) -> Array:
    return jnp.concatenate([x, jnp.square(x), jnp.ones_like(x[..., :1])], axis=-1)


_BUILT_IN: dict[str, FeatureFn] = {"linear": _linear, "quadratic": _quadratic, "moments": _moments}
_features = dict(_BUILT_IN)


def register_features(name: str, fn: FeatureFn) -> None:
    """Makes `fn` what `Config.features = name` means in this process; a later registration replaces an earlier one.

    Args:
      name: any but a built-in one.
      fn: standardised `[obs, action]` `[..., o + a] -> [..., k]`, pure JAX.

    Raises:
      GailfeError: the name is built in or not a word.
    """
    if name in _BUILT_IN or not name or name.split() != [name]:
        raise GailfeError(f"features: got the name {name!r}; expected one word other than {', '.join(_BUILT_IN)}")
    _features[name] = fn


def find_features(name: str) -> FeatureFn:
    """The features called `name`.

    `linear` is `[x, 1]`, `quadratic` is `[x, (0.01 x)^2, 1]` (the public code of GAIL's baselines; its squares all but
    vanish beside `x`), `moments` is `[x, x^2, 1]`.

    Raises:
      GailfeError: no such features.
    """
    if name not in _features:
        raise GailfeError(
            f"features: unknown features {name!r}; expected one of {', '.join(_features)}, or a name given to "
            "gailfe_jax.register_features"
        )
    return _features[name]


@struct.dataclass
class LinearState:
    """State of a linear cost.

    Attributes:
      weights: `[k]` `w`; zero until the first fit.
      offset: `[]` what the reward is counted from.
      stats: normaliser of `[obs, action]`, the same when the cost is fitted and when it scores.
    """

    weights: Array
    offset: Array
    stats: RunningStats


@dataclasses.dataclass(frozen=True)
class LinearCost(abc.ABC):
    """Base of the linear costs. Functions are for one seed.

    Attributes:
      config: static settings.
      spec: the environment's.
    """

    config: Config
    spec: EnvSpec

    @property
    def draws(self) -> tuple[int, int]:
        """One draw of the whole batch, all of whose pairs enter `mu_pi`."""
        return 1, self.config.batch_size

    def init(self, key: Array, demos: StateAction | None) -> LinearState:
        """No reward yet; the normaliser starts from the demonstrations `[N]`.

        Raises:
          GailfeError: the features are unknown, or not one vector of numbers per pair.
        """
        size = self.spec.obs_size + self.spec.action_size
        fn = find_features(self.config.features)
        shape = jax.eval_shape(fn, jax.ShapeDtypeStruct((2, size), jnp.float32))
        if getattr(shape, "ndim", None) != 2 or shape.shape[0] != 2 or not jnp.issubdtype(shape.dtype, jnp.floating):
            raise GailfeError(
                f"features: {self.config.features!r} makes {shape} of [2, {size}]; expected [2, k] real numbers"
            )
        stats = RunningStats.init(size)
        stats = stats if demos is None else stats.update(join(demos))
        return LinearState(weights=jnp.zeros(shape.shape[1]), offset=jnp.float32(0.0), stats=stats)

    def features(self, state: LinearState, obs: Array, action: Array) -> Array:
        """`[..., k]` features at `obs [..., o]`, `action [..., a]`."""
        return find_features(self.config.features)(state.stats.normalise(join(StateAction(obs, action))))

    def score(self, state: LinearState, obs: Array, action: Array) -> Array:
        """`[...]` the reward: `w . phi` less the offset."""
        return _product(self.features(state, obs, action), state.weights) - state.offset

    def fit(
        self,
        state: LinearState,
        demos: StateAction | None,
        data: DiscriminatorData,
        multiplier: Array,
        key: Array,
        hyper: Hyper,
    ) -> tuple[LinearState, Metrics]:
        """The weights for this iteration's policy.

        Args:
          state: the cost.
          demos: `[N]` expert pairs, all of which enter `mu_E`.
          data: this iteration's pairs.
          multiplier: unused: no constraint.
          key: `[]`.
          hyper: traced settings.

        Returns:
          `(state, metrics)`: distances of the feature means, and what the expert and the policy would be paid per step.
        """
        assert demos is not None
        size = data.policy.obs.shape[1]
        # As many of either kind, as for the discriminator.
        rows = jax.random.randint(key, (size,), 0, demos.obs.shape[0])
        shown = jax.tree.map(lambda x: x[rows], demos)
        state = state.replace(stats=state.stats.update(join(data.policy)).update(join(shown)))
        features = self.features(state, data.policy.obs[0], data.policy.action[0])
        expert, policy = self._mean(state, demos), jnp.mean(features, axis=0)
        state, metrics = self._refit(state, expert, policy, data, hyper)
        gap, reward = expert - policy, _product(features, state.weights)
        if self.config.linear_offset == "positive":
            state = state.replace(offset=jnp.minimum(state.offset, jnp.min(reward)))
        elif self.config.linear_offset == "negative":
            state = state.replace(offset=jnp.maximum(state.offset, jnp.max(reward)))
        elif self.config.linear_offset == "policy":
            state = state.replace(offset=jnp.mean(reward))
        return state, metrics | {
            "feature_distance": jnp.sqrt(jnp.sum(jnp.square(gap))),
            "feature_distance_max": jnp.max(jnp.abs(gap)),
            "linear_reward_expert": _product(expert, state.weights) - state.offset,
            "linear_reward_policy": _product(policy, state.weights) - state.offset,
        }

    def _mean(self, state: LinearState, pairs: StateAction) -> Array:
        """`[k]` mean features of pairs `[..., n]`."""
        features = self.features(state, pairs.obs, pairs.action)
        return jnp.mean(features.reshape(-1, features.shape[-1]), axis=0)

    @abc.abstractmethod
    def _refit(
        self, state: LinearState, expert: Array, policy: Array, data: DiscriminatorData, hyper: Hyper
    ) -> tuple[LinearState, Metrics]:
        """New weights from `mu_E`, `mu_pi` `[k]`."""


class FeatureMatching(LinearCost):
    """FEM: the costs with `|w|_2 <= 1`. The worst of them for the policy is `w = (mu_E - mu_pi) / |mu_E - mu_pi|`.

    Source: Abbeel & Ng 2004 (the step that chooses the weights), as a baseline in Ho & Ermon 2016, section 4: one
    policy step per fit instead of a solved control problem, and the last policy instead of a mixture of all.
    """

    def _refit(
        self, state: LinearState, expert: Array, policy: Array, data: DiscriminatorData, hyper: Hyper
    ) -> tuple[LinearState, Metrics]:
        return state.replace(weights=worst_in_ball(expert - policy)), {}


class GameTheoretic(LinearCost):
    """GTAL: the costs in the convex hull of the basis costs `phi_j` and `-phi_j`. The worst is a single one of them.

    Source: Syed, Bowling & Schapire 2008 (a linear programme there) and Syed & Schapire 2007 (the game), as a baseline
    in Ho & Ermon 2016, section 4; with the negated features, so that no sign need be known.
    """

    def _refit(
        self, state: LinearState, expert: Array, policy: Array, data: DiscriminatorData, hyper: Hyper
    ) -> tuple[LinearState, Metrics]:
        return state.replace(weights=worst_in_hull(expert - policy)), {}


def _product(features: Array, weights: Array) -> Array:
    # Not a matrix product, which accelerators may round to half precision.
    return jnp.sum(features * weights, axis=-1)


def worst_in_ball(gap: Array) -> Array:
    """`[k]` the `w` of `|w|_2 <= 1` with the largest `w . gap`; zero where the gap is."""
    return gap / jnp.maximum(jnp.sqrt(jnp.sum(jnp.square(gap))), 1e-8)


def worst_in_hull(gap: Array) -> Array:
    """`[k]` the `w` in the hull of all `e_j` and `-e_j` with the largest `w . gap`: one signed feature."""
    return jnp.where(jnp.arange(gap.shape[0]) == jnp.argmax(jnp.abs(gap)), jnp.sign(gap), 0.0)


@struct.dataclass
class FailureAwareState(LinearState):
    """State of IRLF's cost; `weights` is `w_D + w_F`.

    Attributes:
      demo_weights: `[k]` `w_D`.
      annealed: `[]` how far lambda has come down: the product of the factors so far.
    """

    demo_weights: Array
    annealed: Array


class FailureAware(LinearCost):
    """IRLF: towards the demonstrations' features and away from the failures'; reward `(w_D + w_F) . phi`.

    The Lagrangian, for a policy with feature means `mu_pi` and entropy `H`:

        H + w_D . (mu_pi - mu_E) + slack / 2 |w_D|^2 + w_F . (mu_pi - mu_F) - lambda / 2 |w_F|^2

    The policy and `w_F` maximise it, `w_D` (the multiplier of `mu_pi = mu_E`) minimises it: a step of length
    `Hyper.irlf_lr` along `mu_E - mu_pi - slack w_D`, and `w_F = (mu_pi - mu_F) / lambda` in closed form, zero while
    there are no failures. Lambda starts at `Hyper.irlf_lambda`, so that failures hardly count, and is multiplied by
    `Hyper.irlf_decay` in every iteration, down to `Hyper.irlf_lambda_min`.

    Source: Shiarlis, Messias & Whiteson 2016. It departs from them in this:

    - one policy step per iteration, the same as the other methods', where they solve a maximum-entropy control problem;
      the weight of `H` is `Hyper.entropy`, zero by default, and 1 there;
    - `Hyper.irlf_slack` lets the means differ a little; it is 0 there. Without it `w_D` sums up all gaps since the
      start, and a policy that steps on the reward's direction alone, however large it is, hears of a new one too late;
    - one `mu_pi`, from the task's own start states; there are two there, from those of the demonstrations and of the
      failures;
    - means per step instead of sums over an episode of fixed length, and an offset of the reward;
    - failures are those of GAILFE's buffer, the agent's own among them, and `mu_F` is the mean over as many pairs drawn
      from it as the policy has, where theirs are a data set given beforehand.
    """

    def init(self, key: Array, demos: StateAction | None) -> FailureAwareState:
        base = super().init(key, demos)
        return FailureAwareState(
            weights=base.weights,
            offset=base.offset,
            stats=base.stats,
            demo_weights=jnp.zeros_like(base.weights),
            annealed=jnp.float32(1.0),
        )

    def _refit(
        self, state: FailureAwareState, expert: Array, policy: Array, data: DiscriminatorData, hyper: Hyper
    ) -> tuple[FailureAwareState, Metrics]:
        assert data.failures is not None and data.has_failures is not None
        penalty = jnp.maximum(hyper.irlf_lambda * state.annealed, hyper.irlf_lambda_min)
        gap = policy - self._mean(state, data.failures)
        demo_weights = state.demo_weights + hyper.irlf_lr * (expert - policy - hyper.irlf_slack * state.demo_weights)
        failure_weights = jnp.where(data.has_failures, gap / penalty, 0.0)
        metrics = {
            "irlf_lambda": penalty,
            "failure_feature_distance": jnp.where(data.has_failures, jnp.sqrt(jnp.sum(jnp.square(gap))), jnp.nan),
            "demo_weights_norm": jnp.sqrt(jnp.sum(jnp.square(demo_weights))),
            "failure_weights_norm": jnp.sqrt(jnp.sum(jnp.square(failure_weights))),
        }
        return state.replace(
            weights=demo_weights + failure_weights,
            demo_weights=demo_weights,
            annealed=state.annealed * hyper.irlf_decay,
        ), metrics


@dataclasses.dataclass(frozen=True)
class ConstantReward:
    """The control that any imitation should be compared with: a reward of 1 per step, whatever the state.

    Where an episode can end early it teaches to stay alive and nothing else; elsewhere it teaches nothing.

    Attributes:
      config: static settings.
      spec: the environment's.
    """

    config: Config
    spec: EnvSpec

    @property
    def draws(self) -> tuple[int, int]:
        """The least there is: nothing is looked at."""
        return 1, 1

    def init(self, key: Array, demos: StateAction | None) -> tuple[()]:
        """There is no state."""
        return ()

    def fit(
        self,
        state: tuple[()],
        demos: StateAction | None,
        data: DiscriminatorData,
        multiplier: Array,
        key: Array,
        hyper: Hyper,
    ) -> tuple[tuple[()], Metrics]:
        """Nothing to fit."""
        return state, {}

    def score(self, state: tuple[()], obs: Array, action: Array) -> Array:
        """`[...]` ones."""
        return jnp.ones(obs.shape[:-1])
