"""All settings of a training in one namespace: the method's, the environment's, the run's and the demonstrations'.

Command line, sweeps, configuration files and records speak of settings by these names: `policy.max_kl`, `env`,
`mjx.iterations`, `steps`, `trajectories`. Beside them stand `algo`, the method, and `policy`, its policy step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from gailfe_jax.config import compat
from gailfe_jax.config.parts import Marks, Part, Setting
from gailfe_jax.config.run import DemoSettings, EnvSettings, RunSettings
from gailfe_jax.config.tree import Leaf, find, leaves, nearest, put, without_unread
from gailfe_jax.config.values import read_value
from gailfe_jax.envs import brings_engine, canonical_name, engine_of, takes_choices
from gailfe_jax.envs.physics.solver import settled
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.methods import METHODS, find_method, policy_choices, policy_name, with_policy
from gailfe_jax.learners.presets import SCALE_FROM, preset
from gailfe_jax.learners.record import leaves_record, method_record
from gailfe_jax.policies.actor import unread_of_choices
from gailfe_jax.policies.registry import POLICY_UPDATES
from gailfe_jax.rewards.registry import REWARDS

PARTS = ("method", "environment", "demos", "run")
"""Where a setting can stand, in the order in which they are shown."""
CHOICES = ("algo", "policy", "env")
"""What the presets depend on."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """What is trained, where, on what and how.

    Attributes:
      method: the method and its parts.
      environment: the task and its engine.
      demos: which demonstrations are seen.
      run: how the run is carried out.
    """

    method: Learner
    environment: EnvSettings = dataclasses.field(default_factory=EnvSettings)
    demos: DemoSettings = dataclasses.field(default_factory=DemoSettings)
    run: RunSettings = dataclasses.field(default_factory=RunSettings)

    @functools.cached_property
    def leaves(self) -> dict[str, tuple[str, Leaf]]:
        """`name -> (which of PARTS it is in, the setting)`, of all settings."""
        found: dict[str, tuple[str, Leaf]] = {}
        others = self._unread()
        for part in PARTS:
            for name, leaf in leaves(getattr(self, part)).items():
                found[name] = part, dataclasses.replace(leaf, unread=leaf.unread or others.get(name))
        return found

    @property
    def worlds(self) -> int:
        """Environments of all seeds together, by which `auto` chooses an engine."""
        return self.method.rollout.num_envs * self.run.seeds

    def _unread(self) -> dict[str, str]:
        """What the method or the engine has no use for."""
        method, found = self.method, {}
        if method.asks_expert:
            found |= dict.fromkeys(DemoSettings().values(), f"{method.name} asks the expert itself")
            del found["expert"]
        else:
            found["expert"] = f"{method.name} asks no expert"
            if not method.needs_demonstrations:
                found |= dict.fromkeys(DemoSettings().values(), f"{method.name} learns without demonstrations")
        if takes_choices(self.environment.env):
            found |= {f"policy.{name}": why for name, why in unread_of_choices().items()}
        names = [name for name in leaves(self.environment) if name.startswith(("mjx.", "warp."))]
        if brings_engine(self.environment.env):
            own = (*names, "engine", "reset_nonfinite")
            return found | dict.fromkeys(own, f"{self.environment.env} brings its own engine")
        engine = engine_of(self.environment.env, self.environment.engine, self.worlds)
        return found | {
            name: f"the engine is {engine}"
            for name in names
            if engine not in ("mjx", "warp") or (name.startswith("warp.") and engine != "warp")
        }

    def get(self, name: str) -> Any:
        """The value of any setting; None for one that it has not got."""
        if name == "algo":
            return self.method.name
        if name == "policy":
            return policy_name(self.method)
        return self.leaves[name][1].value if name in self.leaves else None

    def changed(self, values: Mapping[str, Any]) -> Setup:
        """A copy with other values, by full or short name, typed or as text.

        Raises:
          GailfeError: no such setting, one that nothing reads, or a value of another type or out of bounds.
        """
        typed = self.typed(values)
        setup = self.put(typed)
        for name in sorted(typed):
            unread = setup.leaves[name][1].unread
            if unread is not None:
                raise GailfeError(f"{name}: nothing reads it: {unread}")
        return dataclasses.replace(setup, method=without_unread(setup.method))

    def typed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """`values` by full name, and as their settings' types.

        Raises:
          GailfeError: no such setting, one that is given twice, or a value of another type or out of bounds.
        """
        found: dict[str, Any] = {}
        for name, value in values.items():
            full = find(name, self.leaves, hint=self.hint)
            if full in found:
                raise GailfeError(f"{full} is given twice; expected each setting once")
            found[full] = read_value(full, self.leaves[full][1].setting, value)
        return found

    def put(self, typed: Mapping[str, Any]) -> Setup:
        """A copy with other values, by full name, whether or not something reads them."""
        parts: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
        for name, value in typed.items():
            parts[self.leaves[name][0]][name] = value
        made: dict[str, Any] = {part: put(getattr(self, part), parts[part]) for part in PARTS}
        return Setup(**made)

    def hint(self, name: str) -> str:
        """What to say of a name that this setup has not got."""
        now = renamed(name)
        here = [full for full in now if full in self.leaves or full in ("algo", "policy")]
        if here:
            return f"it is called {' or '.join(here)} now"
        full = next(iter(now), name if name in _owners() else _by_last_word().get(name, ""))
        owners = _owners().get(full)
        if owners:
            method = self.method.name
            choice = f" with policy {policy_name(self.method)}" if policy_choices(self.method) else ""
            return f"{method}{choice} has none; {', '.join(owners[:4])} {_have(owners)} {full}"
        return nearest(name, self.leaves)

    def record(self) -> dict[str, Any]:
        """All settings that something reads, as nested plain values; a solver setting that is chosen by itself too."""
        place = settled(self.environment, engine_of(self.environment.env, self.environment.engine, self.worlds))
        known = dataclasses.replace(self, environment=place).leaves
        # What the method has no use for is left out of the other parts too: reading the record would refuse it.
        own = {part: [leaf for place, leaf in known.values() if place == part] for part in PARTS}
        others = {part: leaves_record(own[part]) for part in PARTS[1:]}
        return {"algo": self.method.name, "method": method_record(self.method, own["method"])} | others


def renamed(name: str) -> list[str]:
    """What a flat name of old releases is called now."""
    return list(dict.fromkeys(target.rpartition(":")[2] for target in compat.FLAT.get(name, ())))


def _have(owners: list[str]) -> str:
    return "has" if len(owners) == 1 else "have"


def _registered() -> tuple[Any, ...]:
    """What is registered now; what is kept in caches goes by it."""
    return tuple(REWARDS.items()), tuple(POLICY_UPDATES.items())


@functools.lru_cache(maxsize=4)
def _owners_of(registered: tuple[Any, ...]) -> dict[str, list[str]]:
    """`setting -> the methods (or policy steps) that have it`."""
    found: dict[str, list[str]] = {}
    for algo, method in METHODS.items():
        choices = policy_choices(method)
        having: dict[str, list[str]] = {}
        for policy in choices:
            for name in leaves(with_policy(method, policy)):
                having.setdefault(name, []).append(policy)
        for name in having or leaves(method):
            some = having.get(name, [])
            every = len(some) == len(choices)
            found.setdefault(name, []).extend([algo] if every else [f"{algo} --policy {policy}" for policy in some])
    return found


def _owners() -> dict[str, list[str]]:
    return _owners_of(_registered())


def _by_last_word() -> dict[str, str]:
    """`last word -> full name`, of all methods' settings."""
    return {name.rpartition(".")[2]: name for name in _owners()}


@dataclasses.dataclass(frozen=True)
class ConfigFile:
    """Settings of a file, which others come after.

    Attributes:
      source: what to call it in messages.
      values: `name -> value`, typed or as text.
    """

    source: str
    values: Mapping[str, Any]

    @property
    def choices(self) -> ConfigFile:
        """What the presets depend on, of these settings."""
        return ConfigFile(self.source, {name: value for name, value in self.values.items() if name in CHOICES})

    def meant_for(self, algo: str | None) -> ConfigFile:
        """The same for a method where the file itself names none."""
        return ConfigFile(self.source, {"algo": algo} | dict(self.values))

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Errors inside name the file."""
        try:
            yield
        except GailfeError as error:
            raise GailfeError(f"{self.source}: {error}") from None


def build_setup(values: Mapping[str, Any], start: Setup | None = None, config: ConfigFile | None = None) -> Setup:
    """The setup that `values` describe: the preset of their method on their task, and then they themselves.

    Args:
      values: `name -> value`, typed or as text; `algo`, `policy` and `env` choose the preset.
      start: what to start from instead of a preset, where none of the three changes it.
      config: settings that `values` come after. Those that `values` leave without a reader are dropped.

    Raises:
      GailfeError: as `Setup.changed`, or an unknown method, policy step or task.
    """
    values = {name.strip().replace("-", "_"): value for name, value in values.items()}
    chosen = {name: values.pop(name) for name in CHOICES if name in values}
    if config is None:
        setup = _at_scale(chosen, _preset_setup(chosen, start), start, values)
        return _shortened(_yielding(setup.changed(values), start, values), start, values)
    theirs = {name: value for name, value in config.values.items() if name in CHOICES}
    with config.named():
        # What it means by itself: a file that names no method is for the one that is asked for.
        own = _preset_setup(config.meant_for(chosen.get("algo")).values, start)
    if "algo" in chosen and theirs.get("policy") not in policy_choices(find_method(chosen["algo"])):
        theirs.pop("policy", None)
    chosen = theirs | chosen
    setup = _at_scale(chosen, _preset_setup(chosen, start), start, {**config.values, **values})
    made = setup.changed(_still_read(config, own, setup, setup.typed(values)))
    return _shortened(_yielding(made, start, config.values, values), start, config.values, values)


def _shortened(setup: Setup, start: Setup | None, *given: Mapping[str, Any]) -> Setup:
    """`setup`, but a run shorter than its preset's interval between evaluations is not made as long as that is."""
    chosen = any("eval_every" in values for values in given)
    if start is not None or chosen or (setup.run.eval_every or 0) <= setup.run.steps:
        return setup
    return dataclasses.replace(setup, run=setup.run.replace(eval_every=None))


def _yielding(setup: Setup, start: Setup | None, *given: Mapping[str, Any]) -> Setup:
    """`setup`, where what a preset sets for replay gives way to what is asked for and does not go with it."""
    if start is not None:
        return setup
    asked = {find(name, setup.leaves) for values in given for name in values if _has(setup, name)}
    steps, unroll = (setup.get(name) for name in ("policy.n_step", "rollout.unroll_length"))
    values: dict[str, Any] = {}
    if steps is not None and steps > unroll:
        values["policy.n_step"] = unroll
    # Demonstrated steps are replayed with their actions, which a reward of states alone is there to do without.
    unfit = setup.get("true_reward.add") or setup.get("reward.inputs") in ("transitions", "states")
    if unfit and setup.get("policy.demonstrated"):
        values["policy.demonstrated"] = 0.0
    return setup.put({name: value for name, value in values.items() if name not in asked})


def _at_scale(choices: Mapping[str, Any], setup: Setup, start: Setup | None, values: Mapping[str, Any]) -> Setup:
    """The preset for as many environments as `values` say, instead of `setup`; `setup` where there is a `start`."""
    given = [value for name, value in values.items() if name in ("num_envs", "rollout.num_envs")]
    if start is not None or not given or "rollout.num_envs" not in setup.leaves:
        return setup
    num_envs = read_value("rollout.num_envs", setup.leaves["rollout.num_envs"][1].setting, given[-1])
    return _preset_setup(choices, None, num_envs) if num_envs >= SCALE_FROM else setup


def _preset_setup(choices: Mapping[str, Any], start: Setup | None, num_envs: int | None = None) -> Setup:
    """The preset that `algo`, `policy` and `env` choose; `start` where they are its own."""
    algo, policy, env = (choices.get(name) for name in CHOICES)
    for name, value in (("algo", algo), ("policy", policy), ("env", env)):
        if value is not None and not isinstance(value, str):
            raise GailfeError(f"{name}: got {value!r}; expected a name")
    task = canonical_name(env or (start.environment.env if start else "hopper"))
    if start is not None:
        # By its own method, policy step and task it may be called.
        now = {"algo": algo, "policy": policy, "env": task}
        if all(value is None or value == start.get(name) for name, value in now.items()):
            return start
    method, run = preset(algo or (start.method.name if start else "gail"), task, policy=policy, num_envs=num_envs)
    if start is None:
        return Setup(method, EnvSettings(env=task), run=run)
    # What was set beside the method stays.
    return Setup(method, start.environment.replace(env=task), start.demos, start.run)


def _still_read(config: ConfigFile, own: Setup, setup: Setup, given: dict[str, Any]) -> dict[str, Any]:
    """`given`, and those of the file's settings that something reads beside them.

    Args:
      config: the file.
      own: the preset that it means by itself.
      setup: the preset that is asked for.
      given: typed values by full name, which come after the file's.

    Raises:
      GailfeError: the file has a setting that neither preset has, or that nothing reads in the file itself either, or
        a value of another type or out of bounds.
    """
    with config.named():
        theirs, kept = _typed_for_either(config, own, setup)
        alone = own.put(theirs)
    names = [name for name in dict.fromkeys((*theirs, *kept)) if name not in given]
    kept = {name: value for name, value in kept.items() if name not in given}
    now = setup.put(kept | given)
    # Again and again, because what goes may have been what others were read for.
    while idle := [name for name in kept if now.leaves[name][1].unread is not None]:
        kept = {name: value for name, value in kept.items() if name not in idle}
        now = setup.put(kept | given)
    for name in names:
        unread = (alone if name in theirs else now).leaves[name][1].unread
        if name not in kept and unread is not None:
            raise GailfeError(f"{config.source}: {name}: nothing reads it: {unread}")
    return kept | given


def _typed_for_either(config: ConfigFile, own: Setup, setup: Setup) -> tuple[dict[str, Any], dict[str, Any]]:
    """The file's settings by full name, typed: those that `own` has, and those that `setup` has."""
    theirs: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    for name, value in config.values.items():
        if name in CHOICES:
            continue
        try:
            full = find(name, own.leaves, hint=own.hint)
        except GailfeError:
            if not _has(setup, name):
                raise
            full = find(name, setup.leaves)
        if full in theirs or full in kept:
            raise GailfeError(f"{full} is given twice; expected each setting once")
        if full in own.leaves:
            theirs[full] = read_value(full, own.leaves[full][1].setting, value)
        if full in setup.leaves:
            try:
                kept[full] = read_value(full, setup.leaves[full][1].setting, value)
            except GailfeError:
                # What is a value to the file's part may be none to the one that replaces it.
                if full not in theirs:
                    raise
    return theirs, kept


def _has(setup: Setup, name: str) -> bool:
    with contextlib.suppress(GailfeError):
        return bool(find(name, setup.leaves))
    return False


@functools.lru_cache(maxsize=4)
def _all_settings(registered: tuple[Any, ...]) -> dict[str, Setting]:
    found = {
        "algo": Setting("algo", str, tuple(METHODS), False, Marks(), "gail", "The method."),
        "policy": Setting("policy", str, tuple(POLICY_UPDATES), False, Marks(), None, "The policy step."),
    }
    parts: list[Part] = [EnvSettings(), DemoSettings()]
    for algo in METHODS:
        parts += [METHODS[algo], *(with_policy(METHODS[algo], name) for name in policy_choices(METHODS[algo]))]
    for part in parts:
        for name, leaf in leaves(part).items():
            found.setdefault(name, leaf.setting)
    return found


def all_settings() -> dict[str, Setting]:
    """Every setting of any method, environment or demonstrations by name, and `algo` and `policy`: what can vary in a
    sweep."""
    return _all_settings(_registered())


def find_setting(name: str) -> str:
    """The full name of a setting of any method.

    Raises:
      GailfeError: no such setting, or one of how a run is carried out.
    """

    if name.strip().replace("-", "_") in RunSettings().values():
        raise GailfeError(f"{name.strip()}: how a run is carried out cannot vary in a sweep; expected it as a flag")

    def hint(wanted: str) -> str:
        now = renamed(wanted)
        return f"it is called {' or '.join(now)} now" if now else nearest(wanted, all_settings())

    return find(name, all_settings(), hint=hint)
