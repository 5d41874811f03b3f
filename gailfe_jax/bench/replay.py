"""What updates from replay cost, beside the matrix products that they are made of."""

from __future__ import annotations

import itertools
import pathlib
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console

from gailfe_jax.analysis.plots import bar_intervals
from gailfe_jax.bench.report import new_table
from gailfe_jax.bench.timing import check_some, make_envs, seconds
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.provenance import provenance
from gailfe_jax.parallel.seeds import per_seed
from gailfe_jax.policies.base import Objective
from gailfe_jax.policies.critics import Critics
from gailfe_jax.policies.registry import POLICY_UPDATES
from gailfe_jax.policies.replayed import ReplayedUpdate
from gailfe_jax.policies.sac import SAC
from gailfe_jax.types import Array, Env, EnvSpec, Problem, PyTree, Transition

Product = tuple[int, int, int]
"""`[m, k]` times `[k, n]`, as `(m, k, n)`."""


def run(
    env: Sequence[str] = ("halfcheetah",),
    *,
    policy: Sequence[str] = ("sac", "td3"),
    hidden: Sequence[int] = (128, 256),
    minibatch: int = 256,
    updates: int = 64,
    repeats: int = 5,
) -> dict[str, Any]:
    """Measures seconds of one update of critics and policy, and of the bare matrix products of the same sizes.

    Args:
      env: Measure with the sizes of these tasks.
      policy: Measure these policy steps.
      hidden: Measure with two hidden layers of so many units, in policy and critics.
      minibatch: Learn from so many steps in each update.
      updates: Update the critics so often per call, the policy half as often.
      repeats: Report the median of this many repeats.

    Raises:
      GailfeError: an unknown task, a step that does not replay, or a count below 1.
    """
    for name, values in (("policy", policy), ("hidden", hidden)):
        check_some(name, values)
    if min((*hidden, minibatch, updates)) < 1:
        raise GailfeError(f"hidden, minibatch, updates: got {hidden}, {minibatch}, {updates}; expected numbers from 1")
    kinds: list[Any] = [POLICY_UPDATES.find(name) for name in policy]
    for name, kind in zip(policy, kinds, strict=True):
        if not issubclass(kind, ReplayedUpdate):
            raise GailfeError(f"policy: {name} does not replay; expected some of sac, td3")
    envs = make_envs(env, "auto", repeats)
    rows = []
    for made, _ in envs:
        for name, kind in zip(policy, kinds, strict=True):
            for size in hidden:
                sizes: dict[str, Any] = {"hidden": (size, size), "critics": Critics(hidden=(size, size))}
                # One step of every call's unroll for each update.
                step = kind(**sizes, minibatch=minibatch, update_ratio=1.0, random_steps=0)
                rows.append({"policy": name, "hidden": size} | _measure(made, step, updates, repeats))
    return {"what": "replay", "rows": rows, "provenance": provenance()}


def _measure(env: Env, step: Any, updates: int, repeats: int) -> dict[str, Any]:
    spec, minibatch = env.spec, step.minibatch
    step = step.bind(Problem(spec, num_envs=updates, unroll_length=1))
    count, _, _ = step.draws(updates)
    shape, keys = (count, minibatch, 1), jax.random.split(jax.random.key(0), 3)
    obs = jax.random.normal(keys[0], (*shape, spec.obs_size))
    action = jax.random.uniform(keys[1], (*shape, spec.action_size), minval=-1)
    flat = jnp.zeros(shape)
    steps = Transition(obs, action, flat, obs, flat, flat > 0, flat > 0)
    unroll = jax.tree.map(lambda x: x[:1, :1, 0], steps)

    def update(state: PyTree, steps: Transition) -> PyTree:
        learn = per_seed(lambda state, steps, key: step.update(state, unroll, Objective(experience=steps), key)[0])
        return learn(state, steps, keys[2])

    state = jax.jit(step.init)(keys[2])
    start = time.perf_counter()
    compiled = jax.jit(update).lower(state, steps).compile()
    compile_seconds = time.perf_counter() - start
    bare = _bare(products(step, spec), count // step.policy_delay)
    compiled(state, steps)
    raw = [
        {"update": seconds(lambda: compiled(state, steps)) / count, "products": seconds(bare) / count}
        for _ in range(repeats)
    ]
    medians = {name: statistics.median(row[name] for row in raw) for name in ("update", "products")}
    return {
        "env": spec.name,
        "minibatch": minibatch,
        "updates": count,
        "update_seconds": medians["update"],
        "products_seconds": medians["products"],
        "share": statistics.median(row["products"] / row["update"] for row in raw),
        "compile_seconds": compile_seconds,
        "raw_seconds": raw,
    }


def products(step: ReplayedUpdate, spec: EnvSpec) -> list[Product]:
    """The matrix products of one round: `policy_delay` updates of the critics and one of the policy."""
    m, critics = step.minibatch, step.critics
    out = spec.action_size * (2 if isinstance(step, SAC) else 1)
    actor = list(_layers((spec.obs_size, *step.hidden, out)))
    critic = list(_layers((spec.obs_size + spec.action_size, *critics.hidden, 1)))

    def forward(layers: list[tuple[int, int]]) -> list[Product]:
        return [(m, i, j) for i, j in layers]

    def to_inputs(layers: list[tuple[int, int]]) -> list[Product]:
        return [(m, j, i) for i, j in layers]

    def to_weights(layers: list[tuple[int, int]]) -> list[Product]:
        return [(i, m, j) for i, j in layers]

    ensemble = critics.ensemble
    # A target's action and values; values, and their gradient, which stops at the input.
    fit = forward(actor) + (critics.subset or ensemble) * forward(critic)
    fit += ensemble * (forward(critic) + to_weights(critic) + to_inputs(critic[1:]))
    # Through the critics to the action, and from there to the policy's weights.
    climb = forward(actor) + ensemble * (forward(critic) + to_inputs(critic)) + to_weights(actor) + to_inputs(actor[1:])
    return step.policy_delay * fit + climb


def _layers(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    return itertools.pairwise(sizes)


def _bare(shapes: list[Product], rounds: int) -> Any:
    """Runs the products `rounds` times, compiled."""
    keys = iter(jax.random.split(jax.random.key(0), 2 * len(shapes)))
    # Arguments, not constants, of which the compiler would know the products.
    factors = [(jax.random.normal(next(keys), (m, k)), jax.random.normal(next(keys), (k, n))) for m, k, n in shapes]

    def once(factors: PyTree, carry: Array) -> Array:
        for left, right in factors:
            # The barriers keep each product in the loop, and whole.
            left, right, carry = jax.lax.optimization_barrier((left, right, carry))
            carry = carry + 1e-6 * jax.lax.optimization_barrier(left @ right)[0, 0]
        return carry

    def loop(factors: PyTree, start: Array) -> Array:
        return jax.lax.fori_loop(0, rounds, lambda _, carry: once(factors, carry), start)

    compiled = jax.jit(loop).lower(factors, jnp.float32(0)).compile()
    compiled(factors, jnp.float32(0))
    return lambda: compiled(factors, jnp.float32(0))


def show(report: dict[str, Any]) -> None:
    """Shows a report of `run`."""
    headings = ("task", "policy", "hidden", "update", "products", "share", "compile")
    table = new_table("one update from replay", headings, left=headings)
    for row in report["rows"]:
        cost = (f"{1e3 * row['update_seconds']:.2f} ms", f"{1e3 * row['products_seconds']:.2f} ms")
        rest = (f"{row['share']:.2f}", f"{row['compile_seconds']:.1f} s")
        table.add_row(row["env"], row["policy"], f"2 x {row['hidden']}", *cost, *rest)
    Console().print(table)
    size = report["rows"][0]["minibatch"]
    print(f"of all critics and half of one of the policy, on {size} steps; products: the same matrix products alone")


def draw(report: dict[str, Any], path: str | pathlib.Path) -> None:
    """Draws a report of `run`: the products' share of an update, each repeat."""
    scores = {
        f"{row['policy']} on {row['env']}, 2x{row['hidden']}": [x["products"] / x["update"] for x in row["raw_seconds"]]
        for row in report["rows"]
    }
    bar_intervals(scores, path, title="matrix products' share of an update from replay", xlabel="share")
