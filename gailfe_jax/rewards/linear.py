"""Rewards that are linear in features of state and action (FEM, GTAL, IRLF).

Each plays the discriminator's part: `fit` on one iteration's pairs, `score` as the reward to maximise. With features
`phi` and their means `mu_E` over the demonstrations, `mu_pi` over this iteration's whole batch (from replay: over what
is drawn) and `mu_F` over failures, the reward is `w . phi(s, a)` less an offset.

The means are per step (as in the public code of GAIL's baselines), where Abbeel & Ng 2004 sum discounted features over
an episode: a feature that is constant then has no weight, so nothing says how long an episode should last. What the
reward is counted from (`LinearReward.offset`) says it instead, on tasks that can end:

- `policy`, the default: from the mean over this iteration's batch. A step pays if it is better than the policy's
  average one, which by itself favours neither staying alive nor ending;
- `none`: from zero. `w . phi` has either sign, mostly the negative one while the policy is unlike the expert: then
  every step costs, and on Hopper the policy learned to fall at once and nothing else;
- `positive`: from the least value met so far, as the public code does. That pays for staying alive by itself (compare
  with `ConstantReward`): on Hopper the policy learned to stand still;
- `negative`: from the greatest so far, which pays for ending; for tasks that end in success.

What is said of Hopper was seen in runs of one seed over 200,000 steps (FEM by TRPO).

The public code of GAIL's baselines counts from the least value, standardises by the demonstrations alone, and pays a
batch by the weights fitted to the one before: `offset="positive"`, `normaliser="demonstrations"` and `delayed`. It
divides the reward by the number of features besides, which a normalised advantage does not see. Its value function sees
the time, and the limit ends what that sums: the policy step's `timed_value`.
"""

from __future__ import annotations

import abc
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.config.parts import setting, traced
from gailfe_jax.errors import GailfeError
from gailfe_jax.nn.normaliser import RunningStats
from gailfe_jax.rewards.base import Reward, RewardBatch, join
from gailfe_jax.rewards.features import find_features
from gailfe_jax.types import Array, Metrics, StateAction


@struct.dataclass
class LinearState:
    """State of a linear cost.

    Attributes:
      weights: `[k]` `w`; zero until the first fit.
      offset: `[]` what the reward is counted from.
      stats: normaliser of `[obs, action]`, the same when the cost is fitted and when it scores.
      next_weights: `[k]` what the next iteration is paid by, where it is this one's; else ().
    """

    weights: Array
    offset: Array
    stats: RunningStats
    next_weights: Array | tuple[()]


class LinearReward(Reward):
    """Base of the linear rewards."""

    learns_from_self = False
    read_from_replay = ("minibatch", "recent", "recent_steps")

    features: str = setting("quadratic")
    """Features of x, the standardised observation and action: linear [x, 1], quadratic [x, (0.01 x)^2, 1], moments
    [x, x^2, 1], or a name given to gailfe_jax.register_features."""
    offset: Literal["policy", "positive", "negative", "none"] = setting("policy")
    """What the reward w . phi is counted from: policy, its mean over the batch; positive, its least value so far, which
    pays for staying alive; negative, its greatest, which pays for ending the episode; none, zero."""
    normaliser: Literal["running", "demonstrations"] = setting("running")
    """Standardise observations and actions by the statistics of all that was seen so far, the policy's and the
    demonstrations' in equal parts (running), or by those of the demonstrations alone."""
    delayed: bool = setting(False)
    """Pay each iteration by the weights that were fitted to the one before, the first by random ones."""

    minibatch: int = setting(2_048, least=1)
    """From replay: the policy's pairs in each fit, an unroll's at least."""
    recent: float = setting(0.0, least=0, most=1)
    """From replay: this share of the policy's pairs in each minibatch is of the newest steps, the rest of all."""
    recent_steps: int = setting(4_000, least=1)
    """How many steps, of all environments of a seed together, are the newest."""

    def unread(self) -> dict[str, str]:
        return {} if self.recent else {"recent_steps": "recent is 0"}

    @property
    def draws(self) -> tuple[int, int]:
        """One draw: of all pairs of the unroll, or of as many from replay, and `minibatch` where that is more."""
        return 1, max(self.minibatch, self.problem.batch_size)

    @property
    def newest(self) -> tuple[float, int]:
        """See `Reward.newest`."""
        return self.recent, self.recent_steps

    def verify(self) -> None:
        find_features(self.features)

    def init(self, key: Array, expert: StateAction | None) -> LinearState:
        """No reward yet; the normaliser starts from the demonstrations `[N]`.

        Raises:
          GailfeError: the features are unknown, or not one vector of numbers per pair.
        """
        size = self.problem.pair_size
        fn = find_features(self.features)
        shape = jax.eval_shape(fn, jax.ShapeDtypeStruct((2, size), jnp.float32))
        if getattr(shape, "ndim", None) != 2 or shape.shape[0] != 2 or not jnp.issubdtype(shape.dtype, jnp.floating):
            raise GailfeError(f"features: {self.features!r} makes {shape} of [2, {size}]; expected [2, k] real numbers")
        stats = RunningStats.init(size)
        stats = stats if expert is None else stats.update(join(expert))
        nothing = jnp.zeros(shape.shape[1])
        first = self.any_weights(jax.random.normal(key, nothing.shape)) if self.delayed else ()
        return LinearState(weights=nothing, offset=jnp.float32(0.0), stats=stats, next_weights=first)

    def any_weights(self, direction: Array) -> Array:
        """`[k]` the weights that this reward may have and that go furthest along `direction [k]`."""
        return worst_in_ball(direction)

    def features_at(self, state: LinearState, obs: Array, action: Array) -> Array:
        """`[..., k]` features at `obs [..., o]`, `action [..., a]`."""
        return find_features(self.features)(state.stats.normalise(join(StateAction(obs, action))))

    def score(self, state: LinearState, obs: Array, action: Array) -> Array:
        """`[...]` the reward: `w . phi` less the offset."""
        return _product(self.features_at(state, obs, action), state.weights) - state.offset

    def fit(self, state: LinearState, batch: RewardBatch, key: Array) -> tuple[LinearState, Metrics]:
        """The weights for this iteration's policy.

        Args:
          state: the reward's.
          batch: this iteration's pairs; all demonstrations enter `mu_E`.
          key: `[]`.

        Returns:
          `(state, metrics)`: distances of the feature means, and what the expert and the policy would be paid per step.
        """
        demos = batch.expert
        assert demos is not None
        size = batch.policy.obs.shape[1]
        # As many of either kind, as for the discriminator.
        rows = jax.random.randint(key, (size,), 0, demos.obs.shape[0])
        shown = jax.tree.map(lambda x: x[rows], demos)
        if self.normaliser == "running":
            state = state.replace(stats=state.stats.update(join(batch.policy)).update(join(shown)))
        features = self.features_at(state, batch.policy.obs[0], batch.policy.action[0])
        expert, policy = self._mean(state, demos), jnp.mean(features, axis=0)
        paid = state.next_weights
        state, metrics = self._refit(state, expert, policy, batch)
        if self.delayed:
            state = state.replace(weights=paid, next_weights=state.weights)
        gap, reward = expert - policy, _product(features, state.weights)
        if self.offset == "positive":
            state = state.replace(offset=jnp.minimum(state.offset, jnp.min(reward)))
        elif self.offset == "negative":
            state = state.replace(offset=jnp.maximum(state.offset, jnp.max(reward)))
        elif self.offset == "policy":
            state = state.replace(offset=jnp.mean(reward))
        return state, metrics | {
            "feature_distance": jnp.sqrt(jnp.sum(jnp.square(gap))),
            "feature_distance_max": jnp.max(jnp.abs(gap)),
            "linear_reward_expert": _product(expert, state.weights) - state.offset,
            "linear_reward_policy": _product(policy, state.weights) - state.offset,
        }

    def _mean(self, state: LinearState, pairs: StateAction) -> Array:
        """`[k]` mean features of pairs `[..., n]`."""
        features = self.features_at(state, pairs.obs, pairs.action)
        return jnp.mean(features.reshape(-1, features.shape[-1]), axis=0)

    @abc.abstractmethod
    def _refit(
        self, state: LinearState, expert: Array, policy: Array, batch: RewardBatch
    ) -> tuple[LinearState, Metrics]:
        """New weights from `mu_E`, `mu_pi` `[k]`."""


class FeatureMatching(LinearReward):
    """FEM: the costs with `|w|_2 <= 1`. The worst of them for the policy is `w = (mu_E - mu_pi) / |mu_E - mu_pi|`.

    Source: Abbeel & Ng 2004 (the step that chooses the weights), as a baseline in Ho & Ermon 2016, section 4: one
    policy step per fit instead of a solved control problem, and the last policy instead of a mixture of all.
    """

    summary = "matches the demonstrations' mean features"
    source = "Abbeel & Ng 2004"

    def _refit(
        self, state: LinearState, expert: Array, policy: Array, batch: RewardBatch
    ) -> tuple[LinearState, Metrics]:
        return state.replace(weights=self.any_weights(expert - policy)), {}


class GameTheoretic(LinearReward):
    """GTAL: the costs in the convex hull of the basis costs `phi_j` and `-phi_j`. The worst is a single one of them.

    Source: Syed, Bowling & Schapire 2008 (a linear programme there) and Syed & Schapire 2007 (the game), as a baseline
    in Ho & Ermon 2016, section 4; with the negated features, so that no sign need be known.
    """

    summary = "matches the feature that is matched worst"
    source = "Syed et al. 2008"

    def any_weights(self, direction: Array) -> Array:
        return worst_in_hull(direction)

    def _refit(
        self, state: LinearState, expert: Array, policy: Array, batch: RewardBatch
    ) -> tuple[LinearState, Metrics]:
        return state.replace(weights=self.any_weights(expert - policy)), {}


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


class FailureAware(LinearReward):
    """IRLF: towards the demonstrations' features and away from the failures'; reward `(w_D + w_F) . phi`.

    The Lagrangian, for a policy with feature means `mu_pi` and entropy `H`:

        H + w_D . (mu_pi - mu_E) + slack / 2 |w_D|^2 + w_F . (mu_pi - mu_F) - lambda / 2 |w_F|^2

    The policy and `w_F` maximise it, `w_D` (the multiplier of `mu_pi = mu_E`) minimises it: a step of length
    `lr` along `mu_E - mu_pi - slack w_D`, and `w_F = (mu_pi - mu_F) / lambda` in closed form, zero while
    there are no failures. Lambda starts at `lambda_init`, so that failures hardly count, and is multiplied by
    `decay` in every iteration, down to `lambda_min`.

    Source: Shiarlis, Messias & Whiteson 2016. It departs from them in this:

    - one policy step per iteration, the same as the other methods', where they solve a maximum-entropy control problem;
      the weight of `H` is the policy's `entropy`, zero by default, and 1 there;
    - `slack` lets the means differ a little; it is 0 there. Without it `w_D` sums up all gaps since the
      start, and a policy that steps on the reward's direction alone, however large it is, hears of a new one too late;
    - one `mu_pi`, from the task's own start states; there are two there, from those of the demonstrations and of the
      failures;
    - means per step instead of sums over an episode of fixed length, and an offset of the reward;
    - failures are those of GAILFE's buffer, the agent's own among them, and `mu_F` is the mean over as many pairs drawn
      from it as the policy has, where theirs are a data set given beforehand.
    """

    summary = "towards the demonstrations' mean features, away from the failures'"
    source = "Shiarlis et al. 2016"
    learns_from_failures = True

    lr: float = traced(0.05, step_size="weights")
    """Step size of the demonstrations' weights w_D."""
    slack: float = traced(2.0, least=0)
    """Quadratic penalty that keeps w_D small, so that features match nearly; 0, the paper's, sums all gaps."""
    lambda_init: float = traced(10.0, above=0)
    """First lambda, the inverse weight of failures."""
    lambda_min: float = traced(5.0, above=0)
    """Last lambda; positive."""
    decay: float = traced(0.98, above=0, most=1)
    """What lambda is multiplied by in every iteration."""

    def init(self, key: Array, expert: StateAction | None) -> FailureAwareState:
        base = super().init(key, expert)
        return FailureAwareState(
            weights=base.weights,
            offset=base.offset,
            stats=base.stats,
            next_weights=base.next_weights,
            demo_weights=jnp.zeros_like(base.weights),
            annealed=jnp.float32(1.0),
        )

    def _refit(
        self, state: FailureAwareState, expert: Array, policy: Array, batch: RewardBatch
    ) -> tuple[FailureAwareState, Metrics]:
        assert batch.failures is not None and batch.has_failures is not None
        penalty = jnp.maximum(self.lambda_init * state.annealed, self.lambda_min)
        gap = policy - self._mean(state, batch.failures)
        demo_weights = state.demo_weights + self.lr * (expert - policy - self.slack * state.demo_weights)
        failure_weights = jnp.where(batch.has_failures, gap / penalty, 0.0)
        metrics = {
            "irlf_lambda": penalty,
            "failure_feature_distance": jnp.where(batch.has_failures, jnp.sqrt(jnp.sum(jnp.square(gap))), jnp.nan),
            "demo_weights_norm": jnp.sqrt(jnp.sum(jnp.square(demo_weights))),
            "failure_weights_norm": jnp.sqrt(jnp.sum(jnp.square(failure_weights))),
        }
        return state.replace(
            weights=demo_weights + failure_weights,
            demo_weights=demo_weights,
            annealed=state.annealed * self.decay,
        ), metrics
