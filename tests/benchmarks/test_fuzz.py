"""`make fuzz` at a small scale, and that it can fail."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from benchmarks.fuzz import kinds, worker
from benchmarks.fuzz.__main__ import inputs, main
from benchmarks.fuzz.kinds import KINDS, SUFFIXES, Kind
from benchmarks.fuzz.raw import changed
from benchmarks.fuzz.values import as_json, places, record_changed
from benchmarks.fuzz.words import COMMANDS as LINES
from gailfe_jax.artifacts.policy import load_expert
from gailfe_jax.cli.commands import COMMANDS
from gailfe_jax.data.recordings import recording_formats
from gailfe_jax.errors import GailfeError
from gailfe_jax.training.checkpoint import CheckpointManager
from tests.data.made import make_demonstrations
from tests.data.recordings.write_files import FILES
from tests.foreign.specs import MODELS

ROOT = pathlib.Path(__file__).parent.parent.parent
MADE = ("own.npz", "own.h5", "recordings", "models", "policy.safetensors", "checkpoints", "arm")
NEED_PYARROW = [kind for kind in KINDS if kind.endswith(kinds.ARROW)]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The valid inputs that need no training."""
    folder = tmp_path_factory.mktemp("sources")
    for suffix in ("npz", "h5"):
        make_demonstrations().save(folder / f"own.{suffix}")
    shutil.copytree(FILES, folder / "recordings")
    shutil.copytree(MODELS, folder / "models")
    shutil.copytree(ROOT / "examples" / "arm", folder / "arm")
    load_expert("cartpole").save(folder / "policy.safetensors")
    manager = CheckpointManager(folder / "checkpoints")
    for step in (1, 2):
        manager.save(step, kinds.state_of(step), {"env": "toy"})
    return folder


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working folder; the input is read elsewhere than here."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_is_no_kind_of_input_that_is_left_out():
    assert {line.split()[0] for line in LINES} == set(COMMANDS)
    layouts = [kind.removeprefix("import ").split()[0] for kind in KINDS if kind.startswith("import ")]
    assert {"npz" if layout == "npy" else layout for layout in layouts} == set(recording_formats())
    assert len(inputs(1.0, None)) >= 2000


OF_EACH_READER = ("import npz", "import csv", "demonstrations HDF5", "task TOML", "policy", "checkpoint", "expert sb3")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in OF_EACH_READER else pytest.mark.slow)
        for name, kind in KINDS.items()
        if kind.source.split("/")[0] in MADE
    ],
)
def test_a_changed_input_is_valid_or_refused(name, sources, work):
    if name in NEED_PYARROW:
        pytest.importorskip("pyarrow", reason="pyarrow is an optional extra")
    found = [worker.read(worker.Input(name, number), sources, work, seed=7) for number in range(3)]
    assert [outcome.error for outcome in found] == [""] * 3
    # The number and the seed say what it is.
    again = worker.read(worker.Input(name, 1), sources, work, seed=7)
    assert (again.changed, again.outcome) == (found[1].changed, found[1].outcome)


def test_a_valid_input_is_read(sources, work):
    for kind in KINDS.values():
        if kind.source.split("/")[0] in MADE and kind.name not in NEED_PYARROW:
            kind.read(sources / kind.source)


def test_bytes_are_changed_as_the_seed_says():
    content = bytes(range(200))
    made = [changed(content, np.random.default_rng(seed)) for seed in range(50)]
    assert made == [changed(content, np.random.default_rng(seed)) for seed in range(50)]
    assert sum(other != content for other in made) > 40


def test_one_value_of_a_record_is_changed():
    record = {"a": {"b": [1, 2.5, "x"]}, "c": None}
    assert list(places(record)) == [("a",), ("a", "b"), ("a", "b", 0), ("a", "b", 1), ("a", "b", 2), ("c",)]
    rng, texts = np.random.default_rng(0), set()
    for _ in range(100):
        made, _ = record_changed(record, rng)
        texts.add(as_json(made))
    assert record == {"a": {"b": [1, 2.5, "x"]}, "c": None}
    assert len(texts) > 40


def faulty(read):
    return dataclasses.replace(KINDS["demonstrations npz"], read=read)


def raises(path):
    raise KeyError("shape")


def says_it_on_two_lines(path):
    raise GailfeError(f"{path}: damaged\n[spec]")


def names_no_file(path):
    raise GailfeError("damaged")


def reads_what_is_not_finite(path):
    kinds._hold(bool(np.isfinite(np.nan)), "numbers that are not finite")


def takes_memory(path):
    assert bytearray(b"x" * (worker.MEMORY + 2**20))


def leaves(path):
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (raises, "KeyError: 'shape' [test_fuzz.py:"),
        (says_it_on_two_lines, "in other than one line that names the file"),
        (names_no_file, "in other than one line that names the file"),
        (reads_what_is_not_finite, "read: numbers that are not finite"),
        (leaves, "SystemExit: 0"),
        pytest.param(takes_memory, "MiB", marks=pytest.mark.slow),
    ],
)
def test_a_reader_with_a_fault_fails(read, said, sources, work, monkeypatch):
    monkeypatch.setitem(KINDS, "faulty", faulty(read))
    found = worker.read(worker.Input("faulty", 0), sources, work, seed=0)
    assert found.outcome == "failed" and said in found.error and found.changed.startswith("own.npz: ")


def test_a_slow_reader_fails(sources, work, monkeypatch):
    monkeypatch.setattr(worker, "SECONDS", 0.01)
    monkeypatch.setitem(KINDS, "faulty", faulty(lambda path: sum(range(3_000_000))))
    assert worker.read(worker.Input("faulty", 0), sources, work, seed=0).error.startswith("computed for 0.")


FAULTY = """
import os, sys, time
from benchmarks.fuzz import __main__ as fuzz, kinds, worker

# These are refused as they are.
fuzz.check = lambda sources, folder: None
worker.HANGING = 10.0
deeds = {"dies": lambda path: os._exit(9), "hangs": lambda path: time.sleep(60), "raises": lambda path: {}["x"]}
kinds.KINDS.clear()
for name, read in deeds.items():
    kinds.KINDS[name] = kinds.Kind(name, "own.npz", read, 2)
kinds.KINDS["good"] = kinds.Kind("good", "own.npz", kinds.demonstrations, 4)
sys.exit(fuzz.main(["--sources", sys.argv[1], "--only", *kinds.KINDS, "--out", sys.argv[2]]))
"""


@pytest.mark.slow
def test_processes_that_die_or_hang_are_counted_and_the_others_go_on(sources, tmp_path):
    words = [sys.executable, "-c", textwrap.dedent(FAULTY), str(sources), str(tmp_path / "fuzz.json")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and (tmp_path / "fuzz.json").exists(), done.stderr
    report = json.loads((tmp_path / "fuzz.json").read_text())
    assert {row["kind"]: (row["inputs"], row["failed"]) for row in report["rows"]} == {
        "dies": (2, 2), "hangs": (2, 2), "raises": (2, 2), "good": (4, 0),
    }  # fmt: skip
    said = {failure["kind"]: failure["error"] for failure in report["failures"]}
    assert said["hangs"] == "had not ended" and said["dies"].startswith("killed its process")
    assert said["raises"].startswith("KeyError: 'x'")
    assert str(tmp_path) not in (tmp_path / "fuzz.json").read_text()


@pytest.mark.slow
def test_it_runs_from_the_command_line(tmp_path):
    words = ["-m", "benchmarks.fuzz", "--scale", "0.02", "--jobs", "1", "--out", str(tmp_path / "fuzz.json")]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "fuzz.json").read_text())
    assert {row["kind"] for row in report["rows"]} == {*KINDS, kinds.COMMAND_LINE}
    assert report["failures"] == [] and report["provenance"]["command"].startswith("python -m benchmarks.fuzz")


def test_one_input_is_of_one_kind(capsys):
    with pytest.raises(SystemExit):
        main(["--input", "3"])
    assert "--input goes with --only and one kind" in capsys.readouterr().err


def test_every_suffix_has_its_own_changes():
    assert isinstance(KINDS["policy"], Kind)
    assert {pathlib.Path(kind.source).suffix for kind in KINDS.values()} - {"", *SUFFIXES} <= {".0", ".1"}
