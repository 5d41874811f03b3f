from __future__ import annotations

import json

import pytest

from gailfe_jax.bench import horizon
from gailfe_jax.errors import GailfeError


@pytest.mark.slow
def test_horizon(compiled_in_haste, capsys, monkeypatch):
    report = horizon.run(["hopper"], horizons=(1, 8), windows=4, repeats=3)
    json.dumps(report, allow_nan=False)
    short, long = report["rows"]
    assert (short["horizon"], long["horizon"], long["windows"]) == (1, 8, 4)
    assert long["memory_bytes"] > short["memory_bytes"] and len(long["raw_seconds"]) == 3
    horizon.show(report)
    assert "through the model" in capsys.readouterr().out
    drawn = []
    monkeypatch.setattr(horizon, "log_panels", lambda panels, path, **options: drawn.append(panels))
    horizon.draw(report, "figure.png")
    (panels,) = drawn
    assert panels["one gradient, ms"]["hopper"] == ([1, 8], [1e3 * short["seconds"], 1e3 * long["seconds"]])


def test_what_cannot_be_measured_is_named():
    with pytest.raises(GailfeError, match=r"^horizons, windows: got \(4, 0\) and 64"):
        horizon.run(["hopper"], horizons=(4, 0))
