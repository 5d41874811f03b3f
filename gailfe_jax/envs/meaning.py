"""What the numbers of an environment's observations and actions are: names and units, as far as they are known."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gailfe_jax.envs.quantities import UNKNOWN, Quantity, Words
from gailfe_jax.envs.task_record import task_of
from gailfe_jax.types import Env, EnvSpec, Fields, Task


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What the numbers of an environment are, in their order.

    An environment that knows has one as its attribute `meaning`.

    Attributes:
      obs: `(name, unit)` of each number of an observation; the unit is `unknown` where nobody says.
      action: likewise of an action, or of each choice.
      seconds_per_step: how long an action is held; None where that is not known.
    """

    obs: tuple[tuple[str, str], ...]
    action: tuple[tuple[str, str], ...]
    seconds_per_step: float | None = None


def meaning_of(env: Env) -> Meaning:
    """Names and units of an environment's numbers.

    Of a MuJoCo task they are found by sending names through its `observe` in place of numbers; of Gymnasium's
    dictionaries the keys are taken; other environments say it themselves, in their attribute `meaning`. What nobody
    says is called `obs[3]` and `action[1]`, of an unknown unit.
    """
    said = _attribute(env, "meaning")
    spec = env.spec
    if isinstance(said, Meaning) and (len(said.obs), len(said.action)) == (spec.obs_size, spec.action_size):
        return said
    task = task_of(env)
    if task is not None:
        return _of_task(task)
    unknown = unknown_meaning(spec.obs_size, spec.action_size, discrete=spec.discrete)
    keys = _keys(env, spec)
    return unknown if keys is None else dataclasses.replace(unknown, obs=keys)


def observed_names(env: Env) -> dict[str, tuple[int, ...]]:
    """What an observation's numbers may be called: `name -> which of them`.

    Beside the names of `meaning_of`, those of a task file's `observe` stand for all the numbers that they make.
    """
    names: dict[str, tuple[int, ...]] = {}
    for index, (name, _) in enumerate(meaning_of(env).obs):
        names[name] = (*names.get(name, ()), index)
    task, start = task_of(env), 0
    for text, count in () if task is None else task.observed:
        names.setdefault(text, tuple(range(start, start + count)))
        start += count
    return names


def unknown_meaning(obs_size: int, action_size: int, *, discrete: bool) -> Meaning:
    """Where nothing is known but the sizes."""
    kind, unit = ("choice", "1") if discrete else ("action", UNKNOWN)
    return Meaning(
        tuple((f"obs[{i}]", UNKNOWN) for i in range(obs_size)),
        tuple((f"{kind}[{i}]", unit) for i in range(action_size)),
    )


def _attribute(env: Any, name: str) -> Any:
    """An environment's attribute, or that of the one inside it."""
    while env is not None:
        found = getattr(env, name, None)
        if found is not None:
            return found
        env = getattr(env, "env", None)
    return None


def _of_task(task: Task) -> Meaning:
    from gailfe_jax.envs.physics.described import actuators, described
    from gailfe_jax.envs.physics.model import fresh_fields, load_model, seconds_per_step

    model = load_model(task)
    shapes = {name: array.shape[1:] for name, array in fresh_fields(task, task.fields, 1).items()}
    data = Fields(**{name: described(model, name, shape)[None] for name, shape in shapes.items()})
    unknown = unknown_meaning(task.obs_size, task.action_size, discrete=False)
    try:
        row = np.asarray(task.observe(Words(), data))[0]
    except Exception:  # A user's function may do with its arrays whatever arrays can do, and names cannot.
        row = ()
    named = len(row) == task.obs_size and all(isinstance(x, Quantity) for x in row)
    return Meaning(
        obs=tuple((x.name, x.said_unit) for x in row) if named else unknown.obs,
        action=tuple((x.name, x.said_unit) for x in actuators(model)),
        seconds_per_step=float(seconds_per_step(task)),
    )


def _keys(env: Any, spec: EnvSpec) -> tuple[tuple[str, str], ...] | None:
    """The names of a Gymnasium environment's numbers where its observation is a dictionary; else None."""
    lane = _attribute(env, "_lane")
    leaves = getattr(lane, "leaves", None)
    if not leaves or not leaves[0][0]:
        return None
    names = [
        f"{'.'.join(path)}[{', '.join(map(str, index))}]" for path, box in leaves for index in np.ndindex(*box.shape)
    ]
    return tuple((name, UNKNOWN) for name in names) if len(names) == spec.obs_size else None
