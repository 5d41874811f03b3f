"""A folder with one Python file, which needs NumPy alone, and the policy's arrays beside it."""

from __future__ import annotations

import io
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from gailfe_jax.artifacts.numpy_mlp import layer_tensors
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.export.checking import run_python, runtime_file

CHECK = "python policy.py"


def require() -> None:
    """Nothing but NumPy."""


def files(policy: Policy, contract: Mapping[str, Any]) -> dict[str, bytes]:
    """`policy.py`, and `policy.npz` with the layers, statistics, bounds and the contract as JSON text."""
    arrays: dict[str, Any] = layer_tensors(policy.deterministic_layers) | {
        "obs_mean": policy.obs_mean,
        "obs_std": policy.obs_std,
        "action_low": policy.action_low,
        "action_high": policy.action_high,
        "contract": np.array(json.dumps(contract)),
    }
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    return {"policy.py": runtime_file("numpy_policy.py"), "policy.npz": content.getvalue()}


def check(folder: pathlib.Path) -> str:
    """Runs `policy.py`; see `gailfe_jax.export.registry`."""
    return run_python("policy.py", folder)
