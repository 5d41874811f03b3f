"""Experts: PPO on the true reward, the best policy of a run judged in Gymnasium."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from gailfe_jax.analysis.evaluation import evaluate_policies
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.provenance import provenance
from gailfe_jax.learners.setup import Setup
from gailfe_jax.training.loop import train

_FINALISTS = 4
_SELECTION_SEED, _REPORT_SEED = 10_000, 0


def train_expert(
    setup: Setup,
    *,
    gymnasium_id: str,
    run_dir: str | pathlib.Path,
    out: str | pathlib.Path,
    episodes: int = 50,
    resume: bool = False,
) -> dict[str, Any]:
    """Trains with snapshots, picks the best one and writes it as a policy file.

    The best few snapshots by evaluation during training are compared in Gymnasium; the winner's reported return comes
    from other episodes than those that chose it.

    Args:
      setup: of the PPO run; snapshots are kept whatever it says.
      gymnasium_id: where the finalists are judged.
      run_dir: folder of the run.
      out: policy file to write (`.safetensors`).
      episodes: fresh Gymnasium episodes for the choice, and again for the report.
      resume: continue the run in `run_dir`.

    Returns:
      The report: returns over `episodes` episodes, their mean and standard deviation, seed and step of the winner.

    Raises:
      GailfeError: `out` is no `.safetensors` file, or what `train` raises.
      KeyboardInterrupt: the run was interrupted; what it has done is saved, `resume` continues it.
    """
    run_dir = pathlib.Path(run_dir)
    if pathlib.Path(out).suffix != ".safetensors":
        raise GailfeError(f"out: got {str(out)!r}; expected a file name that ends in .safetensors")
    if episodes < 1:
        raise GailfeError(f"episodes: got {episodes}; expected at least 1")
    run = setup.run.replace(snapshots=True)
    result = train(setup.method, setup.environment, run, out=run_dir, resume=resume)
    if result.interrupted:
        raise KeyboardInterrupt(f"{run_dir}: interrupted before the end; continue with --resume")
    steps, returns = result.metrics["return_mean"]
    order = np.argsort(-np.nan_to_num(returns, nan=-np.inf), axis=None)[:_FINALISTS]
    finalists = []
    for index in order:
        seed, k = np.unravel_index(index, returns.shape)
        name = f"step_{steps[k]:09d}_seed_{run.first_seed + seed}.safetensors"
        finalists.append(Policy.load(run_dir / "snapshots" / name))
    trials = evaluate_policies(finalists, gymnasium_id, episodes=episodes, seed=_SELECTION_SEED)
    winner = finalists[int(np.argmax([np.mean(trial.returns) for trial in trials]))]
    final = evaluate_policies([winner], gymnasium_id, episodes=episodes, seed=_REPORT_SEED)[0]
    origin = provenance()
    metadata = winner.metadata | {
        "expert_return": repr(float(np.mean(final.returns))),
        "expert_return_std": repr(float(np.std(final.returns))),
        "episodes": str(episodes),
        "command": origin["command"],
        "commit": str((origin["git"] or {}).get("commit")),
        "jax": str(origin["versions"].get("jax")),
        "mujoco": str(origin["versions"].get("mujoco")),
        "date": origin["date"],
    }
    winner = dataclasses.replace(winner, metadata=metadata)
    winner.save(out)
    return {
        "file": str(out),
        "gymnasium_id": gymnasium_id,
        "seed": int(metadata["seed"]),
        "steps": int(metadata["steps"]),
        "returns": [float(x) for x in final.returns],
        "mean": float(np.mean(final.returns)),
        "std": float(np.std(final.returns)),
        "provenance": origin,
    }
