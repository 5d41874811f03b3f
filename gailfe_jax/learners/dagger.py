"""DAgger: the expert labels what the policy visits."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from gailfe_jax.artifacts.oracle import AsksExpert, ask
from gailfe_jax.buffers.replay import Replay
from gailfe_jax.config.parts import bound, setting, subpart, traced
from gailfe_jax.envs.rollout import unroll
from gailfe_jax.learners.base import Anneal, Learner, LearnerState, reset_envs
from gailfe_jax.learners.cloning import Likelihood
from gailfe_jax.learners.sources import Demos, SourceStates
from gailfe_jax.parallel.devices import draw_rows, gather_rows, sum_over_devices
from gailfe_jax.parallel.memory import tree_bytes
from gailfe_jax.parallel.seeds import per_seed
from gailfe_jax.policies.actor import Actor, AgentState
from gailfe_jax.types import Array, Metrics, Scalar, StateAction


@struct.dataclass
class _Mixture:
    """Who acts in an unroll: with probability `beta` the expert, else the deterministic policy."""

    agent: AgentState
    oracle: AsksExpert
    beta: Array


class DAgger(Learner):
    """DAgger (Ross, Gordon & Bagnell 2011): the expert labels what the policy visits, and the policy fits all labels.

    Each step of each environment is the expert's with probability beta_i, else the policy's; both act without noise,
    as the policy will when it is judged. The paper trains a new policy in every iteration; here the old one is fitted
    further, which costs a fraction and tends to the same.
    """

    summary = "maximum likelihood on visited states that the expert labels"
    source = "Ross et al. 2011"
    asks_expert = True

    name: str = bound("dagger")
    policy: Likelihood = subpart(Likelihood())
    fit_steps: int = setting(200, least=1)
    """Steps of maximum likelihood per iteration."""
    aggregate_capacity: int = setting(200_000, least=1)
    """Labelled observations held; beyond them the oldest make room."""
    beta: float = traced(0.0, least=0, most=1)
    """p of the share p^i of steps at which the expert acts in iteration i = 0, 1, ...; 0 lets it act alone in the first
    iteration and never again."""
    schedule: Anneal = subpart(Anneal())

    @property
    def needs_demonstrations(self) -> bool:
        """It asks the expert itself."""
        return False

    def unread(self) -> dict[str, str]:
        return {
            "policy.obs_normaliser": "dagger standardises by running statistics of what it visits",
            "rollout.demonstrated_starts": "dagger asks the expert itself",
        }

    @property
    def aggregate(self) -> Replay:
        """Where labelled observations are held."""
        return Replay(self.aggregate_capacity)

    def init(self, key: Array, demos: Demos | None) -> LearnerState:
        """Fresh state of one seed from `key []`."""
        key_agent, key_env, key_run = jax.random.split(key, 3)
        return LearnerState(
            key=key_run,
            iteration=jnp.int32(0),
            env=reset_envs(self.env, key_env, self.rollout),
            agent=per_seed(Actor.init)(self.policy, key_agent),
            reward=None,
            dual=None,
            sources=SourceStates(policy_replay=self._no_labels()),
        )

    def _no_labels(self) -> Any:
        spec = self.problem.spec
        return self.aggregate.init(StateAction(jnp.zeros(spec.obs_size), jnp.zeros(spec.action_size)))

    def buffer_bytes(self) -> dict[str, int]:
        """What the labelled observations of one seed take on the device."""
        return {"labels": tree_bytes(jax.eval_shape(self._no_labels))}

    def step(self, state: LearnerState, demos: Demos | None) -> tuple[LearnerState, Metrics]:
        """One iteration of `num_envs * unroll_length` environment steps.

        Source: Ross et al. 2011, algorithm 3.1.

        Args:
          state: one seed's state.
          demos: the expert, in `oracle`.

        Returns:
          `(state, metrics)`, every metric a scalar; `expert_distance` is the root mean squared difference between the
          policy's and the expert's actions on the states visited, before the fit.
        """
        assert demos is not None and demos.oracle is not None and state.sources.policy_replay is not None
        key = jax.random.fold_in(state.key, state.iteration)
        key_unroll, key_fit = jax.random.split(key)
        beta = expert_share(self.beta, state.iteration)
        mixture = _Mixture(state.agent, demos.oracle, beta)
        env, transition, totals = unroll(
            self.env, self._act, mixture, state.env, key_unroll, self.rollout.unroll_length
        )
        transition, totals = gather_rows(transition, axis=1), sum_over_devices(totals)
        obs = transition.obs.reshape(-1, transition.obs.shape[-1])
        label = per_seed(ask)(demos.oracle, obs)
        replay = self.aggregate.add(state.sources.policy_replay, StateAction(obs, label))
        keys = jax.random.split(key_fit, self.fit_steps)
        lr = self.schedule.annealed(self.policy.lr, state.iteration, self.total_iterations)
        agent, loss, distance = per_seed(DAgger._fit)(
            self, state.agent, replay.rows, replay.size, StateAction(obs, label), keys, lr
        )
        metrics = totals.metrics | {
            "loss": loss,
            "expert_distance": distance,
            "beta": beta,
            "aggregate": replay.size.astype(jnp.float32),
        }
        state = state.replace(
            iteration=state.iteration + 1, env=env, agent=agent, sources=SourceStates(policy_replay=replay)
        )
        return state, metrics

    def _act(self, mixture: _Mixture, obs: Array, key: Array) -> tuple[Array, Array]:
        """Actions of a batch of environments, with no density to speak of: `[B, o] -> ([B, a], [B])`."""
        asked = draw_rows(lambda x: jax.random.bernoulli(key, mixture.beta, (len(x), 1)), obs)
        own = self.policy.deterministic_action(mixture.agent, obs)
        return jnp.where(asked, per_seed(ask)(mixture.oracle, obs), own), jnp.zeros(len(obs))

    def _fit(
        self,
        agent: AgentState,
        rows: StateAction,
        count: Array,
        fresh: StateAction,
        keys: Array,
        lr: Array,
    ) -> tuple[AgentState, Array, Array]:
        """Fits the aggregate's first `count` rows; returns `(agent, loss [], distance before [])`."""
        dist = self.policy.policy(agent.evaluated, agent.obs_stats.normalise(fresh.obs))
        distance = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(dist.mode - fresh.action), axis=-1)))
        # The fit that follows makes up for what moving the normaliser does to the policy.
        agent = agent.replace(obs_stats=agent.obs_stats.update(fresh.obs))
        agent, losses = self.policy.imitate(
            agent, rows, None, count, keys, jnp.full(len(keys), lr), self.policy.minibatch, self.policy.weight_decay
        )
        return self.policy.averaged(agent), jnp.mean(losses), distance


def expert_share(p: Scalar, iteration: Array) -> Array:
    """`[]` beta_i = p^i of DAgger's iteration i = 0, 1, ...; 1 in the first even where p is 0."""
    return jnp.where(iteration == 0, 1.0, jnp.asarray(p, jnp.float32) ** iteration)
