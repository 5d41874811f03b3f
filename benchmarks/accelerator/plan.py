"""What is measured on a GPU, in which order, and how long each of it may take."""

from __future__ import annotations

import dataclasses

BUDGET_SECONDS = 570.0
KEY_SECONDS = 180.0
"""The first points, `KEY_POINTS` of them, are there after so long: physics on every engine, and training."""
KEY_POINTS = 4
LIMIT_FACTOR, LEAST_LIMIT = 3.0, 60.0
TARGET_ENVS, SEED_ENVS, SEEDS = 4096, 256, (1, 16)
STAGES = ("main", "warp")


@dataclasses.dataclass(frozen=True)
class Point:
    """One measurement.

    Attributes:
      kind: physics, train, profile or learn.
      engine: mujoco_c is the C engine on the host's cores.
      env: the task.
      num_envs: environments of each seed.
      algo: the method; empty for physics.
      seeds: side by side.
      solver: of MJX and Warp, model (the model file's own) or cheap (see `gailfe_jax.envs.physics.solver`); empty for
        the C engine.
      precision: of the learner's matrix products.
    """

    kind: str
    engine: str
    env: str
    num_envs: int
    algo: str = ""
    seeds: int = 1
    solver: str = ""
    precision: str = "highest"

    @property
    def options(self) -> dict[str, int]:
        """The engine's."""
        from gailfe_jax.envs.physics.solver import CHEAP

        return CHEAP[self.engine, self.env] if self.solver == "cheap" else {}

    @property
    def expected(self) -> float:
        """Seconds, compiling included; a guess that no GPU has confirmed yet."""
        if self.engine == "mujoco_c":
            return {"physics": 8.0, "train": 25.0, "profile": 40.0, "learn": 150.0}[self.kind]
        seconds = {"physics": 25.0, "train": 35.0, "profile": 60.0, "learn": 120.0}[self.kind]
        return seconds + (15.0 if self.engine == "warp" else 0.0)

    @property
    def limit(self) -> float:
        """Seconds after which it is given up."""
        return max(LEAST_LIMIT, LIMIT_FACTOR * self.expected)

    def __str__(self) -> str:
        many = f" x {self.seeds} seeds" if self.seeds > 1 else ""
        more = [f"{self.solver} solver"] if self.solver else []
        more += [f"{self.precision} precision"] if self.precision != "highest" else []
        words = [self.kind, self.algo, f"on {self.env}, {self.engine}, {self.num_envs:,} environments{many}"]
        return " ".join(word for word in words if word) + "".join(f", {word}" for word in more)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is measured of each point.

    Attributes:
      repeats: of which the median counts.
      seconds: of each repeat of training, at least.
      unroll: steps of each environment in an iteration, where there are fewer than the presets for thousands take.
      learn_steps: after which a learning run ends without its target.
    """

    repeats: int = 3
    seconds: float = 1.0
    unroll: int = 32
    learn_steps: float = 10e6


DRY = Sizes(repeats=1, seconds=0.0, unroll=8, learn_steps=64)


def _engine_points(engine: str, solver: str, env: str = "halfcheetah") -> dict[str, Point]:
    def point(kind: str, num_envs: int = TARGET_ENVS, algo: str = "gail", seeds: int = 1) -> Point:
        return Point(kind, engine, env, num_envs, "" if kind == "physics" else algo, seeds, solver)

    return {
        "physics": point("physics"), "train": point("train"), "profile": point("profile"), "learn": point("learn"),
        "one": point("train", SEED_ENVS, seeds=SEEDS[0]), "many": point("train", SEED_ENVS, seeds=SEEDS[1]),
    }  # fmt: skip


def points(stage: str = "main", *, dry: bool = False) -> list[Point]:
    """All of a stage, most telling first, physics before training and learning at the end."""
    if dry:
        return _dry_points()
    if stage == "warp":
        warp, hopper = _engine_points("warp", "model"), _engine_points("warp", "model", "hopper")
        many = [dataclasses.replace(warp[kind], num_envs=16_384) for kind in ("physics", "train")]
        rest = [warp["one"], warp["many"], warp["profile"], hopper["physics"], hopper["train"]]
        return [warp["physics"], warp["train"], *rest, *many, warp["learn"]]
    mjx, host, hopper = (
        _engine_points(*words) for words in (("mjx", "cheap"), ("mujoco_c", ""), ("mjx", "cheap", "hopper"))
    )
    many = [dataclasses.replace(mjx[kind], num_envs=16_384) for kind in ("physics", "train")]
    return [
        host["physics"], mjx["physics"], dataclasses.replace(mjx["physics"], solver="model"), mjx["train"],
        host["train"], mjx["one"], mjx["many"],
        dataclasses.replace(mjx["train"], solver="model"), dataclasses.replace(mjx["train"], precision="default"),
        mjx["profile"], hopper["physics"], hopper["train"], *many,
        *(dataclasses.replace(mjx["train"], algo=algo) for algo in ("gailfe", "mail")),
        mjx["learn"],
    ]  # fmt: skip


def _dry_points() -> list[Point]:
    """Every kind on few environments; what compiles long on a CPU, on the engine where it does not."""
    host = Point("physics", "mujoco_c", "halfcheetah", 4)
    mjx = dataclasses.replace(host, engine="mjx", solver="cheap")
    train = dataclasses.replace(host, kind="train", algo="gail")
    return [
        host, mjx, dataclasses.replace(mjx, solver="model"), dataclasses.replace(mjx, kind="train", algo="gail"),
        train, dataclasses.replace(train, seeds=2), dataclasses.replace(train, kind="profile"),
        Point("physics", "warp", "halfcheetah", 4, solver="model"), dataclasses.replace(mjx, kind="learn", algo="gail"),
    ]  # fmt: skip


def plan_table(stage: str) -> str:
    """The points of a stage in Markdown: what, seconds expected, and the limit."""
    lines = ["| | what | expected, s | limit, s |", "| --- | --- | --- | --- |"]
    chosen = points(stage)
    lines += [f"| {i} | {p} | {p.expected:.0f} | {p.limit:.0f} |" for i, p in enumerate(chosen, start=1)]
    total = sum(point.expected for point in chosen)
    return "\n".join([*lines, f"| | one after the other | {total:.0f} | budget {BUDGET_SECONDS:.0f} |"])
