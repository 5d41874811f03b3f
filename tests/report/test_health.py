"""The doctor on run folders: what it reads of them, and how it refuses what is no run."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pytest

from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import METHODS, with_policy
from gailfe_jax.learners.record import method_record
from gailfe_jax.report.health import examine_folder, line_of, run_folders, seeds_in_words
from gailfe_jax.report.page import write_report
from tests.report.made import write_lines, write_run
from tests.report.test_page import Parsed

OLD_RUNS = pathlib.Path(__file__).parent.parent / "training" / "old_runs"
STEPS = 1000 * np.arange(1, 11)


def ill(folder, method=None, **values):
    """A run of two seeds whose metrics are these in every evaluation."""
    method = METHODS["gail"] if method is None else method
    write_run(folder, algo=method.name, method=method_record(method))
    found = {"return_mean": 90.0} | values
    write_lines(folder, [{"seed": s, "step": int(step)} | found for s in range(2) for step in STEPS])
    return folder


def names(folder):
    return [finding.name for finding in examine_folder(folder).findings]


def test_a_run_is_read_by_its_settings(tmp_path):
    trpo = examine_folder(ill(tmp_path / "trpo", explained_variance=0.0))
    assert trpo.findings[0].settings == ("policy.value_epochs", "policy.value_lr", "reward.lr")
    ppo = with_policy(METHODS["gail"], "ppo")
    assert examine_folder(ill(tmp_path / "ppo", ppo, explained_variance=0.0)).findings[0].settings == (
        "policy.value_lr", "policy.epochs", "reward.lr",
    )  # fmt: skip
    assert (trpo.algo, trpo.env, trpo.seeds, trpo.evaluations, trpo.step, trpo.note) == (
        "gail", "hopper", 2, 10, 10000, "",
    )  # fmt: skip


def test_the_sign_of_the_reward_is_that_of_the_method(tmp_path):
    paid = {"train_falls": 0.9, "reward_mean": -0.5}
    kind = METHODS["gail"]
    negative = kind.replace(reward=kind.reward.replace(form="log_1-d"))
    assert names(ill(tmp_path / "negative", negative, **paid)) == ["paid_for_ending"]
    either = kind.replace(reward=kind.reward.replace(form="logit"))
    assert names(ill(tmp_path / "either", either, **paid)) == []


def test_the_expert_is_config_jsons_or_summary_jsons(tmp_path):
    blind = {"discriminator_accuracy": 0.5}
    folder = ill(tmp_path / "x", **blind)  # The expert of config.json returns 3600.
    assert names(folder) == ["discriminator_blind"]
    config = json.loads((folder / "config.json").read_text())
    config["demos"]["expert_return"] = 100.0
    (folder / "config.json").write_text(json.dumps(config))
    assert names(folder) == []
    del config["demos"]["expert_return"]
    (folder / "config.json").write_text(json.dumps(config))
    assert names(folder) == ["discriminator_blind"]
    (folder / "summary.json").write_text(json.dumps({"expert_return": 100.0}))
    assert names(folder) == []


def test_a_method_that_is_not_known_here_is_judged_by_its_record(tmp_path):
    method = {"policy": {"kind": "theirs", "value_lr": 0.1}}
    folder = ill(tmp_path / "x", explained_variance=0.0)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"algo": "theirs", "method": method}))
    (finding,) = examine_folder(folder).findings
    assert finding.settings == ("policy.value_lr",)


@pytest.mark.parametrize("name", ["gailfe", "bc"])
def test_runs_of_old_releases_are_read(name, tmp_path):
    shutil.copytree(OLD_RUNS / name, tmp_path / name)
    found = examine_folder(tmp_path / name)
    assert found.algo == name and found.evaluations >= 1 and "only" in found.note


def test_a_sweep_is_its_settings(tmp_path):
    ill(tmp_path / "s" / "settings" / "0000")
    ill(tmp_path / "s" / "settings" / "0001", kl=0.5)
    (tmp_path / "s" / "sweep.json").write_text("{}")
    folders = run_folders([tmp_path / "s"])
    assert [folder.name for folder in folders] == ["0000", "0001"]
    assert [names(folder) for folder in folders] == [[], ["steps_too_far"]]


def broken(folder, text):
    (folder / "metrics.jsonl").write_bytes(text if isinstance(text, bytes) else text.encode())


WHOLE = '{"seed": 0, "step": 1, "kl": 0.1}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no metrics yet"),
        (WHOLE + '{"seed": 0, "st', "line 2: is cut"),
        (WHOLE + '{"seed": 0, "st\n' + WHOLE, "line 2: damaged"),
        ('{"seed": 0}\n', "line 1: damaged"),
        ("[1, 2]\n", "line 1: damaged"),
        ("\n", "line 1: damaged"),
        (b"\xff\xfe\x00", "not a text file"),
        ('{"seed": 0, "step": 1, "kl": ' + "9" * 400 + "}\n", "a whole number of 400 digits"),
        ('{"seed": 0, "step": 1, "kl": ' + "9" * 5000 + "}\n", "damaged"),
        ('{"seed": 0, "step": ' + "9" * 400 + "}\n", "a whole number of 400 digits"),
        ("[" * 100_000 + "\n", "damaged"),
    ],
    ids=["empty", "cut", "middle", "step", "list", "blank", "binary", "large", "digits", "steps", "deep"],
)
def test_bad_metrics_are_one_line(text, said, tmp_path):
    folder = ill(tmp_path / "x")
    broken(folder, text)
    with pytest.raises(GailfeError, match=said) as error:
        examine_folder(folder)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_what_is_no_run_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(GailfeError, match="holds no run"):
            run_folders([path])
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "sweep.json").write_text("{}")
    with pytest.raises(GailfeError, match="no setting has metrics"):
        run_folders([tmp_path / "s"])
    folder = ill(tmp_path / "x")
    (folder / "config.json").write_text("[]")
    with pytest.raises(GailfeError, match="damaged"):
        examine_folder(folder)
    (folder / "config.json").write_text('{"version": 99}')
    with pytest.raises(GailfeError, match="version"):
        examine_folder(folder)
    folder = ill(tmp_path / "y")
    (folder / "metrics.jsonl").unlink()
    with pytest.raises(GailfeError, match="no metrics yet"):
        examine_folder(folder)


def test_one_line_for_the_end_of_training(tmp_path):
    well = examine_folder(ill(tmp_path / "well"))
    assert line_of(well) == "doctor: nothing stands out"
    found = examine_folder(ill(tmp_path / "x", kl=0.5, explained_variance=0.0))
    assert line_of(found) == (
        f"doctor: warning: the value function explains nothing (all seeds) and 1 more; gailfe doctor {tmp_path / 'x'}"
    )
    assert [seeds_in_words(found.findings[0], n) for n in (2, 3)] == ["all seeds", "seeds 0, 1"]


def test_the_report_shows_findings(tmp_path):
    paths = [ill(tmp_path / "x", kl=0.5), ill(tmp_path / "well"), ill(tmp_path / "cut")]
    broken(paths[2], (paths[2] / "metrics.jsonl").read_text() + '{"se')
    page = Parsed(write_report(paths, tmp_path / "report.html").read_text(encoding="utf-8"))
    words = " ".join(page.words)
    assert ("section", "health") in [(tag, attrs.get("id")) for tag, attrs in page.elements]
    assert ("a", "#health") in [(tag, attrs.get("href")) for tag, attrs in page.elements]
    assert "The policy moves too far in a step (note)" in words and "--policy.max-kl" in words
    assert "Nothing stands out." in words and "Not shown: " in words and "is cut" in words
