from __future__ import annotations

import json

import pytest

from gailfe_jax.bench import sweep
from gailfe_jax.errors import GailfeError


def test_sweep_divides_by_seeds(clockwork, capsys, tmp_path):
    report = sweep.run("Hopper-v5", seeds=4, repeats=3)
    json.dumps(report, allow_nan=False)
    rows = {row["way"]: row for row in report["rows"][:4]}
    assert list(rows) == ["bare engine", "one seed alone", "4 seeds, one program", "4 processes"]
    # 100 steps at 200 a second; one call; one call of four seeds; four calls beside each other (here in turn).
    assert [row["seconds_per_seed"] for row in rows.values()] == [0.5, 2.0, 1.5, 2.0]
    assert [row["over_alone"] for row in rows.values()] == [0.25, 1.0, 0.75, 1.0]
    assert [row["over_bare"] for row in rows.values()] == [1.0, 4.0, 3.0, 4.0]
    assert rows["4 processes"]["peak_bytes"] == 4 * 2**30 and "start_seconds" not in rows["bare engine"]
    start = rows["4 processes"]["start_seconds"]
    assert rows["4 processes"]["long_run_seconds_per_seed"] == pytest.approx(start / 4 + 2.0 * 1_000_000 / 100)
    assert len(report["rows"]) == 8 and len(rows["one seed alone"]["raw_seconds_per_seed"]) == 3
    assert sorted(program.seeds for program, _ in clockwork.started) == [1] * 10 + [4] * 2
    # Starting up is timed, so nothing may be compiled before.
    assert {environment["JAX_ENABLE_COMPILATION_CACHE"] for _, environment in clockwork.started} == {"false"}
    sweep.show(report)
    assert "4 processes" in capsys.readouterr().out
    sweep.draw(report, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sweep.run(seeds=1), "seeds, steps: got 1 and 32768"),
        (lambda: sweep.run(repeats=0), "repeats: got 0"),
        (lambda: sweep.run("brax:fast"), "env: brax:fast has no bare engine"),
        (lambda: sweep.run(algo="bc"), "algo: bc has no policy step"),
    ],
)
def test_what_cannot_be_measured_is_named(call, message):
    with pytest.raises(GailfeError, match=f"^{message}"):
        call()
