"""Where a result came from: code, machine, versions and command, as a dictionary for JSON."""

from __future__ import annotations

import datetime
import importlib.metadata
import itertools
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gailfe_jax import __version__

PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "mujoco", "mujoco-mjx", "warp-lang"),
    *("gymnasium", "brax", "orbax-checkpoint", "numpy"),
)


def provenance() -> dict[str, Any]:
    """What a reader needs to judge and repeat a result.

    Returns:
      `command`, `date` (UTC, ISO 8601), `git` (`commit`, `dirty`; None outside a clone of this project), `hardware`
      (`cpu`, `cores` this process may use, `memory_gib`, `accelerators` and number of all `processes` of the run,
      `system`), `python` and `versions`. It names neither the machine nor its user, and paths outside the working
      directory are cut to their last part.
    """
    return {
        "command": command_line(sys.argv),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git": git_state(Path(__file__).resolve().parent),
        "hardware": {
            "cpu": _cpu_model(),
            "cores": _cores(),
            "memory_gib": _memory_gib(),
            "accelerators": _accelerators(),
            "processes": _processes(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "python": platform.python_version(),
        "versions": package_versions(),
    }


def command_line(argv: Sequence[str]) -> str:
    """`argv` as one would type it in the working directory."""
    program = Path(argv[0] if argv and argv[0] not in ("", "-c") else "python")
    if program.suffix == ".py":
        package = Path(__file__).resolve().parent.parent
        place = program.resolve()
        # A package beside this one is run the same way.
        if place.is_relative_to(package) or (place.name == "__main__.py" and place.is_relative_to(package.parent)):
            module = place.relative_to(package.parent).with_suffix("")
            words = ["python", "-m", ".".join(module.parts).removesuffix(".__main__")]
        else:
            words = ["python", _short_path(str(program))]
    else:
        words = [program.name]
    for before, word in itertools.pairwise(argv):
        # The word behind it names a machine.
        if before == "--distributed" and ":" in word:
            words.append("HOST:PORT")
            continue
        flag, equals, value = word.partition("=")
        words.append(f"{flag}={_short_path(value)}" if equals and flag.startswith("-") else _short_path(word))
    return shlex.join(words)


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the repository that tracks `folder`, and whether its files differ (result files apart)."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed package may lie in the ignored .venv of somebody else's repository.
    if not git("ls-files", "."):
        return None
    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None
    changes = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude,glob)**/results/**")
    return {"commit": commit, "dirty": bool(changes)}


def _short_path(word: str) -> str:
    if not os.path.isabs(word):
        return word
    path, here = Path(word), Path.cwd()
    if path.is_relative_to(here):
        return str(path.relative_to(here))
    return f".../{path.name}" if path.name else word


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    if sys.platform == "darwin":
        try:
            done = subprocess.run(
                ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, timeout=10, check=True
            )
            return done.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _accelerators() -> list[str]:
    import jax

    return [device.device_kind for device in jax.devices() if device.platform != "cpu"]


def _processes() -> int:
    import jax

    return jax.process_count()


def package_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Our own version and those of `packages`, of those that are installed."""
    # The installation's metadata may be older than the code that runs: in a clone they are as of the last install.
    versions = {"gailfe-jax": __version__}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
