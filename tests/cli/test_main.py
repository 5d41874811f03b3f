from __future__ import annotations

import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import time
import tomllib
import types

import pytest

import gailfe_jax
from gailfe_jax.cli import main as main_module
from gailfe_jax.cli.commands import COMMANDS
from gailfe_jax.cli.main import main

ROOT = pathlib.Path(__file__).parent.parent.parent
SHOWN = {
    "train": ["--out", "--resume", "METHOD", "--env", "--demos", "--steps", "--seeds", "--config", "gailfe "],
    "sweep": ["--out", "--grid", "--random", "--settings", "--resume", "--seeds", "--demos", "METHOD"],
    "expert": ["--out", "--env", "--run-dir", "--episodes", "--policy.lr"],
    "demos": ["--out", "--env", "--trajectories", "--failures", "--annotator", "--snapshots"],
    "annotate": ["PATH", "--out", "--env", "--port", "--no-browser"],
    "evaluate": ["PATH", "--episodes", "--backend", "--json", "--expert"],
    "video": ["PATH", "--out", "--episodes", "--no-overlay", "--beside"],
    "play": ["PATH", "--out", "--expert", "--demonstration", "--failure", "--max-steps"],
    "confidence": ["PATH", "--demos", "--episodes", "--seed"],
    "export": ["PATH", "--to", "onnx,jax,numpy,c", "--out", "--seed", "--overwrite"],
    "report": ["PATH...", "--out", "--videos", "--no-states", "--demos"],
    "watch": ["PATH", "--port", "--no-browser"],
    "doctor": ["PATH...", "--json", "metrics.jsonl"],
    "card": ["PATH", "--out", "--license", "--overwrite"],
    "bench": ["usage: gailfe bench", "physics", "train", "horizon"],
    "algorithms": ["usage: gailfe algorithms"],
    "quickstart": ["--out", "--seeds", "--steps"],
}


def test_what_each_command_explains_is_tested():
    assert list(SHOWN) == list(COMMANDS)


@pytest.mark.parametrize("command", SHOWN)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in SHOWN[command])


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help_lists_the_commands(words, capsys):
    assert main(words) == 0
    shown = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 100 for line in shown)
    for name, command in COMMANDS.items():
        assert [line for line in shown if line.split()[:1] == [name] and line.endswith(f"  {command.summary}")]


def test_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gailfe {gailfe_jax.__version__}\n"


def test_the_package_runs_as_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "gailfe_jax", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == f"gailfe {gailfe_jax.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trian --out x", "unknown command 'trian'; did you mean 'train'?"),
        ("eval runs/x", "unknown command 'eval'; did you mean 'evaluate'?"),
        ("nonsense", f"unknown command 'nonsense'; expected one of {', '.join(COMMANDS)}"),
        ("--out x", "got '--out'; expected a command first (gailfe --help lists them)"),
    ],
)
def test_an_unknown_command_is_told_the_nearest(words, message, capsys):
    assert main(words.split()) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"gailfe: error: {message}\n")


def test_what_is_not_asked_for_is_not_imported():
    """Help is there at once because it imports next to nothing, and no command pays for another's packages."""
    script = """
import json, sys
from gailfe_jax.cli.main import main
seen = {}
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit:
        pass
    seen[" ".join(words)] = sorted({"jax", "scipy", "matplotlib", "tyro", "rich", "numpy"} & set(sys.modules))
print(json.dumps(seen))
"""
    instant = [["--help"], ["--version"], ["trian"], []]
    late = [[name, "--help"] for name in COMMANDS if name not in ("train", "sweep", "expert")]
    words = json.dumps([*instant, *late])
    done = subprocess.run([sys.executable, "-c", script, words], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    assert all(seen[" ".join(words)] == [] for words in instant), seen
    assert all(not {"jax", "scipy", "matplotlib"} & set(seen[" ".join(words)]) for words in late), seen


def test_the_console_script_is_this_main(capfd):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"gailfe": f"{main.__module__}:{main.__name__}"}
    script = shutil.which("gailfe", path=str(pathlib.Path(sys.executable).parent))
    if script is None:
        pytest.skip("the package is not installed here, so it has no console script")
    main(["algorithms"])
    shown = subprocess.run([script, "algorithms"], capture_output=True, text=True, check=True).stdout
    assert shown == capfd.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        "train --out x --colour red",
        "train",
        "train --out x --seeds many",
        "train gail x",
        "sweep gail x",
        "evaluate",
        "bench train --colour red",
    ],
)
def test_words_that_do_not_parse_exit_with_2(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("gailfe: error: ") and (shown.err + shown.out).count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_command_writes_nothing(refused):
    refused("nonsense", "unknown command 'nonsense'")


def test_an_interruption_before_training_exits_with_130(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt("somewhere: interrupted")

    monkeypatch.setattr("gailfe_jax.apps.evaluate_run.policies_of", interrupt)
    assert main(["video", "x"]) == 130
    assert capsys.readouterr().err == "gailfe: somewhere: interrupted\n"


@pytest.mark.parametrize("value", ["1", "True"])
def test_64_bits_are_refused_before_anything_is_begun(value, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAX_ENABLE_X64", value)
    assert main(["train", "ppo", "--env", "cartpole", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"gailfe: error: JAX_ENABLE_X64: got '{value}'; expected it unset") and said.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_a_device_that_is_not_there_is_one_line(platform, tmp_path):
    words = ["train", "ppo", "--env", "cartpole", "--out", str(tmp_path / "run")]
    environment = os.environ | {"JAX_PLATFORMS": platform}
    done = subprocess.run(
        [sys.executable, "-m", "gailfe_jax", *words], capture_output=True, text=True, env=environment, cwd=ROOT,
        check=False,
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and last.startswith(f"gailfe: error: JAX_PLATFORMS: got '{platform}', and JAX has no")
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["JAX_ENABLE_X64", "JAX_DEBUG_NANS", "JAX_NUMPY_RANK_PROMOTION"])
def test_a_variable_that_jax_does_not_take_is_one_line(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "gailfe_jax", "evaluate", "x"], capture_output=True, text=True,
        env=os.environ | {name: "maybe"}, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("gailfe: error: JAX does not load (") and name.lower() in done.stderr.lower()


def test_a_terminal_is_told_at_once_what_is_loaded(monkeypatch, capsys):
    """Before anything heavy is imported: the command's own module comes after."""
    told = []
    loader = types.SimpleNamespace(import_module=lambda name: told.append(capsys.readouterr().err) or Quiet)
    monkeypatch.setattr(main_module, "importlib", loader)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["train", "gail"]) == 0
    assert main(["train", "gail", "--help"]) == 0
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert main(["train", "gail"]) == 0
    assert told == ["gailfe train: loading JAX and MuJoCo ...\n", "", ""]


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
@pytest.mark.parametrize("words", ["train gail --out run", "quickstart", "sweep gail --out run", "play run"])
def test_a_terminal_shows_something_within_two_seconds(words, tmp_path):
    """A process of its own, from its start on; it is ended as soon as it has spoken."""
    shown, terminal = os.openpty()
    command = [sys.executable, "-m", "gailfe_jax", *words.split()]
    began = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, cwd=tmp_path, env=environment
    ) as process:
        try:
            ready, _, _ = select.select([shown], [], [], 2)
            took, said = time.monotonic() - began, os.read(shown, 1000).decode() if ready else ""
        finally:
            process.kill()
    os.close(shown), os.close(terminal)
    assert said.startswith(f"gailfe {words.split()[0]}: loading JAX and MuJoCo ...") and took < 2


class Quiet:
    """A command that does nothing."""

    @staticmethod
    def run(words):
        return 0
