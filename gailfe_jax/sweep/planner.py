"""Which points of a sweep train in one program, and how many side by side fit into the memory."""

from __future__ import annotations

import math
import pathlib
import shutil
from collections.abc import Callable, Sequence

import jax
import numpy as np

from gailfe_jax.errors import GailfeError
from gailfe_jax.io.atomic import write_json_atomic
from gailfe_jax.io.json_text import read_json
from gailfe_jax.learners.base import Learner
from gailfe_jax.parallel.memory import free_bytes, program_bytes, tree_bytes
from gailfe_jax.sweep.space import Point
from gailfe_jax.training.inputs import prepare_inputs
from gailfe_jax.training.plan import find_env
from gailfe_jax.training.program import Trainer

_MEMORY_SHARE = 0.8  # Of what is free: estimates leave out the evaluation and what the allocator wastes.
# Bytes per environment step of an iteration that the temporaries of one seed should stay below: those of the presets
# on Hopper take 2 KiB (PPO) to 10 KiB (MAIL). Only what might not fit by this bound is compiled to be measured.
_ROUGH_TEMPORARIES = 32 * 1024


def name_of(number: int) -> str:
    """What folders call the point of this number."""
    return f"{number:04d}"


def stack_methods(methods: Sequence[Learner], seeds: int) -> Learner:
    """One method for `K` methods times `seeds`, point by point: traced settings are `[K * seeds]` where they differ."""
    columns = [jax.tree.leaves(method) for method in methods]
    stacked = []
    for column in zip(*columns, strict=True):
        same = len(set(map(float, column))) == 1
        stacked.append(column[0] if same else np.repeat(np.array(column, np.float64), seeds))
    return jax.tree.unflatten(jax.tree.structure(methods[0]), stacked)


class Planner:
    """The programs of a sweep: points that one program trains side by side, in parts that fit into the memory.

    Args:
      folder: of the programs under way.
      memory: bytes to stay within; what is free if None.
      done: whether the point of a number is trained and written.
      say: shows a line.
    """

    def __init__(
        self, folder: pathlib.Path, memory: float | None, done: Callable[[int], bool], say: Callable[[str], None]
    ):
        self.folder = folder
        self._memory = memory
        self._done = done
        self._say = say

    def program(self, name: str) -> pathlib.Path:
        """The run folder of a program under way."""
        return self.folder / name

    def programs(self, points: Sequence[Point]) -> list[list[int]]:
        """The programs that are left, as numbers of points.

        Raises:
          GailfeError: one point alone does not fit.
        """
        groups: dict[str, list[int]] = {}
        for number, point in enumerate(points):
            groups.setdefault(point.program_key, []).append(number)
        return [chunk for group in groups.values() for chunk in self._chunks(points, group)]

    def _chunks(self, points: Sequence[Point], group: list[int]) -> list[list[int]]:
        """The settings of one program that are left, in parts that fit into the memory, those under way first."""
        left = [number for number in group if not self._done(number)]
        if not left:
            return []
        point = points[group[0]]
        seeds = point.setup.run.seeds
        limit, need, free = _room(point, len(group), self._memory)
        if limit < 1:
            raise GailfeError(
                f"memory_gib: setting {group[0]} with {seeds} seeds needs about {need / 2**30:.3g} GiB and "
                f"{free / 2**30:.3g} are free; expected fewer seeds, fewer environments, smaller buffers or more memory"
            )
        under_way = []
        for name, chunk in self.plan().items():
            begun = (self.program(name) / "config.json").is_file() and set(chunk) <= set(group)
            if begun and set(chunk) & set(left) and len(chunk) <= limit:
                under_way.append(chunk)
        taken = {number for chunk in under_way for number in chunk}
        left = [number for number in left if number not in taken]
        parts = math.ceil(len(left) / limit)
        if parts > 1:
            self._say(
                f"{len(left)} settings x {seeds} seeds need about {len(left) * need / 2**30:.3g} GiB and "
                f"{free / 2**30:.3g} are free: trained in {parts} parts"
            )
        # Parts of one size have the same program; a compilation cache keeps it where it calls nothing back on the host.
        size = math.ceil(len(left) / parts) if parts else 1
        return under_way + [left[start : start + size] for start in range(0, len(left), size)]

    def plan(self) -> dict[str, list[int]]:
        """`program -> its points`, as it was written down; empty where it was not."""
        try:
            plan = read_json(self.folder / "plan.json")
            return {str(name): [int(number) for number in chunk] for name, chunk in plan.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def write(self, chunks: list[list[int]]) -> None:
        """Drops the programs of another plan: their settings are done, or start anew in parts of another size."""
        plan, before = {name_of(chunk[0]): chunk for chunk in chunks}, self.plan()
        for path in self.folder.glob("[0-9]*"):
            same = path.name in plan and plan[path.name] == before.get(path.name)
            if not (same and (path / "config.json").is_file()):
                shutil.rmtree(path)
        if plan:
            write_json_atomic(self.folder / "plan.json", plan)


def point_bytes(point: Point, *, rough: bool) -> float:
    """Memory of one point with all its seeds: its state twice (once as a checkpoint holds it) and temporaries.

    Args:
      point: which.
      rough: bound the temporaries from above, instead of compiling the program and asking how much it takes.
    """
    setup = point.setup
    _, _, env = find_env(setup.environment, setup.worlds)
    inputs = prepare_inputs(setup.method, env, setup.demos)
    learner = setup.method.on(env, annotator=inputs.annotator, success=inputs.success)
    seeds = np.arange(setup.run.seeds)
    trainer = Trainer(learner, seeds, chunk=1, eval_episodes=setup.run.eval_episodes)
    template = trainer.template(inputs.demos)
    state = float(tree_bytes(template))
    bound = 2 * state + len(seeds) * setup.method.rollout.batch_size * _ROUGH_TEMPORARIES
    needed = None if rough else program_bytes(trainer.lower(template, inputs.demos).compile())
    return bound if needed is None else state + needed


def _room(point: Point, wanted: int, memory: float | None) -> tuple[int, float, float]:
    """`(points that fit side by side, bytes of one, bytes to stay within)`."""
    free = memory if memory is not None else _MEMORY_SHARE * free_bytes()
    need = point_bytes(point, rough=True)
    if wanted * need > free:
        need = point_bytes(point, rough=False)
    return (wanted if wanted * need <= free else int(free // need)), need, free
