from __future__ import annotations

import importlib
import json
import pathlib
import re
import shutil
import sys

import numpy as np
import pytest

from gailfe_jax.config.tree import without_unread
from gailfe_jax.io import user_modules
from gailfe_jax.learners.record import part_record, read_flat, read_method
from gailfe_jax.rewards.registry import REWARDS

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Without cells: SMILe leaves a mixture and is no method of `gailfe train`.
OWN_FORM = {"smile"}
NAMES = [
    path.parent.name
    for path in sorted((ROOT / "experiments" / "results").glob("*/table.md"))
    if path.parent.name not in OWN_FORM
]
# Whose figures are drawn at once.
QUICK = ("gail_table", "gasil_tuning")
# Beside the cells' own: what no training made.
FLOORS = ("random", "demonstrations")


@pytest.fixture
def load(monkeypatch):
    """A function from an experiment's name to its module and the module of its cells."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    # What an experiment registers is forgotten afterwards, and registered again by the next one that asks for it.
    monkeypatch.setattr(REWARDS, "_added", {})
    monkeypatch.setattr(user_modules, "_imported", [])
    yield lambda name: (importlib.import_module(name), importlib.import_module("cells"))
    for name in ("failure_variants", "failure_classifier"):
        sys.modules.pop(name, None)


def files(experiment):
    folder = ROOT / "experiments" / "results" / experiment
    return [path for path in sorted(folder.glob("*.json")) if path.stem != "summary"]


def recorded(cell):
    """`(task, method)` of a result file's cell: the committed ones are of the time of flat settings."""
    if "config" not in cell:
        return cell["env"], read_method(cell["algo"], cell["method"])
    place, method = read_flat(cell["config"], cell["hyper"])
    return place.env, method


# Written, and not run yet: to be taken out when their results are committed.
WAITING = {"failure_variants"}


def test_all_experiments_have_results():
    scripts = {path.stem for path in (ROOT / "experiments").glob("*.py")} - {"cells"}
    assert scripts - WAITING - OWN_FORM == set(NAMES)


@pytest.mark.parametrize("name", sorted(WAITING))
def test_experiments_that_wait_are_ready(name, load, tmp_path, monkeypatch, capsys):
    """Their cells go together and are drawn, from results made up here."""
    experiment, cells = load(name)
    assert len({cell.name for cell in experiment.CELLS}) == len({cell.label + cell.env for cell in experiment.CELLS})
    for cell in experiment.CELLS:
        cell.method.verify()
        env, method = recorded(json.loads(json.dumps(cell.record())))
        assert env == cell.env and repr(method) == repr(cell.method), cell.name
    monkeypatch.setattr(cells, "RESULTS", tmp_path)
    (tmp_path / name).mkdir()
    made = {"steps": [1, 2], "evaluations": {"return_mean": [[1.0, 2.0], [2.0, 3.0]]}, "expert_return": 4.0}
    made |= {"final_gymnasium_returns": [[1.0, 2.0], [3.0, 4.0]], "final_lengths": [[5, 6], [7, 8]]}
    made |= {"train_seconds_last_session": 60.0, "also_gymnasium_returns": [[1.0, 1.0], [2.0, 2.0]]}
    gaps = [[1.0, 0.5], [float("nan"), 1.0]]
    made["evaluations"] |= {"train_return": gaps, "train_falls": gaps, "episodes": gaps}
    results = {cell.name: made | {"cell": json.loads(json.dumps(cell.record()))} for cell in experiment.CELLS}
    # The first cell that ends has nothing to stand beside.
    for name_of_one in (experiment.CELLS[0].name, experiment.CELLS[-1].name):
        experiment.draw({name_of_one: results[name_of_one]})
        assert "nothing to draw yet" in capsys.readouterr().out
    experiment.draw(results)
    # Cells that differ in their number alone are parts of one row.
    rows = {re.sub(r"(?<=-\d)-\d(?=-)|-\d+$", "", cell.name) for cell in experiment.CELLS}
    assert capsys.readouterr().out.count("\n") == len(rows) + 2
    assert (tmp_path / name / f"{name}.png").is_file() and (tmp_path / name / "summary.json").is_file()


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_tables_are_drawn_from_the_result_files_alone(name, load, monkeypatch, tmp_path, capsys):
    experiment, cells = load(name)
    committed = ROOT / "experiments" / "results" / name
    shutil.copytree(
        committed.parent, tmp_path, ignore=shutil.ignore_patterns("*.png", "*.md", "summary.json"), dirs_exist_ok=True
    )
    monkeypatch.setattr(cells, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--draw"])
    assert cells.main(name, experiment.CELLS, experiment.draw, None) == 0
    for file in ("table.md", "summary.json"):
        again = f"{file}: run: python experiments/{name}.py --draw"
        assert (tmp_path / name / file).read_text() == (committed / file).read_text(), again
    assert {path.name for path in committed.glob("*.png")} == {path.name for path in (tmp_path / name).glob("*.png")}


@pytest.mark.parametrize("name", NAMES)
def test_a_result_file_holds_what_its_cell_asks_for(name, load):
    planned = {cell.name: cell for cell in load(name)[0].CELLS}
    assert len(planned) == len(load(name)[0].CELLS)
    for path in files(name):
        record = json.loads(path.read_text())
        origin = record["provenance"]
        assert origin["git"]["commit"] and not origin["git"]["dirty"], path.name
        assert all(origin[key] for key in ("command", "date", "hardware", "python", "versions")), path.name
        if path.stem.endswith(FLOORS):
            continue
        cell, held = planned[path.stem], record["cell"]
        env, method = recorded(held)
        assert env == cell.env, path.name
        # What nothing reads is the same in both by construction.
        assert repr(method) == repr(without_unread(cell.method)), path.name
        for key in ("name", "steps", "seeds", "first_seed", "trajectories", "subsample", "final_episodes"):
            assert held.get(key, getattr(cell, key)) == getattr(cell, key), f"{path.name}: {key}"
        assert np.shape(record["final_gymnasium_returns"]) == (cell.seeds, cell.final_episodes), path.name
        assert np.isfinite(record["final_gymnasium_returns"]).all(), path.name


@pytest.mark.parametrize("name", NAMES)
def test_a_new_result_file_says_what_its_cell_asks_for(name, load):
    for cell in load(name)[0].CELLS:
        held = json.loads(json.dumps(cell.record()))
        env, method = recorded(held)
        assert env == cell.env and repr(method) == repr(cell.method), cell.name
        assert held["steps"] == cell.steps and held["label"] == cell.label, cell.name


def test_smile_is_drawn_from_its_result_files_and_they_say_how_they_came_about(load, monkeypatch, tmp_path, capsys):
    experiment, cells = load("smile")
    committed = ROOT / "experiments" / "results" / "smile"
    held = {path.stem: json.loads(path.read_text()) for path in files("smile")}
    assert set(held) == {f"hopper-{size}-smile" for size in experiment.SIZES}
    for size in experiment.SIZES:
        record = held[f"hopper-{size}-smile"]
        assert record["provenance"]["git"]["commit"] and not record["provenance"]["git"]["dirty"]
        assert record["settings"] == json.loads(json.dumps(part_record(experiment.settings())))
        assert record["labels"] == 1000 * size
        assert np.shape(record["final_gymnasium_returns"]) == (experiment.SEEDS, experiment.EPISODES)
    shutil.copytree(committed, tmp_path / "smile", ignore=shutil.ignore_patterns("*.png", "*.md", "summary.json"))
    monkeypatch.setattr(cells, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["smile.py", "--draw"])
    assert experiment.main() == 0
    for file in ("table.md", "summary.json"):
        assert (tmp_path / "smile" / file).read_text() == (committed / file).read_text()
    monkeypatch.setattr(cells, "RESULTS", tmp_path / "nothing")
    assert experiment.main() == 2 and "no results to draw yet" in capsys.readouterr().err


def test_an_unknown_cell_ends_in_one_line(load, monkeypatch, capsys):
    experiment, cells = load("gail_table")
    monkeypatch.setattr(sys, "argv", ["gail_table.py", "--only", "hopper-4-gial"])
    monkeypatch.setattr(cells, "run_cell", lambda *_: pytest.fail("it trains"))
    assert cells.main("gail_table", experiment.CELLS, experiment.draw, None) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "'hopper-4-gial'" in error and "hopper-4-gail" in error


def test_what_is_trained(load, monkeypatch):
    experiment, cells = load("gail_table")
    some = [cell for cell in experiment.CELLS if cell.name in ("hopper-4-gail", "hopper-25-bc", "walker2d-11-bc")]
    folder = pathlib.Path("/nowhere")  # Nothing has run yet.
    monkeypatch.setattr(cells, "RESULTS", folder)

    def trained(*arguments):
        names = []
        monkeypatch.setattr(cells, "run_cell", lambda cell, _: names.append(cell.name))
        monkeypatch.setattr(sys, "argv", ["gail_table.py", *arguments])
        code = cells.main("gail_table", some, lambda _: None, None, later=experiment.LATER)
        assert code == 2  # There is still nothing to draw.
        return names

    assert trained() == ["hopper-4-gail", "hopper-25-bc"]
    assert trained("--all") == [cell.name for cell in some]
    assert trained("--only", "walker2d-11-bc") == ["walker2d-11-bc"]
    assert trained("--draw") == []


def test_returns_become_shares_of_the_expert(load):
    cells = load("gail_table")[1]
    record = {
        "steps": [10, 20], "evaluations": {"return_mean": [[1.0, 3.0], [2.0, 4.0]]},
        "final_gymnasium_returns": [[2.0, 4.0], [5.0, 5.0]], "expert_return": 4.0,
    }  # fmt: skip
    np.testing.assert_allclose(cells.final_scores(record), [0.75, 1.25])
    np.testing.assert_allclose(cells.area_scores(record), [0.5, 0.75])
    np.testing.assert_allclose(cells.curve(record)[1], [[1.0, 3.0], [2.0, 4.0]])


def test_an_expert_is_reached_where_five_evaluations_in_a_row_are_good(load):
    experiment, _ = load("sample_efficiency")
    steps = np.arange(1, 9) * 10.0
    assert experiment.reached(steps, np.array([0.1, 0.5, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2])) == 20
    # Once is not for good.
    assert experiment.reached(steps, np.array([0.1, 0.9, 1.0, 0.6, 0.9, 0.9, 0.9, 0.9])) is None
    assert experiment.reached(steps[:4], np.ones(4)) is None


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("deterministic", [True, False])
def test_demonstrations_are_as_an_experiment_asks(load, monkeypatch, tmp_path, keep, deterministic):
    cells, asked = load("cells")[1], {}

    def collect(env, expert, **options):
        asked.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(cells, "WORK", tmp_path)
    monkeypatch.setattr(cells, "collect_demonstrations", collect)
    with pytest.raises(KeyboardInterrupt):
        cells.demonstrations("cartpole", keep_failed=keep, deterministic=deterministic)
    assert (asked["keep_failed"], asked["deterministic"]) == (keep, deterministic)
    assert (asked["trajectories"], asked["seed"]) == (30, 0)


@pytest.mark.exact
@pytest.mark.slow
def test_demonstrations_of_experiments_are_those_of_the_committed_results(load, monkeypatch, tmp_path):
    _, cells = load("cells")
    monkeypatch.setattr(cells, "WORK", tmp_path)
    recorded = json.loads((ROOT / "experiments/results/gail_table/hopper-demonstrations.json").read_text())
    from gailfe_jax.data.trajectories import Demonstrations

    made = Demonstrations.load(cells.demonstrations("hopper", failures=0))
    # One of them falls, with a return of 12.
    assert made.expert.returns.tolist() == recorded["returns"] and min(recorded["returns"]) < 13


def test_every_picture_has_a_vector_beside_it():
    pictures = sorted((ROOT / "experiments" / "results").glob("*/*.png"))
    assert pictures and [path for path in pictures if not path.with_suffix(".svg").is_file()] == []


def test_what_the_results_page_says_of_drawing_is_there():
    """Each script of its table is there, and names the picture that it draws."""
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|.*`python experiments/(\w+)\.py --draw` \| \[[\w.]+\]\(\.\./(\S+)\) \|$", page, re.M)
    assert len(rows) >= 6
    for name, picture in rows:
        assert (ROOT / "experiments" / f"{name}.py").is_file() and (ROOT / picture).is_file()
        assert pathlib.Path(picture).parent.name == name
