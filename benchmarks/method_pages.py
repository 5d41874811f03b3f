"""The tables of the pages in docs/methods/: each method's settings, and what came out of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from benchmarks.methods import TASKS, interval, markdown, summary
from gailfe_jax.config.tree import Leaf, leaves
from gailfe_jax.config.values import show_value
from gailfe_jax.learners.methods import METHODS
from gailfe_jax.learners.presets import preset

TASK = "hopper"
"""Whose preset the defaults are."""
OWN: dict[str, tuple[str, ...]] = {
    "gail": ("reward",),
    "gailfe": ("failures", "constraint"),
    "mail": ("policy",),
    "gasil": ("self_demonstrations", "true_reward"),
    "fem": ("reward",),
    "gtal": ("reward",),
    "irlf": ("reward", "failures"),
    "bc": ("validation", "patience", "rollout", "policy", "schedule"),
    "dagger": ("fit_steps", "aggregate_capacity", "beta", "policy"),
    "ppo": ("policy", "self_imitation"),
    "trpo": ("policy",),
    "sac": ("policy",),
    "td3": ("policy",),
}
"""The parts of a method that its own page explains."""
SHARED = ("rollout", "self_demonstrations", "true_reward", "likelihood", "start", "schedule")
"""The parts that the adversarial methods have in common."""
SHOWN = (4, 11, 18, 25)

THINNED = {
    "gail": "gail",
    "gailfe": "gailfe",
    "mail": "mail",
    "fem": "fem",
    "gtal": "gtal",
    "bc": "bc",
}
"""The kinds of `experiments/results/gail_table` by method."""
WITHOUT_DEMONSTRATIONS = ("dagger", "constant")
DELAYED = {"gasil": "gasil", "ppo": "ppo"}
"""The kinds of `experiments/results/gasil_delayed` by method."""


def settings(method: str, parts: Sequence[str]) -> str:
    """The settings of some of a method's parts, as its preset has them."""
    held = leaves(preset(method, TASK)[0]).values()
    rows = [_setting(leaf) for leaf in held if leaf.name.partition(".")[0] in parts]
    return markdown(["setting", "default", "what it is"], rows)


def _setting(leaf: Leaf) -> list[str]:
    value = f"{leaf.value:.6g}" if isinstance(leaf.value, float) else show_value(leaf.value)
    said = leaf.setting.help + (f" *Not read as it stands: {leaf.unread}.*" if leaf.unread is not None else "")
    # A star in a setting's help is a pattern's, and a bar would end the cell.
    said = leaf.setting.help.replace("|", "\\|").replace("*", "\\*") + said[len(leaf.setting.help) :]
    return [f"`--{leaf.name.replace('_', '-')}`", f"`{value}`" if value else "", said]


def thinned(kind: str) -> str:
    """Shares of the expert by task and number of demonstrations, thinned to one pair in 20."""
    cells = summary("gail_table")
    rows = []
    for task in TASKS:
        found = [cells.get(f"{task}-{count}-{kind}") for count in SHOWN]
        rows.append([task, *(interval(cell) if cell else "not run" for cell in found)])
    return markdown(["task", *(f"{count} demonstrations" for count in SHOWN)], rows)


def undemonstrated(kind: str) -> str:
    """Shares of the expert by task, of a method that is shown nothing."""
    cells = summary("gail_table")
    return markdown(list(TASKS), [[interval(cells[f"{task}-{kind}"]) for task in TASKS]])


def delayed(kind: str) -> str:
    """Shares of the expert by task where rewards come every 20 steps."""
    cells = summary("gasil_delayed")
    return markdown(list(TASKS), [[interval(cells[f"{task}-{kind}"]) for task in TASKS]])


def _results() -> dict[str, Callable[[], str]]:
    return {
        **{f"results_{name}": functools.partial(thinned, kind) for name, kind in THINNED.items()},
        **{f"results_{name}": functools.partial(undemonstrated, name) for name in WITHOUT_DEMONSTRATIONS},
        **{f"results_{name}": functools.partial(delayed, kind) for name, kind in DELAYED.items()},
    }


TABLES = {
    **{f"settings_{name}": functools.partial(settings, name, OWN[name]) for name in METHODS if name in OWN},
    "settings_shared": functools.partial(settings, "gail", SHARED),
    **_results(),
}
