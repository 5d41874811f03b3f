"""A small MAIL, its state and windows of steps, for tests of its gradient and of its update."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from gailfe_jax.policies.forward_model import ForwardModel
from gailfe_jax.policies.mail import MAIL, Windows
from gailfe_jax.types import EnvSpec, ForwardTransitions, Problem, Transition

FAR = 1e6
SPEC = EnvSpec("toy", None, "none", 3, 2, (-FAR, -FAR), (FAR, FAR), 100)
MODEL = ForwardModel(hidden=(7,))
MAIL_STEP = MAIL(horizon=8, hidden=(6,), model=MODEL, terminal_value=False, gamma=0.9)


def bound(policy, spec=SPEC, num_envs=4, unroll_length=8):
    return policy.bind(Problem(spec, num_envs, unroll_length))


def policy_and_state(step=MAIL_STEP, spec=SPEC):
    mail = bound(step, spec)

    @jax.jit
    def made(keys):
        state = mail.init(keys[0])
        # Away from the nearly-zero output layer, and with statistics that are no identity.
        policy = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(keys[1], p.shape), state.policy)
        rows = 0.5 + 1.5 * jax.random.normal(keys[2], (50, spec.obs_size))
        moves = ForwardTransitions(rows, jax.random.normal(keys[3], (50, spec.action_size)), rows * 0.9 + 0.1)
        model = mail.model.observe(state.model, moves)
        return state.replace(policy=policy, obs_stats=state.obs_stats.update(rows), model=model)

    return mail, made([jax.random.key(i) for i in range(4)])


@functools.partial(jax.jit, static_argnames=("horizon", "width", "spec"))
def random_windows(key, horizon, width, spec=SPEC, done=None, terminated=None):
    keys = jax.random.split(key, 4)
    obs, next_obs, following = (jax.random.normal(k, (horizon, width, spec.obs_size)) for k in keys[:3])
    none = jnp.zeros((horizon, width), bool)
    done = none if done is None else done
    # Inside an episode one step's end is the next one's start.
    chained = jnp.concatenate([obs[1:], following[-1:]])
    next_obs = jnp.where(done[..., None], next_obs, chained)
    action = 0.7 * jax.random.normal(keys[3], (horizon, width, spec.action_size))
    return Windows(obs, action, next_obs, chained, none if terminated is None else terminated, done)


def smooth_score(obs, action, next_obs=None):
    weights = jnp.cos(jnp.arange(obs.shape[-1] + action.shape[-1]) + 1.0)
    return jnp.tanh(jnp.concatenate([obs, action], -1) @ weights) - 0.1 * jnp.sum(jnp.square(action), -1)


def fake_unroll(length, num_envs, key):
    obs = jax.random.normal(key, (length + 1, num_envs, 3))
    action = 0.5 * jax.random.normal(jax.random.fold_in(key, 1), (length, num_envs, 2))
    flag = jnp.zeros((length, num_envs), bool)
    zeros = jnp.zeros((length, num_envs))
    return Transition(obs[:-1], action, zeros, obs[1:], zeros, flag, flag.at[5].set(True))
