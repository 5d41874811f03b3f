"""Puts the viewer's page together: a scene, the poses of each episode, and the curves under it."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from gailfe_jax.envs.physics.model import seconds_per_step
from gailfe_jax.envs.physics.scene import SceneModel, Shape, body_poses, scene_of, tendon_ends
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import write_text_atomic
from gailfe_jax.types import Task
from gailfe_jax.viewer.packing import pack_mesh, pack_poses, simplified, thinning
from gailfe_jax.web.markup import Markup, tag
from gailfe_jax.web.page import BASE_SCRIPT, BASE_STYLE, THREE, UPLOT, UPLOT_STYLE, one_file

NAME = "play.html"
MOST_EPISODES = 6
"""Side by side."""
_MOST_NUMBERS = 350_000
"""Of all poses: half a megabyte or less."""
_MOST_FACES = 24_000
"""Of all meshes: about a quarter of a megabyte."""
_DIGITS = 4
_STYLES = (UPLOT_STYLE, BASE_STYLE, "gailfe_jax.viewer:page/viewer.css")
_SCRIPTS = (
    THREE, UPLOT, BASE_SCRIPT, "gailfe_jax.viewer:page/unpack.js", "gailfe_jax.viewer:page/scene.js",
    "gailfe_jax.viewer:page/curves.js", "gailfe_jax.viewer:page/viewer.js",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A number of each step that is drawn as a curve.

    Attributes:
      name: of the curve, in an `Episode`.
      title: on the page.
      how: how to read it.
      share: whether it lies between 0 and 1.
    """

    name: str
    title: str
    how: str
    share: bool = False


QUANTITIES = (
    Quantity("reward", "Reward", "The task's own reward of each step, which imitation does not see."),
    Quantity(
        "belief",
        "Discriminator's belief",
        "How likely the discriminator takes each step for the expert's. Where it stays low, it can tell this episode "
        "from the demonstrations; around a half, it cannot.",
        share=True,
    ),
    Quantity(
        "value",
        "Value",
        "What the policy's value network expects from each step on of the reward that it was trained on. A fall that "
        "it sees coming shows before it happens.",
    ),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Episode:
    """An episode of `T` actions.

    Attributes:
      kind: `policy`, `expert` or `failure`, or another word.
      label: what the page calls it.
      qpos: `[T + 1, nq]` float64, before each action and after the last one.
      ended: how it ended, in words.
      curves: `[T]` each, by the name of a `Quantity`.
      note: what there is to know of how its poses came about.
    """

    kind: str
    label: str
    qpos: np.ndarray
    ended: str
    curves: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    note: str = ""

    @property
    def steps(self) -> int:
        """`T`."""
        return len(self.qpos) - 1


def write_play(
    task: Task, episodes: Sequence[Episode], out: str | os.PathLike[str], *, title: str, about: str = ""
) -> pathlib.Path:
    """Writes the page of some episodes of a task, whole or not at all; returns its path.

    Args:
      task: whose model is drawn.
      episodes: side by side, in this order.
      out: the file.
      title: its heading.
      about: a sentence below it.

    Raises:
      GailfeError: no episode or too many, or the model does not load.
      OSError: the file cannot be written.
    """
    if not 1 <= len(episodes) <= MOST_EPISODES:
        raise GailfeError(f"episodes: got {len(episodes)}; expected 1 to {MOST_EPISODES}")
    out = pathlib.Path(out)
    write_text_atomic(out, render(task, episodes, title, about))
    return out


def render(task: Task, episodes: Sequence[Episode], title: str, about: str = "") -> str:
    """The text of the page, see `write_play`."""
    scene = scene_of(task)
    placed = len(scene.moving) + 2 * sum(tendon.segments for tendon in scene.tendons)
    every = thinning([episode.steps for episode in episodes], placed, _MOST_NUMBERS)
    shown = [quantity for quantity in QUANTITIES if any(quantity.name in episode.curves for episode in episodes)]
    data = {
        "scene": _scene(scene),
        "seconds": seconds_per_step(task),
        "episodes": [_episode(task, scene, episode, every) for episode in episodes],
        "quantities": [{"name": q.name, "title": q.title, "share": q.share} for q in shown],
    }
    return one_file(
        title,
        [
            _header(title, about, scene, every),
            tag("main", _player(episodes), *(_chart(quantity) for quantity in shown)),
        ],
        styles=_STYLES,
        scripts=_SCRIPTS,
        data=data,
    )


def _header(title: str, about: str, scene: SceneModel, every: int) -> Markup:
    notes = [about] if about else []
    if scene.undrawn:
        notes.append(f"The model's {' and '.join(scene.undrawn)} are not drawn.")
    if every > 1:
        notes.append(f"Of every {every} steps one is stored; between them the motion is filled in.")
    return tag(
        "header",
        tag("h1", title),
        tag("p", " ".join(notes), class_="quiet") if notes else None,
        tag("p", id="trouble", class_="trouble", role="alert"),
        tag("noscript", tag("p", "This page needs JavaScript.", class_="trouble")),
    )


def _player(episodes: Sequence[Episode]) -> Markup:
    panels = [
        tag(
            "figure",
            tag("figcaption", tag("span", class_=f"swatch c{number}"), tag("b", episode.label), f" {episode.ended}"),
            tag("canvas", class_="view", role="img", width=480, height=300,
                aria_label=f"{episode.label}, in three dimensions; the line below says where it stands"),
            tag("p", class_="readout"),
            tag("p", episode.note, class_="quiet note") if episode.note else None,
            class_="panel",
        )
        for number, episode in enumerate(episodes)
    ]  # fmt: skip
    longest = max(episode.steps for episode in episodes)
    speeds = [tag("option", f"{speed:g} x", value=speed, selected=speed == 1) for speed in (0.1, 0.25, 0.5, 1, 2, 4)]
    bar = tag(
        "div",
        tag("button", "Play", type="button", id="play"),
        tag("button", "-", type="button", id="back", aria_label="One step back"),
        tag("button", "+", type="button", id="on", aria_label="One step on"),
        tag("input", type="range", id="step", min=0, max=longest, value=0, step=1, aria_label="Step"),
        tag("output", id="at", for_="step"),
        tag("label", "Speed ", tag("select", *speeds, id="speed")),
        class_="bar",
        role="group",
        aria_label="Player",
    )
    views = tag(
        "div",
        tag("button", "Nearer", type="button", id="nearer"),
        tag("button", "Farther", type="button", id="farther"),
        tag("button", "View as it was", type="button", id="reset"),
        id="views",
        role="group",
        aria_label="View",
    )
    keys = "Space plays and stops, the left and right arrows step (ten steps with Shift). Dragging a picture turns it."
    return tag(
        "section",
        tag("div", *panels, class_="panels"),
        bar,
        views,
        tag("p", keys, class_="quiet"),
        aria_label="Episodes",
    )


def _chart(quantity: Quantity) -> Markup:
    name = f"curve-{quantity.name}"
    return tag(
        "section",
        tag("h2", quantity.title, id=f"{name}-title"),
        tag("p", quantity.how, class_="how"),
        tag("div", id=name, class_="curve"),
        tag("p", class_="readout", id=f"{name}-said"),
        aria_labelledby=f"{name}-title",
    )


def _scene(scene: SceneModel) -> dict[str, Any]:
    meshes, drawn = _meshes(scene.shapes)
    pos, quat = scene.rest
    number = {body: i for i, body in enumerate(scene.moving)}
    shapes = []
    for shape in scene.shapes:
        entry: dict[str, Any] = {
            "kind": shape.kind,
            "size": _short(shape.size),
            "pos": _short(shape.pos),
            "quat": _short(shape.quat),
            "rgba": _short(shape.rgba),
            "body": number.get(shape.body),
        }
        if shape.body not in number:
            entry["rest"] = {"pos": _short(pos[shape.body]), "quat": _short(quat[shape.body])}
        if shape.surface is not None:
            entry["mesh"] = drawn[id(shape.surface)]
        shapes.append(entry)
    view = dataclasses.asdict(scene.view)
    view["body"] = number.get(scene.view.body) if scene.view.body is not None else None
    # Where the segments begin and end comes after the bodies among an episode's poses.
    tendons = [{"segments": t.segments, "width": t.width, "rgba": _short(t.rgba)} for t in scene.tendons]
    return {"shapes": shapes, "tendons": tendons, "meshes": meshes, "extent": scene.extent, "view": view}


def _meshes(shapes: Sequence[Shape]) -> tuple[list[dict[str, Any]], dict[int, int]]:
    """The meshes for the page, and which one each surface is; together they have at most `_MOST_FACES` faces."""
    surfaces = {id(shape.surface): shape.surface for shape in shapes if shape.surface is not None}
    total = sum(len(faces) for _, faces in surfaces.values())
    share = min(1.0, _MOST_FACES / max(total, 1))
    meshes = [
        pack_mesh(*simplified(vertices, faces, max(60, int(share * len(faces)))))
        for vertices, faces in surfaces.values()
    ]
    return meshes, {name: i for i, name in enumerate(surfaces)}


def _episode(task: Task, scene: SceneModel, episode: Episode, every: int) -> dict[str, Any]:
    pos, quat = body_poses(task, episode.qpos, scene.moving)
    ends = tendon_ends(task, episode.qpos, scene.tendons)
    pos = np.concatenate([pos, ends], axis=1)
    quat = np.concatenate([quat, np.broadcast_to([1.0, 0.0, 0.0, 0.0], (*ends.shape[:2], 4))], axis=1)
    return {
        "label": episode.label,
        "steps": episode.steps,
        "poses": pack_poses(pos, quat, every),
        "curves": {name: _numbers(values) for name, values in episode.curves.items()},
    }


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None for value in np.asarray(values).tolist()]


def _short(values: Any) -> list[float]:
    return [float(f"{float(value):.6g}") for value in values]
