"""How far cheaper matrix products move what is learned by, emulated on any machine (`gailfe_jax.bench.rounding`)."""

from __future__ import annotations

import operator
import pathlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from rich.console import Console

from gailfe_jax.analysis.plots import bar_intervals
from gailfe_jax.artifacts.oracle import Oracle
from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.bench.report import new_table
from gailfe_jax.bench.rounding import MANTISSA_BITS, rounded_products
from gailfe_jax.bench.timing import check_counts, check_some
from gailfe_jax.config.parts import as_arrays
from gailfe_jax.envs import find_task, make_env
from gailfe_jax.envs.rollout import clip_action, visit
from gailfe_jax.io.provenance import provenance
from gailfe_jax.learners.keys import Keys
from gailfe_jax.learners.presets import preset
from gailfe_jax.learners.sources import Demos
from gailfe_jax.nn.optimisers import shuffled_minibatches
from gailfe_jax.policies.base import Objective
from gailfe_jax.policies.mail import MAIL, cut_windows
from gailfe_jax.policies.ppo import PPO
from gailfe_jax.policies.trpo import TRPO, ascent
from gailfe_jax.rewards.base import join
from gailfe_jax.rewards.discriminator import Discriminator
from gailfe_jax.training.program import Trainer
from gailfe_jax.types import Array, Env, ForwardTransitions, PyTree, StateAction

_EPISODES = 8  # Of the expert, to be imitated.
_METHODS = {
    "gail": ("discriminator's gradient", "TRPO's direction"),
    "mail": ("MAIL's gradient",),
    "ppo": ("PPO's gradient",),
}
WHAT = tuple(name for names in _METHODS.values() for name in names)
"""What is compared."""
CHANCE = "another unroll"
"""What the errors are to be seen beside: the same from another unroll of the same policy, in float32."""
KINDS = (*MANTISSA_BITS, CHANCE)
Quantities = dict[str, tuple[Callable[..., Array], tuple[Any, ...]]]
"""`name -> (function, its arguments)`; each gives a flat vector."""


def run(env: Sequence[str] = ("hopper",), *, seeds: int = 5, iterations: int = 20) -> dict[str, Any]:
    """Measures how far gradients and TRPO's direction move when the factors of matrix products are rounded.

    Nothing but the products of the gradient itself is rounded: batch, advantages and networks are those of training in
    float32, after some iterations with the preset. Beside it stands how far another unroll moves the same.

    Args:
      env: Measure on these tasks.
      seeds: Train this many seeds.
      iterations: Train for so many iterations before.

    Raises:
      GailfeError: an unknown task, one without a shipped expert, or a count below 1.
    """
    check_some("env", env)
    check_counts(seeds=seeds, iterations=iterations)
    rows = []
    for task in (find_task(name).name for name in env):
        made = make_env(task)
        demos = _expert_pairs(made)
        for algo in _METHODS:
            for name, found in _measure(algo, made, demos, seeds, iterations).items():
                rows.append(
                    {"env": task, "algo": algo, "what": name, "seeds": seeds, "iterations": iterations, **found}
                )
    return {"what": "precision", "rows": rows, "provenance": provenance()}


def _expert_pairs(env: Env) -> Demos:
    """Pairs of the shipped expert's first steps."""
    oracle = Oracle.of(load_expert(env.spec.name))
    act = lambda oracle, obs: oracle.act(obs)  # noqa: E731
    play = jax.jit(lambda key: visit(env, act, oracle, key, _EPISODES, env.spec.max_episode_steps))
    visited = play(jax.random.key(0))
    inside = np.asarray(visited.inside)
    return Demos(StateAction(*(jnp.asarray(np.asarray(x)[inside]) for x in (visited.obs, visited.action))))


def _measure(algo: str, env: Env, demos: Demos, seeds: int, iterations: int) -> dict[str, dict[str, list[float]]]:
    """`quantity -> {kind: errors of the seeds}` of a method."""
    learner = preset(algo, env.spec.name)[0].on(env, total_iterations=iterations)
    shown = demos if learner.needs_demonstrations else None
    trainer = Trainer(learner, np.arange(seeds), chunk=iterations, eval_episodes=1)
    state, _ = trainer.advance(trainer.init(shown), shown)
    bound = as_arrays(learner)
    # One program for all seeds, which take turns.
    errors = jax.jit(lambda state: _errors(bound, state, shown))
    found = [errors(jax.tree.map(operator.itemgetter(seed), state)) for seed in range(seeds)]
    return jax.tree.map(lambda *values: [float(value) for value in values], *found)


def _errors(learner: Any, state: Any, demos: Demos | None) -> dict[str, dict[str, Array]]:
    """`quantity -> {kind: error []}` of one seed."""
    here = _quantities(learner, state, demos)
    there = _quantities(learner, state.replace(key=jax.random.fold_in(state.key, 1)), demos)
    found = {}
    for name, (fn, args) in here.items():
        exact, (other, others) = fn(*args), there[name]
        moved = {kind: rounded_products(fn, bits)(*args) for kind, bits in MANTISSA_BITS.items()}
        moved[CHANCE] = other(*others)
        found[name] = {kind: relative_error(value, exact) for kind, value in moved.items()}
    return found


def relative_error(value: Array, exact: Array) -> Array:
    """`[]` the length of `value - exact` over that of `exact`, two vectors."""
    return jnp.linalg.norm(value - exact) / jnp.linalg.norm(exact)


def _flat(tree: PyTree) -> Array:
    return ravel_pytree(tree)[0]


def _quantities(learner: Any, state: Any, demos: Demos | None) -> Quantities:
    """What the next iteration of one seed would step by, on its own unroll and with its reward fitted."""
    keys = Keys.of(state.key, state.iteration)
    transition = learner.collect(state, keys.unroll)[1]
    executed = transition.replace(action=clip_action(learner.env, transition.action))
    _, seen = learner.sources.add_and_sample(state.sources, executed, keys.sample)
    found: Quantities = {}
    objective, drawn = seen.objective(), seen.batch
    if learner.reward is not None:
        assert drawn is not None and demos is not None and isinstance(learner.reward, Discriminator)
        drawn = drawn.replace(expert=demos.expert, multiplier=jnp.float32(0.0))
        reward, _ = learner.reward.fit(state.reward, drawn, keys.reward)
        found["discriminator's gradient"] = _of_discriminator(learner.reward, reward, drawn, keys.reward)
        objective = seen.objective(learner.reward.scorer(reward))
    policy = learner.policy
    # The value network stays the one that made the advantages.
    agent, batch, metrics = policy.make_batch(state.agent, transition, objective)
    makers = {TRPO: _of_trpo, MAIL: _of_mail, PPO: _of_ppo}
    name, made = makers[type(policy)](policy, agent, batch, metrics, transition, objective, keys.policy)
    return {key: value for key, value in (found | {name: made}).items() if key in _METHODS[learner.name]}


def _of_discriminator(reward: Discriminator, state: Any, batch: Any, key: Array) -> Any:
    size = batch.policy.obs.shape[1]
    policy, expert = (state.stats.normalise(pairs[0]) for pairs in (join(batch.policy), batch.positives(key)))
    gradient = lambda params, *args: _flat(jax.grad(reward.loss, has_aux=True)(params, *args, size)[0])  # noqa: E731
    return gradient, (state.params, policy, expert, key)


def _of_trpo(
    policy: TRPO, agent: Any, batch: Any, metrics: Any, transition: Any, objective: Objective, key: Array
) -> Any:
    theta, unravel = ravel_pytree(agent.policy)

    def direction(theta: Array, batch: Any) -> Array:
        maximised = policy.objective(agent, batch)
        return ascent(policy, policy.policy, unravel, theta, lambda t: maximised(unravel(t)), batch.x, key).direction

    return "TRPO's direction", (direction, (theta, batch))


def _of_mail(
    policy: MAIL, agent: Any, batch: Any, metrics: Any, transition: Any, objective: Objective, key: Array
) -> Any:
    windows = cut_windows(transition, transition.next_obs[-1], policy.horizon)
    low, high = policy.problem.action_bounds
    moves = ForwardTransitions(windows.obs, jnp.clip(windows.action, low, high), windows.next_obs)
    past = objective.transitions
    assert past is not None
    agent = agent.replace(model=policy.model.fit(policy.model.observe(agent.model, moves), past)[0])

    def gradient(params: PyTree, batch: Any, windows: Any) -> Array:
        scale = metrics["advantage_std"]
        maximised = policy.objective(agent, agent.policy, batch, scale, windows, objective, key)
        return _flat(jax.grad(lambda params: maximised(params)[0])(params))

    return "MAIL's gradient", (gradient, (agent.policy, batch, windows))


def _of_ppo(
    policy: PPO, agent: Any, batch: Any, metrics: Any, transition: Any, objective: Objective, key: Array
) -> Any:
    rows = shuffled_minibatches(key, batch.log_prob.shape[0], policy.minibatches)[0]
    part = jax.tree.map(lambda x: x[rows], batch)
    gradient = lambda params, part: _flat(jax.grad(policy.policy_loss)(params, agent, part, rows))  # noqa: E731
    return "PPO's gradient", (gradient, (agent.policy, part))


def show(report: dict[str, Any]) -> None:
    """Shows a report of `run`."""
    table = new_table(
        "bench precision: relative error, median and most of the seeds",
        ("task", "what", *KINDS),
        left=("task", "what"),
    )
    for row in report["rows"]:
        table.add_row(row["env"], row["what"], *cells(row))
    Console().print(table)
    print("of a gradient or direction whose matrix products have factors rounded to that format")


def cells(row: dict[str, Any]) -> list[str]:
    """A row's errors as a table shows them, for each format: median and largest of the seeds."""
    return [f"{statistics.median(row[kind]):.1e} ({max(row[kind]):.1e})" for kind in KINDS]


def draw(report: dict[str, Any], path: str | pathlib.Path) -> None:
    """Draws a report of `run`: the errors of every seed."""
    scores = {f"{row['what']} on {row['env']}, {kind}": row[kind] for row in report["rows"] for kind in KINDS}
    bar_intervals(scores, path, title="rounded matrix products", xlabel="relative error")
