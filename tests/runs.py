"""Folders as a run leaves them, without training, and what a folder holds."""

from __future__ import annotations

import json

import numpy as np

from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.training.run_folder import VERSION


def policy(seed, **metadata):
    rng = np.random.default_rng(seed)
    return Policy(
        weights=[(rng.normal(size=(11, 8)), np.zeros(8)), (0.1 * rng.normal(size=(8, 3)), np.zeros(3))],
        activation="relu" if seed % 2 else "tanh", obs_mean=np.full(11, 0.1), obs_std=np.full(11, 0.5),
        log_std=np.zeros(3), action_low=-1, action_high=1,
        metadata={"env": "hopper", "seed": str(seed)} | metadata,
    )  # fmt: skip


def make_run(folder, seeds=(9, 10), expert_return=50.0):
    """What a run leaves for those who judge it."""
    folder.mkdir(exist_ok=True)
    for seed in seeds:
        policy(seed).save(folder / "policies" / f"seed_{seed}.safetensors")
    record = {"version": VERSION, "algo": "gail", "environment": {"env": "hopper"}, "method": {}, "run": {}}
    (folder / "config.json").write_text(json.dumps(record | {"demos": {"expert_return": expert_return}}))
    return folder


def contents(folder):
    """Path and bytes of every file in `folder`."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def metrics_of(folder):
    """The lines of metrics.jsonl, but for what tells of the machine's speed."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in record.items() if not name.startswith("steps_per_second")} for record in records
    ]


def manifest_of(folder):
    """What the newest checkpoint says of itself; `leaves` holds the digest of every leaf."""
    newest = max((folder / "checkpoints").glob("step_*/manifest.json"))
    return json.loads(newest.read_text())["body"]


def assert_same_run(folder, other):
    """Both runs have come to the same, bit for bit: state, policies and measurements."""
    assert metrics_of(folder) == metrics_of(other)
    assert contents(folder / "policies") == contents(other / "policies")
    ours, theirs = manifest_of(folder), manifest_of(other)
    assert ours["step"] == theirs["step"]
    assert ours["leaves"] == theirs["leaves"]
