"""Which solver setting training takes on MJX and Warp where nobody chooses one.

A GPU runs the constraint solver's steps one after the other, so their number is what an environment step costs there.
Where a cheaper setting has been shown to err no more than the model file's own, training takes it.
"""

from __future__ import annotations

import contextlib

from gailfe_jax.config.run import EnvSettings
from gailfe_jax.envs.registry import base_name, is_own_task
from gailfe_jax.errors import GailfeError

CHEAP: dict[tuple[str, str], dict[str, int]] = {
    ("mjx", "halfcheetah"): {"iterations": 4, "ls_iterations": 8},
    ("mjx", "hopper"): {"iterations": 4, "ls_iterations": 8},
}
"""`(engine, task) -> settings`: of those in benchmarks/results/fidelity.json whose error after 1, 10 and 100 steps is
within a tenth of the model's own, the fastest (see `gailfe_jax.bench.fidelity.cheapest`, whose answer a test holds
beside this). What has not been measured, all of Warp included, is not here and keeps the model's own."""


def settled(place: EnvSettings, engine: str) -> EnvSettings:
    """`place` with the solver setting that its engine runs, and with what is reset, so that a record of it names both.

    Settling again changes nothing, whatever a later release knows to be cheap.

    Args:
      place: the task and the engine's settings.
      engine: what `place.engine` turned out to be.

    Raises:
      GailfeError: the cheap setting is asked for, and none is known.
    """
    mjx = place.mjx
    own = _is_own(place.env)
    if own and place.reset_nonfinite is None:
        place = place.replace(reset_nonfinite=True)
    elif not own and place.reset_nonfinite is False:
        place = place.replace(reset_nonfinite=None)
    if engine not in ("mjx", "warp"):
        return place.replace(mjx=mjx.replace(solver_setting=None))
    given = {name for name, value in mjx.values().items() if value is not None} - {"solver_setting"}
    if mjx.solver_setting == "model" or (mjx.solver_setting == "cheap" and given):
        return place
    cheap = CHEAP.get((engine, base_name(place.env)))
    if mjx.solver_setting == "cheap" and cheap is None:
        known = ", ".join(f"{task} on {where}" for where, task in CHEAP)
        raise GailfeError(
            f"mjx.solver_setting: got cheap for {place.env} on {engine}; expected model (cheap is known for {known})"
        )
    if cheap is None or given:
        return place.replace(mjx=mjx.replace(solver_setting="model"))
    return place.replace(mjx=mjx.replace(solver_setting="cheap", **cheap))


def _is_own(name: str) -> bool:
    # An object that was given has a name that is nobody's.
    with contextlib.suppress(GailfeError):
        return is_own_task(name)
    return False
