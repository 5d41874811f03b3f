"""LeRobot's dataset folders, v2.0 to v3.0: the rows of their Parquet files; videos and pictures are not read."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

from gailfe_jax.data.episodes import Recording
from gailfe_jax.data.recordings.arrow import Table, find_pyarrow
from gailfe_jax.data.recordings.fields import Request, natural
from gailfe_jax.data.recordings.split import split
from gailfe_jax.data.trajectories import Demonstrations, Trajectories
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.json_text import read_json

LAYOUT = "a folder with meta/info.json and data/chunk-*/*.parquet, with action, observation.state and episode_index"
FAILED = "next.failed"
"""Where `write` marks failures."""


def recognises(source: str) -> bool:
    """Whether a folder has LeRobot's description of it."""
    return (pathlib.Path(source) / "meta" / "info.json").is_file()


def read(source: str, request: Request) -> Recording:
    """The episodes of a folder. Paths are found by their names here, and not by what the folder says of them.

    Raises:
      GailfeError: no such layout, pyarrow is not installed; see `split` and `Table`.
    """
    folder = pathlib.Path(source)
    info = _info(source, folder / "meta" / "info.json")
    version = str(info.get("codebase_version", ""))
    if not version.startswith(("v2.", "v3.")):
        raise GailfeError(f"{source}: field 'codebase_version': {version[:40]!r}, expected v2.0 to v3.0")
    files = natural(str(path) for path in folder.glob("data/chunk-*/*.parquet"))
    if not files:
        raise GailfeError(f"{source}: no data/chunk-*/*.parquet in it, expected {LAYOUT}")
    columns = Table(source, files).columns()
    if "episode_index" not in columns.names and "episode" not in request.mapped:
        raise GailfeError(f"{source}: field 'episode_index': missing, expected {LAYOUT}")
    notes: list[str] = []
    episodes = split(columns, request, notes)
    if request.mapped.get("obs") is None and (
        left := [name for name in columns.names if name.startswith("observation.")]
    ):
        left.remove("observation.state")
        if left:
            notes.append(f"obs: observation.state alone; {', '.join(left)} left out, --map obs=... joins them")
    env_id = info.get("gailfe_env_id")
    return Recording(source, "lerobot", episodes, env_id=env_id if isinstance(env_id, str) else None, notes=notes)


def _info(source: str, path: pathlib.Path) -> dict[str, Any]:
    try:
        info = read_json(path, "JSON object", nonfinite=True)
    except GailfeError:
        info = None
    if not isinstance(info, dict):
        raise GailfeError(f"{source}: meta/info.json: not readable, expected a JSON object")
    return info


def write(path: str, demonstrations: Demonstrations, *, fps: int = 30, **options: Any) -> str:
    """Writes a v3.0 folder.

    Beside LeRobot's own columns it has `next.observation.state`, without which the last pair of an episode would be
    lost, `next.terminated` and `next.truncated`, and `next.failed` where there are failures.

    Args:
      path: a folder that does not exist yet.
      demonstrations: what to write.
      fps: actions a second, which LeRobot wants to know.
      options: none are read.

    Returns:
      What else `gailfe demos import` needs to read the same back.

    Raises:
      GailfeError: the folder exists, or pyarrow is not installed.
    """
    del options
    pyarrow = find_pyarrow(path)
    folder = pathlib.Path(path)
    if folder.exists():
        raise GailfeError(f"out: {path}: exists, expected a new folder")
    parts = [part for part in (demonstrations.expert, demonstrations.failures) if part.num_trajectories]
    whole = Trajectories.concatenate(parts)
    lengths = whole.lengths
    failed = np.repeat([False, True], [demonstrations.expert.num_transitions, demonstrations.failures.num_transitions])
    frame = np.concatenate([np.arange(length) for length in lengths])
    columns: dict[str, np.ndarray] = {
        "observation.state": whole.obs,
        **({"action": whole.action} if whole.acted else {}),
        "next.observation.state": whole.next_obs,
        **({} if whole.reward is None else {"next.reward": whole.reward}),
        "next.done": whole.terminated | whole.truncated,
        "next.terminated": whole.terminated,
        "next.truncated": whole.truncated,
        **({FAILED: failed} if failed.any() else {}),
        **({} if whole.simulator_state is None else {"simulator_state": whole.simulator_state}),
        "timestamp": (frame / fps).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.repeat(np.arange(len(lengths)), lengths),
        "index": np.arange(len(frame)),
        "task_index": np.zeros(len(frame), np.int64),
    }
    write_table = pyarrow.parquet.write_table
    for place in ("data/chunk-000", "meta/episodes/chunk-000"):
        (folder / place).mkdir(parents=True)
    arrays = {name: _as_arrow(pyarrow, array) for name, array in columns.items()}
    write_table(pyarrow.table(arrays), folder / "data" / "chunk-000" / "file-000.parquet")
    task = demonstrations.env_id
    episodes = {
        "episode_index": np.arange(len(lengths)),
        "tasks": [[task]] * len(lengths),
        "length": lengths,
        "data/chunk_index": np.zeros(len(lengths), np.int64),
        "data/file_index": np.zeros(len(lengths), np.int64),
        "dataset_from_index": whole.offsets[:-1],
        "dataset_to_index": whole.offsets[1:],
        "meta/episodes/chunk_index": np.zeros(len(lengths), np.int64),
        "meta/episodes/file_index": np.zeros(len(lengths), np.int64),
    }
    write_table(pyarrow.table(episodes), folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    write_table(_tasks(pyarrow, task), folder / "meta" / "tasks.parquet")
    stats = {name: _statistics(array) for name, array in columns.items()}
    (folder / "meta" / "stats.json").write_text(json.dumps(stats, indent=2) + "\n")
    info = {
        "codebase_version": "v3.0",
        "robot_type": None,
        "total_episodes": len(lengths),
        "total_frames": len(frame),
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
        "features": {
            name: {"dtype": str(array.dtype), "shape": list(array.shape[1:]) or [1], "names": None}
            for name, array in columns.items()
        },
        "gailfe_env_id": demonstrations.env_id,
    }
    (folder / "meta" / "info.json").write_text(json.dumps(info, indent=2) + "\n")
    return " ".join(([f"--failures {FAILED}"] if failed.any() else []) + ([] if whole.acted else ["--no-actions"]))


def _as_arrow(pyarrow: Any, array: np.ndarray) -> Any:
    if array.ndim == 1 or array.shape[1] == 1:  # LeRobot holds a single number as itself.
        return pyarrow.array(array.reshape(-1))
    return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(array.reshape(-1)), array.shape[1])


def _tasks(pyarrow: Any, task: str) -> Any:
    """The table of tasks as pandas writes a frame whose index is the task's text, which LeRobot looks it up by."""
    index = "__index_level_0__"
    described = [
        {
            "name": "task_index",
            "field_name": "task_index",
            "pandas_type": "int64",
            "numpy_type": "int64",
            "metadata": None,
        },
        {"name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object", "metadata": None},
    ]
    pandas = {"index_columns": [index], "column_indexes": [], "columns": described, "pandas_version": "2.0.0"}
    table = pyarrow.table({"task_index": np.zeros(1, np.int64), index: [task]})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _statistics(array: np.ndarray) -> dict[str, Any]:
    rows = array.reshape(len(array), -1).astype(np.float64)
    found = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    return {name: value.tolist() for name, value in found.items()} | {"count": [len(rows)]}
