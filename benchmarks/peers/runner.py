"""Runs the peers' scripts in an environment of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from gailfe_jax.errors import GailfeError
from gailfe_jax.io.digests import file_sha256

ROOT = Path(__file__).resolve().parent.parent.parent
_TRIAL_SECONDS = 5.0
_TRIAL_LIMIT = 90.0  # A setting that takes longer, start included, is given up.


def say(text: str) -> None:
    """Tells whoever waits how far it has come."""
    print(text, file=sys.stderr, flush=True)


def scripts() -> Path:
    """The folder of the peers' scripts and their requirements."""
    return ROOT / "benchmarks" / "peers" / "scripts"


def work_folder() -> Path:
    """The folder for what the peers read and write, `runs/peers`; it is made if it is missing."""
    folder = ROOT / "runs" / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def peer_python() -> Path:
    """The interpreter of the peers' environment, `runs/peers-env`, which is made if it is missing or out of date.

    Raises:
      GailfeError: no checkout of the repository, no Python that the peers run on, or the installation failed.
    """
    requirements, folder = scripts() / "requirements.txt", ROOT / "runs" / "peers-env"
    if not requirements.is_file():
        raise GailfeError("peers: needs the repository's folder benchmarks/peers; expected to run from a checkout")
    python, stamp = folder / "bin" / "python", folder / ".installed"
    wanted = file_sha256(requirements)
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    log = ROOT / "runs" / "peers-env.log"
    log.parent.mkdir(exist_ok=True)
    say(f"making the peers' environment in {folder}: some minutes, and 2 GB (6 GB where torch comes with CUDA)")
    install = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--only-binary", ":all:"]
    with log.open("wb") as file:
        for words in ([_base_python(), "-m", "venv", "--clear", str(folder)], [*install, "-r", str(requirements)]):
            if subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, check=False).returncode:
                raise GailfeError(f"peers: their environment could not be made; see {log}")
    stamp.write_text(wanted)
    return python


def _base_python() -> str:
    """A Python that NumPy 1.26 has wheels for."""
    found = sys.executable if sys.version_info < (3, 13) else shutil.which("python3.12") or shutil.which("python3.11")
    if found is None:
        raise GailfeError("peers: no python3.12 or python3.11 found; expected one, which the peers' versions need")
    return found


def run_peer(script: str, *, limit: float | None = None, **options: Any) -> dict[str, Any]:
    """Runs a script of `benchmarks/peers/scripts/` in the peers' environment and returns what it wrote.

    Args:
      script: its file name.
      limit: seconds after which it is killed; None waits.
      options: its flags, with underscores.

    Raises:
      GailfeError: it failed, or see `peer_python`.
      TimeoutExpired: it was killed.
    """
    python, folder = peer_python(), work_folder()
    out, log = folder / "result.json", folder / f"{Path(script).stem}.log"
    out.unlink(missing_ok=True)
    words = [str(python), str(scripts() / script), "--out", str(out)]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    # Their libraries, not ours; no GPU, which these small networks are slower on; no progress bars.
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment = inherited | {"CUDA_VISIBLE_DEVICES": "", "TQDM_DISABLE": "1"}
    with log.open("wb") as file:
        done = subprocess.run(
            words, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT, timeout=limit, check=False
        )
    if done.returncode or not out.is_file():
        raise GailfeError(f"peers: {script} failed with exit code {done.returncode}; see {log}")
    return json.loads(out.read_text(encoding="utf-8"))


def fastest(script: str, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The settings that a peer is fastest with, and all trials.

    Tried are environments in turn and as processes, each with one and two threads of torch.

    Args:
      script: as for `run_peer`.
      options: likewise.

    Raises:
      GailfeError: no setting finished within the limit, or see `run_peer`.
    """
    trials: list[dict[str, Any]] = []
    for vec in ("dummy", "subproc"):
        for threads in (1, 2):
            try:
                result = run_peer(
                    script, limit=_TRIAL_LIMIT, vec=vec, threads=threads, seconds=_TRIAL_SECONDS, **options
                )
                rate, shown = result["steps_per_second"], f"{result['steps_per_second']:,.0f} steps/s"
            except subprocess.TimeoutExpired:
                rate, shown = None, f"given up after {_TRIAL_LIMIT:.0f} s"
            trials.append({"vec": vec, "threads": threads, "steps_per_second": rate})
            say(f"  {vec}, {threads} thread(s): {shown}")
    best = max(trials, key=lambda trial: trial["steps_per_second"] or 0.0)
    if best["steps_per_second"] is None:
        raise GailfeError(
            f"peers: {script} finished no two iterations within {_TRIAL_LIMIT:.0f} s; expected an idle machine"
        )
    return {name: best[name] for name in ("vec", "threads")}, trials


def facts(result: dict[str, Any]) -> dict[str, Any]:
    """What a report says of the peer that wrote `result`."""
    return {name: result[name] for name in ("task", "num_envs", "configuration", "python", "versions")}
