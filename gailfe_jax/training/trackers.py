"""Where a run's metrics go besides metrics.jsonl: TensorBoard, Weights & Biases, MLflow.

Each metric stands under its group (`policy/kl`), see `gailfe_jax.analysis.metrics`.
"""

from __future__ import annotations

import importlib.util
import math
import subprocess
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gailfe_jax.analysis.metrics import JUDGED, grouped_name
from gailfe_jax.errors import GailfeError, GailfeWarning, one_line
from gailfe_jax.io.atomic import plain, write_text_atomic
from gailfe_jax.training.display import mean

Values = Mapping[str, np.ndarray]
"""Metric to its `[S]` values."""
_PROJECT = "gailfe"
_MOST_FRAMES, _MOST_FPS = 120, 15.0  # Of a film, in TensorBoard.
_MOST_LETTERS = 500  # Of a setting's value, in MLflow.


class Tracker(Protocol):
    """Keeps a run's metrics."""

    def log(self, step: int, values: Values, seeds: Sequence[int]) -> None:
        """Keeps the metrics `[S]` of the seeds with these numbers, and their means. What is not finite is left out."""
        ...

    def figure(self, name: str, path: Path) -> None:
        """Keeps a picture (png)."""
        ...

    def film(self, name: str, path: Path) -> None:
        """Keeps a film (mp4)."""
        ...

    def truncate_after(self, step: int) -> None:
        """Forgets what is beyond `step`, as far as it can."""
        ...

    def close(self) -> None:
        """Ends the record of this session."""
        ...


class TensorBoard:
    """Events under `tensorboard/`: a sub-run for each seed, and `mean` with the means, the settings and the figures.

    Args:
      run_dir: the run folder.
      config: the run's settings.
    """

    def __init__(self, run_dir: Path, config: Mapping[str, Any] | None = None) -> None:
        self._folder, self._config = run_dir / "tensorboard", flat(config)
        self._writers: dict[str, Any] = {}
        self._purge_step: int | None = None
        self._last: tuple[int, dict[str, float]] = (0, {})
        self._step = 0

    def log(self, step: int, values: Values, seeds: Sequence[int]) -> None:
        self._step = step
        self._write("mean", step, {name: mean(value) for name, value in values.items()})
        for i, seed in enumerate(seeds):
            self._write(f"seed{seed}", step, {name: float(value[i]) for name, value in values.items()})
        judged = {metric.name: mean(values[metric.name]) for metric in JUDGED if metric.name in values}
        if judged:
            self._last = step, {name: value for name, value in judged.items() if math.isfinite(value)}

    def figure(self, name: str, path: Path) -> None:
        import imageio.v3 as imageio

        # The newest steps' writer, or a new one.
        writer = self._writer("mean")
        writer.add_image(name, imageio.imread(path)[..., :3], self._step, dataformats="HWC")
        writer.flush()

    def film(self, name: str, path: Path) -> None:
        """As a picture that moves: TensorBoard shows no other films."""
        from tensorboardX.proto.summary_pb2 import Summary

        content, height, width = _moving_picture(path)
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
        writer = self._writer("mean")
        writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), self._step)
        writer.flush()

    def truncate_after(self, step: int) -> None:
        # Events from the purge step on are hidden, once the next writer announces it.
        self._close_writers()
        self._purge_step, self._step = step + 1, step

    def close(self) -> None:
        step, judged = self._last
        # A new writer would make a folder anew that was removed.
        if self._config and judged and self._folder.is_dir():
            values = {f"hparam/{name}": value for name, value in judged.items()}
            self._writer("mean").add_hparams(self._config, values, name="settings", global_step=step)
        self._close_writers()

    def _write(self, run: str, step: int, scalars: Mapping[str, float]) -> None:
        writer = self._writer(run)
        for name, value in scalars.items():
            if math.isfinite(value):
                writer.add_scalar(grouped_name(name), value, step)
        writer.flush()

    def _writer(self, run: str) -> Any:
        from tensorboardX import SummaryWriter

        if run not in self._writers:
            # The name holds whole seconds only: a run resumed within one would overwrite its own events.
            suffix = f".{time.time_ns()}"
            self._writers[run] = SummaryWriter(
                str(self._folder / run), purge_step=self._purge_step, filename_suffix=suffix
            )
        return self._writers[run]

    def _close_writers(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


class WeightsAndBiases:
    """A run of Weights & Biases, which a resumed run continues.

    Raises:
      GailfeError: wandb is not installed.
    """

    def __init__(self, run_dir: Path, title: str, config: Mapping[str, Any] | None) -> None:
        require("wandb")
        import wandb  # pyright: ignore[reportMissingImports]

        self._wandb = wandb
        file = run_dir / "wandb_id.txt"
        held = plain(dict(config or {}))
        self._run = wandb.init(
            project=_PROJECT, name=title, dir=str(run_dir), config=held, id=_read(file), resume="allow"
        )
        self._run.define_metric("*", step_metric="step")
        write_text_atomic(file, f"{self._run.id}\n")

    def log(self, step: int, values: Values, seeds: Sequence[int]) -> None:
        self._run.log({"step": step} | _scalars(values, seeds))

    def figure(self, name: str, path: Path) -> None:
        self._run.log({name: self._wandb.Image(str(path))})

    def film(self, name: str, path: Path) -> None:
        self._run.log({name: self._wandb.Video(str(path), format="mp4")})

    def truncate_after(self, step: int) -> None:
        """Nothing: what was sent stays, and the steps say which points are newer."""

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of MLflow, in the experiment `gailfe` of the tracking server that MLFLOW_TRACKING_URI names.

    Raises:
      GailfeError: mlflow is not installed, or its server does not take the run.
    """

    def __init__(self, run_dir: Path, title: str, config: Mapping[str, Any] | None) -> None:
        require("mlflow")
        from mlflow.entities import Metric, Param  # pyright: ignore[reportMissingImports]
        from mlflow.exceptions import MlflowException  # pyright: ignore[reportMissingImports]
        from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]

        self._metric, self._exception, self._failed = Metric, MlflowException, False
        file = run_dir / "mlflow_id.txt"
        try:
            self._client = MlflowClient()
            held = _read(file)
            if held is not None:
                self._id = self._client.get_run(held).info.run_id
                self._client.set_terminated(self._id, "RUNNING")
                return
            found = self._client.get_experiment_by_name(_PROJECT)
            experiment = self._client.create_experiment(_PROJECT) if found is None else found.experiment_id
            self._id = self._client.create_run(experiment, run_name=title).info.run_id
            for settings in _groups(flat(config)):
                params = [Param(name, str(value)[:_MOST_LETTERS]) for name, value in settings]
                self._client.log_batch(self._id, params=params)
        except MlflowException as error:
            said = one_line(error, first=True)
            raise GailfeError(f"mlflow: {said}; expected a tracking server, see MLFLOW_TRACKING_URI") from None
        write_text_atomic(file, f"{self._id}\n")

    def log(self, step: int, values: Values, seeds: Sequence[int]) -> None:
        now = int(1000 * time.time())
        for scalars in _groups(_scalars(values, seeds)):
            metrics = [self._metric(name, value, now, step) for name, value in scalars]
            self._tell("log_batch", metrics=metrics)

    def figure(self, name: str, path: Path) -> None:
        self._tell("log_artifact", str(path))

    def film(self, name: str, path: Path) -> None:
        self._tell("log_artifact", str(path))

    def truncate_after(self, step: int) -> None:
        """Nothing: MLflow keeps every point, and shows the newest of a step."""

    def close(self) -> None:
        self._tell("set_terminated")

    def _tell(self, what: str, *args: Any, **named: Any) -> None:
        """Calls the server; where it fails, the run goes on untold."""
        if self._failed:
            return
        try:
            getattr(self._client, what)(self._id, *args, **named)
        except self._exception as error:
            self._failed = True
            said = one_line(error, first=True)
            warnings.warn(f"mlflow: {said}; the run goes on without it", GailfeWarning, stacklevel=4)


_TRACKERS: Mapping[str, Callable[..., Tracker]] = {"wandb": WeightsAndBiases, "mlflow": MLflow}


def tracker(name: str, run_dir: Path, title: str, config: Mapping[str, Any] | None) -> Tracker:
    """The tracker called `name`: `wandb` or `mlflow`.

    Raises:
      GailfeError: its package is not installed.
    """
    return _TRACKERS[name](run_dir, title, config)


def require(package: str) -> None:
    """Refuses a tracker whose package is missing.

    Raises:
      GailfeError: `package` is not installed.
    """
    try:
        found = importlib.util.find_spec(package) is not None
    except ValueError:  # A module without a specification, as tests put in its place.
        found = True
    if not found:
        raise GailfeError(f"{package}: not installed; expected `pip install 'gailfe-jax[{package}]'`")


def flat(config: Mapping[str, Any] | None, name: str = "") -> dict[str, bool | int | float | str]:
    """Settings by dotted name, each as one plain value; none is left out."""
    found: dict[str, bool | int | float | str] = {}
    for key, value in plain(dict(config or {})).items():
        path = f"{name}.{key}" if name else str(key)
        if isinstance(value, Mapping):
            found |= flat(value, path)
        else:
            found[path] = value if isinstance(value, bool | int | float | str) else str(value)
    return found


def _moving_picture(path: Path) -> tuple[bytes, int, int]:
    """A film as a GIF of about `_MOST_FRAMES` frames, as long as the film, with its height and width."""
    import imageio_ffmpeg

    # Not by the package's reader, whose way to begin a process JAX warns of.
    _, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
    fps = min(_MOST_FPS, _MOST_FRAMES / max(seconds or 0.0, 1e-3))
    words = ["-v", "error", "-i", str(path), "-vf", f"fps={fps:.3f}", "-f", "gif", "-"]
    content = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *words], stdout=subprocess.PIPE, check=True).stdout
    width, height = (int.from_bytes(content[at : at + 2], "little") for at in (6, 8))
    return content, height, width


def _scalars(values: Values, seeds: Sequence[int]) -> dict[str, float]:
    """Means, and each seed's number under the same name and its own."""
    found = {grouped_name(name): mean(value) for name, value in values.items()}
    for i, seed in enumerate(seeds):
        found |= {f"{grouped_name(name)}.seed{seed}": float(value[i]) for name, value in values.items()}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _groups(values: Mapping[str, Any], size: int = 100) -> list[list[tuple[str, Any]]]:
    """As many at once as a server takes."""
    items = list(values.items())
    return [items[i : i + size] for i in range(0, len(items), size)]


def _read(file: Path) -> str | None:
    return file.read_text(encoding="utf-8").strip() if file.exists() else None
