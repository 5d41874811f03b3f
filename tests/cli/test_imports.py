"""`--import MODULE`, on any command."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from gailfe_jax.cli.main import main
from gailfe_jax.errors import GailfeError
from gailfe_jax.io import user_modules
from gailfe_jax.io.user_modules import imported_modules
from gailfe_jax.rewards import features

ROOT = pathlib.Path(__file__).parent.parent.parent
REGISTERS = "import gailfe_jax\ngailfe_jax.register_features('cubes', lambda x: x**3)\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, for modules that are forgotten after the test."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(user_modules, "_imported", [])
    monkeypatch.setattr(features, "_features", dict(features._features))
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["my_features", "my_features.py", "parts.my_features", "parts/my_features.py"])
@pytest.mark.parametrize("words", ["algorithms --import {}", "algorithms --import={}"])
def test_what_a_module_registers_is_known(folder, capsys, name, words):
    write((folder / name.removesuffix(".py").replace(".", "/")).with_suffix(".py"), REGISTERS)
    with pytest.raises(GailfeError, match="unknown features 'cubes'"):
        features.find_features("cubes")
    assert main(words.format(name).split()) == 0
    np.testing.assert_array_equal(features.find_features("cubes")(np.array([2.0, 3.0])), [8.0, 27.0])
    assert imported_modules() == (name,)


@pytest.mark.parametrize(
    "words",
    [
        "--import my_features train --out x --algo fem --features cubes",
        "train --import my_features --out x --algo fem --features cubes",
        "train --out x --algo fem --import my_features --features cubes",
        "train --out x --algo fem --features cubes --import my_features",
    ],
)
def test_it_stands_anywhere_after_the_command(folder, capsys, words):
    """Without demonstrations training ends in an error; it is the next one after that of unknown features."""
    write(folder / "my_features.py", REGISTERS)
    without = words.replace("--import my_features ", "").removesuffix(" --import my_features")
    assert main(without.split()) == 2
    assert "features: unknown features 'cubes'" in capsys.readouterr().err
    assert main(words.split()) == 2
    expected = "got '--import'; expected a command first" if words.startswith("--") else "demos: fem needs"
    assert expected in capsys.readouterr().err


def test_modules_are_imported_in_order_once_and_before_the_words_are_read(folder, capsys):
    for name in ("first", "second"):
        write(folder / f"{name}.py", f"print('{name}')\n")
    command = "video --import second --episodes 2 --import first --import=second"
    assert main(command.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == "second\nfirst\n" and "PATH" in captured.err
    assert imported_modules() == ("second", "first")


def test_a_module_may_import_its_neighbours(folder, capsys):
    write(folder / "parts" / "helper.py", "value = 7\n")
    write(folder / "parts" / "mine.py", "import helper\nprint(helper.value)\n")
    assert main(["algorithms", "--import", "parts/mine.py"]) == 0
    assert capsys.readouterr().out.startswith("7\n")


def test_the_command_itself_finds_modules_in_its_folder(tmp_path):
    """From another folder than the package's, and with a file there that is called like one of Python's."""
    write(tmp_path / "my_module.py", "print('here')\n")
    write(tmp_path / "calendar.py", "raise RuntimeError('hides a module of Python')\n")
    script = "import sys; from gailfe_jax.cli.main import main; sys.exit(main())"
    # -P: like the installed command, and unlike python -c, without the current folder on sys.path.
    command = [sys.executable, "-P", "-c", script, "algorithms", "--import", "my_module"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("here\n")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("missing", None, "import: missing: no such module in this folder, on PYTHONPATH or among the inst"),
        (
            "missing.part",
            None,
            "import: missing.part: no such module in this folder, on PYTHONPATH or among the inst",
        ),
        ("missing.py", None, "import: missing.py: no such file"),
        ("", None, "import: got ''; expected a module's name or a .py file after --import"),
        ("--quiet", None, "import: got '--quiet'; expected a module's name or a .py file after --import"),
        ("../mine", None, "import: got '../mine'; expected a module's name or a .py file whose name Python can import"),
        ("my-file.py", "", "import: got 'my-file.py'; expected a module's name or a .py file whose name Python"),
        ("broken", "x = 1\n1 / 0\n", "import: broken: ZeroDivisionError: division by zero (broken.py, line 2)"),
        ("broken.py", "def f(:\n", "import: broken.py: SyntaxError: invalid syntax (broken.py, line 1)"),
        ("needy", "\nimport missing\n", "needy: ModuleNotFoundError: No module named 'missing' (needy.py, line 2)"),
        ("leaves", "raise SystemExit(0)\n", "import: leaves: SystemExit: 0 (leaves.py, line 1)"),
        ("bare", "assert False\n", "import: bare: AssertionError (bare.py, line 1)"),
        ("long", "raise ValueError('two\\nlines')\n", "import: long: ValueError: two lines (long.py, line 1)"),
        ("twice", REGISTERS.replace("cubes", "linear"), "import: twice: features: got the name 'linear'; expected"),
        ("calendar", "", "import: calendar: Python has another module 'calendar'; expected a name that is free"),
        ("calendar.py", "", "import: calendar.py: Python has another module 'calendar'; expected a name that is free"),
        ("numpy.mine", "", "import: numpy.mine: Python has another module 'numpy'; expected a name that is free"),
    ],
)
def test_what_cannot_be_imported_is_told_in_one_line(folder, capsys, name, text, message):
    if text is not None:
        write(folder.joinpath(*name.removesuffix(".py").split(".")).with_suffix(".py"), text)
    assert main(["train", "--out", "x", "--import", name]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("gailfe: error: ") and captured.err.count("\n") == 1
    assert message in captured.err and captured.out == ""
    assert imported_modules() == () and not (folder / "x").exists()


def test_an_import_flag_without_a_module_is_told_in_one_line(folder, capsys):
    assert main(["train", "--out", "x", "--import"]) == 2
    assert capsys.readouterr().err == (
        "gailfe: error: import: got ''; expected a module's name or a .py file after --import\n"
    )


def test_help_tells_of_it(capsys):
    assert main(["--help"]) == 0
    assert "--import MODULE" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["video", "--help"])
    assert "--import MODULE" in capsys.readouterr().out
