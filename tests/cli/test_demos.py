from __future__ import annotations

import json
import shutil
import sys
import types

import numpy as np
import pytest

from gailfe_jax.cli.main import main
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.envs import make_env
from tests.data.made import assert_equal
from tests.data.recordings.write_files import FILES


def test_demos_writes_what_it_says(demos_file, expert_file, capsys):
    demonstrations = Demonstrations.load(demos_file, expect_env="Hopper-v5")
    assert (demonstrations.expert.num_trajectories, demonstrations.failures.num_trajectories) == (4, 8)
    assert demonstrations.provenance["expert"] == str(expert_file)
    assert demonstrations.provenance["command"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("demos --out x.txt", "out: got 'x.txt'; expected a file name that ends in .npz or .h5"),
        ("demos --out x.npz --expert missing.safetensors", "missing.safetensors: expected a readable policy file"),
        ("demos --out x.npz --env halfcheetah --expert {expert}", "expert: a policy for hopper; expected one for half"),
        ("demos --out x.npz --expert {expert} --trajectories 0", "expected a whole number from 1"),
        ("demos --out x.npz --out y.npz", "out is given twice; expected each flag once"),
        ("demos --out x.npz --noise 3", "noise: nothing reads it: no failed attempts; expected --failures"),
        ("demos --out x.npz --annotator terminated --keep-failed", "annotator: nothing reads it: no failed attempts"),
        ("demos --out x.npz --snapshots {expert}", "snapshots: nothing reads it: no failed attempts"),
        ("demos --out x.npz --failures 2 --snapshots {expert} --noise 3", "noise: nothing reads it: the snapshots"),
        ("demos --out x.npz --expert {expert} --seed -1", "seed: got -1"),
        ("demos --out x.npz --expert {expert} --failures 2 --noise nan", "noise: got nan"),
    ],
)
def test_bad_input_ends_in_one_line(refused, words, message):
    refused(words, message)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("folder.npz", "out: folder.npz: is a folder; expected the name of a file"),
        ("file/x.npz", "out: file/x.npz: cannot be written: "),
        ("/proc/x.npz", "out: /proc/x.npz: cannot be written: "),
    ],
)
@pytest.mark.parametrize("words", ["demos", "demos import walk.npz"])
def test_where_nothing_can_be_written_nothing_is_collected(tmp_path, monkeypatch, capsys, words, out, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").write_text("")
    shutil.copy(FILES / "plain.npz", "walk.npz")
    for module in ("gailfe_jax.apps.collection", "gailfe_jax.apps.importing"):
        monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(collect_demonstrations=None))
        monkeypatch.setattr(sys.modules[module], "import_demonstrations", None, raising=False)
    assert main([*words.split(), "--out", out]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"gailfe: error: {message}") and said.count("\n") == 1


def test_a_recording_is_not_replaced_by_what_is_made_of_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(FILES / "plain.npz", "walk.npz")
    before = (tmp_path / "walk.npz").read_bytes()
    assert main(["demos", "import", "walk.npz", "--env", "hopper", "--out", f"../{tmp_path.name}/walk.npz"]) == 2
    assert "is the file that is read; expected another name" in capsys.readouterr().err
    assert (tmp_path / "walk.npz").read_bytes() == before


def test_a_recording_goes_all_the_way(tmp_path, monkeypatch, capsys):
    """Import, inspect, export and import again."""
    monkeypatch.chdir(tmp_path)
    with np.load(FILES / "plain.npz") as file:
        wide = np.tile(file["observations"], (1, 4))[:, :11]
        action = np.concatenate([file["actions"], file["actions"][:, :1]], axis=1)
        np.savez("walk.npz", observations=wide, actions=action, terminals=file["terminals"], timeouts=file["timeouts"])

    def said(words):
        assert main(words.split()) == 0, words
        return capsys.readouterr().out

    out = said("demos import walk.npz --env hopper --out made/demos.npz")
    assert "walk.npz: read as npz" in out and "wrote made/demos.npz\n" in out
    assert said("demos import walk.npz --env hopper --out made/demos.npz").endswith(
        "wrote made/demos.npz, in the place of the file that was there\n"
    )
    assert "- obs: float64 made float32, off by up to" in out
    assert "- failures: 1 of 3 episodes, by annotator 'terminated'" in out
    assert "returns: unknown, for no rewards were recorded" in out
    demos = Demonstrations.load("made/demos.npz", expect_env="Hopper-v5")
    assert demos.provenance["command"] and demos.expert.reward is None

    out = said("demos inspect made/demos.npz")
    assert "made/demos.npz: gailfe, of Hopper-v5, looked at beside hopper" in out
    assert "  returns unknown: no rewards were recorded" in out and "what it allows:\n  bc: clone 7 pairs" in out
    assert (tmp_path / "made" / "demos.png").stat().st_size > 10_000
    report = json.loads(said("demos inspect made/demos.npz --json"))
    assert (report["expert"]["episodes"], report["failures"]["pairs"]) == (2, 5)

    # Beside an environment that it does not fit it is looked at all the same.
    out = said("demos inspect made/demos.npz --env halfcheetah --out other.png")
    assert "! 11 numbers observed and 3 acted; halfcheetah has 17 and 6: they do not fit" in out
    assert "first mend: sizes" in out and (tmp_path / "other.png").is_file()

    out = said("demos export made/demos.npz --to d4rl --out made/demos.hdf5")
    (again,) = [line.partition("gailfe ")[2] for line in out.splitlines() if line.startswith("to read the same back: ")]
    assert again == "demos import made/demos.hdf5 --env Hopper-v5 --failures infos/failed --out NEW.npz"
    said(again)
    back = Demonstrations.load("NEW.npz")
    assert_equal(back.expert, demos.expert)
    assert_equal(back.failures, demos.failures)


def test_the_import_that_export_prints_knows_environments_of_gymnasium(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    episode = {"obs": rng.normal(size=(6, 3)), "action": rng.uniform(-2, 2, (5, 1)), "truncated": True}
    demos = Demonstrations.from_episodes([episode], env_id="Pendulum-v1", spec=make_env("gym:Pendulum-v1").spec)
    demos.save("demos.npz")
    assert main(["demos", "export", "demos.npz", "--to", "d4rl", "--out", "demos.hdf5"]) == 0
    _, found, again = capsys.readouterr().out.partition("to read the same back: gailfe ")
    assert found and main(again.split()) == 0
    back = Demonstrations.load("NEW.npz")
    assert back.env_id == demos.env_id
    assert_equal(back.expert, demos.expert)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("demos import x.csv --out x.npz", "x.csv: no such file or folder"),
        ("demos import {demos} --out x.txt", "out: got 'x.txt'; expected a file name that ends in .npz or .h5"),
        ("demos import {demos} --out x.npz --map obs", "map: got 'obs'; expected FIELD=NAME"),
        ("demos import full --out x.npz --env hopper", "full: of no known layout, expected one of gailfe: "),
        (
            "demos import {demos} --out x.npz --episodes-end-by fall",
            "episodes-end-by: got 'fall'; expected terminated or",
        ),
        ("demos inspect full", "full: of no known layout"),
        ("demos export {demos} --to npz --out x", "to: got 'npz'; expected minari, lerobot, d4rl"),
        ("demos export {demos} --to d4rl --out x --fps 5", "fps: nothing reads it: d4rl records no frame rate"),
        ("demos export {demos} --to lerobot --out x --fps 0", "fps: got 0; expected 1 or more"),
        ("train gail --env hopper --demos damaged.npz --out x", "damaged.npz: "),
        (
            "train gail --env hopper --demos full --out x",
            "; gailfe demos import full --out NEW.npz converts other layouts",
        ),
    ],
)
def test_bad_recordings_end_in_one_line(refused, words, message):
    refused(words, message)


def test_training_names_the_command_that_converts(refused, tmp_path):
    shutil.copy(FILES / "d4rl.hdf5", tmp_path / "d4rl.hdf5")
    refused(
        "train gail --env hopper --demos d4rl.hdf5 --out x",
        "d4rl.hdf5: not of this package's own layout in HDF5; gailfe demos import d4rl.hdf5 --out NEW.npz converts",
    )
    shutil.copy(FILES / "plain.npz", tmp_path / "plain.npz")
    refused("train gail --env hopper --demos plain.npz --out x", "gailfe demos import plain.npz --out NEW.npz converts")
