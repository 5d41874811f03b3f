"""Folders as training leaves them, with made-up numbers."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

from gailfe_jax.training.run_folder import VERSION

STEPS = 1000 * np.arange(1, 7)


def metrics(seed: int, level: float = 1.0) -> dict[str, np.ndarray]:
    """A rising return and what else a run of GAILFE measures."""
    rng = np.random.default_rng(seed)
    rise = np.linspace(0.1, 1.0, len(STEPS))
    return {
        "return_mean": 3000 * level * rise + rng.normal(0, 50, len(STEPS)),
        "length_mean": np.full(len(STEPS), 1000.0),
        "train_falls": np.linspace(1.0, 0.2, len(STEPS)),
        "discriminator_accuracy": np.linspace(0.95, 0.6, len(STEPS)),
        "multiplier": np.maximum(0.0, 1.0 - 2 * rise),
        "violation": 0.2 - rise,
        "kl": np.full(len(STEPS), 0.01),
        "steps_per_second_overall": np.full(len(STEPS), 500.0),
    }


def write_run(
    folder: pathlib.Path, *, algo: str = "gail", env: str = "hopper", seeds: tuple[int, ...] = (0, 1, 2),
    level: float = 1.0, expert: Any = 3600.0, settings: dict[str, Any] | None = None, **record: Any,
) -> pathlib.Path:  # fmt: skip
    """A run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    demos = {"demos": "demos.npz", "expert_return": expert, "demonstrated_return": 3400.0}
    method = {
        "policy": {"kind": "trpo", "max_kl": 0.02},
        "reward": {"lr": 3e-4, "hidden": [100, 100]} | (settings or {}),
    }
    config = {
        "version": VERSION,
        "algo": algo,
        "environment": {"env": env},
        "method": method,
        "run": {"steps": 6000.0, "seeds": len(seeds)},
        "demos": demos,
        "provenance": {"command": "gailfe train", "git": {"commit": "abc", "dirty": False}},
    }
    (folder / "config.json").write_text(json.dumps(config | record))
    lines = []
    for seed in seeds:
        made = metrics(seed, level)
        lines += [
            {"seed": seed, "step": int(s)} | {n: float(v[i]) for n, v in made.items()} for i, s in enumerate(STEPS)
        ]
    write_lines(folder, lines)
    (folder / "summary.json").write_text(json.dumps({"train_seconds": 12.5, "finished": True}))
    return folder


def write_lines(folder: pathlib.Path, lines: list[dict[str, Any]]) -> None:
    """metrics.jsonl."""
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_sweep(folder: pathlib.Path) -> pathlib.Path:
    """A sweep of three settings, of two seeds each, under way: one is done, two train side by side as four rows."""
    values = [{"reward.lr": lr} for lr in (1e-4, 3e-4, 1e-3)]
    write_run(folder / "settings" / "0000", seeds=(0, 1), sweep={"setting": 0, "values": values[0]})
    program = write_run(folder / "programs" / "0001", seeds=(0, 1, 2, 3))
    (program / "summary.json").unlink()
    config = json.loads((program / "config.json").read_text())
    (program / "config.json").write_text(json.dumps(config | {"seeds": [0, 1, 0, 1]}))
    (program / "start.json").write_text(json.dumps({"return_mean": [10.0, 11.0, 12.0, 13.0]}))
    (folder / "programs" / "plan.json").write_text(json.dumps({"0001": [1, 2]}))
    method = config["method"]
    settings = {
        f"{number:04d}": {
            "values": held,
            "method": method | {"reward": method["reward"] | {"lr": held["reward.lr"]}},
            "run": {"steps": 6000.0, "seeds": 2},
            **{part: {} for part in ("environment", "demos", "inputs")},
        }
        for number, held in enumerate(values)
    }
    (folder / "sweep.json").write_text(json.dumps({"version": 2, "settings": settings, "words": []}))
    return folder


def write_cell(path: pathlib.Path, label: str, *, env: str = "hopper", expert: float = 3600.0, **more: Any) -> None:
    """An experiment's result file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "cell": {"name": path.stem, "label": label, "env": env, "algo": "gail", "steps": 6e3, "seeds": 2},
        "expert_return": expert,
        "steps": STEPS.tolist(),
        "evaluations": {"return_mean": [metrics(seed)["return_mean"].tolist() for seed in range(2)]},
        "final_gymnasium_returns": [[1.0, 3.0], [5.0, 7.0]],
        "provenance": {"command": "python experiment.py"},
    }
    path.write_text(json.dumps(record | more))
