"""Whether a user's reward or policy step gives what it promises, found before a run is begun."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gailfe_jax.config.parts import Part
from gailfe_jax.data.annotators import Annotator, EpisodeSummary, EpisodeView
from gailfe_jax.envs.check import check_same_shapes, kind_of, names_of, trace
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.adversarial import Adversarial, Improved, Seen
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.keys import Keys
from gailfe_jax.learners.sources import Demos


def check_parts(method: Learner, demos: Demos | None) -> None:
    """Holds that a reward, a policy step and an annotator of the user's own do what is promised; traces them, runs
    nothing.

    Args:
      method: on its environment.
      demos: what it is shown.

    Raises:
      GailfeError: names the part and the function that fails, or that gives something else.
    """
    if isinstance(method, Adversarial):
        for part in (method.failures, method.self_demonstrations):
            if part is not None and part.judge is not None:
                _check_annotator(part.judge, method)
    if not isinstance(method, Adversarial) or not (_is_users(method.reward) or _is_users(method.policy)):
        return
    # Inside the program a traced setting is one number.
    inside = jax.tree.map(lambda _: jax.ShapeDtypeStruct((), jnp.float32), method)
    key = jax.random.key(0)
    reward, policy = type(method.reward).__name__, type(method.policy).__name__

    def begin(method: Adversarial) -> tuple[Improved, Seen]:
        state = method.init(key, demos)
        _, transition, _ = method.collect(state, key)
        sample = Keys.of(state.key, state.iteration).sample
        _, drawn = method.sources.add_and_sample(state.sources, transition, sample, demos)
        return Improved.of(state), method.seen(transition, drawn, demos)

    def score(method: Adversarial, state: Any, *pairs: Any) -> Any:
        return method.reward.scorer(state)(*pairs)  # type: ignore[union-attr]

    def fit(method: Adversarial, state: Any, seen: Seen) -> Any:
        return method.reward.fit(state, method.shown_batch(seen, None), key)  # type: ignore[union-attr]

    def update(method: Adversarial, state: Improved, seen: Seen) -> Any:
        scored = None if method.reward is None else lambda *pairs: score(method, state.reward, *pairs)
        objective = seen.drawn.objective(score=scored)
        return method.policy.update(state.agent, seen.transition, objective, key)

    if method.reward is not None:
        trace(f"{reward}.init", lambda method: method.reward.init(key, method._expert(demos)), inside)
    trace(f"{policy}.init", lambda method: method.policy.init(key), inside)
    state, seen = trace(f"{method.name}: its first unroll", begin, inside)
    if method.reward is not None:
        _check_step(f"{reward}.fit", state.reward, trace(f"{reward}.fit", fit, inside, state.reward, seen))
        unroll = seen.transition
        scored = trace(f"{reward}.score", score, inside, state.reward, unroll.obs, unroll.action, unroll.next_obs)
        if kind_of(scored) != kind_of(unroll.reward):
            raise GailfeError(f"{reward}.score gives {kind_of(scored)}; expected {kind_of(unroll.reward)}, one a pair")
    _check_step(f"{policy}.update", state.agent, trace(f"{policy}.update", update, inside, state, seen))


def _check_annotator(judge: Annotator, method: Adversarial) -> None:
    functions = [x for x in (judge.verdict, judge.flag, judge.trajectory) if x is not None]
    if all(str(getattr(x, "__module__", "")).startswith("gailfe_jax.") for x in functions):
        return
    spec = method.problem.spec
    number: Any = jax.ShapeDtypeStruct((), jnp.float32)
    row: Any = lambda size, *lead: jax.ShapeDtypeStruct((*lead, size), jnp.float32)  # noqa: E731
    length: Any = jax.ShapeDtypeStruct((), jnp.int32)
    ended: Any = jax.ShapeDtypeStruct((), jnp.bool_)
    steps = spec.max_episode_steps
    what = f"annotator {judge.name!r}"
    if judge.trajectory is not None:
        mask: Any = jax.ShapeDtypeStruct((steps,), jnp.bool_)
        obs, action = row(spec.obs_size, steps), row(spec.action_size, steps)
        episode = EpisodeView(obs, action, row(spec.obs_size), mask, length, number, ended)
        _check_verdict(what, trace(what, judge.trajectory, episode))
    if judge.flag is not None:
        obs = row(spec.obs_size)
        _check_verdict(f"{what}: its flag", trace(f"{what}: its flag", judge.flag, obs, row(spec.action_size), obs))
    if judge.verdict is not None:
        summary = EpisodeSummary(length, number, ended, length, length, row(judge.history))
        _check_verdict(what, trace(what, judge.verdict, summary))


def _check_verdict(what: str, found: Any) -> None:
    if kind_of(found) != "bool[]":
        raise GailfeError(f"{what} gives {kind_of(found)}; expected bool[]")


def _is_users(part: Part | None) -> bool:
    return part is not None and not type(part).__module__.startswith("gailfe_jax.")


def _check_step(what: str, before: Any, result: Any) -> None:
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise GailfeError(f"{what} gives {names_of(result)}; expected the pair (state, dict of metrics)")
    after, metrics = result
    check_same_shapes(what, before, after, "the state", "init")
    for name, value in metrics.items():
        if value.shape:
            raise GailfeError(f"{what} gives the metric {name} of {kind_of(value)}; expected one number")
