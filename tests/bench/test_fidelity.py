from __future__ import annotations

import json

import numpy as np
import pytest

from gailfe_jax.bench import fidelity
from gailfe_jax.bench.fidelity import OWN, VARIANTS
from gailfe_jax.envs.physics.mjx import SolverOptions
from gailfe_jax.errors import GailfeError


def test_errors_are_from_the_c_engines_positions(monkeypatch, capsys, tmp_path):
    """MJX takes a minute to compile here; its agreement with the C engine is tests/physics' matter."""
    roll, asked = fidelity._roll, []

    def stub(name, engine, options, given, repeats):
        positions, _, _ = roll(name, "mujoco_c", {}, given, 1)
        if engine == "mujoco_c":
            return positions, 0.0, [1.0]
        asked.append(options)
        # Two of three environments are off by as many hundredths as steps were taken, in one position.
        off = np.zeros_like(positions)
        off[:, :2, 1] = 0.01 * np.arange(1, len(positions) + 1)[:, None]
        return positions + (off if options else 0), 2.0, [0.5, 0.1, 0.2]

    monkeypatch.setattr(fidelity, "_roll", stub)
    cheap = "iterations 1, line search 4"
    report = fidelity.run(["Hopper-v5"], num_envs=3, variants=(OWN, cheap))
    json.dumps(report, allow_nan=False)
    own, other = report["rows"]
    assert asked == [{}, {"iterations": 1, "ls_iterations": 4}]
    assert own["error"] == {"1": 0.0, "10": 0.0, "100": 0.0}
    assert other["error"] == pytest.approx({"1": 0.01, "10": 0.1, "100": 1.0}, rel=1e-3)
    assert other["steps_per_second"] == pytest.approx(300 / 0.2)
    fidelity.show(report)
    assert OWN in capsys.readouterr().out
    fidelity.draw(report, tmp_path / "fidelity.png")
    assert (tmp_path / "fidelity.png").read_bytes().startswith(b"\x89PNG")


def test_every_variant_is_a_setting_of_the_simulator():
    for options in VARIANTS.values():
        SolverOptions(**options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fidelity.run(engine="mujoco_c"), "engine: got mujoco_c, which has no settings"),
        (lambda: fidelity.run(num_envs=0), "num_envs: got 0"),
        (lambda: fidelity.run(repeats=0), "repeats: got 0"),
        (lambda: fidelity.run([]), "env: got none"),
        (lambda: fidelity.run(variants=["fast"]), "variants: got 'fast'; expected some of"),
    ],
)
def test_what_cannot_be_measured_is_named(call, message):
    with pytest.raises(GailfeError, match=f"^{message}"):
        call()
