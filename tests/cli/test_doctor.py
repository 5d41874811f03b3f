"""`gailfe doctor`: words, JSON, and how it refuses."""

from __future__ import annotations

import json
import types

import pytest

from gailfe_jax.cli.doctor import print_line
from gailfe_jax.cli.main import main
from gailfe_jax.errors import GailfeWarning
from gailfe_jax.training import loop
from tests.report.test_health import broken, ill


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_findings_in_words(here, capsys):
    ill(here / "x", explained_variance=0.0)
    ill(here / "well")
    assert main(["doctor", "x", "well"]) == 0
    assert capsys.readouterr().out == (
        "x: gail on hopper, 2 seeds, up to step 10,000\n"
        "  warning: the value function explains nothing [value_explains_nothing; all seeds, steps 8,000 to 10,000]\n"
        "    It foretells 0% of the returns' variance in the last third of the run.\n"
        "    Try a larger --policy.value-epochs (now 5), a larger --policy.value-lr (now 0.001) or a smaller "
        "--reward.lr (now 0.0003).\n"
        "\n"
        "well: gail on hopper, 2 seeds, up to step 10,000\n"
        "  nothing stands out\n"
    )


def test_findings_as_json(here, capsys):
    ill(here / "x", explained_variance=0.0)
    ill(here / "well")
    assert main(["doctor", "x", "well", "--json"]) == 0
    x, well = json.loads(capsys.readouterr().out)
    assert (x["folder"], x["algo"], x["env"], x["seeds"], x["step"]) == ("x", "gail", "hopper", 2, 10000)
    (finding,) = x["findings"]
    assert finding["name"] == "value_explains_nothing" and finding["severity"] == "warning"
    assert finding["seeds"] == [0, 1] and finding["steps"] == [8000, 10000] and finding["try"].startswith("Try ")
    assert finding["settings"] == ["policy.value_epochs", "policy.value_lr", "reward.lr"]
    assert well["findings"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "paths"),
        (["missing"], "missing: holds no run"),
        (["x", "cut"], "is cut"),
        (["x", "none"], "no metrics yet"),
    ],
)
def test_bad_input_is_one_line(words, said, here, capsys):
    for name in ("x", "cut", "none"):
        ill(here / name)
    broken(here / "cut", '{"seed": 0, "step": 1}\n{"se')
    (here / "none" / "metrics.jsonl").unlink()
    assert main(["doctor", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and said in shown.err


def test_the_line_at_the_end_of_training(here, capsys):
    print_line(ill(here / "x", kl=0.5))
    folder = here / "x"
    assert capsys.readouterr().out == (
        f"doctor: note: the policy moves too far in a step (all seeds); gailfe doctor {folder}\n"
    )
    (folder / "config.json").write_text("[]")
    with pytest.warns(GailfeWarning, match="doctor: .*damaged"):
        print_line(folder)
    (folder / "metrics.jsonl").write_text("")
    print_line(folder)  # Interrupted before its first evaluation.
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("quiet", [False, True])
def test_training_ends_with_the_line(quiet, here, monkeypatch, capsys):
    folder = ill(here / "x", kl=0.5)
    result = types.SimpleNamespace(run_dir=folder, interrupted=False, diverged={})
    monkeypatch.setattr(loop, "train", lambda *_, **__: result)
    assert main(["train", "ppo", "--env", "cartpole", "--out", "x", *(["--quiet"] if quiet else [])]) == 0
    assert ("doctor: note: the policy moves too far" in capsys.readouterr().out) != quiet
    assert (folder / "report.html").is_file()
