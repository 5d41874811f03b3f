"""What a set of trajectories must hold, checked array by array.

`where` opens every message and ends inside the quoted field name, e.g. `demos.npz: field 'expert/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gailfe_jax.errors import GailfeError

if TYPE_CHECKING:
    from gailfe_jax.data.trajectories import Trajectories

# Per field: dtype, and the number of dimensions.
FIELDS: dict[str, tuple[Any, int]] = {
    "obs": (np.float32, 2),
    "action": (np.float32, 2),
    "next_obs": (np.float32, 2),
    "reward": (np.float32, 1),
    "terminated": (np.bool_, 1),
    "truncated": (np.bool_, 1),
    "simulator_state": (np.float64, 2),
    "offsets": (np.int64, 1),
}
STEP_FIELDS = tuple(name for name in FIELDS if name != "offsets")
OPTIONAL = ("reward", "simulator_state")
"""Fields that may be missing, and are then None."""
PARTS = ("expert", "failures")
LARGEST = 1e17
"""Of a number in float32 whose squares, and the sums of a hundred thousand of them, are finite too."""


def check_trajectories(
    trajectories: Trajectories, where: str, action_low: Any, action_high: Any, tolerance: float, discrete: bool = False
) -> None:
    """Checks one set of trajectories.

    Args:
      trajectories: any number of them.
      where: how the messages begin.
      action_low, action_high: action bounds, one number or one per dimension.
      tolerance: how far beyond its bounds an action may be (rounding).
      discrete: whether actions are choices.

    Raises:
      GailfeError: see `Demonstrations.validate`.
    """
    _check_arrays(trajectories, where)
    _check_boundaries(trajectories, where)
    if not trajectories.acted:
        return
    if discrete:
        check_choices(trajectories.action, f"{where}action'")
    else:
        _check_actions(trajectories, where, action_low, action_high, tolerance)


def _check_arrays(trajectories: Trajectories, where: str) -> None:
    for field, (dtype, dimensions) in FIELDS.items():
        array = getattr(trajectories, field)
        if array is None and field in OPTIONAL:
            continue
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            casts = "; gailfe demos import casts" if getattr(array, "dtype", np.dtype(object)).kind in "iuf" else ""
            found = getattr(array, "dtype", None)
            raise GailfeError(f"{where}{field}': dtype {found}, expected {np.dtype(dtype)}{casts}")
        # No numbers of an action say that nobody recorded them.
        if array.ndim != dimensions or (dimensions == 2 and array.shape[1] == 0 and field != "action"):
            expected = "[n, size]" if dimensions == 2 else "one dimension"
            raise GailfeError(f"{where}{field}': shape {array.shape}, expected {expected}")
    steps = trajectories.num_transitions
    for field in STEP_FIELDS:
        array = getattr(trajectories, field)
        if array is None:
            continue
        if len(array) != steps:
            raise GailfeError(f"{where}{field}': {len(array)} steps, expected the {steps} of 'obs'")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            raise GailfeError(f"{where}{field}': NaN or infinity at step {row}, expected finite numbers")
        if array.dtype == np.float32 and (np.abs(array) > LARGEST).any():
            row = int(np.argwhere(np.abs(array) > LARGEST)[0][0])
            value = np.atleast_1d(array[row])[np.abs(np.atleast_1d(array[row])).argmax()]
            raise GailfeError(
                f"{where}{field}': {value:g} at step {row}, expected at most {LARGEST:g}: float32 holds no variance of "
                "larger numbers"
            )
    if trajectories.next_obs.shape != trajectories.obs.shape:
        shapes = f"{trajectories.next_obs.shape}, expected the {trajectories.obs.shape} of 'obs'"
        raise GailfeError(f"{where}next_obs': shape {shapes}")


def _check_boundaries(trajectories: Trajectories, where: str) -> None:
    offsets, steps = trajectories.offsets, trajectories.num_transitions
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != steps or (np.diff(offsets) <= 0).any():
        raise GailfeError(f"{where}offsets': expected increasing numbers from 0 to {steps}, the number of steps")
    done = trajectories.terminated | trajectories.truncated
    last = np.zeros((steps,), np.bool_)
    last[offsets[1:] - 1] = True
    if (done & ~last).any():
        row = int(np.flatnonzero(done & ~last)[0])
        field = "terminated" if trajectories.terminated[row] else "truncated"
        raise GailfeError(f"{where}{field}': the episode ends at step {row}, inside a trajectory")
    if (last & ~done).any():
        row = int(np.flatnonzero(last & ~done)[0])
        raise GailfeError(
            f"{where}truncated': a trajectory stops at step {row}, neither terminated nor truncated; gailfe demos "
            "import takes it for truncated"
        )
    broken = (trajectories.next_obs[:-1] != trajectories.obs[1:]).any(axis=-1) & ~last[:-1]
    if broken.any():
        row = int(np.flatnonzero(broken)[0])
        raise GailfeError(f"{where}next_obs': step {row} differs from 'obs' at step {row + 1} of the same trajectory")


def _check_actions(trajectories: Trajectories, where: str, low: Any, high: Any, tolerance: float) -> None:
    action = trajectories.action
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if low.ndim and low.shape != action.shape[1:]:
        raise GailfeError(f"{where}action': size {action.shape[1]}, expected the task's action size, {low.size}")
    outside = (action < low - tolerance) | (action > high + tolerance)
    if outside.any():
        row, column = (int(i) for i in np.argwhere(outside)[0])
        least, most = (np.broadcast_to(bound, action.shape[1:])[column] for bound in (low, high))
        raise GailfeError(
            f"{where}action': action[{column}] is {action[row, column]:g} at step {row}, outside [{least:g}, {most:g}]"
        )


def check_choices(action: np.ndarray, what: str) -> None:
    """Raises GailfeError, whose message begins with `what`, unless all rows of `action [n, a]` are choices: 1 at the
    choice and 0 elsewhere."""
    one_hot = ((action == 0) | (action == 1)).all(axis=1) & (action.sum(axis=1) == 1)
    if not one_hot.all():
        step = int(np.flatnonzero(~one_hot)[0])
        row = ", ".join(f"{x:g}" for x in action[step])
        raise GailfeError(f"{what}: [{row}] at step {step}, expected 1 at the choice and 0 elsewhere")
