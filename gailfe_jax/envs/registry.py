"""Which environments there are, by name: the built-in tasks, those that a user registers, and other packages'."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

from gailfe_jax.envs.base import GuardedEnv, MujocoEnv
from gailfe_jax.envs.check import check_env, check_task
from gailfe_jax.envs.classic import CLASSIC
from gailfe_jax.envs.delayed import DelayedReward, split_name
from gailfe_jax.envs.others import OTHERS, adapt, prefix_of
from gailfe_jax.envs.physics import make_physics, resolve_engine
from gailfe_jax.envs.physics.model_files import model_stamp
from gailfe_jax.envs.task_file import load_task
from gailfe_jax.envs.tasks import TASKS
from gailfe_jax.errors import GailfeError, failed, warned_unless_refused
from gailfe_jax.types import Env, EnvSpec, Task


# Compared by identity: an environment made from a registration that was replaced is not made from the new one.
@dataclasses.dataclass(frozen=True, eq=False)
class _Registration:
    name: str
    task: Task | Callable[[], Env]
    gymnasium_id: str | None = None

    def answers_to(self, name: str) -> bool:
        """Whether `name`, in lower case, is this task's own name or its Gymnasium id."""
        return name in {self.name.lower(), (self.gymnasium_id or self.name).lower()}


_BUILT_IN = [
    *(_Registration(task.name, task, task.gymnasium_id) for task in TASKS.values()),
    *(_Registration(name, kind, kind.spec.gymnasium_id) for name, kind in CLASSIC.items()),
]
# Lower-case name to what a user registered.
_REGISTERED: dict[str, _Registration] = {}

# Path to what its file said when it was last read.
_FILES: dict[str, _Registration] = {}

# Name of another package's environment to what that package knew it by when it was last made.
_OTHERS: dict[str, tuple[Any, _Registration]] = {}

_FILE = ".toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PREFIX = re.compile(rf"{'|'.join(OTHERS)}|delayed\d*")


def register_task(task: Task | Callable[[], Env], *, name: str | None = None) -> str:
    """Adds a task, so that `make_env(name)`, `--env NAME` and `delayed<k>:NAME` know it; again with a name replaces it.

    Args:
      task: a MuJoCo `Task`, which then runs on every engine; or a function without arguments that makes an `Env` (any
        object as in `gailfe_jax.types.Env`, say an `EpisodicEnv`), whose `spec.name` is `name`.
      name: letters, digits, `-` and `_`; the task's own name if None. Upper and lower case are the same.

    Returns:
      The name.

    Raises:
      GailfeError: `task` is something else; `name` is missing, is not one word, or means a built-in task already.
    """
    if not isinstance(task, Task) and not callable(task):
        raise GailfeError(f"task: got a {type(task).__name__}; expected a Task, or a function that makes an Env")
    if name is None:
        if not isinstance(task, Task):
            raise GailfeError("name: got none; expected one for a task that a function makes")
        name = task.name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise GailfeError(f"name: got {name!r}; expected one word of letters, digits, - and _")
    if _is_built_in(name):
        known = ", ".join((*TASKS, *CLASSIC))
        raise GailfeError(f"name: {name} is a built-in task; expected another name than those of {known}")
    if _PREFIX.fullmatch(name.lower()):
        forms = ", ".join(f"{prefix}:<name>" for prefix in (*OTHERS, "delayed<k>"))
        raise GailfeError(f"name: {name} stands before other names ({forms}); expected another")
    if isinstance(task, Task):
        task = dataclasses.replace(task, name=name)
    _REGISTERED[name.lower()] = _Registration(name, task, task.gymnasium_id if isinstance(task, Task) else None)
    return name


def _is_built_in(name: str) -> bool:
    return any(built_in.answers_to(name.lower()) for built_in in _BUILT_IN)


def task_names() -> list[str]:
    """Names of the built-in tasks, and behind them of the registered ones, each in alphabetical order."""
    return sorted((*TASKS, *CLASSIC)) + sorted(registration.name for registration in _REGISTERED.values())


def _find(name: str) -> _Registration:
    wanted = name.lower()
    if prefix_of(name) is not None:
        return _OTHERS[name][1] if name in _OTHERS else _Registration(name, functools.partial(_from_package, name))
    if wanted in _REGISTERED:
        return _REGISTERED[wanted]
    for registration in (*_BUILT_IN, *_REGISTERED.values()):
        if registration.answers_to(wanted):
            return registration
    if wanted.endswith(_FILE):
        return _from_file(name)
    if wanted.partition(":")[0].endswith(".py"):
        file = name.partition(":")[0]
        raise GailfeError(f"env: got {name!r}; expected --import {file}, and the name that it gives to register_task")
    known = task_names()
    ids = {built_in.gymnasium_id.lower(): built_in.gymnasium_id for built_in in _BUILT_IN if built_in.gymnasium_id}
    near = difflib.get_close_matches(wanted, [*(other.lower() for other in known), *ids], n=1)
    meant = _of_gymnasium(wanted) or (ids.get(near[0], near[0]) if near else None)
    if meant:
        raise GailfeError(f"env: unknown task {name!r}; did you mean {meant}?")
    forms = ", ".join(f"{prefix}:<{other.noun}>" for prefix, other in OTHERS.items())
    ways = f"{forms}, a .toml file, or delayed<k>: before one"
    raise GailfeError(f"env: unknown task {name!r}; expected one of {', '.join(known)}, {ways}")


def _of_gymnasium(wanted: str) -> str | None:
    """Under what name `--env` knows an environment that Gymnasium has and we have not, as `gym:Pendulum-v1`.

    Args:
      wanted: its id in lower case, with a version or without: the newest then.
    """
    import gymnasium

    ours = {built_in.gymnasium_id.lower().rpartition("-v")[0] for built_in in _BUILT_IN if built_in.gymnasium_id}
    found = {
        spec.version or 0: known
        for known, spec in gymnasium.registry.items()
        if spec.name.lower() not in ours and wanted in (known.lower(), known.lower().removesuffix(f"-v{spec.version}"))
    }
    return f"gym:{found[max(found)]}" if found else None


def _from_file(path: str) -> _Registration:
    # Under its path: two folders may hold a task of one name. Records shall not need this machine's folders.
    place, task = pathlib.Path(os.path.abspath(os.path.expanduser(path))), load_task(path)
    if _is_built_in(task.name):
        raise GailfeError(
            f"env: {place.name}: name: {task.name!r} is a built-in task's; expected another name in the file "
            f'(name = "my_{task.name}"), or of the file'
        )
    name = place.relative_to(pathlib.Path.cwd()).as_posix() if place.is_relative_to(pathlib.Path.cwd()) else str(place)
    held = _FILES.get(str(place))
    if held is None or held.task is not task or held.name != name:
        _FILES[str(place)] = _Registration(name, task)
    return _FILES[str(place)]


def task_file(name: str) -> str | None:
    """The task file that a name is about, `delayed<k>:` left out: `delayed20:arm.toml` -> `arm.toml`; else None."""
    delayed = split_name(name)
    if delayed is not None:
        return task_file(delayed[1])
    is_other = prefix_of(name) is not None or name.lower() in _REGISTERED
    return name if name.lower().endswith(_FILE) and not is_other else None


def on_file(name: str, path: str) -> str:
    """`name`, which is about a task file, with another one in its place: `delayed20:arm.toml` -> `delayed20:<path>`."""
    return name.removesuffix(task_file(name) or "") + path


def differ_by_file(one: str, two: str) -> bool:
    """Whether two names are about task files and say the same but for where these lie."""
    files = task_file(one), task_file(two)
    return None not in files and on_file(one, files[1] or "") == two


def _from_package(name: str) -> Env:
    prefix = prefix_of(name)
    assert prefix is not None
    return OTHERS[prefix].make(name.removeprefix(f"{prefix}:"))


def _as_known_now(name: str) -> _Registration:
    """The registration of another package's environment: another one after that package registered the name again."""
    prefix = prefix_of(name)
    assert prefix is not None
    known = OTHERS[prefix].known(name.removeprefix(f"{prefix}:"))
    if name not in _OTHERS or _OTHERS[name][0] is not known:
        _OTHERS[name] = known, _Registration(name, functools.partial(_from_package, name))
    return _OTHERS[name][1]


def find_task(name: str) -> Task:
    """The MuJoCo task called `name`, or with that Gymnasium id, in any case: `hopper`, `Hopper-v5`, `HalfCheetah`.

    Raises:
      GailfeError: no such task, or one that is no MuJoCo `Task`.
    """
    task = _find(name).task
    if not isinstance(task, Task):
        raise GailfeError(f"env: {name} is no MuJoCo task; expected one, such as {', '.join(TASKS)}")
    return task


def canonical_name(name: str) -> str:
    """The one spelling of a task's name that files and run folders hold: `Hopper-v5` -> `hopper`, `delayed:Hopper-v5`
    -> `delayed20:hopper`.

    Raises:
      GailfeError: unknown task.
    """
    delayed = split_name(name)
    if delayed is not None:
        return f"delayed{delayed[0]}:{canonical_name(delayed[1])}"
    return _find(name).name


def also_called(spec: EnvSpec) -> list[str]:
    """Other names of the task of an environment that Gymnasium has, too: `cartpole` is `gym:CartPole-v1`."""
    if spec.gymnasium_id is None:
        return []
    known = [built_in.name for built_in in _BUILT_IN if built_in.gymnasium_id == spec.gymnasium_id]
    return [*known, f"gym:{spec.gymnasium_id}"]


def base_name(name: str) -> str:
    """The canonical name of the task whose rewards are paid at once: `delayed20:hopper` -> `hopper`.

    Raises:
      GailfeError: unknown task.
    """
    delayed = split_name(name)
    return canonical_name(name) if delayed is None else base_name(delayed[1])


def brings_engine(name: str) -> bool:
    """Whether a task is stepped by an engine of its own, as brax's are, so that none can be chosen for it.

    Raises:
      GailfeError: unknown task.
    """
    return not isinstance(_find(base_name(name)).task, Task)


def engine_of(name: str, engine: str = "auto", worlds: int | None = None) -> str:
    """What `make_env(name, engine)` runs on: `mujoco_c`, `mjx` or `warp`; `own` where a task brings its own.

    Args:
      name, engine: see `make_env`.
      worlds: environments of all seeds together, by which `auto` decides where that is known.

    Raises:
      GailfeError: unknown task or engine.
    """
    task = None if brings_engine(name) else _find(base_name(name)).task
    return resolve_engine(engine, task, worlds) if isinstance(task, Task) else "own"


def on_c_engine(env: Env) -> Env | None:
    """The same task on the C engine; None for an environment that is no MuJoCo task on another one."""
    if isinstance(env, DelayedReward):
        inner = on_c_engine(env.env)
        return None if inner is None else DelayedReward(inner, env.every)
    # A subclass may step otherwise.
    if not isinstance(env, MujocoEnv) or type(env) not in (MujocoEnv, GuardedEnv) or env.spec.engine == "mujoco_c":
        return None
    return _on_engine(env.task, "mujoco_c", isinstance(env, GuardedEnv))


def _on_engine(task: Task, engine: str, guarded: bool, **options: Any) -> MujocoEnv:
    if guarded and engine == "mujoco_c":
        options["autoreset"] = False
    return (GuardedEnv if guarded else MujocoEnv)(task, make_physics(task, engine, **options))


def is_own_task(name: str) -> bool:
    """Whether a name is about a MuJoCo task that is not one of Gymnasium's: of a file, or registered.

    Raises:
      GailfeError: unknown task.
    """
    registration = _find(base_name(name))
    return isinstance(registration.task, Task) and registration not in _BUILT_IN


def takes_choices(name: str) -> bool:
    """Whether a task's actions are choices, see `EnvSpec.discrete`; without making a simulator.

    Raises:
      GailfeError: unknown task, or one that cannot be made.
    """
    name = base_name(name)
    return not isinstance(_find(name).task, Task) and make_env(name).spec.discrete


@functools.cache
def _make(name: str, registration: _Registration, engine: str, changed: Any, **options: Any) -> Env:
    delayed = split_name(name)
    if delayed is not None:
        return DelayedReward(_make(delayed[1], registration, engine, changed, **options), delayed[0])
    task = registration.task
    if isinstance(task, Task):
        if registration not in _BUILT_IN:
            with warned_unless_refused():
                check_task(task)
        guarded = options.pop("reset_nonfinite", registration not in _BUILT_IN)
        return _on_engine(task, engine, guarded, **options)
    for option in options:
        raise GailfeError(f"env: {name} brings its own engine and takes no option {option}")
    with warned_unless_refused():
        env = task() if prefix_of(name) is not None else _made_by(task, name)
    if prefix_of(name) is not None:
        return env
    check_env(env, f"the function registered as {name!r} makes")
    if env.spec.name != name:
        raise GailfeError(f"env {name!r}: spec.name is {env.spec.name!r}; expected the name that it is registered by")
    return env


def _made_by(function: Callable[[], Env], name: str) -> Env:
    try:
        return function()
    except GailfeError:
        raise
    except Exception as error:  # Whatever a user's function raises.
        raise failed(f"env {name!r}: the function that makes it", error) from error


def make_env(name: str, engine: str = "auto", **options: Any) -> Env:
    """The environment called `name` on `engine`.

    Args:
      name: `hopper` or another of `TASKS` or `CLASSIC`, a Gymnasium id of theirs, a name given to `register_task`, a
        task file (`arm.toml`, see `load_task`), or another package's (`gym:<id>`, `brax:<name>`, ..., see `OTHERS`),
        perhaps with options: `gym:Ant-v5?max_episode_steps=200`; behind `delayed<k>:` with its rewards summed and paid
        every k steps (20 where k is left out).
      engine: `auto`, `mujoco_c`, `mjx` or `warp`; ignored where an environment brings its own, as brax's do.
      **options: of the engine, such as `EnvSettings.options`; the model's own settings by default. And
        `reset_nonfinite`: see `EnvSettings`.

    Raises:
      GailfeError: unknown task or engine, an option it does not take, the engine cannot run here, or a registered task
        is not what `check_env` or `check_task` expects, or its function fails.
    """
    name = canonical_name(name)
    base = base_name(name)
    registration = _find(base) if prefix_of(base) is None else _as_known_now(base)
    task = registration.task
    if not isinstance(task, Task):
        return _make(name, registration, "own", None, **options)
    # Made anew after a file of the user's model has changed.
    changed = model_stamp(pathlib.Path(task.model_file)) if os.path.isabs(task.model_file) else None
    return _make(name, registration, engine_of(base, engine), changed, **options)


def known_env(env_id: str) -> Env | None:
    """The environment that a file names, here or in Gymnasium; None where it is not known on this machine."""
    for name in (env_id, f"gym:{env_id}"):
        try:
            return make_env(name)
        except GailfeError:
            continue
    return None


def asked_for_as(env_id: str) -> str:
    """What `--env` takes for the environment that a file names: `gym:Pendulum-v1` for `Pendulum-v1`."""
    env = known_env(env_id)
    return env_id if env is None or env.spec.name != f"gym:{env_id}" else env.spec.name


def as_env(env: Any, engine: str = "auto", **options: Any) -> Env:
    """The environment itself: `env` if it is one (see `check_env`), the one of that name (see `make_env`), or that of
    another package's object (see `gailfe_jax.envs.others.adapt`).

    Raises:
      GailfeError: see `check_env` and `make_env`.
    """
    if isinstance(env, str):
        return make_env(env, engine, **options)
    env = adapt(env)
    check_env(env)
    return env
