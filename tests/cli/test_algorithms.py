from __future__ import annotations

from gailfe_jax.cli.main import main
from gailfe_jax.learners.methods import ALGORITHMS, COMBINATIONS


def test_algorithms_lists_the_methods(capsys):
    assert main(["algorithms"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ALGORITHMS)
    assert all(c.name.split()[0] in shown for c in COMBINATIONS)
