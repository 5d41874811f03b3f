"""Damaged checkpoints and records: walked back from to a whole one, or refused in one line; never loaded wrong.

Each damage is resumed as `gailfe train --resume` would, up to the restored state, whose bits are compared with those
that were saved. Some are resumed to the end by the command itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.soak.runs import CASES, Place, carry_out, differences
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.user_modules import import_user_module
from gailfe_jax.training.manifest import named_leaves
from gailfe_jax.training.opening import open_folder
from gailfe_jax.training.plan import Plan, make_plan
from gailfe_jax.types import PyTree, is_key
from tests.runs import contents

TO_THE_END = 16
"""One in so many damages is resumed to the end."""
Damage = Callable[[pathlib.Path, np.random.Generator, "Scene"], None]


@dataclasses.dataclass(frozen=True)
class Scene:
    """What damages are made of.

    Attributes:
      run: an interrupted run with several checkpoints.
      whole: the uninterrupted run.
      foreign: a run of another method, whose parts are put into ours.
    """

    run: pathlib.Path
    whole: pathlib.Path
    foreign: pathlib.Path


def flip(path: pathlib.Path, rng: np.random.Generator, scene: Scene) -> None:
    """One bit to eight bytes are others."""
    data = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 9)) if data else 0):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(data))


def truncate(path: pathlib.Path, rng: np.random.Generator, scene: Scene) -> None:
    """The end is missing."""
    os.truncate(path, int(rng.integers(path.stat().st_size + 1)))


def remove(path: pathlib.Path, rng: np.random.Generator, scene: Scene) -> None:
    """The file is gone, or its folder."""
    if rng.integers(3) or path.parent.name == "checkpoints":
        path.unlink()
    else:
        shutil.rmtree(path.parent)


def swap(path: pathlib.Path, rng: np.random.Generator, scene: Scene) -> None:
    """The file has changed places with another one of the checkpoints."""
    step = next(parent for parent in path.parents if parent.parent.name == "checkpoints")
    others = [other for other in _files(step.parent) if other != path]
    # As often with the same file of another step as with any other.
    twins = [
        other for other in others if other.parts[-len(path.relative_to(step).parts) :] == path.relative_to(step).parts
    ]
    chosen = twins if twins and rng.integers(2) else others
    other = chosen[int(rng.integers(len(chosen)))]
    ours, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(ours)


def zero(path: pathlib.Path, rng: np.random.Generator, scene: Scene) -> None:
    """The file, or a stretch of it, is zeros, as after a crash of the file system."""
    data = bytearray(path.read_bytes())
    start, stop = sorted(int(x) for x in rng.integers(len(data) + 1, size=2)) if rng.integers(2) else (0, len(data))
    data[start:stop] = bytes(stop - start)
    path.write_bytes(bytes(data))


def foreign_file(path: pathlib.Path, rng: np.random.Generator, scene: Scene) -> None:
    """The file is one of another run."""
    others = _files(scene.foreign / "checkpoints")
    same = [other for other in others if other.name == path.name]
    chosen = same or others
    path.write_bytes(chosen[int(rng.integers(len(chosen)))].read_bytes())


def foreign_part(path: pathlib.Path, rng: np.random.Generator, scene: Scene) -> None:
    """The arrays are those of another run, or of another step; or the whole checkpoint is another run's."""
    step = next(parent for parent in path.parents if parent.parent.name == "checkpoints")
    kind = int(rng.integers(3))
    source = max((scene.foreign / "checkpoints").glob("step_*"))
    # Another step's that has not been damaged away itself.
    others = [other for other in sorted(step.parent.glob("step_*")) if other != step and (other / "part_0000").is_dir()]
    if kind == 1 and others:
        source = others[0]
    if kind == 2:
        shutil.rmtree(step)
        shutil.copytree(source, step)
        return
    shutil.rmtree(step / "part_0000", ignore_errors=True)
    shutil.copytree(source / "part_0000", step / "part_0000")


DAMAGES: dict[str, Damage] = {
    "flipped": flip, "truncated": truncate, "removed": remove, "swapped": swap, "zeroed": zero,
    "foreign file": foreign_file, "foreign arrays": foreign_part,
}  # fmt: skip


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def digests(state: PyTree) -> dict[str, str]:
    """SHA-256 of each leaf of a state, by its name."""
    found = {}
    for name, leaf in named_leaves(state):
        data = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        found[name] = hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()
    return found


def saved_digests(run: pathlib.Path) -> dict[int, dict[str, str]]:
    """`step -> digests` of a run's checkpoints, as they were saved."""
    found = {}
    for path in (run / "checkpoints").glob("step_*/manifest.json"):
        body = json.loads(path.read_text())["body"]
        found[body["step"]] = {leaf["name"]: leaf["sha256"] for leaf in body["leaves"]}
    return found


class Resumer:
    """Resumes folders of one run as the command does, up to the restored state."""

    def __init__(self, run: pathlib.Path):
        from gailfe_jax.cli.train import resumed

        import_user_module("benchmarks.soak.toys")
        setup = resumed(["--out", str(run), "--resume"])
        assert setup is not None
        self.plan: Plan = make_plan(
            setup.method, setup.environment, setup.run, setup.demos, imports=("benchmarks.soak.toys",)
        )

    def __call__(self, folder: pathlib.Path) -> tuple[int, PyTree]:
        """The step and state that the run in `folder` goes on from.

        Raises:
          GailfeError: none.
        """
        with contextlib.ExitStack() as until, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened = open_folder(self.plan, folder, resume=True, restart=False, notes=(), until=until)
            until.callback(opened.logger.close)
            return opened.step, opened.state


def spoil(folder: pathlib.Path, rng: np.random.Generator, scene: Scene) -> list[str]:
    """Damages the newest checkpoint of a run, now and then several, or its record; says what and how."""
    steps = sorted((folder / "checkpoints").glob("step_*"), reverse=True)
    kind = int(rng.integers(10))
    if kind == 0:
        path = folder / "config.json"
        flip(path, rng, scene)
        return [f"{path.name} flipped"]
    told = []
    for step in steps[: len(steps) if kind == 1 else 2 if kind == 2 else 1]:
        files = _files(step)
        # Small files that matter, as often as the many of orbax.
        named = [step / name for name in ("manifest.json", "config.json") if rng.integers(4) == 0]
        path = (named or files)[int(rng.integers(len(named or files)))]
        how = list(DAMAGES)[int(rng.integers(len(DAMAGES)))]
        if path.exists():
            DAMAGES[how](path, rng, scene)
            told.append(f"{path.relative_to(folder)} {how}")
    return told


def soak(place: Place, count: int, seed: int) -> dict[str, Any]:
    """Damages a run's folder `count` times, each time anew."""
    # What it says of each damage is what is wanted.
    logging.getLogger("gailfe_jax").setLevel(logging.ERROR)
    scene = _scene(place)
    resume, saved = Resumer(scene.run), saved_digests(scene.run)
    row: dict[str, Any] = {"kind": "damaged checkpoints", "inputs": 0, "newest": 0, "walked back": 0, "refused": 0}
    row |= {"to the end": 0, "by kind": dict.fromkeys(DAMAGES, 0), "failures": []}
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        folder = place.folder / "damaged"
        shutil.copytree(scene.run, folder)
        told = spoil(folder, rng, scene)
        for line in told:
            for how in DAMAGES:
                row["by kind"][how] += line.endswith(how)
        if number % TO_THE_END == 0:
            outcome, why = _to_the_end(place, folder, scene)
            row["to the end"] += 1
        else:
            outcome, why = _resumed(resume, folder, saved)
        row["inputs"] += 1
        if why:
            what = f"{'; '.join(told)}: {why}"
            row["failures"].append({"what": place.without_paths(what), "seed": [seed, number]})
        else:
            row[outcome] += 1
        shutil.rmtree(folder)
    return row


def _resumed(resume: Resumer, folder: pathlib.Path, saved: dict[int, dict[str, str]]) -> tuple[str, str]:
    """The outcome, and why it is wrong; empty where it is right."""
    try:
        step, state = resume(folder)
    except GailfeError as error:
        return "refused", "a message of several lines" if "\n" in str(error) else ""
    except Exception as error:
        return "", f"{type(error).__name__}: {error}"
    if state is None:
        return "", "started anew"
    if digests(state) != saved.get(step):
        return "", f"the state of step {step} was loaded wrong"
    return ("newest" if step == max(saved) else "walked back"), ""


def _to_the_end(place: Place, folder: pathlib.Path, scene: Scene) -> tuple[str, str]:
    """The same by the command, which trains on."""
    before = contents(folder)
    steps = ["--steps", str(CASES["gailfe"].evaluations * 32)]
    (code, *_), said = carry_out(place, ["train", "--out", str(folder), "--resume", *steps])
    if code == 0:
        found = differences(folder, scene.whole)
        return "walked back", "; ".join(found)
    errors = [line for line in said.splitlines() if line.startswith("gailfe: error: ")]
    if code != 2 or len(errors) != 1 or "Traceback" in said:
        return "", f"exit code {code}: {said[-2000:]}"
    after = contents(folder)
    changed = sorted(name for name in before if after.get(name) != before[name])
    return "refused", f"changed {', '.join(changed)}" if changed else ""


def _scene(place: Place) -> Scene:
    """An interrupted run of three checkpoints, the whole of it, and another."""
    case = CASES["gailfe"]
    made = {}
    for name, which, evaluations in (
        ("scene_run", case, case.evaluations // 2),
        ("scene_whole", case, case.evaluations),
        ("scene_foreign", CASES["gail"], 3),
    ):
        folder = place.folder / name
        codes, said = carry_out(place, which.command(place, folder, evaluations))
        if any(codes):
            raise RuntimeError(f"{name}: exit codes {codes}\n{said}")
        made[name] = folder
    return Scene(made["scene_run"], made["scene_whole"], made["scene_foreign"])
