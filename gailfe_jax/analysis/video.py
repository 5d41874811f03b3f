"""Videos of trained policies, on machines with or without a display. A child process renders, see `analysis.opengl`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from gailfe_jax.analysis.filming import Panel
from gailfe_jax.analysis.opengl import HINT, child_command, child_environment, platforms
from gailfe_jax.artifacts.confidence import Confidence
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.io.atomic import replacing
from gailfe_jax.io.user_modules import import_user_module, imported_modules

_PLAIN_SHADOW = 1024
"""Pixels of a plain picture's shadow map; MuJoCo's own is four times as wide."""


@dataclasses.dataclass(frozen=True)
class VideoResult:
    """What was recorded.

    Attributes:
      path: the MP4 file.
      frames: frames in it: the start and one per step (see `most_fps`), for every episode.
      fps: frames per second.
      backend: the OpenGL platform that rendered (`egl`, `osmesa` or `glfw`).
      returns: undiscounted true return of each episode as far as it was recorded.
      beside_returns: likewise of the policy beside it; empty where there is none.
    """

    path: Path
    frames: int
    fps: float
    backend: str
    returns: tuple[float, ...]
    beside_returns: tuple[float, ...] = ()


class Film(NamedTuple):
    """An episode on film.

    Attributes:
      words: which one it is, such as `best`.
      of: how many episodes it was chosen from.
      episode_return: its undiscounted true return.
      content: the MP4 file.
    """

    words: str
    of: int
    episode_return: float
    content: bytes


def record_video(
    policy: Policy,
    gymnasium_id: str,
    path: str | os.PathLike[str],
    *,
    episodes: int = 1,
    first: int = 0,
    seed: int = 0,
    fps: float | None = None,
    most_fps: float | None = None,
    width: int = 480,
    height: int = 480,
    max_steps: int = 1000,
    deterministic: bool = True,
    plain: bool = False,
    called: str | None = None,
    overlay: bool = False,
    judge: Confidence | None = None,
    beside: Policy | None = None,
    labels: tuple[str, str] = ("policy", "expert"),
) -> VideoResult:
    """Record episodes of `policy` one after the other as an MP4 (H.264, yuv420p).

    In Gymnasium they are the episodes `evaluate_policy` measures under the same seed. Without MUJOCO_GL in the
    environment, EGL and then OSMesa is tried on Linux (then GLFW if there is a display), GLFW elsewhere; with it, that
    platform only. The file appears whole or not at all.

    Args:
      policy: what acts.
      gymnasium_id: a Gymnasium id, or `gailfe_jax/` and a name for this package's `make_env`. One that only this
        process has registered must be named as `module:id`, unless a module that `--import` named registers it.
      path: file to write, replaced if there; folders are made.
      episodes: how many.
      first: the number of the first one.
      seed: of the episodes.
      fps: playing speed in frames per second; by default the environment's own, so it plays in real time.
      most_fps: leave out steps where there were more frames a second; the speed stays, and the last step is there.
      width, height: of the picture in pixels, even; environments other than MuJoCo's choose their own.
      max_steps: cut each episode after this many steps.
      deterministic: act by the mean; otherwise draw.
      plain: coarser shadows and edges as they are; a processor renders that several times as fast (MuJoCo only).
      called: what messages call the environment; `gymnasium_id` if None.
      overlay: write the step, the return so far and the judge's belief over the picture.
      judge: the discriminator whose belief is shown, see `overlay`.
      beside: film this policy, too, in a second picture to the right, from the same initial states; the picture of an
        episode that has ended stands still until the other one ends.
      labels: what the two pictures are called; written where there are two.

    Raises:
      GailfeError: a bad argument, an environment that cannot be made, does not fit the policy or does not render, or no
        OpenGL platform that works.
    """
    path = Path(path).absolute()
    for name, value in {"episodes": episodes, "max_steps": max_steps}.items():
        if value < 1:
            raise GailfeError(f"{name}: expected at least 1, got {value}")
    if first < 0:
        raise GailfeError(f"first: expected at least 0, got {first}")
    for name, value in {"width": width, "height": height}.items():
        if value < 16 or value % 2:
            raise GailfeError(f"{name}: expected an even number of pixels from 16, got {value}")
    for name, value in {"fps": fps, "most_fps": most_fps}.items():
        if value is not None and not 0 < value <= 1000:
            raise GailfeError(f"{name}: expected a number in (0, 1000], got {value}")
    if path.suffix.lower() != ".mp4":
        raise GailfeError(f"{path}: expected a file name that ends in .mp4")
    evaluate = _evaluation()
    # Here already, where it costs no child process; without a picture this needs no OpenGL.
    view = {"render_mode": "rgb_array"} if gymnasium_id.startswith(evaluate.OURS) else {}
    with contextlib.closing(evaluate.make_env(gymnasium_id, **view)) as env:
        for actor in filter(None, (policy, beside)):
            evaluate.check_fit(actor, env, gymnasium_id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GailfeError(f"{path.parent}: expected a folder to write to ({error.strerror})") from None

    failures = []
    with tempfile.TemporaryDirectory(prefix="gailfe-video-") as folder, replacing(path, suffix=".mp4") as draft:
        order = {
            "policies": [
                str(actor.save(Path(folder, f"policy_{i}.safetensors")))
                for i, actor in enumerate(filter(None, (policy, beside)))
            ],
            "judge": None if judge is None else str(judge.save(Path(folder, "judge.safetensors"))),
            "overlay": overlay,
            "labels": [""] if beside is None else list(labels),
            "result": str(Path(folder, "result.json")),
            "video": str(draft),
            "modules": imported_modules(),
            "gymnasium_id": gymnasium_id,
            "called": called or gymnasium_id,
            "episodes": episodes,
            "first": first,
            "seed": seed,
            "fps": fps,
            "most_fps": most_fps,
            "width": width,
            "height": height,
            "max_steps": max_steps,
            "deterministic": deterministic,
            "plain": plain,
        }
        for backend in platforms():
            outcome = _render_in_child(order, backend)
            if "error" in outcome:
                raise GailfeError(outcome["error"])
            if "frames" in outcome:
                returns, *others = map(tuple, outcome["returns"])
                return VideoResult(path, outcome["frames"], outcome["fps"], backend, returns, *others)
            failures.append(f"{backend}: {outcome['no_picture']}")
        raise GailfeError(f"video: no OpenGL platform renders on this machine ({'; '.join(failures)}); {HINT}")


def _evaluation() -> ModuleType:
    # Not at the top of the file: where MUJOCO_GL names a platform that is not installed, importing MuJoCo fails.
    try:
        from gailfe_jax.analysis import evaluation as evaluate
    except Exception as error:
        if "MUJOCO_GL" not in os.environ:
            raise
        wanted = os.environ["MUJOCO_GL"]
        raise GailfeError(f"video: MuJoCo does not load with MUJOCO_GL={wanted} ({_typed(error)})") from error
    return evaluate


def _render_in_child(order: dict[str, Any], backend: str) -> dict[str, Any]:
    """The child's report: `frames`, `fps`, `returns`, or `error` (the user's), or `no_picture` (the platform's)."""
    result = Path(order["result"])
    result.unlink(missing_ok=True)
    done = subprocess.run(
        child_command("gailfe_jax.analysis.video"),
        input=json.dumps(order),
        env=child_environment(backend),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return json.loads(result.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return {"no_picture": lines[-1] if lines else f"exit code {done.returncode}"}


def _child() -> None:
    order = json.loads(sys.stdin.read())

    def report(**outcome: Any) -> None:
        Path(order["result"]).write_text(json.dumps(outcome), encoding="utf-8")

    try:
        evaluate = _evaluation()
    except GailfeError as failure:
        report(no_picture=str(failure.__cause__))
        return
    try:
        for module in order["modules"]:
            import_user_module(module)
        report(**_record(order, evaluate))
    except _NoPicture as failure:
        report(no_picture=str(failure))
    except GailfeError as error:
        report(error=str(error))
    except Exception as error:
        report(error=f"video of {order['called']!r}: {_typed(error)}")


class _NoPicture(Exception):
    """The platform made no first frame."""


_OPENGL = ("mujoco", "OpenGL", "glfw")


def _typed(error: BaseException) -> str:
    return one_line(f"{type(error).__name__}: {error}", first=True)


def _record(order: dict[str, Any], evaluate: ModuleType) -> dict[str, Any]:
    seed, first_episode, longest = order["seed"], order["first"], order["max_steps"]
    with contextlib.ExitStack() as stack:
        panels = [_panel(stack, order, evaluate, number) for number in range(len(order["policies"]))]
        fps = float(order["fps"] or panels[0].env.metadata.get("render_fps") or 30)
        every = math.ceil(fps / order["most_fps"]) if order["most_fps"] else 1
        fps /= every
        for panel in panels:
            panel.begin(seed, first_episode)
        first = _first_frame(panels[0], order["gymnasium_id"].startswith(evaluate.OURS))
        size = np.zeros((first.shape[0], first.shape[1] * len(panels), 3), np.uint8)
        returns: list[list[float]] = [[] for _ in panels]
        frames = 0
        with _writer(order["video"], size, fps) as write:
            for episode in range(first_episode, first_episode + order["episodes"]):
                for panel in panels:
                    panel.begin(seed, episode)
                write(_side_by_side(panels))
                frames, steps = frames + 1, 0
                while not all(panel.over for panel in panels) and steps < longest:
                    for panel in panels:
                        panel.step()
                    steps += 1
                    if steps % every == 0 or steps == longest or all(panel.over for panel in panels):
                        write(_side_by_side(panels))
                        frames += 1
                for held, panel in zip(returns, panels):
                    held.append(panel.total)
    return {"frames": frames, "fps": fps, "returns": returns}


def _panel(stack: contextlib.ExitStack, order: dict[str, Any], evaluate: ModuleType, number: int) -> Panel:
    gymnasium_id, judge = order["gymnasium_id"], order["judge"]
    policy = Policy.load(order["policies"][number])
    # The model's own camera follows the body; Gymnasium's default one stands still, and a runner leaves the picture.
    view = {"width": order["width"], "height": order["height"], "camera_name": "track"}
    try:
        env = evaluate.make_env(gymnasium_id, render_mode="rgb_array", **view)
    except GailfeError:
        # Only MuJoCo's environments take a view.
        env = evaluate.make_env(gymnasium_id, render_mode="rgb_array")
    stack.callback(env.close)
    # Of MuJoCo's environments, what their model says of pictures.
    view_of_model = getattr(getattr(env.unwrapped, "model", None), "vis", None)
    if order["plain"] and view_of_model is not None:
        view_of_model.quality.offsamples, view_of_model.quality.shadowsize = 0, _PLAIN_SHADOW
    evaluate.check_fit(policy, env, gymnasium_id)
    return Panel(
        env, policy, evaluate, order["called"], label=order["labels"][number], overlay=order["overlay"],
        judge=None if judge is None else Confidence.load(judge), deterministic=order["deterministic"],
    )  # fmt: skip


def _first_frame(panel: Panel, ours: bool) -> np.ndarray:
    """The first picture of all.

    Raises:
      _NoPicture: the platform makes none.
      GailfeError: the environment does not.
    """
    try:
        first = panel.frame()
    except GailfeError:
        raise
    except Exception as error:
        if _is_platforms(error):
            raise _NoPicture(_typed(error)) from error
        # The environment lacks something of its own (a package, a render mode); another platform would not help.
        raise GailfeError(f"env {panel.called!r}: expected one that renders ({_typed(error)})") from error
    # Others than MuJoCo's may well begin in the dark. Below the words, for these are bright.
    dark = not first[first.shape[0] // 2 :].any()
    if dark and (hasattr(panel.env.unwrapped, "mujoco_renderer") or ours):
        raise _NoPicture("the first frame is black")
    return first


def _side_by_side(panels: Sequence[Panel]) -> np.ndarray:
    return np.ascontiguousarray(np.concatenate([panel.frame() for panel in panels], axis=1))


def _is_platforms(error: BaseException) -> bool:
    """Whether an error of a first picture comes out of MuJoCo or an OpenGL package, and not of an environment."""
    if isinstance(error, gymnasium.error.Error):
        return False
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    # A class that MuJoCo compiled leaves no frame of its own.
    return type(error).__module__.split(".")[0] in _OPENGL or any(
        name.split(".")[0] in _OPENGL or name == "gymnasium.envs.mujoco.mujoco_rendering" for name in modules
    )


@contextlib.contextmanager
def _writer(path: str, like: np.ndarray, fps: float):
    import imageio_ffmpeg

    stream = imageio_ffmpeg.write_frames(
        path,
        (like.shape[1], like.shape[0]),
        fps=fps,  # pyright: ignore[reportArgumentType]  (its documentation takes floats)
        codec="libx264",
        pix_fmt_out="yuv420p",
        quality=7,
        macro_block_size=2,
        ffmpeg_log_level="error",
        # The index first, so that a browser plays the file while it loads.
        output_params=["-movflags", "+faststart"],
    )
    stream.send(None)
    try:
        yield stream.send
    finally:
        stream.close()


if __name__ == "__main__":
    _child()
