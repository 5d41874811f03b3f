"""The speed of this package beside its peers: `imitation`'s GAIL and Stable-Baselines3's PPO, in turn in one run.

The peers need older libraries than this package, so they run as scripts (`benchmarks/peers/`) in a virtual environment
of their own, which is made where it is missing. Both need a checkout of the repository.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import rich.box
from rich.console import Console
from rich.table import Table

from gailfe_jax.analysis.plots import bar_intervals, learning_curve_panels
from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.bench.timing import bare_engine
from gailfe_jax.data.collection import collect_demonstrations
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.envs import canonical_name, make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.digests import file_sha256
from gailfe_jax.io.provenance import provenance
from gailfe_jax.methods.presets import preset
from gailfe_jax.methods.table import make_learner
from gailfe_jax.training.loop import DemoSettings, RunSettings, Trainer, prepare_imitation, train
from gailfe_jax.types import Env

ROOT = Path(__file__).resolve().parent.parent.parent
TASKS = ("halfcheetah", "hopper")
"""Tasks whose v4 environments, which the peers need, load the same model files as v5."""

TARGET = 0.9
"""Share of the expert's return that counts as learned."""

_TRAJECTORIES = 30
_STEPS, _BARE_STEPS = 65_536, 25_600  # Ours and the bare engine's, per repeat.
_PEER_SECONDS, _TRIAL_SECONDS = 10.0, 5.0
_TRIAL_LIMIT = 90.0  # A setting that takes longer, start included, is given up.
_EVAL_EVERY, _EVAL_EPISODES = 16_384, 10
# Far more than learning takes; the time limit ends a run that does not learn.
_MANY_STEPS = 1e9

_Rates = list[float]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A peer, and ours that are measured beside it.

    Attributes:
      peer: its name.
      script: in `benchmarks/peers/`.
      algo: our method.
      shapes: name -> what differs from our preset.
    """

    peer: str
    script: str
    algo: str
    shapes: dict[str, dict[str, Any]]


IMITATION = Comparison(
    "imitation GAIL",
    "imitation_gail.py",
    "gail",
    {
        "preset, 1024-step iterations": {"num_envs": 8, "unroll_length": 128},
        "8192-step iterations": {"num_envs": 256, "unroll_length": 32},
        # Its 4096-step rounds of 8 environments, policy step and networks, but at most one fresh batch of each kind
        # (4096 pairs, of its 8192) per step of the discriminator.
        "the peer's settings": {
            "generator": "ppo", "num_envs": 8, "unroll_length": 512, "hidden": (32, 32), "ppo_epochs": 5,
            "ppo_minibatches": 64, "disc_hidden": (32, 32), "disc_steps": 8, "disc_minibatch": 4096,
            "gradient_penalty": False,
        },
    },
)  # fmt: skip
STABLE_BASELINES3 = Comparison(
    "Stable-Baselines3 PPO",
    "sb3_ppo.py",
    "ppo",
    {
        "preset, 64 environments": {"num_envs": 64, "unroll_length": 128},
        "preset, 8 environments": {"num_envs": 8, "unroll_length": 1024},
        "the peer's networks, 256 environments": {"num_envs": 256, "unroll_length": 32, "hidden": (64, 64)},
        # Its default: 2048 steps of 8 environments, 10 passes in minibatches of 64.
        "the peer's settings": {
            "num_envs": 8, "unroll_length": 2048, "hidden": (64, 64), "ppo_epochs": 10, "ppo_minibatches": 256,
        },
    },
)  # fmt: skip


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def peer_python() -> Path:
    """The interpreter of the peers' environment, `runs/peers-env`, which is made if it is missing or out of date.

    Raises:
      GailfeError: no checkout of the repository, no Python that the peers run on, or the installation failed.
    """
    requirements, folder = ROOT / "benchmarks" / "peers" / "requirements.txt", ROOT / "runs" / "peers-env"
    if not requirements.is_file():
        raise GailfeError("peers: needs the repository's folder benchmarks/peers; expected to run from a checkout")
    python, stamp = folder / "bin" / "python", folder / ".installed"
    wanted = file_sha256(requirements)
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    log = ROOT / "runs" / "peers-env.log"
    log.parent.mkdir(exist_ok=True)
    _say(f"making the peers' environment in {folder}: some minutes, and 2 GB (6 GB where torch comes with CUDA)")
    install = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--only-binary", ":all:"]
    with log.open("wb") as file:
        for words in ([_base_python(), "-m", "venv", "--clear", str(folder)], [*install, "-r", str(requirements)]):
            if subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, check=False).returncode:
                raise GailfeError(f"peers: their environment could not be made; see {log}")
    stamp.write_text(wanted)
    return python


def _base_python() -> str:
    """A Python that NumPy 1.26 has wheels for."""
    found = sys.executable if sys.version_info < (3, 13) else shutil.which("python3.12") or shutil.which("python3.11")
    if found is None:
        raise GailfeError("peers: no python3.12 or python3.11 found; expected one, which the peers' versions need")
    return found


def run_peer(script: str, *, limit: float | None = None, **options: Any) -> dict[str, Any]:
    """Runs a script of `benchmarks/peers/` in the peers' environment and returns what it wrote.

    Args:
      script: its file name.
      limit: seconds after which it is killed; None waits.
      options: its flags, with underscores.

    Raises:
      GailfeError: it failed, or see `peer_python`.
      TimeoutExpired: it was killed.
    """
    python, folder = peer_python(), ROOT / "runs" / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    out, log = folder / "result.json", folder / f"{Path(script).stem}.log"
    out.unlink(missing_ok=True)
    words = [str(python), str(ROOT / "benchmarks" / "peers" / script), "--out", str(out)]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    # Their libraries, not ours; no GPU, which these small networks are slower on; no progress bars.
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment = inherited | {"CUDA_VISIBLE_DEVICES": "", "TQDM_DISABLE": "1"}
    with log.open("wb") as file:
        done = subprocess.run(
            words, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT, timeout=limit, check=False
        )
    if done.returncode or not out.is_file():
        raise GailfeError(f"peers: {script} failed with exit code {done.returncode}; see {log}")
    return json.loads(out.read_text(encoding="utf-8"))


def _fastest(script: str, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The settings a peer is fastest with, of environments in turn or as processes and torch's threads; all trials."""
    trials: list[dict[str, Any]] = []
    for vec in ("dummy", "subproc"):
        for threads in (1, 2):
            try:
                result = run_peer(
                    script, limit=_TRIAL_LIMIT, vec=vec, threads=threads, seconds=_TRIAL_SECONDS, **options
                )
                rate, shown = result["steps_per_second"], f"{result['steps_per_second']:,.0f} steps/s"
            except subprocess.TimeoutExpired:
                rate, shown = None, f"given up after {_TRIAL_LIMIT:.0f} s"
            trials.append({"vec": vec, "threads": threads, "steps_per_second": rate})
            _say(f"  {vec}, {threads} thread(s): {shown}")
    best = max(trials, key=lambda trial: trial["steps_per_second"] or 0.0)
    if best["steps_per_second"] is None:
        raise GailfeError(
            f"peers: {script} finished no two iterations within {_TRIAL_LIMIT:.0f} s; expected an idle machine"
        )
    return {name: best[name] for name in ("vec", "threads")}, trials


def _demonstrations(env: Env) -> tuple[Demonstrations, Path, dict[str, Any]]:
    """The shipped expert's, the file that the peer reads them from, and what the report says of them."""
    name = env.spec.name
    demos = collect_demonstrations(env, load_expert(name), trajectories=_TRAJECTORIES, expert_name="shipped expert")
    path = ROOT / "runs" / "peers" / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    demos.save(path)
    facts = {
        "trajectories": _TRAJECTORIES,
        "pairs": demos.expert.num_transitions,
        "mean_return": float(demos.expert.returns.mean()),
        "expert_return": float(demos.provenance["expert_return"]),
        "sha256": file_sha256(path),
    }
    return demos, path, facts


class _Ours:
    """One of our configurations, compiled and warmed up, beside the bare engine with as many environments."""

    def __init__(self, env: Env, algo: str, changes: dict[str, Any], demos: Demonstrations, repeats: int):
        config, hyper, _ = preset(algo, env.spec.name)
        self.config = dataclasses.replace(config, **changes)
        chunk = max(1, _STEPS // self.config.batch_size)
        self.steps = chunk * self.config.batch_size
        imitation = prepare_imitation(self.config, env, DemoSettings(), demos)
        learner = make_learner(self.config, env, total_iterations=chunk * (repeats + 1))
        self.trainer, self.demos = Trainer(learner, hyper, np.arange(1), chunk=chunk, eval_episodes=1), imitation.demos
        self.state, _ = jax.block_until_ready(self.trainer.advance(self.trainer.init(self.demos), self.demos))
        length = max(1, _BARE_STEPS // self.config.num_envs)
        self.bare_steps, self.bare = length * self.config.num_envs, bare_engine(env, self.config.num_envs, length)
        jax.block_until_ready(self.bare())

    def rates(self) -> tuple[float, float]:
        """Steps/s of the bare engine, and ours."""
        start = time.perf_counter()
        jax.block_until_ready(self.bare())
        between = time.perf_counter()
        self.state, _ = jax.block_until_ready(self.trainer.advance(self.state, self.demos))
        return self.bare_steps / (between - start), self.steps / (time.perf_counter() - between)


def compared(theirs: _Rates, ours: _Rates, bare: _Rates) -> dict[str, Any]:
    """Medians of steps/s and of the ratios within a repeat, with the raw values."""
    return {
        "peer_steps_per_second": statistics.median(theirs),
        "steps_per_second": statistics.median(ours),
        "bare_steps_per_second": statistics.median(bare),
        "ratio": statistics.median(o / t for o, t in zip(ours, theirs, strict=True)),
        "share_of_bare": statistics.median(o / b for o, b in zip(ours, bare, strict=True)),
        "raw": [{"peer": t, "ours": o, "bare": b} for t, o, b in zip(theirs, ours, bare, strict=True)],
    }


def _make_envs(names: Sequence[str], **counts: float) -> list[Env]:
    for name, count in counts.items():
        if not count >= 1:
            raise GailfeError(f"{name}: got {count}; expected at least 1")
    canonical = [canonical_name(name) for name in names]
    for name in canonical:
        if name not in TASKS:
            raise GailfeError(f"env: got {name}; expected {' or '.join(TASKS)}, which the peers have as well")
    # Before anything is trained in vain.
    peer_python()
    return [make_env(name) for name in canonical]


def _facts_of_peer(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in ("task", "num_envs", "configuration", "python", "versions")}


def bench_peers(envs: Sequence[str] = ("halfcheetah",), *, repeats: int = 5) -> dict[str, Any]:
    """Training steps/s of both peers and of ours, in turn: peer, ours, peer, ours.

    Of theirs, imports, setup and the first iteration are not counted, and the fastest of environments in turn or as
    processes and one or two threads is taken; of ours, compiling is not.

    Args:
      envs: tasks.
      repeats: timed repeats.

    Returns:
      A JSON-able report: a row for each of ours, and for each peer its configuration, versions and trials.

    Raises:
      GailfeError: another task, a count below 1, or see `run_peer`.
    """
    rows, peers = [], []
    for env in _make_envs(envs, repeats=repeats):
        name = env.spec.name
        demos, path, facts = _demonstrations(env)
        for comparison in (IMITATION, STABLE_BASELINES3):
            options: dict[str, Any] = {"task": name} | ({"demos": path} if comparison is IMITATION else {})
            _say(f"{comparison.peer} on {name}: which settings are fastest")
            settings, trials = _fastest(comparison.script, **options)
            ours = {
                label: _Ours(env, comparison.algo, changes, demos, repeats)
                for label, changes in comparison.shapes.items()
            }
            results = []
            rates: dict[str, list[tuple[float, float]]] = {label: [] for label in ours}
            for repeat in range(repeats):
                _say(f"{comparison.peer} on {name}: repeat {repeat + 1} of {repeats}")
                results.append(run_peer(comparison.script, seconds=_PEER_SECONDS, **settings, **options))
                for label, one in ours.items():
                    rates[label].append(one.rates())
            theirs = [result["steps_per_second"] for result in results]
            for label, one in ours.items():
                bare, mine = map(list, zip(*rates[label], strict=True))
                rows.append(
                    {
                        "env": name,
                        "algo": comparison.algo,
                        "peer": comparison.peer,
                        "configuration": label,
                        "changes": comparison.shapes[label],
                        "engine": env.spec.engine,
                        "num_envs": one.config.num_envs,
                        "batch": one.config.batch_size,
                        "compile_seconds": one.trainer.compile_seconds,
                    }
                    | compared(theirs, mine, bare)
                )
            peers.append({"peer": comparison.peer, **_facts_of_peer(results[0]), **settings, "trials": trials})
            if comparison is IMITATION:
                peers[-1]["demonstrations"] = facts
    return {"what": "peers", "rows": rows, "peers": peers, "provenance": provenance()}


class _Enough(Exception):
    """Ends training from its callback."""


def outcome(curve: list[dict[str, float]], target: float, start_seconds: float) -> dict[str, Any]:
    """When a learning curve first reached `target`.

    Args:
      curve: `steps`, `seconds` of training and `return` at each evaluation.
      target: return.
      start_seconds: what setup and compiling took.
    """
    reached = next((point for point in curve if point["return"] >= target), None)
    return {
        "reached": reached is not None,
        "seconds": reached and reached["seconds"],
        "seconds_with_start": reached and reached["seconds"] + start_seconds,
        "steps": reached and reached["steps"],
        "best_return": max((point["return"] for point in curve), default=None),
        "start_seconds": start_seconds,
        "curve": curve,
    }


def _learn(env: Env, demos: Demonstrations, target: float, time_limit: float, seed: int) -> dict[str, Any]:
    """Our GAIL with its preset until an evaluation reaches `target`."""
    config, hyper, _ = preset("gail", env.spec.name)
    settings = RunSettings(
        steps=_MANY_STEPS, first_seed=seed, eval_every=_EVAL_EVERY, eval_episodes=_EVAL_EPISODES, quiet=True, devices=1
    )
    curve: list[dict[str, float]] = []
    start_seconds = 0.0
    began = time.perf_counter()

    def note(step: int, row: dict[str, np.ndarray]) -> None:
        nonlocal start_seconds
        # `train` counts neither compiling nor evaluations here.
        seconds = step / float(row["steps_per_second"][0])
        if not curve:
            # With the first evaluation and the compiling of its program, which cannot be told apart here.
            start_seconds = time.perf_counter() - began - seconds
        curve.append({"steps": step, "seconds": seconds, "return": float(row["return_mean"][0])})
        if curve[-1]["return"] >= target or seconds >= time_limit:
            raise _Enough

    with contextlib.suppress(_Enough):
        if train(config, hyper, settings, demonstrations=demos, on_evaluation=note).interrupted:
            raise KeyboardInterrupt
    return outcome(curve, target, start_seconds)


def bench_learning(
    envs: Sequence[str] = ("hopper",), *, seeds: int = 1, time_limit: float = 1200.0
) -> dict[str, Any]:  # fmt: skip
    """Wall-clock seconds until GAIL reaches 0.9 of the expert's return, `imitation`'s and ours in turn.

    Both learn from the same demonstrations and are evaluated every 16384 steps, over 10 episodes of the deterministic
    policy; the first evaluation at the target counts. Evaluations are outside the clock.

    Args:
      envs: tasks.
      seeds: runs of each.
      time_limit: seconds of training after which a run counts as not reached.

    Returns:
      A JSON-able report: a row per task and seed, with both learning curves.

    Raises:
      GailfeError: another task, a count below 1, or see `run_peer`.
      KeyboardInterrupt: training was interrupted.
    """
    rows, peers = [], []
    for env in _make_envs(envs, seeds=seeds, time_limit=time_limit):
        name = env.spec.name
        demos, path, facts = _demonstrations(env)
        target = TARGET * facts["expert_return"]
        _say(f"{IMITATION.peer} on {name}: which settings are fastest")
        settings, trials = _fastest(IMITATION.script, task=name, demos=path)
        result: dict[str, Any] = {}
        for seed in range(seeds):
            _say(f"{IMITATION.peer} on {name}: seed {seed}, at most {time_limit:.0f} s of training")
            result = run_peer(
                IMITATION.script, task=name, demos=path, seconds=time_limit, eval_every=_EVAL_EVERY,
                episodes=_EVAL_EPISODES, target=target, seed=seed, **settings,
            )  # fmt: skip
            theirs = outcome(result["curve"], target, result["setup_seconds"])
            _say(f"ours on {name}: seed {seed}")
            ours = _learn(env, demos, target, time_limit, seed)
            rows.append({"env": name, "seed": seed, "target": target, "peer": theirs, "ours": ours})
        peers.append({"peer": IMITATION.peer, **_facts_of_peer(result), **settings, "trials": trials})
        peers[-1]["demonstrations"] = facts
    return {
        "what": "peers_learning",
        "share": TARGET,
        "time_limit": time_limit,
        "rows": rows,
        "peers": peers,
        "provenance": provenance(),
    }


def print_peers(report: dict[str, Any]) -> None:
    """Shows a report of `bench_peers`: a table for each task and peer."""
    rows = report["rows"]
    for env, peer in dict.fromkeys((row["env"], row["peer"]) for row in rows):
        beside = [row for row in rows if (row["env"], row["peer"]) == (env, peer)]
        title = f"{env}, training steps per second; {peer}: {beside[0]['peer_steps_per_second']:,.0f}"
        table = Table(title=title, box=rich.box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("ours", "envs", "ours/s", "bare/s", "ours/peer", "compile"):
            table.add_column(heading, justify="left" if heading == "ours" else "right")
        for row in beside:
            rates = (f"{row['steps_per_second']:,.0f}", f"{row['bare_steps_per_second']:,.0f}", f"{row['ratio']:.1f}")
            seconds = f"{row['compile_seconds']:.1f} s"
            table.add_row(row["configuration"], str(row["num_envs"]), *rates, seconds)
        Console().print(table)


def print_learning(report: dict[str, Any]) -> None:
    """Shows a report of `bench_learning`."""
    title = f"seconds of GAIL until {report['share']:g} of the expert's return (with setup and compiling)"
    table = Table(title=title, box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("task", "seed", "imitation", "ours"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for row in report["rows"]:
        cells = []
        for side in (row["peer"], row["ours"]):
            times = f"{side['seconds'] or 0:.1f} ({side['seconds_with_start'] or 0:.1f})"
            cells.append(times if side["reached"] else f"not within {report['time_limit']:.0f} s")
        table.add_row(row["env"], str(row["seed"]), *cells)
    Console().print(table)


def draw_peers(report: dict[str, Any], path: str | Path) -> None:
    """Draws how many times the peer's steps/s ours are, every repeat."""
    scores = {
        f"{row['configuration']}\n{row['peer']}, {row['env']}": [raw["ours"] / raw["peer"] for raw in row["raw"]]
        for row in report["rows"]
    }
    bar_intervals(
        scores, path, title="training beside the peers", xlabel="times the peer's steps/s", reference=1.0,
        reference_label="the peer",
    )  # fmt: skip


def draw_learning(report: dict[str, Any], path: str | Path) -> None:
    """Draws return against seconds of training, a line for each run."""
    panels: dict[str, dict[str, Any]] = {}
    for row in report["rows"]:
        expert = row["target"] / report["share"]
        for name, side in (("imitation", row["peer"]), ("ours", row["ours"])):
            points = [(point["seconds"], point["return"] / expert) for point in side["curve"]]
            if points:
                seconds, returns = np.array(points).T
                label = name if report["rows"][-1]["seed"] == 0 else f"{name}, seed {row['seed']}"
                panels.setdefault(row["env"], {})[label] = (seconds, returns[None])
    learning_curve_panels(
        panels, path, title="GAIL on the wall clock", expert_returns=dict.fromkeys(panels, 1.0),
        xlabel="seconds of training", ylabel="return / expert, deterministic policy",
    )  # fmt: skip
