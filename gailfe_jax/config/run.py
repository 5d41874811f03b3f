"""Settings beside the method's: where it learns, from which data, and how the run is carried out."""

from __future__ import annotations

import math
from typing import Any, Literal

from gailfe_jax.config.parts import Part, setting, subpart
from gailfe_jax.errors import GailfeError
from gailfe_jax.types import MOST_EPISODES

_SEEDS = 2**32  # Keys are folded with 32 bits: beyond them seeds would repeat.
_MOST_SEEDS = 2**16  # Side by side. More are more runs.


class MjxSettings(Part):
    """Settings of the simulator on MJX and Warp; what is none is the model file's own.

    What each costs in fidelity is in docs/performance.md. `mujoco_c`, bit for bit Gymnasium's, takes none of them.
    """

    solver_setting: Literal["cheap", "model"] | None = setting(None)
    """cheap: the fewest solver iterations that err no more than the model file's own; model: those of the model file.
    Where none of this is given, cheap for the tasks that it is known for."""
    solver: Literal["newton", "cg"] | None = setting(None)
    """Constraint solver."""
    iterations: int | None = setting(None, least=1)
    """Most iterations of the constraint solver."""
    ls_iterations: int | None = setting(None, least=1)
    """Most line-search steps per solver iteration."""
    tolerance: float | None = setting(None, least=0)
    """Improvement below which the solver stops."""
    integrator: Literal["euler", "implicitfast", "rk4"] | None = setting(None)
    """Integrator; rk4 evaluates the simulator four times a step, the others once."""
    euler_damping: bool | None = setting(None)
    """Whether the Euler integrator treats joint damping implicitly, which solves one more system."""


class WarpSettings(Part):
    """Sizes of Warp's contact buffers."""

    nconmax: int | None = setting(None, least=1)
    """Contacts per environment; none for twice what the model can have."""
    njmax: int | None = setting(None, least=1)
    """Constraint rows per environment; none for twice what the model can have."""


class EnvSettings(Part):
    """The environment, and the engine that steps it."""

    env: str = setting("hopper")
    """Task: hopper, ant or another of Gymnasium's MuJoCo tasks, by name or Gymnasium id; any Gymnasium environment by
    gym:<id>; brax:<name>, gymnax:<id>, playground:<name>; a .toml file; or a registered one. delayed20:<task> pays its
    rewards every 20 steps."""
    engine: str = setting("auto")
    """Physics engine: auto, mujoco_c, mjx or warp."""
    reset_nonfinite: bool | None = setting(None)
    """Begin a new episode where an environment's physics is not finite, and count that (resets_nonfinite); without it
    MuJoCo's own check does what it does. Where none is given, true for MuJoCo tasks of your own, and false for
    Gymnasium's, which stay as Gymnasium has them."""
    mjx: MjxSettings = subpart(MjxSettings())
    warp: WarpSettings = subpart(WarpSettings())

    @property
    def options(self) -> dict[str, Any]:
        """What goes to `make_env`: the engine's settings that are not the model's own, and what is reset."""
        found = {}
        for part in (self.mjx, self.warp):
            found |= {name: value for name, value in part.values().items() if value is not None}
        found.pop("solver_setting", None)  # It stands for others: see `gailfe_jax.envs.physics.solver.settled`.
        return found if self.reset_nonfinite is None else found | {"reset_nonfinite": self.reset_nonfinite}


class DemoSettings(Part):
    """Which part of the demonstrations a learner sees."""

    demos: str | None = setting(None)
    """Demonstration file (.npz, .h5, minari:<dataset id>, or a registered format)."""
    trajectories: int | None = setting(None, least=1)
    """Use so many expert trajectories; all by default."""
    subsample: int = setting(1, least=1)
    """Keep one state-action pair in so many, with a random phase per trajectory."""
    demo_seed: int | None = setting(None, least=0, most=2**63 - 1)
    """Draw the trajectories at random from this seed; the first ones by default."""
    expert: str | None = setting(None)
    """DAgger: the expert that is asked: a policy file (.safetensors, .onnx, .zip of Stable-Baselines3) or a function
    (module:name); the one shipped for the task by default."""


class RunSettings(Part):
    """How a run is carried out; none of it changes what an iteration computes."""

    steps: float = setting(1e6, least=1, most=1e15)
    """Environment steps of each seed (bc, which takes none: demonstrated pairs fitted), rounded up to whole evaluation
    intervals."""
    seeds: int = setting(1, least=1, most=_MOST_SEEDS)
    """How many seeds run side by side, vmapped."""
    first_seed: int = setting(0, least=0, most=_SEEDS - 1)
    """The first of them; the others follow."""
    eval_every: float | None = setting(None, least=1, most=1e15)
    """Steps of each seed between evaluations, rounded to whole iterations; none for at least 50,000, and so many that
    evaluation takes a few hundredths of the time, but no more than steps (docs/performance.md has the rule)."""
    eval_episodes: int = setting(8, least=1, most=MOST_EPISODES)
    """Fresh episodes per evaluation and seed, deterministic policy."""
    eval_engine: Literal["auto", "same"] = setting("auto")
    """Evaluate on the training's engine (same), or where that is mjx or warp on the C engine of the host, beside
    training (auto)."""
    precision: Literal["highest", "high", "default"] = setting("highest")
    """Precision of matrix products on GPU and TPU: float32 (highest), or what JAX calls high and default, which round
    their factors to TF32 or bfloat16. CPUs always compute in float32."""
    checkpoint_seconds: float = setting(120.0, least=0)
    """Least wall time between checkpoints; the end and an interruption always save one."""
    keep: int = setting(2, least=1)
    """Checkpoints kept."""
    snapshots: bool = setting(False)
    """Keep every evaluation's policies under snapshots/."""
    tensorboard: bool = setting(True)
    """Write TensorBoard events."""
    on_divergence: Literal["drop", "stop"] = setting("drop")
    """What ends where a seed's numbers are no longer finite: that seed alone, whose last finite policy is kept (drop),
    or the run (stop). Either way the exit code is 3, and --resume goes on with the others."""
    wandb: bool = setting(False)
    """Log to Weights & Biases (extra: wandb)."""
    mlflow: bool = setting(False)
    """Log to MLflow (extra: mlflow), to the server that MLFLOW_TRACKING_URI names."""
    diagnostics_every: int = setting(0, least=0)
    """Give TensorBoard and the like the diagnostics of every so many iterations; 0 for their means between
    evaluations, as metrics.jsonl has them."""
    film: bool = setting(False)
    """Film an episode of the best policy at the end (film.mp4), and hand it to TensorBoard and the like."""
    quiet: bool = setting(False)
    """Show nothing while training."""
    devices: int = setting(0, least=0)
    """Share the work between so many devices (of all processes), seeds first and then each seed's environments; 0 for
    all that fit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seeds > _SEEDS:
            raise GailfeError(f"seeds: got {self.seeds}; expected a whole number from 1 to {_SEEDS}")
        if not 0 <= self.first_seed <= _SEEDS - self.seeds:
            raise GailfeError(f"first_seed: got {self.first_seed}; expected seeds from 0 to {_SEEDS - 1}")

    @property
    def trackers(self) -> tuple[str, ...]:
        """Whom a run is told to besides TensorBoard."""
        return tuple(name for name in ("wandb", "mlflow") if getattr(self, name))


LEAST_INTERVAL = 50_000
"""Steps of each seed between evaluations, at least."""
STEPS_PER_EVALUATED_STEP = 125
"""Steps of each seed between evaluations for each of an episode, on a CPU."""
LEAST_EVALUATIONS = 8
"""Evaluations of a run, if they are not closer than `LEAST_INTERVAL`."""
MOST_ITERATIONS = 8
"""Iterations of more than that many steps between evaluations, at most, whatever an evaluation costs."""


def eval_interval(batch_size: int, unroll_length: int, episode_steps: int, *, on_cpu: bool) -> float:
    """Steps of each seed between evaluations where nobody chooses.

    Decided by sizes and not by the clock, so that a run can be repeated. An evaluation plays one episode in each of a
    few environments, side by side: `episode_steps` engine calls one after the other.

    On a CPU a call takes as long as it has environments, and a few of them are slow: `STEPS_PER_EVALUATED_STEP` times
    as many steps as an episode has keep an evaluation near a twentieth of the time, and beside large iterations two
    are enough, however large. An accelerator takes about as long for a few environments as for thousands, so there
    calls are counted: four times as many in training as in an evaluation, and no more than `MOST_ITERATIONS`
    iterations. (The host's evaluation runs beside training, and one of its calls takes less time than the
    accelerator's.)

    Args:
      batch_size: steps of an iteration.
      unroll_length: engine calls of an iteration.
      episode_steps: engine calls of an evaluation, at most.
      on_cpu: whether training runs on a CPU.
    """
    least = max(LEAST_INTERVAL, STEPS_PER_EVALUATED_STEP * episode_steps) if on_cpu else LEAST_INTERVAL
    wanted = 2 if on_cpu else min(MOST_ITERATIONS, math.ceil(4 * episode_steps / unroll_length))
    return least if least >= wanted * batch_size else wanted * batch_size


def whole_chunks(run: RunSettings, batch_size: int) -> tuple[int, int]:
    """`(iterations between evaluations, evaluations)` of a run."""
    chunk = max(1, round((run.eval_every or LEAST_INTERVAL) / batch_size))
    return chunk, max(1, math.ceil(run.steps / (chunk * batch_size)))
