"""Writes the tables of README.md and docs/ from the committed result files.

    python benchmarks/tables.py           rewrite them
    python benchmarks/tables.py --check   exit 1 if one is not what the result files say

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; where there is no
result yet, a line says so.
"""

from __future__ import annotations

import functools
import json
import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
PUBLISHED = {"halfcheetah": 4464, "hopper": 3571, "walker2d": 6717}


def _read(path: pathlib.Path) -> Any | None:
    return json.loads(path.read_text()) if path.exists() else None


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def experts() -> str:
    """Returns of the shipped experts beside the published ones."""
    rows = []
    for task, published in PUBLISHED.items():
        report = _read(ROOT / "gailfe_jax" / "experts" / f"{task}.json")
        if report is None:
            rows.append([task, str(published), "not shipped yet", "", ""])
            continue
        steps = f"{report['steps']:,}"
        mine = f"{report['mean']:.0f} ± {report['std']:.0f}"
        rows.append([task, str(published), mine, steps, f"`gailfe_jax/experts/{task}.json`"])
    return _markdown(
        ["task", "published expert", "shipped expert, 50 Gymnasium episodes", "PPO steps", "result file"], rows
    )


def _machine(report: dict[str, Any]) -> str:
    hardware = report["provenance"]["hardware"]
    return f"{hardware['cpu']}, {hardware['cores']} cores"


def _speed(name: str, what: Callable[[dict[str, Any]], list[str]], head: list[str]) -> str:
    report = _read(ROOT / "benchmarks" / "results" / f"{name}.json")
    if report is None:
        return f"Not measured yet (`gailfe bench {name.split('_')[0]} --out benchmarks/results/{name}.json`)."
    rows = [
        [
            *what(row),
            f"{row['bare_steps_per_second']:,.0f}",
            f"{row['steps_per_second']:,.0f}",
            f"{row['share_of_bare']:.2f}",
            f"{row['compile_seconds']:.1f}",
        ]
        for row in report["rows"]
    ]
    head = [*head, "bare engine, steps/s", "ours, steps/s", "ours / bare", "compile, s"]
    return _markdown(head, rows) + f"\n\n({_machine(report)}; `benchmarks/results/{name}.json`)"


def physics() -> str:
    """The engine inside a jitted scan with a 2x100 policy."""
    return _speed("physics", lambda r: [r["env"], r["engine"], str(r["num_envs"])], ["task", "engine", "environments"])


def training(name: str = "train") -> str:
    """Whole training iterations."""
    return _speed(name, lambda r: [r["env"], r["algo"], r["iteration"]], ["task", "method", "iteration"])


def horizon() -> str:
    """One gradient through MAIL's model."""
    report = _read(ROOT / "benchmarks" / "results" / "horizon.json")
    if report is None:
        return "Not measured yet (`gailfe bench horizon --out benchmarks/results/horizon.json`)."
    rows = [
        [
            r["env"],
            str(r["windows"]),
            str(r["horizon"]),
            f"{1e3 * r['seconds']:.1f}",
            f"{r['memory_bytes'] / 2**20:.1f}",
        ]
        for r in report["rows"]
    ]
    head = ["task", "windows", "H", "one gradient, ms", "memory, MiB"]
    return _markdown(head, rows) + f"\n\n({_machine(report)}; `benchmarks/results/horizon.json`)"


def peers() -> str:
    """Training speed beside imitation's GAIL and Stable-Baselines3's PPO."""
    report = _read(ROOT / "benchmarks" / "results" / "peers.json")
    if report is None:
        return "Not measured yet (`gailfe bench peers --out benchmarks/results/peers.json`)."
    rows = [
        [
            *(r["env"], r["peer"], f"{r['peer_steps_per_second']:,.0f}", r["configuration"], str(r["num_envs"])),
            *(f"{r['steps_per_second']:,.0f}", f"{r['bare_steps_per_second']:,.0f}", f"{r['ratio']:.1f}"),
        ]
        for r in report["rows"]
    ]
    head = ["task", "peer", "peer, steps/s", "ours", "environments", "ours, steps/s", "bare engine, steps/s", "ratio"]
    return (
        _markdown(head, rows) + f"\n\n({_machine(report)}; {_peers_run_with(report)}; `benchmarks/results/peers.json`)"
    )


def peers_learning() -> str:
    """Seconds until GAIL has learned, imitation's and ours."""
    report = _read(ROOT / "benchmarks" / "results" / "peers_learning.json")
    if report is None:
        return "Not measured yet (`gailfe bench peers --learning --out benchmarks/results/peers_learning.json`)."

    def times(side: dict[str, Any]) -> list[str]:
        if not side["reached"]:
            return [f"not within {report['time_limit']:.0f}", "-", "-"]
        return [f"{side['seconds']:.1f}", f"{side['seconds_with_start']:.1f}", f"{side['steps']:,}"]

    rows = [[r["env"], str(r["seed"]), *times(r["peer"]), *times(r["ours"])] for r in report["rows"]]
    sides = [f"{who}, {what}" for who in ("imitation", "ours") for what in ("s", "with start, s", "steps")]
    file = "`benchmarks/results/peers_learning.json`"
    return _markdown(["task", "seed", *sides], rows) + f"\n\n({_machine(report)}; {_peers_run_with(report)}; {file})"


def _peers_run_with(report: dict[str, Any]) -> str:
    """What each peer was fastest with, and its release."""
    package = {"imitation GAIL": "imitation", "Stable-Baselines3 PPO": "stable-baselines3"}
    vec = {"dummy": "environments in turn", "subproc": "environments as processes"}
    parts = [
        f"{package[p['peer']]} {p['versions'][package[p['peer']]]} with {p['num_envs']} {vec[p['vec']]} and "
        f"{p['threads']} torch thread{'s' if p['threads'] > 1 else ''}"
        for p in report["peers"]
    ]
    return ", ".join(dict.fromkeys(parts))


def experiment(name: str) -> str:
    """The table of experiments/<name>.py."""
    path = ROOT / "experiments" / "results" / name / "table.md"
    return path.read_text().strip() if path.exists() else f"Not run yet (`python experiments/{name}.py`)."


TABLES = {
    "experts": experts,
    "physics": physics,
    "train": training,
    "train_mail": functools.partial(training, "train_mail"),
    "horizon": horizon,
    "peers": peers,
    "peers_learning": peers_learning,
    "figure1": functools.partial(experiment, "figure1"),
    "ablation": functools.partial(experiment, "ablation"),
    "table1": functools.partial(experiment, "table1"),
    "gasil_tuning": functools.partial(experiment, "gasil_tuning"),
    "gasil_delayed": functools.partial(experiment, "gasil_delayed"),
    "combinations": functools.partial(experiment, "combinations"),
}


def render(text: str) -> str:
    """`text` with every table rewritten."""

    def table(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def pages() -> list[pathlib.Path]:
    """The pages that hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def main() -> int:
    stale = False
    for path in pages():
        text = path.read_text()
        new = render(text)
        if "--check" not in sys.argv[1:]:
            path.write_text(new)
        elif new != text:
            stale = True
            print(f"{path.name} does not show the committed results; run: python benchmarks/tables.py", file=sys.stderr)
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
