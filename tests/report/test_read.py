"""What a report reads of folders, also of odd ones."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from gailfe_jax.errors import GailfeError
from gailfe_jax.report.read import metrics_size, read_series
from tests.report.made import STEPS, metrics, write_cell, write_lines, write_run


def test_a_run_is_read(tmp_path):
    (series,) = read_series([write_run(tmp_path / "mine", seeds=(3, 5))])
    assert (series.label, series.task, series.algo, series.source) == ("mine", "hopper", "gail", "mine")
    assert (series.seeds, series.judged, series.folder) == (("3", "5"), "return_mean", tmp_path / "mine")
    steps, values = series.curves["return_mean"]
    np.testing.assert_array_equal(steps, STEPS)
    np.testing.assert_allclose(values, [metrics(3)["return_mean"], metrics(5)["return_mean"]])
    assert series.references == {"expert": 3600.0, "demonstrations": 3400.0}
    assert series.settings["reward.hidden"] == "100x100" and series.settings["run.seeds"] == "2"
    assert series.facts["git.commit"] == "abc" and series.facts["train_seconds"] == "12.5"
    # Two seeds make 500 steps a second together.
    assert series.seconds is not None
    np.testing.assert_allclose(series.seconds, [[0, *STEPS], [0, *(2 * STEPS / 500.0)]])
    assert metrics_size(tmp_path / "mine") == (tmp_path / "mine" / "metrics.jsonl").stat().st_size


def test_curves_begin_before_the_first_iteration_where_that_was_judged(tmp_path):
    folder = write_run(tmp_path / "mine", seeds=(3, 5))
    (folder / "start.json").write_text(json.dumps({"return_mean": [7.0, None], "length_mean": [1.0], "kl": "x"}))
    (series,) = read_series([folder])
    steps, values = series.curves["return_mean"]
    assert steps.tolist() == [0, *STEPS] and values.shape == (2, len(STEPS) + 1)
    np.testing.assert_array_equal(values[:, 0], [7.0, np.nan])
    # What does not fit the seeds is left out.
    assert series.curves["length_mean"][0].tolist() == series.curves["kl"][0].tolist() == STEPS.tolist()
    for text in ("[", "[]", '{"return_mean": 3}', '{"return_mean": [[1.0, 2.0]]}'):
        (folder / "start.json").write_text(text)
        assert read_series([folder])[0].curves["return_mean"][0].tolist() == STEPS.tolist()


def test_wall_time_of_a_run_that_was_resumed_is_not_known(tmp_path):
    (series,) = read_series([write_run(tmp_path / "mine", resumed=[{"date": "x"}])])
    assert series.seconds is None and series.facts["resumed"] == "1 times"


def test_fresh_episodes_are_taken_from_the_evaluation(tmp_path):
    folder = write_run(tmp_path / "mine", seeds=(0,))
    (folder / "policies").mkdir()
    (folder / "policies" / "seed_0.safetensors").write_bytes(b"")
    report = {"episodes": 50, "seeds": [{"seed": 0, "mean": 3210.0}, {"seed": 1, "mean": None}]}
    (folder / "evaluation.json").write_text(json.dumps(report))
    (series,) = read_series([folder])
    assert series.evaluation == {"0": (3210.0, 50)}


def test_settings_of_a_sweep_are_series(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "sweep.json").write_text("{}")
    for number, lr in enumerate((1e-4, 3e-4)):
        write_run(tmp_path / "s" / "settings" / f"{number:04d}", sweep={"setting": number, "values": {"reward.lr": lr}})
    write_run(tmp_path / "s" / "settings" / "0002")
    (tmp_path / "s" / "settings" / "0002" / "summary.json").unlink()  # Under way.
    found = read_series([tmp_path / "s"])
    assert [series.label for series in found] == ["reward.lr=0.0001", "reward.lr=0.0003"]
    assert {series.source for series in found} == {"s"}


def test_an_experiments_results_are_series_beside_what_it_measured(tmp_path):
    write_cell(tmp_path / "e" / "hopper-gail.json", "GAIL")
    write_cell(tmp_path / "e" / "hopper-4-gail.json", "GAIL")
    (tmp_path / "e" / "hopper-random.json").write_text(
        json.dumps({"final_gymnasium_returns": [[10.0, 20.0], [30.0, 40.0]]})
    )
    (tmp_path / "e" / "hopper-demonstrations.json").write_text(json.dumps({"returns": [3400.0, 3600.0]}))
    (tmp_path / "e" / "summary.json").write_text("{}")
    found = read_series([tmp_path / "e"])
    assert [series.label for series in found] == ["GAIL (hopper-4-gail)", "GAIL (hopper-gail)"]
    assert found[0].references == {"expert": 3600.0, "random actions": 25.0, "demonstrations": 3500.0}
    assert found[0].evaluation == {"0": (2.0, 2), "1": (6.0, 2)}
    (alone,) = read_series([tmp_path / "e" / "hopper-gail.json"])
    assert alone.label == "GAIL" and alone.references == {"expert": 3600.0}


def test_labels_are_told_apart(tmp_path):
    one = write_run(tmp_path / "a" / "gail")
    two = shutil.copytree(one, tmp_path / "b" / "gail")
    assert [series.label for series in read_series([one, two])] == ["gail", "gail #2"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone", None, "gone: no such file or folder; expected a run, a sweep or an experiment's results"),
        ("x.json", "{}", "x.json: holds no result of an experiment"),
        ("x/notes.txt", "hello", "x: holds no run (config.json), no sweep (sweep.json) and no results"),
        ("x/config.json", "[", "config.json: is no JSON"),
        ("x/config.json", "[" * 100_000, "config.json: nests more than 64 objects and lists"),
        ("x/sweep.json", "{}", "x: no setting is finished yet"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    with pytest.raises(GailfeError) as error:
        read_series([tmp_path / name.split("/")[0]])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_number_that_is_none_is_left_out(tmp_path):
    (series,) = read_series([write_run(tmp_path / "x", expert=None)])
    assert "expert" not in series.references


@pytest.mark.parametrize("odd", ["3600", [3600], {"a": 1}, True])
def test_a_record_that_holds_something_else_is_refused(tmp_path, odd):
    with pytest.raises(
        GailfeError, match=r"config.json: field 'demos.expert_return': got .*; expected a number, or null"
    ):
        read_series([write_run(tmp_path / "x", expert=odd)])


def test_only_numbers_that_all_seeds_have_make_a_curve(tmp_path):
    folder = write_run(tmp_path / "x")
    write_lines(
        folder,
        [
            {"seed": 0, "step": 1, "a": 1.0, "text": "<b>", "flag": True, "list": [1], "gone": None},
            {"seed": 0, "step": 2, "a": None, "late": 1},
            {"seed": 1, "step": 1, "a": 2, "gone": 3.0},
            {"seed": 1, "step": 2, "a": 4.0},
        ],
    )
    (series,) = read_series([folder])
    assert set(series.curves) == {"a", "gone"}
    np.testing.assert_array_equal(series.curves["a"][1], [[1.0, np.nan], [2.0, 4.0]])
    assert series.judged == "a"


def test_a_run_without_a_measurement_is_a_series_without_curves(tmp_path):
    folder = write_run(tmp_path / "x")
    (folder / "metrics.jsonl").unlink()
    (series,) = read_series([folder])
    assert (series.curves, series.seeds, series.final.size) == ({}, (), 0)
