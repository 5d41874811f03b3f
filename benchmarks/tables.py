"""Writes the tables of README.md and docs/ from the committed result files.

    python benchmarks/tables.py           rewrite them
    python benchmarks/tables.py --check   exit 1 if one is not what the result files say
    python benchmarks/tables.py --draw    rewrite them, and draw the benchmarks' figures again

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

from benchmarks import claims, method_pages, methods, reliability
from benchmarks.accelerator.plan import STAGES, plan_table
from benchmarks.peers import PEERS
from gailfe_jax.analysis.doctor import SYMPTOMS
from gailfe_jax.analysis.health import THRESHOLDS
from gailfe_jax.analysis.metrics import GROUPS, JUDGED, grouped_name
from gailfe_jax.bench.depth import PARTS, count
from gailfe_jax.bench.fidelity import errors
from gailfe_jax.bench.precision import KINDS, cells
from gailfe_jax.bench.registry import BENCHMARKS, load
from gailfe_jax.bench.report import mebibytes
from gailfe_jax.bench.scaling import knee

ROOT = pathlib.Path(__file__).resolve().parent.parent
PUBLISHED = {
    "halfcheetah": "4464",
    "hopper": "3571",
    "walker2d": "6717",
    "ant": "4372 (TD3)",
    "humanoid": "7239 (TQC, SB3 zoo)",
    "inverted_double_pendulum": "9337 (TD3)",
    "reacher": "-3.6 (TD3)",
    "swimmer": "282 (PPO, SB3 zoo)",
    "acrobot": "-75",
    "cartpole": "200 (of 200)",
    "mountain_car": "-99",
}


def _read(path: pathlib.Path) -> Any | None:
    return json.loads(path.read_text()) if path.exists() else None


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def experts() -> str:
    """Returns of the shipped experts beside the published ones."""
    rows = []
    for task, published in PUBLISHED.items():
        report = _read(ROOT / "gailfe_jax" / "artifacts" / "experts" / f"{task}.json")
        if report is None:
            rows.append([task, published, "not shipped yet", "", ""])
            continue
        steps = f"{report['steps']:,}"
        digits = 0 if abs(report["mean"]) >= 10 else 1
        mine = f"{report['mean']:.{digits}f} ± {report['std']:.{digits}f}"
        rows.append([task, published, mine, steps, f"`gailfe_jax/artifacts/experts/{task}.json`"])
    return _markdown(
        ["task", "published expert", "shipped expert, 50 Gymnasium episodes", "PPO steps", "result file"], rows
    )


def _machine(report: dict[str, Any]) -> str:
    hardware = report["provenance"]["hardware"]
    return f"{hardware['cpu']}, {hardware['cores']} cores"


def _accelerators(report: dict[str, Any]) -> str:
    return ", ".join(report["provenance"]["hardware"]["accelerators"])


def _result(
    name: str, command: str, text: Callable[[dict[str, Any]], str], where: Callable[[dict[str, Any]], str] = _machine
) -> str:
    """What `text` makes of a result file and where it comes from, or the line that stands for it."""
    report = _read(ROOT / "benchmarks" / "results" / f"{name}.json")
    if report is None:
        return f"Not measured yet (`{command} --out benchmarks/results/{name}.json`)."
    return f"{text(report)}\n\n({where(report)}; `benchmarks/results/{name}.json`)"


def _speed(report: dict[str, Any], what: Callable[[dict[str, Any]], list[str]], head: list[str]) -> str:
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
    return _markdown(head, rows)


def physics(name: str = "physics") -> str:
    """The engine inside a jitted scan with a 2x100 policy."""
    what = lambda r: [r["env"], r["engine"], str(r["num_envs"])]  # noqa: E731
    text = functools.partial(_speed, what=what, head=["task", "engine", "environments"])
    return _result(name, "gailfe bench physics", text)


def training(name: str = "train") -> str:
    """Whole training iterations."""
    what = lambda r: [r["env"], r["algo"], r["iteration"]]  # noqa: E731
    return _result(
        name, "gailfe bench train", functools.partial(_speed, what=what, head=["task", "method", "iteration"])
    )


def horizon() -> str:
    """One gradient through MAIL's model."""
    return _result("horizon", "gailfe bench horizon", _horizon)


def _horizon(report: dict[str, Any]) -> str:
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
    return _markdown(["task", "windows", "H", "one gradient, ms", "memory, MiB"], rows)


def peers() -> str:
    """Training speed beside imitation's GAIL and Stable-Baselines3's PPO."""
    return _result("peers", "python -m benchmarks.peers", _peers)


def peers_replay() -> str:
    """SAC's speed beside Stable-Baselines3's."""
    return _result("peers_replay", "python -m benchmarks.peers --replay", _peers)


def _peers(report: dict[str, Any]) -> str:
    rows = [
        [
            *(r["env"], r["peer"], f"{r['peer_steps_per_second']:,.0f}", r["configuration"], str(r["num_envs"])),
            *(f"{r['steps_per_second']:,.0f}", f"{r['bare_steps_per_second']:,.0f}", f"{r['ratio']:.1f}"),
        ]
        for r in report["rows"]
    ]
    head = ["task", "peer", "peer, steps/s", "ours", "environments", "ours, steps/s", "bare engine, steps/s", "ratio"]
    return f"{_markdown(head, rows)}\n\n{methods.peers_run_with(report)}."


def peers_learning() -> str:
    """Seconds until GAIL has learned, imitation's and ours."""
    return _result("peers_learning", "python -m benchmarks.peers --learning", _peers_learning)


def _peers_learning(report: dict[str, Any]) -> str:
    def times(side: dict[str, Any]) -> list[str]:
        if not side["reached"]:
            return [f"not within {report['time_limit']:.0f}", "-", "-"]
        return [f"{side['seconds']:.1f}", f"{side['seconds_with_start']:.1f}", f"{side['steps']:,}"]

    rows = [[r["env"], str(r["seed"]), *times(r["peer"]), *times(r["ours"])] for r in report["rows"]]
    sides = [f"{who}, {what}" for who in ("imitation", "ours") for what in ("s", "with start, s", "steps")]
    return f"{_markdown(['task', 'seed', *sides], rows)}\n\n{methods.peers_run_with(report)}."


def _picture(name: str, text: str) -> str:
    exists = (ROOT / "benchmarks" / "results" / f"{name}.png").exists()
    return f"\n\n![{text}](../benchmarks/results/{name}.png)" if exists else ""


def _cell(value: float | None, shape: str = ",.0f") -> str:
    return "-" if value is None else f"{value:{shape}}"


def sweep() -> str:
    """Seeds in one program, alone and in processes of their own."""
    return _result("sweep", "gailfe bench sweep", _sweep)


def _sweep(report: dict[str, Any]) -> str:
    rows = [
        [
            f"{r['iteration']}",
            r["way"],
            f"{r['seconds_per_seed']:.2f}",
            f"{r['over_alone']:.2f}",
            f"{r['over_bare']:.2f}",
            _cell(r.get("start_seconds"), ".1f"),
            _cell(r.get("long_run_seconds_per_seed"), ".1f"),
        ]
        for r in report["rows"]
    ]
    first = report["rows"][0]
    per = f"s per seed and {first['steps']:,} steps"
    head = ["iteration", "way", per, "/ one alone", "/ bare engine", "start and compile, s", "s per seed and 1M steps"]
    about = f"{first['algo']} on {first['env']}, {first['engine']}; the last column includes the start"
    return f"{_markdown(head, rows)}\n\n{about}."


def scaling(axis: str, label: str) -> str:
    """Speed and memory along an axis, and its knee."""
    name = f"scaling_{axis}"
    text = functools.partial(_scaling, picture=_picture(name, f"speed and memory against {label}"), label=label)
    return _result(name, f"gailfe bench scaling --axis {axis}", text)


def _scaling(report: dict[str, Any], picture: str, label: str) -> str:
    rows = []
    for r in report["rows"]:
        if "error" in r:
            rows.append([f"{r['value']:,}", "failed", "", "", "", ""])
            continue
        memory = [mebibytes(r[held]) for held in ("program_bytes", "peak_bytes")]
        rates = (f"{r['bare_steps_per_second']:,.0f}", f"{r['steps_per_second']:,.0f}", f"{r['share_of_bare']:.2f}")
        rows.append([f"{r['value']:,}", *rates, *memory])
    head = [label, "bare engine, steps/s", "training, steps/s", "ours / bare", "program, MiB", "process at most, MiB"]
    first = report["rows"][0]
    about = f"{first['algo']} on {first['env']}. {knee(report['rows'])[1]}"
    return f"{_markdown(head, rows)}\n\n{about}{picture}"


def profile(name: str = "profile") -> str:
    """The parts of an iteration."""
    return _result(name, "gailfe bench profile", _profile)


def _profile(report: dict[str, Any]) -> str:
    rows = [[r["part"], f"{1e3 * r['seconds']:.1f}", f"{r['share_of_whole']:.0%}"] for r in report["rows"]]
    first = report["rows"][0]
    about = f"{first['algo']} on {first['env']}, {first['num_envs']} environments x {first['unroll_length']} steps"
    head = ["part", "ms", "share of the whole"]
    return f"{_markdown(head, rows)}\n\n{about}. Largest: {report['largest']}."


def fidelity() -> str:
    """The simulator's cheaper settings."""
    return _result("fidelity", "gailfe bench fidelity", _fidelity)


def _fidelity(report: dict[str, Any]) -> str:
    rows = [[r["env"], r["engine"], r["variant"], f"{r['steps_per_second']:,.0f}", *errors(r)] for r in report["rows"]]
    after = [f"error after {k}" for k in report["rows"][0]["error"]]
    return _markdown(["task", "engine", "setting", "steps/s", *after], rows)


def evaluation(name: str = "evaluation") -> str:
    """What evaluation costs a run."""
    return _result(name, "gailfe bench evaluation", _evaluation)


def _evaluation(report: dict[str, Any]) -> str:
    rows = [
        [
            r["env"],
            f"{r['num_envs']:,} x {r['unroll_length']}",
            str(r["iterations_between"]),
            f"{r['train_seconds']:.2f}",
            f"{r['evaluation_seconds']:.2f}",
            f"{r['share']:.1%}",
        ]
        for r in report["rows"]
    ]
    head = ["task", "iteration", "iterations between", "training, s", "evaluation, s", "share of the time"]
    return _markdown(head, rows)


def depth(name: str = "depth") -> str:
    """Loop steps that run one after the other, of what is not the engine."""
    return _result(name, "gailfe bench depth", _depth)


def _depth(report: dict[str, Any]) -> str:
    parts = [part for part in PARTS if part != "engine"]
    tasks: dict[tuple[str, ...], list[str]] = {}
    for r in report["rows"]:
        # Where the engine loops, the unroll is counted there.
        if r["engine"] == "mujoco_c":
            counts = (*(r["steps"][part] for part in parts), r["learning"])
            tasks.setdefault((r["algo"], *map(count, counts)), []).append(r["env"])
    rows = [[algo, ", ".join(names), *counts] for (algo, *counts), names in tasks.items()]
    return _markdown(["method", "task", *parts, "learning"], rows)


def depth_engine() -> str:
    """Loop steps of the engines."""
    return _result("depth_before", "gailfe bench depth", _depth_engine)


def _depth_engine(report: dict[str, Any]) -> str:
    names = {"mujoco_c": "mujoco_c", "mjx": "mjx, the model's own", "mjx-cheap": "mjx, iterations 4, line search 8"}
    rows = {}
    for r in report["rows"]:
        steps = r["steps"]["engine"]
        counts = (steps // r["unroll_length"], steps, r["evaluation"])
        rows[r["env"], r["engine"]] = [r["env"], names[r["engine"]], *map(count, counts)]
    head = ["task", "engine", "one environment step", "an iteration", "an evaluation"]
    return _markdown(head, list(rows.values()))


def _replay(report: dict[str, Any]) -> str:
    head = [
        "task",
        "policy step",
        "hidden layers",
        "update, ms",
        "matrix products, ms",
        "products / update",
        "compile, s",
    ]
    rows = [
        [
            r["env"],
            r["policy"],
            f"2 x {r['hidden']}",
            f"{1e3 * r['update_seconds']:.2f}",
            f"{1e3 * r['products_seconds']:.2f}",
            f"{r['share']:.2f}",
            f"{r['compile_seconds']:.1f}",
        ]
        for r in report["rows"]
    ]
    return _markdown(head, rows)


def replay() -> str:
    """An update from replay beside its matrix products."""
    return _result("replay", "gailfe bench replay", _replay)


def precision() -> str:
    """What rounded matrix products do to gradients."""
    return _result("precision", "gailfe bench precision", _precision)


def _precision(report: dict[str, Any]) -> str:
    rows = [[r["env"], r["what"], *cells(r)] for r in report["rows"]]
    return _markdown(["task", "what", *KINDS], rows)


def gpu() -> str:
    """What has been measured on a GPU."""
    return _result("gpu", "python benchmarks/gpu.py", _gpu, where=_accelerators)


def _gpu(report: dict[str, Any]) -> str:
    rows = []
    for r in report["rows"]:
        if "error" in r:
            continue
        what = [r["kind"], r["engine"], r["env"], r["algo"] or "-", f"{r['num_envs']:,}", str(r["seeds"])]
        rows.append([*what, r["largest"] if "largest" in r else f"{r['steps_per_second']:,.0f} steps/s"])
    judged = []
    for v in report["verdicts"]:
        where = f"{v['algo']} on {v['env']}, {v['engine']}"
        judged.append(f"* {v['target']}: {v['value']:.2f}, {'met' if v['met'] else 'missed'} ({where})")
    table = _markdown(["what", "engine", "task", "method", "environments", "seeds", "result"], rows)
    return "\n".join([table, "", *judged])


def experiment(name: str) -> str:
    """The table of experiments/<name>.py."""
    path = ROOT / "experiments" / "results" / name / "table.md"
    return path.read_text().strip() if path.exists() else f"Not run yet (`python experiments/{name}.py`)."


def metrics() -> str:
    """What each metric means, in the report's own words."""
    groups = [("Judged by", JUDGED), *((group.title, group.metrics) for group in GROUPS)]
    rows = [[f"`{grouped_name(m.name)}`", m.title, m.unit, m.how] for _, held in groups for m in held]
    return _markdown(["name, after the group", "in the report", "unit", "how to read it"], rows)


def findings() -> str:
    """What `gailfe doctor` can find."""
    rows = [
        [
            s.title, f"`{s.name}`", s.severity, str(s.look.__doc__),
            ", ".join(dict.fromkeys(f"`{advice.setting}`" for advice in s.advice)),
        ]
        for s in SYMPTOMS
    ]  # fmt: skip
    return _markdown(["finding", "name", "severity", "when", "settings to try, where the method has them"], rows)


def thresholds() -> str:
    """Where findings begin, and why there."""
    return _markdown(
        ["bound", "value", "why"], [[f"`{name}`", f"{t.value:g}", t.why] for name, t in THRESHOLDS.items()]
    )


TABLES = {
    "experts": experts,
    "physics": physics,
    "physics_own": functools.partial(physics, "physics_own"),
    "physics_gymnasium": functools.partial(physics, "physics_gymnasium"),
    "train": training,
    "train_mail": functools.partial(training, "train_mail"),
    "train_humanoid": functools.partial(training, "train_humanoid"),
    "horizon": horizon,
    "peers": peers,
    "peers_learning": peers_learning,
    "peers_replay": peers_replay,
    "sweep": sweep,
    "scaling_envs": functools.partial(scaling, "envs", "environments"),
    "scaling_seeds": functools.partial(scaling, "seeds", "seeds"),
    "scaling_width": functools.partial(scaling, "width", "hidden units"),
    "scaling_horizon": functools.partial(scaling, "horizon", "horizon"),
    "scaling_failures": functools.partial(scaling, "failures", "failures held"),
    "profile": profile,
    "profile_small": functools.partial(profile, "profile_small"),
    "fidelity": fidelity,
    "evaluation": evaluation,
    "evaluation_many": functools.partial(evaluation, "evaluation_many"),
    "depth": depth,
    "depth_before": functools.partial(depth, "depth_before"),
    "depth_engine": depth_engine,
    "precision": precision,
    "replay": replay,
    "gpu": gpu,
    **{f"gpu_plan_{stage}": functools.partial(plan_table, stage) for stage in STAGES},
    "figure1": functools.partial(experiment, "figure1"),
    "ablation": functools.partial(experiment, "ablation"),
    "table1": functools.partial(experiment, "table1"),
    "gasil_tuning": functools.partial(experiment, "gasil_tuning"),
    "gasil_delayed": functools.partial(experiment, "gasil_delayed"),
    "combinations": functools.partial(experiment, "combinations"),
    "gail_table": functools.partial(experiment, "gail_table"),
    "classic": functools.partial(experiment, "classic"),
    "own_robot": functools.partial(experiment, "own_robot"),
    "tasks": functools.partial(experiment, "tasks"),
    "first_result": functools.partial(experiment, "first_result"),
    "absorbing": functools.partial(experiment, "absorbing"),
    "observation_only": functools.partial(experiment, "observation_only"),
    "sample_efficiency": functools.partial(experiment, "sample_efficiency"),
    "smile": functools.partial(experiment, "smile"),
    "scale": functools.partial(experiment, "scale"),
    "from_clones": functools.partial(experiment, "from_clones"),
    "metrics": metrics,
    "findings": findings,
    "thresholds": thresholds,
    **methods.TABLES,
    **claims.TABLES,
    **method_pages.TABLES,
    "reliability": reliability.reliability,
}


def render(text: str) -> str:
    """`text` with every table rewritten."""

    def table(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def pages() -> list[pathlib.Path]:
    """The pages that hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def draw() -> None:
    """Draws the benchmarks' figures again, each beside its result file."""
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.png")):
        report = json.loads(path.with_suffix(".json").read_text())
        load(report["what"], BENCHMARKS | PEERS).draw(report, path)


def main() -> int:
    if "--draw" in sys.argv[1:]:
        draw()
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
