"""TOML of files is bounded, whoever wrote it."""

from __future__ import annotations

import pytest

from gailfe_jax.cli.main import main
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.toml_text import read_toml

REFUSED = {
    "no TOML": "a = = 1",
    "a whole number of 5000 digits": "gamma = " + "9" * 5000,
    "lists without end": "a = " + "[" * 100_000,
    "lists too deep": "a = " + "[" * 70 + "]" * 70,
    "tables too deep": "[" + ".".join("a" * 70) + "]",
    "a name twice": "a = 1\na = 2",
    "too long": "#" * (4 * 2**20 + 1),
}


@pytest.mark.parametrize("case", REFUSED)
def test_hostile_text_is_one_line(tmp_path, case, capsys):
    path = tmp_path / "x.toml"
    path.write_text(REFUSED[case])
    with pytest.raises(GailfeError, match=r"^where: .*; expected settings in TOML$") as error:
        read_toml(path, "where", "settings")
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    assert main(["train", "--config", str(path), "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.startswith(f"gailfe: error: config: {path}: ")


def test_numbers_that_no_decimal_can_show_are_named(tmp_path, capsys):
    # Python reads hexadecimal numbers of any length, and writes none of them in decimal.
    (tmp_path / "x.toml").write_text("gamma = 0x" + "f" * 5000)
    assert main(["train", "--algo", "ppo", "--config", str(tmp_path / "x.toml"), "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "policy.gamma: got a number of too many digits; expected a finite number" in said and said.count("\n") == 1


def test_what_is_missing_or_no_text(tmp_path):
    with pytest.raises(GailfeError, match="where: no such file; expected a task in TOML"):
        read_toml(tmp_path / "none.toml", "where", "a task")
    (tmp_path / "x.toml").write_bytes(b"\xff")
    for path in (tmp_path, tmp_path / "x.toml"):
        with pytest.raises(GailfeError, match="where: cannot be read; expected a task in TOML"):
            read_toml(path, "where", "a task")
