"""What rounded products do to gradients; the emulation itself is tested in test_rounding.py."""

from __future__ import annotations

import json
import pathlib

import jax.numpy as jnp
import pytest

from gailfe_jax.bench import precision
from gailfe_jax.bench.precision import KINDS, WHAT, relative_error
from gailfe_jax.config.tree import leaves, put, without_unread
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.presets import preset
from tests.tiny import SIZES

RESULT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "precision.json"


@pytest.mark.slow
def test_every_gradient_moves_by_the_bits_that_its_products_lose(monkeypatch, compiled_in_haste, capsys, tmp_path):
    def small(*args, **options):
        method, run = preset(*args, **options)
        method = put(method, {key: value for key, value in SIZES.items() if key in leaves(method)})
        return without_unread(method), run

    monkeypatch.setattr(precision, "preset", small)
    monkeypatch.setattr(precision, "_EPISODES", 1)
    found = precision.run(["Hopper-v5"], seeds=2, iterations=1)
    json.dumps(found, allow_nan=False)
    assert {row["what"] for row in found["rows"]} == set(WHAT)
    for row in found["rows"]:
        assert row["env"] == "hopper" and all(len(row[kind]) == 2 for kind in KINDS)
        for tf32, bfloat16, chance in zip(*(row[kind] for kind in KINDS), strict=True):
            assert 1e-6 < tf32 < bfloat16 < 1 and chance > tf32
    precision.show(found)
    assert "TRPO's direction" in capsys.readouterr().out
    precision.draw(found, tmp_path / "precision.png")
    assert (tmp_path / "precision.png").read_bytes().startswith(b"\x89PNG")


def test_the_error_is_relative_to_the_length():
    assert float(relative_error(jnp.array([3.0, 0.0]), jnp.array([3.0, 4.0]))) == pytest.approx(0.8)


@pytest.mark.skipif(not RESULT.exists(), reason="not measured yet")
def test_the_committed_result_has_every_quantity_of_five_seeds():
    report = json.loads(RESULT.read_text())
    assert {row["what"] for row in report["rows"]} == set(WHAT)
    assert all(len(row[kind]) == row["seeds"] == 5 for row in report["rows"] for kind in KINDS)
    assert report["provenance"]["git"]["dirty"] is False


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: precision.run([]), "env: got none"),
        (lambda: precision.run(seeds=0), "seeds: got 0"),
        (lambda: precision.run(iterations=0), "iterations: got 0"),
        (lambda: precision.run(["brax:fast"]), "env: .*brax:fast"),
    ],
)
def test_what_cannot_be_measured_is_named(call, message):
    with pytest.raises(GailfeError, match=f"^{message}"):
        call()
