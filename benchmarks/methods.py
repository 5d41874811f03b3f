"""The tables of methods in README and of decisions in docs/, from the experiments' summaries."""

from __future__ import annotations

import json
import pathlib
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Method, what it does, and the cell of `experiments/results/gail_table` with its number, where there is one.
METHODS = [
    ("`gail`", "imitation against a discriminator (Ho & Ermon 2016)", "hopper-4-gail"),
    ("`gailfe`", "GAIL constrained by failed attempts (Zhu et al. 2020)", "hopper-4-gailfe"),
    ("`mail`", "GAIL whose gradient runs through a learned model (Baram et al. 2016)", "hopper-4-mail"),
    ("`fem`", "a linear reward in a ball (Abbeel & Ng 2004)", "hopper-4-fem"),
    ("`gtal`", "a linear reward, the worst feature alone (Syed et al. 2008)", "hopper-4-gtal"),
    ("`bc`", "maximum likelihood on the demonstrations, no steps", "hopper-4-bc"),
    ("`dagger`", "the expert labels what the policy visits (Ross et al. 2011)", "hopper-dagger"),
    ("`constant`", "control: the same reward in every step", "hopper-constant"),
    ("`gasil`", "imitation of the agent's own best episodes (Guo et al. 2018)", None),
    ("`irlf`", "a linear reward, away from failures (Shiarlis et al. 2016)", None),
    ("`ppo`", "the true reward; made the shipped experts", None),
    ("`trpo`, `sac`, `td3`", "the true reward", None),
]
# What somebody has, and the cells of an experiment that answer it, by method.
CASES = [
    ("Hopper, 4 demonstrations, one pair in 20", "gail_table", "hopper-4"),
    ("Hopper, 25 demonstrations, one pair in 20", "gail_table", "hopper-25"),
    ("HalfCheetah, 4 demonstrations, one pair in 20", "gail_table", "halfcheetah-4"),
    ("HalfCheetah, 25 demonstrations, one pair in 20", "gail_table", "halfcheetah-25"),
    ("Walker2d, 25 demonstrations, one pair in 20", "gail_table", "walker2d-25"),
    ("Hopper, 4 whole demonstrations, from a clone", "table1", "hopper-4"),
    ("Walker2d, 4 whole demonstrations, from a clone", "table1", "walker2d-4"),
    ("Walker2d, 25 whole demonstrations, from a clone", "table1", "walker2d-25"),
    ("Swimmer, 10 whole demonstrations", "tasks", "swimmer"),
    ("Ant, 10 whole demonstrations, a million steps", "tasks", "ant"),
    ("a robot arm, 1 whole demonstration", "own_robot", "arm-1"),
    ("a robot arm, 4 whole demonstrations", "own_robot", "arm-4"),
]

TASKS = ("hopper", "halfcheetah", "walker2d")
# What a discriminator judges, and the kinds of `observation_only`.
JUDGED_BY = [
    ("pairs of state and action", "state-action"),
    ("transitions, no actions", "transitions"),
    ("states, no actions", "states"),
]
# Where rewards are paid every 20 steps: what there is beside them, the method, and its kind in `gasil_delayed`.
LATE = [
    ("a late reward", "`ppo`", "ppo"),
    ("a late reward", "`gasil`, with PPO", "gasil"),
    ("a late reward", "`ppo --self-imitation.updates 10`", "sil"),
    ("a late reward, 4 demonstrations", "`ppo --likelihood.add`", "bc"),
]


def summary(experiment: str) -> dict[str, Any]:
    """What an experiment found: its cells by name."""
    return json.loads((ROOT / "experiments" / "results" / experiment / "summary.json").read_text())


def _share(cell: dict[str, Any]) -> tuple[float, float, float]:
    """The interquartile mean over seeds and its 95% interval, as shares of the expert's return."""
    middle, low, high = cell["final"] if "final" in cell else cell["iqm"]
    scale = cell.get("expert", 1.0)
    return middle / scale, low / scale, high / scale


def interval(cell: dict[str, Any]) -> str:
    """A cell's share of the expert, with its interval."""
    return "{:.2f} [{:.2f}, {:.2f}]".format(*_share(cell))


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def methods() -> str:
    """Every method with one number."""
    few, delayed = summary("gail_table"), summary("gasil_delayed")
    expert = json.loads((ROOT / "gailfe_jax" / "artifacts" / "experts" / "hopper.json").read_text())
    elsewhere = {
        "`gasil`": f"{interval(delayed['hopper-gasil'])} without demonstrations, rewards every 20 steps",
        "`irlf`": f"{interval(few['hopper-4-irlf'])}, and 100 failures",
        "`ppo`": f"1.00, a return of {expert['mean']:.0f}",
    }
    rows = [
        [name, text, interval(few[cell]) if cell else elsewhere.get(name, "not measured")]
        for name, text, cell in METHODS
    ]
    return markdown(["method", "what it does", "Hopper, share of the expert"], rows)


def methods_tasks() -> str:
    """Every method of the comparison on the three tasks, 4 demonstrations thinned to one pair in 20."""
    few = summary("gail_table")
    rows = []
    for name, _, cell in METHODS:
        if cell:
            kind = cell.removeprefix("hopper-")
            rows.append([name, *(interval(few[f"{task}-{kind}"]) for task in ("hopper", "halfcheetah", "walker2d"))])
    return markdown(["method", "Hopper", "HalfCheetah", "Walker2d"], rows)


def decision() -> str:
    """What cloning, GAIL, GAILFE and MAIL make of the same demonstrations."""
    kinds = ("bc", "gail", "gailfe", "mail")
    rows = []
    for text, experiment, cell in CASES:
        cells = summary(experiment)
        found = [cells.get(f"{cell}-{kind}") for kind in kinds]
        rows.append([text, *(interval(one) if one else "not run" for one in found)])
    return markdown(["what there is", "BC", "GAIL", "GAILFE", "MAIL"], rows)


def decision_unacted() -> str:
    """What GAIL makes of the same demonstrations with and without their actions."""
    cells = summary("observation_only")
    rows = [
        [text, *(interval(cells[f"{task}-{kind}"]) for task in ("hopper", "halfcheetah"))] for text, kind in JUDGED_BY
    ]
    return markdown(["what is judged", "hopper", "halfcheetah"], rows)


def decision_others() -> str:
    """What other methods make where there is an expert to ask, or a reward that comes late."""
    asked, delayed = summary("gail_table"), summary("gasil_delayed")
    rows = [["an expert to ask", "`dagger`", *(interval(asked[f"{task}-dagger"]) for task in TASKS)]]
    for what, method, kind in LATE:
        rows.append([what, method, *(interval(delayed[f"{task}-{kind}"]) for task in TASKS)])
    return markdown(["what there is", "method", *TASKS], rows)


def noise() -> str:
    """Clones that train on: what their return becomes while the policy keeps its exploration noise."""
    rows = []
    for task in ("hopper", "walker2d"):
        for shown in (4, 25):
            cells = summary("table1")
            shares = [cells[f"{task}-{shown}-{kind}"]["with_noise"] for kind in ("gail", "mail")]
            rows.append([f"{task}, {shown}", *(f"{share:.2f}" for share in (shares[0][0], shares[0][1], shares[1][1]))])
    return markdown(["task, whole demonstrations", "the clone", "after GAIL", "after MAIL"], rows)


def _measured(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def _rates() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Of each peer, the rows in which ours are ahead of it by least and by most."""
    rates: dict[str, list[dict[str, Any]]] = {}
    for row in _measured("peers")["rows"]:
        rates.setdefault(row["peer"], []).append(row)
    ratio = lambda row: row["ratio"]  # noqa: E731
    return [(peer, min(rows, key=ratio), max(rows, key=ratio)) for peer, rows in rates.items()]


def peers_run_with(report: dict[str, Any]) -> str:
    """What each peer was fastest with, and its release."""
    package = {"imitation GAIL": "imitation"}
    name = lambda p: package.get(p["peer"], "stable-baselines3")  # noqa: E731
    vec = {"dummy": "environments in turn", "subproc": "environments as processes"}
    parts = [
        f"{name(p)} {p['versions'][name(p)]} with {p['num_envs']} {vec[p['vec']]} and "
        f"{p['threads']} torch thread{'s' if p['threads'] > 1 else ''}"
        for p in report["peers"]
    ]
    return ", ".join(dict.fromkeys(parts))


def comparison_speed() -> str:
    """Training speed beside each peer, and the time to a learned policy."""
    rows = []
    for peer, slowest, fastest in _rates():
        theirs = f"{slowest['peer_steps_per_second']:,.0f} steps/s"
        ours = [f"{row['steps_per_second']:,.0f} ({row['configuration']})" for row in (slowest, fastest)]
        ahead = f"{slowest['ratio']:.1f} to {fastest['ratio']:.1f}"
        rows.append([peer, slowest["env"], theirs, " to ".join(ours), ahead])
    learned = _measured("peers_learning")
    for row in learned["rows"]:
        theirs, ours = row["peer"]["seconds_with_start"], row["ours"]["seconds_with_start"]
        what = f"imitation GAIL, to {learned['share']} of the expert"
        rows.append([what, row["env"], f"{theirs:,.0f} s", f"{ours:,.0f} s, with compiling", f"{theirs / ours:.1f}"])
    table = markdown(["peer", "task", "theirs", "ours", "ours ahead by"], rows)
    return f"{table}\n\n{peers_run_with(_measured('peers'))}."


def beside_peers() -> str:
    """Steps per second of GAIL and PPO beside their peers, and both GAILs' time to a learned Hopper."""
    lines = []
    for peer, slowest, fastest in _rates():
        lines.append(
            f"- **{peer}** takes {slowest['peer_steps_per_second']:,.0f} steps/s on {slowest['env']}. Ours take "
            f"{slowest['steps_per_second']:,.0f} ({slowest['configuration']}) to "
            f"{fastest['steps_per_second']:,.0f} ({fastest['configuration']})."
        )
    learned = _measured("peers_learning")
    row = learned["rows"][0]
    theirs, ours = row["peer"]["seconds_with_start"], row["ours"]["seconds_with_start"]
    lines.append(
        f"- **Time to {learned['share']} of the expert** on {row['env']}, one seed each: {theirs:,.0f} s with "
        f"imitation, {ours:,.0f} s with ours, compiling included."
    )
    return "\n".join(lines)


TABLES = {
    "methods": methods,
    "methods_tasks": methods_tasks,
    "decision": decision,
    "decision_others": decision_others,
    "decision_unacted": decision_unacted,
    "noise": noise,
    "beside_peers": beside_peers,
    "comparison_speed": comparison_speed,
}
