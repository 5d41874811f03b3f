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
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from gailfe_jax.analysis.opengl import HINT, child_command, child_environment, platforms
from gailfe_jax.artifacts.policy import Policy, PolicyBatch
from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.io.atomic import replacing
from gailfe_jax.io.user_modules import import_user_module, imported_modules


@dataclasses.dataclass(frozen=True)
class VideoResult:
    """What was recorded.

    Attributes:
      path: the MP4 file.
      frames: frames in it: the start and one per step (see `most_fps`), for every episode.
      fps: frames per second.
      backend: the OpenGL platform that rendered (`egl`, `osmesa` or `glfw`).
      returns: undiscounted true return of each episode as far as it was recorded.
    """

    path: Path
    frames: int
    fps: float
    backend: str
    returns: tuple[float, ...]


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
    called: str | None = None,
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
      called: what messages call the environment; `gymnasium_id` if None.

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
        evaluate.check_fit(policy, env, gymnasium_id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GailfeError(f"{path.parent}: expected a folder to write to ({error.strerror})") from None

    failures = []
    with tempfile.TemporaryDirectory(prefix="gailfe-video-") as folder, replacing(path, suffix=".mp4") as draft:
        order = {
            "policy": str(policy.save(Path(folder, "policy.safetensors"))),
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
        }
        for backend in platforms():
            outcome = _render_in_child(order, backend)
            if "error" in outcome:
                raise GailfeError(outcome["error"])
            if "frames" in outcome:
                return VideoResult(path, outcome["frames"], outcome["fps"], backend, tuple(outcome["returns"]))
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
    gymnasium_id, called, seed = order["gymnasium_id"], order["called"], order["seed"]
    policy = Policy.load(order["policy"])
    batch = PolicyBatch([policy])
    # The model's own camera follows the body; Gymnasium's default one stands still, and a runner leaves the picture.
    view = {"width": order["width"], "height": order["height"], "camera_name": "track"}
    try:
        env = evaluate.make_env(gymnasium_id, render_mode="rgb_array", **view)
    except GailfeError:
        # Only MuJoCo's environments take a view.
        env = evaluate.make_env(gymnasium_id, render_mode="rgb_array")
    with contextlib.closing(env):
        evaluate.check_fit(policy, env, gymnasium_id)
        fps = float(order["fps"] or env.metadata.get("render_fps") or 30)
        every = math.ceil(fps / order["most_fps"]) if order["most_fps"] else 1
        fps /= every
        env.reset(seed=evaluate.episode_seed(seed, order["first"]))
        try:
            first = _frame(env, called)
        except GailfeError:
            raise
        except Exception as error:
            if _is_platforms(error):
                raise _NoPicture(_typed(error)) from error
            # The environment lacks something of its own (a package, a render mode); another platform would not help.
            raise GailfeError(f"env {called!r}: expected one that renders ({_typed(error)})") from error
        # Others than MuJoCo's may well begin in the dark.
        if not first.any() and (hasattr(env.unwrapped, "mujoco_renderer") or gymnasium_id.startswith(evaluate.OURS)):
            raise _NoPicture("the first frame is black")
        returns, frames = [], 0
        with _writer(order["video"], first, fps) as write:
            for episode in range(order["first"], order["first"] + order["episodes"]):
                obs, _ = env.reset(seed=evaluate.episode_seed(seed, episode))
                draw = evaluate.episode_draws(seed, episode, policy.noise_size)
                write(_frame(env, called))
                total, steps, over = 0.0, 0, False
                while not over and steps < order["max_steps"]:
                    noise = None if order["deterministic"] else draw()[None, None]
                    action = batch.act(np.asarray(obs)[None, None], noise=noise)[0, 0]
                    obs, reward, terminated, truncated, _ = env.step(action)
                    total, steps, over = total + float(reward), steps + 1, terminated or truncated
                    if steps % every == 0 or over or steps == order["max_steps"]:
                        write(_frame(env, called))
                        frames += 1
                returns.append(total)
                frames += 1
    return {"frames": frames, "fps": fps, "returns": returns}


def _is_platforms(error: BaseException) -> bool:
    """Whether an error of a first picture comes out of MuJoCo or an OpenGL package, and not of an environment."""
    if isinstance(error, gymnasium.error.Error):
        return False
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    # A class that MuJoCo compiled leaves no frame of its own.
    return type(error).__module__.split(".")[0] in _OPENGL or any(
        name.split(".")[0] in _OPENGL or name == "gymnasium.envs.mujoco.mujoco_rendering" for name in modules
    )


def _frame(env: Any, called: str) -> np.ndarray:
    """`[height, width, 3]` uint8 of even sizes.

    Raises:
      GailfeError: the environment gives something else.
    """
    given = env.render()
    if not isinstance(given, np.ndarray) or given.ndim != 3 or given.shape[2] != 3:
        kind = f"shape {list(given.shape)}" if isinstance(given, np.ndarray) else f"a {type(given).__name__}"
        raise GailfeError(f"env {called!r}: render gives {kind}; expected an array [height, width, 3]")
    frame = np.asarray(given, np.uint8)
    # H.264 in yuv420p has no odd sizes.
    return np.ascontiguousarray(frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2])


@contextlib.contextmanager
def _writer(path: str, first: np.ndarray, fps: float):
    import imageio_ffmpeg

    stream = imageio_ffmpeg.write_frames(
        path,
        (first.shape[1], first.shape[0]),
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
