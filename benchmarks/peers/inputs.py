"""What every comparison starts from: tasks that the peers have too, and the same demonstrations for both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.runner import peer_python, work_folder
from gailfe_jax.apps.collection import collect_demonstrations
from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.bench.timing import check_counts
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.envs import canonical_name, make_env
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.digests import file_sha256
from gailfe_jax.types import Env

TASKS = ("halfcheetah", "hopper")
"""Tasks whose v4 environments, which the peers need, load the same model files as v5."""

_TRAJECTORIES = 30


def make_envs(names: Sequence[str], **counts: float) -> list[Env]:
    """The environments that peers and ours train in.

    Args:
      names: of the tasks.
      counts: the comparison's other arguments, none of which may be below 1.

    Raises:
      GailfeError: another task, a count below 1, or see `peer_python`.
    """
    check_counts(**counts)
    canonical = [canonical_name(name) for name in names]
    for name in canonical:
        if name not in TASKS:
            raise GailfeError(f"env: got {name}; expected {' or '.join(TASKS)}, which the peers have as well")
    # Before anything is trained in vain.
    peer_python()
    return [make_env(name) for name in canonical]


def demonstrations(env: Env) -> tuple[Demonstrations, Path, dict[str, Any]]:
    """The shipped expert's, the file that the peer reads them from, and what the report says of them."""
    name = env.spec.name
    # Every episode is kept, as the committed results were made.
    demos = collect_demonstrations(
        env, load_expert(name), trajectories=_TRAJECTORIES, keep_failed=True, expert_name="shipped expert"
    )
    path = work_folder() / f"{name}.npz"
    demos.save(path)
    facts = {
        "trajectories": _TRAJECTORIES,
        "pairs": demos.expert.num_transitions,
        "mean_return": float(demos.expert.returns.mean()),
        "expert_return": float(demos.provenance["expert_return"]),
        "sha256": file_sha256(path),
    }
    return demos, path, facts
