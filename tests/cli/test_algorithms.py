from __future__ import annotations

from gailfe_jax.cli.main import main
from gailfe_jax.learners.combinations import COMBINATIONS
from gailfe_jax.learners.methods import METHODS, policy_choices


def test_algorithms_lists_the_methods(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "220")
    assert main(["algorithms"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in METHODS)
    assert all(c.name.split()[0] in shown for c in COMBINATIONS)
    assert all(c.flags in shown for c in COMBINATIONS)
    assert f"--policy {' | '.join(policy_choices(METHODS['gail']))} " in shown
