from __future__ import annotations

import contextlib
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from gailfe_jax.cli.main import main
from gailfe_jax.data.trajectories import Demonstrations, Trajectories
from gailfe_jax.errors import GailfeError
from gailfe_jax.parallel import distributed
from gailfe_jax.training.checkpoint import CheckpointManager
from gailfe_jax.training.program import mesh_shape
from gailfe_jax.training.run_folder import load_policies, load_run
from tests import haste
from tests.runs import metrics_of

ROOT = pathlib.Path(__file__).parent.parent.parent
CHUNK, EVALUATIONS, SEEDS = 64, 3, [0, 1, 2]
TINY = [
    *("gail", "--policy", "ppo", "--policy.epochs", "1", "--policy.minibatches", "2", "--policy.lr", "0.05"),
    *("--env", "hopper", "--rollout.num-envs", "4", "--rollout.unroll-length", "16", "--policy.hidden", "4"),
    *("--reward.hidden", "4", "--reward.steps", "2", "--reward.minibatch", "32"),
    *("--seeds", "3", "--eval-every", "64", "--eval-episodes", "2", "--checkpoint-seconds", "1e9", "--no-tensorboard"),
]
# Of six devices in two processes two share each seed: those of one process, those of the other, and one of each.
DEVICES = 3
ROUNDING = 1e-4

pytestmark = pytest.mark.usefixtures("quick_programs")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def start(words, devices=1, **environment):
    # Six devices on few cores: one may keep the others waiting.
    flags = (
        f"--xla_force_host_platform_device_count={devices}",
        "--xla_cpu_collective_call_terminate_timeout_seconds=600",
    )
    env = haste.environment(*flags) | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *words],
        env=env | environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(*processes, timeout=300):
    """`(return code, stdout, stderr)` of each; all are killed if one does not end in time."""
    try:
        shown = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(processes, shown)]


def train_on_one(out, *words):
    return main(["train", *words, "--out", str(out), "--quiet"])


def parameters_of(folder):
    return np.concatenate([w.ravel() for policy in load_policies(folder) for layer in policy.weights for w in layer])


@pytest.fixture(scope="module")
def demos_file(tmp_path_factory):
    rng = np.random.default_rng(0)
    n = 100
    obs = rng.normal(size=(n + 1, 11)).astype(np.float32)
    walk = Trajectories(
        obs=obs[:-1], action=rng.uniform(-1, 1, (n, 3)).astype(np.float32),
        next_obs=obs[1:], reward=np.ones(n, np.float32),
        terminated=np.arange(n) == n - 1, truncated=np.zeros(n, bool), offsets=np.array([0, n]),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("demos") / "demos.npz"
    Demonstrations("Hopper-v5", walk, Trajectories.empty(11, 3)).save(path)
    return path


@pytest.fixture(scope="module")
def whole(quick_programs, demos_file):
    """The folder of what one process trained uninterrupted."""
    folder = demos_file.parent / "whole"
    assert train_on_one(folder, *TINY, "--demos", str(demos_file), "--steps", str(EVALUATIONS * CHUNK)) == 0
    return folder


@pytest.fixture(scope="module")
def said(whole, demos_file):
    """What two processes printed, on standard output and on the other, and how they ended; see on_hosts.py.

    `cut` is the run that they began and half, the one that they continued. One is told where the other is, and one
    started as Slurm would.
    """
    folder, port = demos_file.parent, free_port()
    words = [*TINY, "--demos", str(demos_file)]
    assert train_on_one(folder / "half", *words, "--steps", str(CHUNK)) == 0
    (folder / "steps").write_text(str(EVALUATIONS * CHUNK))
    words = ["train", *words, "--out", str(folder / "cut"), "--steps", str(EVALUATIONS * CHUNK)]
    (folder / "words").write_text("\n".join(words))
    command = ["-m", "tests.parallel.on_hosts", str(folder)]
    slurm = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2", "SLURM_PROCID": "1"}
    slurm |= {"SLURM_LOCALID": "1", "JAX_COORDINATOR_PORT": str(port)}
    return ended(start([*command, f"localhost:{port}", "2", "0"], DEVICES), start(command, DEVICES, **slurm))


def assert_same_to_rounding(folder, whole):
    ours, theirs = metrics_of(folder), metrics_of(whole)
    order = [(seed, (i + 1) * CHUNK) for i in range(EVALUATIONS) for seed in SEEDS]
    assert [(record["seed"], record["step"]) for record in ours] == order
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        values = [[np.nan if record[name] is None else record[name] for name in one] for record in (one, other)]
        np.testing.assert_allclose(*values, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(parameters_of(folder), parameters_of(whole), rtol=ROUNDING, atol=ROUNDING)
    assert json.loads((folder / "summary.json").read_text())["finished"]


@pytest.mark.slow
def test_a_signal_to_one_process_ends_all_with_one_checkpoint(said, whole):
    cut = whole.parent / "cut"
    (_, out, err), (_, other, nothing) = said
    assert out.count("interrupted at step") == 1 and "interrupted" not in other + nothing, err[-3000:]
    assert f"continue with: gailfe train --out {cut} --resume" in err
    assert out.count("ended 130") == other.count("ended 130") == 1
    assert CheckpointManager(cut / "checkpoints").steps() == [CHUNK]
    assert [record["step"] for record in metrics_of(cut)] == [CHUNK] * len(SEEDS)
    assert load_run(cut)["provenance"]["hardware"]["processes"] == 2
    # What the comparisons below must tell apart: two more iterations.
    assert np.abs(parameters_of(cut) - parameters_of(whole)).max() > 100 * ROUNDING


@pytest.mark.slow
def test_a_checkpoint_of_two_processes_goes_on_in_one(said, whole, tmp_path):
    folder = shutil.copytree(whole.parent / "cut", tmp_path / "run")
    assert train_on_one(folder, "--resume") == 0
    assert_same_to_rounding(folder, whole)


@pytest.mark.slow
def test_a_checkpoint_of_one_process_goes_on_in_two(said, whole):
    (_, out, err), (_, other, _) = said
    assert f"resuming at step {CHUNK}" in out and "resuming" not in other
    assert out.count("ended 0") == other.count("ended 0") == 1, err[-3000:]
    assert_same_to_rounding(whole.parent / "half", whole)


@pytest.mark.slow
def test_what_one_process_refuses_all_refuse(said, demos_file):
    (first, out, err), (second, other, _) = said
    kept = ("refused", "sent")
    lines = [[line for line in text.splitlines() if line.startswith(kept)] for text in (out, other)]
    assert lines[0] == lines[1]
    missing, method, devices, held, sent = lines[0]
    assert missing.startswith(f"refused process 1: {demos_file.parent / 'missing.npz'}: ")
    assert method.startswith("refused policy.gamma: process 1 was given another one than process 0; ")
    assert "expected 0 (all that fit) or one of 2, 4 on 2 processes with 6" in devices
    assert held == f"refused process 0: {demos_file.parent}: exists and holds no run; choose another --out"
    assert sent == "sent {'x': array([-0., nan,  0.], dtype=float32), 'y': array(False)}"
    # One of them died at the end, which the other is not to wait for.
    assert second == 7 and first not in (0, None), err[-3000:]


@pytest.mark.parametrize(
    "words", ["x", "host 2 0", "host:1 2 2", "host:1 2 -1", "host:1 2", "host:0 2 0", "host:1 a 0"]
)
def test_wrong_words_are_refused(words, capsys, tmp_path):
    assert main(["train", "--out", str(tmp_path / "run"), "--distributed", *words.split()]) == 2
    message = f"gailfe: error: distributed: got '{words}'; expected HOST:PORT COUNT INDEX, or nothing on Slurm, "
    assert capsys.readouterr().err.startswith(message)
    assert not (tmp_path / "run").exists()


def test_processes_join_before_anything_asks_for_devices(monkeypatch):
    """JAX refuses those that come later; which settings there are goes by the devices."""
    done = []

    @contextlib.contextmanager
    def connected(words):
        done.append(words)
        yield

    monkeypatch.setattr(distributed, "connected", connected)
    monkeypatch.setattr(jax, "default_backend", lambda: done.append("devices") or "cpu")
    assert main(["train", "gail", "--distributed", "host:1", "2", "0", "--print-config"]) == 0
    assert done[:2] == [["host:1", "2", "0"], "devices"]
    done.clear()
    assert main(["train", "gail", "--print-config", "--distributed"]) == 0
    assert done[:2] == [[], "devices"]
    done.clear()
    assert main(["train", "gail", "--print-config"]) == 0
    assert done[:2] == [None, "devices"]


def test_a_port_that_is_taken_is_refused(capsys, tmp_path):
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        assert main(["train", "--out", str(tmp_path / "run"), "--distributed", f"localhost:{port}", "2", "0"]) == 2
    assert capsys.readouterr().err.startswith(f"gailfe: error: distributed: cannot listen on port {port}: ")


@pytest.mark.slow
def test_who_comes_alone_is_told_in_one_line(tmp_path):
    """Without a cluster that would name the others, without a process 0, and without a process 1."""
    wait = "from gailfe_jax.parallel import distributed as hosts; hosts.connected({words}, timeout=4).__enter__()"
    alone = [start(["-c", wait.format(words=(f"127.0.0.1:{free_port()}", "2", i))]) for i in "10"]
    nowhere = start(["-m", "gailfe_jax", "train", "--out", str(tmp_path / "run"), "--distributed"])
    for code, _, err in ended(*alone, timeout=60):
        assert code == 2, err
        line = r"gailfe: error: distributed: not all processes have come together at 127\.0\.0\.1:\d+ within 4 s\n"
        assert re.fullmatch(line, err)
    ((code, _, err),) = ended(nowhere, timeout=60)
    assert code == 2
    assert err.startswith("gailfe: error: distributed: no cluster found that names the processes; expected HOST:PORT")


def test_every_process_takes_part():
    assert mesh_shape(0, 1, 6, 4, processes=2) == (1, 2)
    assert mesh_shape(0, 3, 4, 6, processes=2) == (3, 2)
    with pytest.raises(GailfeError, match=r"^devices: got 0 for 1 .* or one of none on 2 processes with 2$"):
        mesh_shape(0, 1, 3, 2, processes=2)
