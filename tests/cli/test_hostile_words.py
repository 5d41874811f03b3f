"""Command lines that ask for what cannot be are one line of ours, before memory or time is taken."""

from __future__ import annotations

import math
import pathlib

import jax
import pytest

import gailfe_jax
from gailfe_jax.cli.main import main
from gailfe_jax.errors import shown

EXPERT = str(pathlib.Path(gailfe_jax.__file__).parent / "artifacts" / "experts" / "hopper.safetensors")
_NINE = ",".join(f"0.{digit}" for digit in range(1, 10))
_GRID = [f"{name}={_NINE}" for name in ("gamma", "gae_lambda", "policy.lr", "policy.clip", "policy.value_lr")]
_PPO = ["train", "--algo", "ppo", "--out", "x"]
_CARTPOLE = [*_PPO, "--env", "cartpole"]
_SWEEP = ["sweep", "--algo", "ppo", "--env", "cartpole", "--out", "x"]

WORDS = {
    "a seed of 30 digits": (["demos", "--out", "x.npz", "--seed", "9" * 30], "seed: got 9"),
    "a seed beyond 64 bits": (["evaluate", EXPERT, "--backend", "engine", "--seed", str(2**63)], "seed: got 9223"),
    "a seed of 5000 digits": (["evaluate", EXPERT, "--backend", "gymnasium", "--seed", "9" * 5000], "seed: got '99"),
    "other digits for a seed": (["evaluate", EXPERT, "--seed", "\u0661"], "expected a number in the digits 0 to 9"),
    "other digits for a count": (["demos", "--out", "x.npz", "--trajectories=1\u0662"], "in the digits 0 to 9"),
    "other digits for a setting": ([*_CARTPOLE, "--num-envs", "1\u0662"], "num_envs: got"),
    "no name of a file": (["evaluate", EXPERT, "--out", ""], "out: got an empty value"),
    "no name behind =": (["evaluate", EXPERT, "--out="], "out: got an empty value"),
    "no path": (["evaluate", " "], "got an empty value"),
    "no folder": (["train", "--algo", "ppo", "--out", ""], "out: got an empty value"),
    "a delay of 5000 digits": ([*_PPO, "--env", f"delayed{'9' * 5000}:hopper"], "with 1 to 1000000000 steps"),
    "a delay of other digits": ([*_PPO, "--env", "delayed\u0661:hopper"], "unknown task"),
    "3000 delays": ([*_PPO, "--env", "delayed1:" * 3000 + "hopper"], "at most 10 delays"),
    "a delay too long": ([*_PPO, "--env", "delayed99999999999:hopper"], "with 1 to 1000000000 steps"),
    "a buffer for nobody": (
        ["train", "--algo", "gailfe", "--out", "x", "--failures.capacity", "10" * 6],
        "capacity: got",
    ),
    "seeds for nobody": ([*_CARTPOLE, "--seeds", str(2**32)], "seeds: got"),
    "episodes for nobody": ([*_CARTPOLE, "--eval-episodes", str(2**31 - 1)], "eval_episodes: got"),
    "trajectories for nobody": (["demos", "--out", "x.npz", "--trajectories", str(10**12)], "from 1 to 1000000"),
    "failures for nobody": (["demos", "--out", "x.npz", "--failures", str(10**12)], "from 0 to 1000000"),
    "a value beyond sizes": ([*_SWEEP, "--grid", "num_envs=1e300"], "num_envs: got '1e300'"),
    "59049 settings": ([*_SWEEP, "--grid", *_GRID], "grid: got 59049 settings; expected at most 10000"),
    "a field of 10001 values": ([*_SWEEP, "--grid", "gamma=" + "1," * 10_000 + "1"], "got 10001 settings"),
    "a billion draws": ([*_SWEEP, "--random", "gamma=uniform:0:1", "--samples", str(10**9)], "at most 10000"),
    "bounds too far apart": ([*_SWEEP, "--random", "policy.entropy=uniform:-1e308:1e308"], "got"),
    "bounds beyond sizes": ([*_SWEEP, "--random", "num_envs=uniform:1:1e300"], "num_envs: got '1e300'"),
    "a billion trials": ([*_SWEEP, "--random", "gamma=uniform:0:1", "--optuna", str(10**9)], "optuna: got 1000000000"),
}


@pytest.mark.parametrize("case", WORDS)
def test_it_is_one_short_line(case, tmp_path, monkeypatch, capsys):
    words, said = WORDS[case]
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("gailfe: error: ") and printed.err.count("\n") == 1 and len(printed.err) < 1600
    assert said in printed.err and not printed.out
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_file_to_write(tmp_path, monkeypatch, capsys):
    from gailfe_jax.io.atomic import write_json_atomic

    monkeypatch.chdir(tmp_path)
    for path in (".", "", "..", "/", str(tmp_path)):
        with pytest.raises(IsADirectoryError):
            write_json_atomic(path, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError, "Unable to allocate 931. GiB"),
        (jax.errors.JaxRuntimeError, "RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes."),
    ],
)
def test_memory_that_is_used_up_is_one_line(error, said, monkeypatch, capsys):
    from gailfe_jax.cli import algorithms

    def raise_it(words):
        raise error(said)

    monkeypatch.setattr(algorithms, "run", raise_it)
    assert main(["algorithms"]) == 2
    assert capsys.readouterr().err == f"gailfe: error: memory: used up ({said}); expected less at once\n"


def test_episodes_that_do_not_fit_are_refused_while_they_are_collected(monkeypatch):
    from gailfe_jax.apps import collection
    from gailfe_jax.errors import GailfeError
    from tests.toy import Cliff, cliff_expert

    env, expert = Cliff(), cliff_expert()
    for free, said in ((10.0, "memory: 100 episodes side by side take over"), (6_000.0, "are free; expected fewer")):
        monkeypatch.setattr(collection, "free_host_bytes", lambda free=free: free)
        with pytest.raises(GailfeError, match=said):
            collection.roll_out(env, lambda obs: expert.act_rows(obs), 100, 0)
    monkeypatch.setattr(collection, "free_host_bytes", lambda: math.inf)
    assert collection.roll_out(env, lambda obs: expert.act_rows(obs), 3, 0).num_trajectories == 3


def test_a_line_moves_no_cursor_and_ends():
    assert shown("env \x1b[2J\r\u202eevil") == r"env \x1b[2J\r\u202eevil"
    assert len(shown("9" * 10**6)) < 1600 and shown("é ± x") == "é ± x"
