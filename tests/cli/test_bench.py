from __future__ import annotations

import json

import pytest

from gailfe_jax.bench import registry
from gailfe_jax.bench.registry import BENCHMARKS, Benchmark
from gailfe_jax.cli.main import main

FLAGS = {
    "physics": ["--env", "--engine", "--num-envs", "--repeats", "--out"],
    "train": ["--env", "--algo", "--engine", "--repeats", "--out"],
    "sweep": ["--env", "--algo", "--engine", "--seeds", "--repeats", "--out"],
    "scaling": ["--axis", "--env", "--engine", "--values", "--repeats", "--out"],
    "profile": ["--env", "--algo", "--engine", "--num-envs", "--repeats", "--out"],
    "fidelity": ["--env", "--engine", "--repeats", "--out"],
    "horizon": ["--env", "--horizons", "--repeats", "--out"],
    "evaluation": ["--env", "--algo", "--engine", "--num-envs", "--episodes", "--repeats", "--out"],
    "depth": ["--env", "--algo", "--engine", "--num-envs", "--unroll-length", "--out"],
    "replay": ["--env", "--policy", "--hidden", "--minibatch", "--updates", "--repeats", "--out"],
    "precision": ["--env", "--seeds", "--iterations", "--out"],
}


def test_what_each_benchmark_explains_is_tested():
    assert list(FLAGS) == list(BENCHMARKS)


@pytest.mark.parametrize("name", FLAGS)
def test_every_benchmark_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", name, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: gailfe bench {name}" in shown and BENCHMARKS[name].summary in " ".join(shown.split())
    assert all(flag in shown for flag in FLAGS[name])


def test_help_lists_the_benchmarks(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 100 for line in shown)
    for name, benchmark in BENCHMARKS.items():
        assert [line for line in shown if line.split()[:1] == [name] and line.endswith(f"  {benchmark.summary}")]


def test_a_benchmark_is_one_module_and_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "coins.py").write_text(
        '''
def run(sides: int = 2, *, faces: tuple[str, ...] = ("heads",)) -> dict:
    """Measures coins.

    Args:
      sides: Count this many sides.
      faces: Look for these faces.
    """
    return {"what": "coins", "rows": [sides, *faces]}


def show(report):
    print("shown", report["rows"])


def draw(report, path):
    path.write_text("drawn")
'''
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry.BENCHMARKS, "coins", Benchmark("coins", "Coins."))
    out = tmp_path / "coins.json"
    assert main(["bench", "coins", "--sides", "3", "--faces", "a", "b", "--out", str(out)]) == 0
    assert capsys.readouterr().out == "shown [3, 'a', 'b']\n"
    assert json.loads(out.read_text()) == {"what": "coins", "rows": [3, "a", "b"]}
    assert (tmp_path / "coins.png").read_text() == "drawn"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("bench x", "bench: 'x' is no benchmark; expected one of physics, train"),
        ("bench peers", "bench: 'peers' left the package; from a checkout run: python -m benchmarks.peers"),
        ("bench peers --learning", "python -m benchmarks.peers"),
        ("bench physics --env nonsense", "env: unknown task 'nonsense'"),
        ("bench train --repeats 0", "repeats: got 0"),
        ("bench physics --num-envs 0", "num_envs: got (0,)"),
        ("bench physics --env brax:fast", "env: brax:fast has no bare engine"),
    ],
)
def test_bad_input_ends_in_one_line(refused, words, message):
    refused(words, message)
