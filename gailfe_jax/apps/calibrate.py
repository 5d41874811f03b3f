"""Calibrates a run's discriminators on data they have not seen, and draws how reliable they are."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from gailfe_jax.analysis.calibration import platt_scaling, reliability
from gailfe_jax.analysis.plots import reliability_diagram
from gailfe_jax.apps.collection import roll_out
from gailfe_jax.artifacts.confidence import Confidence, confidence_files, sigmoid
from gailfe_jax.data.formats import load_demonstrations
from gailfe_jax.data.trajectories import Trajectories
from gailfe_jax.envs import also_called, make_env, warn_if_changed
from gailfe_jax.envs.task_record import FOLDER
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import write_json_atomic
from gailfe_jax.io.digests import file_sha256
from gailfe_jax.io.provenance import provenance
from gailfe_jax.training.run_folder import copied_task, load_policies, load_run, refused_env


def calibrate(run_dir: str | pathlib.Path, demos: str, *, episodes: int = 10, seed: int = 0) -> dict[str, Any]:
    """Calibrates every seed's discriminator on held-out expert pairs and fresh ones of its stochastic policy.

    Half of the trajectories of each kind fit Platt's scaling, which is saved with the discriminator; the other half
    judge it. Writes `confidence.json` and the reliability diagram `confidence.png` into the run folder.

    Args:
      run_dir: run folder of an imitation method that ended.
      demos: demonstrations that the run was *not* trained on.
      episodes: of each policy.
      seed: of the policy's episodes.

    Returns:
      What `confidence.json` holds.

    Raises:
      GailfeError: there is no such run, it was trained on these demonstrations, or either kind has fewer than two
        trajectories.
    """
    run_dir = pathlib.Path(run_dir)
    record = load_run(run_dir)
    files = confidence_files(run_dir)
    if episodes < 2:
        raise GailfeError(f"episodes: got {episodes}; expected at least 2: one half fits, the other judges")
    copy = copied_task(run_dir, record)
    try:
        env = make_env(copy or record["environment"]["env"], record["environment"].get("engine", "auto"))
    except GailfeError as error:
        raise refused_env(run_dir, record, error) from None
    warn_if_changed(str(run_dir / FOLDER if copy else run_dir), record.get("task"), env)
    expert = load_demonstrations(demos, env, also_called(env.spec)).expert
    if pathlib.Path(demos).is_file() and file_sha256(demos) == record["demos"].get("sha256"):
        raise GailfeError(f"{demos}: the run was trained on it; expected held-out demonstrations (another --seed)")
    if expert.num_trajectories < 2:
        raise GailfeError(f"{demos}: got one trajectory; expected at least 2: one half fits, the other judges")
    low, high = np.asarray(env.spec.action_low), np.asarray(env.spec.action_high)
    rng = np.random.default_rng(seed)
    seeds, pooled = [], []
    for file, policy in zip(files, load_policies(run_dir), strict=True):
        judge = Confidence.load(file)
        if judge.action_size and not expert.acted:
            raise GailfeError(f"{demos}: hold no actions, and {file} judges them; expected demonstrations with actions")
        act = lambda obs, policy=policy: np.clip(policy.act_rows(obs, deterministic=False, rng=rng), low, high)  # noqa: E731
        own = roll_out(env, act, episodes, seed)
        (fit_logit, fit_positive), (logit, positive) = (_logits(judge, expert, own, half, rng) for half in (0, 1))
        slope, offset = platt_scaling(-fit_logit, fit_positive)
        # The file's convention is that of the logit of D = P(policy).
        dataclasses.replace(judge, slope=slope, offset=-offset, calibrated=True).save(file)
        pooled.append((sigmoid(-logit), sigmoid(-(slope * logit - offset)), positive))
        seeds.append(
            {
                "seed": int(file.stem.removeprefix("seed_")),
                "slope": slope,
                "offset": -offset,
                "before": reliability(pooled[-1][0], positive),
                "after": reliability(pooled[-1][1], positive),
            }
        )
    before, after, positive = (np.concatenate(column) for column in zip(*pooled, strict=True))
    report = {
        "demos": demos,
        "episodes": episodes,
        "seed": seed,
        "before": reliability(before, positive),
        "after": reliability(after, positive),
        "seeds": seeds,
        "provenance": provenance(),
    }
    write_json_atomic(run_dir / "confidence.json", report)
    reliability_diagram(
        {"discriminator": report["before"]["bins"], "calibrated": report["after"]["bins"]},
        run_dir / "confidence.png",
        title=f"{record['algo']} on {env.spec.name}: is it the expert's?",
    )
    return report


def _logits(
    judge: Confidence, expert: Trajectories, own: Trajectories, half: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of D and whether each pair is the expert's, equally many of both kinds, from every other trajectory."""
    halves = [t.select(np.arange(half, t.num_trajectories, 2)) for t in (expert, own)]
    size = min(len(t.obs) for t in halves)
    rows = [rng.choice(len(t.obs), size, replace=False) for t in halves]
    logit = [judge.logit(t.obs[r], t.action[r], t.next_obs[r]) for t, r in zip(halves, rows, strict=True)]
    return np.concatenate(logit), np.repeat([True, False], size)
