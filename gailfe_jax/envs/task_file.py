"""A MuJoCo task out of a TOML file: `--env arm.toml`."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gailfe_jax.data.formats import npz
from gailfe_jax.data.limits import Budget
from gailfe_jax.envs.expressions import Expression, compile_expression
from gailfe_jax.envs.mujoco_task import mujoco_task
from gailfe_jax.envs.physics.model_files import model_stamp, stamp
from gailfe_jax.errors import GailfeError, warned_unless_refused
from gailfe_jax.io.toml_text import read_toml
from gailfe_jax.types import MOST_STEPS, Array, Fields, Task

_KEYS = {
    "name": str,
    "model": str,
    "frame_skip": int,
    "max_episode_steps": int,
    "observe": list,
    "terminated": list,
    "reward": str,
    "start": dict,
    "annotator": str,
    "gymnasium_id": str,
}
_MOST = {"frame_skip": 10**5, "max_episode_steps": MOST_STEPS}
_LARGEST_NOISE = 1e4
_WIDE = 64
"""Operands of one concatenation: XLA's time for one grows with the square of their number."""
_START = {"qpos": str, "qvel": str, "keyframes": list, "states": str}
_RANGE = re.compile(r"(.+?)\s+in\s*([\[(])\s*([^,\s]+)\s*,\s*([^,\s]+?)\s*([\])])\s*")
_NOISE = re.compile(r"(uniform|normal)\(\s*([^\s)]+)\s*\)")


def load_task(path: str | pathlib.Path) -> Task:
    """The task that a TOML file describes.

    Its keys: `model` (MJCF, relative to the file), `frame_skip` (1), `max_episode_steps` (1000), `observe` (a list of
    expressions, see `gailfe_jax.envs.expressions`), `terminated` (a list of healthy ranges such as `"body:torso.z in
    [0.8, 2]"`; an episode ends where one does not hold), `reward` (an expression, for evaluation alone),
    `start.qpos` and `start.qvel` (`uniform(0.1)` or `normal(0.1)`, noise around the start), `start.keyframes` (names to
    draw the start from) or `start.states` (an .npz file with `qpos [n, nq]` and `qvel [n, nv]` to draw it from),
    `annotator`, `name`, and `gymnasium_id`.

    Raises:
      GailfeError: the file, or the model that it names, is missing, damaged, or does not fit what it says.
    """
    path = pathlib.Path(os.path.expanduser(path)).absolute()
    if not path.is_file():
        raise GailfeError(f"env: {path}: no such file; expected a task in TOML")
    parts = task_parts(path)
    changed = (stamp(path), model_stamp(parts.model), parts.states and stamp(parts.states))
    # Where a user's expressions give no numbers, a line says so.
    with warned_unless_refused(), np.errstate(all="ignore"):
        return _load(path, changed)


class Parts(NamedTuple):
    """The files that a task file names, and what it says besides."""

    model: pathlib.Path
    states: pathlib.Path | None
    record: dict[str, Any]


def task_parts(path: pathlib.Path) -> Parts:
    """What the task file at an absolute path names.

    Raises:
      GailfeError: it is damaged, or does not say what it must.
    """
    record = _read(path)
    model = pathlib.Path(os.path.normpath(path.parent / record["model"]))
    states = record.get("start", {}).get("states")
    return Parts(model, None if states is None else pathlib.Path(os.path.normpath(path.parent / states)), record)


@functools.lru_cache(maxsize=32)
def _load(path: pathlib.Path, changed: Any) -> Task:
    del changed
    from gailfe_jax.envs.physics.model import fresh_fields, read_model
    from gailfe_jax.envs.physics.names import Names

    model_file, states, record = task_parts(path)
    where = f"env: {path.name}"
    model = read_model(model_file, where)
    names = Names(model)
    rows = [compile_expression(text, names, f"{where}: observe") for text in record["observe"]]
    ranges = [_range(text, names, f"{where}: terminated") for text in record.get("terminated", [])]
    reward = None
    if "reward" in record:
        reward = compile_expression(record["reward"], names, f"{where}: reward", ("action", "alive", "dt"))

    def observe(xp: Any, data: Fields) -> Any:
        parts = [row.vector(xp, data) for row in rows]
        while xp is not np and len(parts) > _WIDE:
            groups = (parts[i : i + _WIDE] for i in range(0, len(parts), _WIDE))
            parts = [xp.concatenate(group, axis=-1) for group in groups]
        return xp.concatenate(parts, axis=-1)

    def terminated(xp: Any, data: Fields) -> Any:
        healthy = xp.ones(data.qpos.shape[:-1], bool)
        for expression, low, high, closed_low, closed_high in ranges:
            value = expression.number(xp, data)
            healthy &= (value >= low) if closed_low else (value > low)
            healthy &= (value <= high) if closed_high else (value < high)
        return ~healthy

    def rewarded(xp: Any, before: Fields, data: Fields, action: Any, dt: float) -> Any:
        assert reward is not None
        alive = ~terminated(xp, data) * 1.0
        return reward.number(xp, data, before=before, action=action, alive=alive, dt=dt)

    task = mujoco_task(
        model_file,
        observe=observe,
        terminated=terminated if ranges else None,
        reward=rewarded if reward else None,
        start=_start(record.get("start", {}), states, model, where),
        frame_skip=record.get("frame_skip", 1),
        max_episode_steps=record.get("max_episode_steps", 1000),
        name=record.get("name", path.stem),
        annotator=record.get("annotator"),
    )
    data = Fields(**fresh_fields(task, task.fields, 1))
    observed = []
    for text, row in zip(record["observe"], rows, strict=True):
        numbers = row.vector(np, data)
        if not np.isfinite(numbers).all():
            raise GailfeError(f"{where}: observe: {text!r} is not finite in the model's initial state")
        observed.append((text, numbers.shape[-1]))
    return dataclasses.replace(
        task, gymnasium_id=record.get("gymnasium_id"), source=str(path), observed=tuple(observed)
    )


def _read(path: pathlib.Path) -> dict[str, Any]:
    where = f"env: {path.name}"
    record = read_toml(path, where, "a task")
    _check(record, _KEYS, where)
    _check(record.get("start", {}), _START, f"{where}: start")
    for key in ("model", "observe"):
        if not record.get(key):
            raise GailfeError(f"{where}: {key} is missing; expected {'an MJCF file' if key == 'model' else 'a list'}")
    for key in ("observe", "terminated"):
        for text in record.get(key, []):
            if not isinstance(text, str):
                raise GailfeError(f"{where}: {key}: got {text!r}; expected text such as 'qpos[2:]'")
    for key, most in _MOST.items():
        if not 1 <= record.get(key, 1) <= most:
            raise GailfeError(f"{where}: {key}: got {record[key]}; expected a whole number from 1 to {most}")
    for key, text in (("model", record["model"]), ("start.states", record.get("start", {}).get("states", ""))):
        if "\0" in text:
            raise GailfeError(f"{where}: {key}: got {text!r}; expected the name of a file")
    name = record.get("name", path.stem)
    if not name.strip() or not name.isprintable() or any(mark in name for mark in "/\\:"):
        raise GailfeError(f"{where}: name: got {name!r}; expected a word without / and :")
    return record


def _check(record: Mapping[str, Any], keys: Mapping[str, type], where: str) -> None:
    for key, value in record.items():
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(keys)}"
            raise GailfeError(f"{where}: unknown key {key!r}; {hint}")
        if not isinstance(value, keys[key]) or isinstance(value, bool):
            if keys is _START and key in ("qpos", "qvel"):
                kind = f'text such as "uniform({value})"' if isinstance(value, int | float) else 'text, "uniform(0.05)"'
                raise GailfeError(f"{where}: {key}: got {value!r}; expected {kind}")
            kind = {str: "text", int: "a whole number", list: "a list", dict: "a table"}[keys[key]]
            raise GailfeError(f"{where}: {key}: got {value!r}; expected {kind}")


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value != value:
        raise GailfeError(f"{where}: got {text!r}; expected a number")
    return value


def _scale(text: str, where: str) -> float:
    value = _number(text, where)
    if not 0 <= value <= _LARGEST_NOISE:
        raise GailfeError(f"{where}: got {text!r}; expected a number from 0 to {_LARGEST_NOISE:g}")
    return value


def _range(text: str, names: Any, where: str) -> tuple[Expression, float, float, bool, bool]:
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise GailfeError(f"{where}: {text!r}; expected a healthy range such as 'body:torso.z in [0.8, 2]'")
    low, high = (_number(match[group], f"{where}: {text!r}") for group in (3, 4))
    if low >= high:
        raise GailfeError(f"{where}: {text!r} holds nothing; expected the lower bound first")
    return compile_expression(match[1], names, where), low, high, match[2] == "[", match[5] == "]"


def _start(record: Mapping[str, Any], file: pathlib.Path | None, model: Any, where: str) -> Any:
    noise = {part: _noise(record[part], f"{where}: start.{part}") for part in ("qpos", "qvel") if part in record}
    if "keyframes" in record and "states" in record:
        raise GailfeError(f"{where}: start: got keyframes and states; expected one of them")
    states = None
    if "keyframes" in record:
        states = _keyframes(record["keyframes"], model, f"{where}: start.keyframes")
    elif file is not None:
        states = _states(file, model, f"{where}: start.states")

    def start(key: Array, qpos: Array, qvel: Array) -> tuple[Array, Array]:
        key_row, *keys = jax.random.split(key, 3)
        if states is not None:
            row = jax.random.randint(key_row, (), 0, len(states[0]))
            qpos, qvel = (jnp.asarray(part)[row] for part in states)
        found = {"qpos": jnp.asarray(qpos, jnp.float32), "qvel": jnp.asarray(qvel, jnp.float32)}
        for part, part_key in zip(found, keys, strict=True):
            if part in noise:
                found[part] = found[part] + noise[part](part_key, found[part].shape)
        return found["qpos"], found["qvel"]

    return start


def _noise(text: str, where: str) -> Any:
    match = _NOISE.fullmatch(text.strip())
    if match is None:
        raise GailfeError(f"{where}: got {text!r}; expected such as 'uniform(0.1)' or 'normal(0.1)'")
    scale = _scale(match[2], where)
    if match[1] == "normal":
        return lambda key, shape: scale * jax.random.normal(key, shape)
    return lambda key, shape: jax.random.uniform(key, shape, minval=-scale, maxval=scale)


def _keyframes(names: list[Any], model: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    known = [model.key(i).name for i in range(model.nkey)]
    for name in names:
        if name not in known:
            raise GailfeError(f"{where}: got {name!r}; expected one of {', '.join(known) or '(the model has none)'}")
    if not names:
        raise GailfeError(f"{where}: got none; expected names of the model's key frames")
    rows = [known.index(name) for name in names]
    return model.key_qpos[rows].astype(np.float32), model.key_qvel[rows].astype(np.float32)


def _states(path: pathlib.Path, model: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    if not path.exists():
        raise GailfeError(f"{where}: {path}: no such file; expected an .npz file")
    try:
        take = Budget(path.name, path.stat().st_size).take
        found = [npz.read_one(str(path), name, take) for name in ("qpos", "qvel")]
    except (GailfeError, OSError):
        raise GailfeError(f"{where}: {path.name}: expected an .npz file with qpos [n, nq] and qvel [n, nv]") from None
    for name, part, size in zip(("qpos", "qvel"), found, (model.nq, model.nv), strict=True):
        if part.ndim != 2 or part.shape[1] != size or len(part) != len(found[0]) or not len(part):
            raise GailfeError(f"{where}: {path.name}: {name} is {list(part.shape)}; expected [n, {size}]")
        if part.dtype.kind not in "fiu":
            raise GailfeError(f"{where}: {path.name}: {name} is of type {part.dtype}; expected real numbers")
        if not (np.abs(part) <= np.finfo(np.float32).max).all():
            raise GailfeError(f"{where}: {path.name}: {name} is not finite; expected finite numbers")
    return found[0].astype(np.float32), found[1].astype(np.float32)
