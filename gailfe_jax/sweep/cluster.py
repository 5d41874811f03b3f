"""Programs of a sweep as jobs of a cluster, by submitit."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from gailfe_jax.errors import GailfeError

UNBOUNDED_GIB = 2.0**40
"""Memory where each job's machine has to say what fits."""


def make_executor(folder: pathlib.Path, cluster: str, options: Sequence[str]) -> Callable[[], Any]:
    """Makes submitit's executor when it is first needed: making one makes its folder.

    Raises:
      GailfeError: submitit is not installed, or an option has another form.
    """
    try:
        import submitit  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise GailfeError("cluster: submitit is not installed; expected `pip install 'gailfe-jax[cluster]'`") from None
    values: dict[str, Any] = {}
    for word in options:
        name, equals, text = word.partition("=")
        if not (equals and name and text):
            raise GailfeError(f"cluster_options: got {word!r}; expected name=value")
        values[name] = int(text) if text.isdecimal() else text

    @functools.cache
    def make() -> Any:
        executor = submitit.AutoExecutor(folder=str(folder / "jobs"), cluster=cluster)
        try:
            executor.update_parameters(**values)
        except (NameError, TypeError, ValueError) as error:
            raise GailfeError(f"cluster_options: {error}") from None
        return executor

    return make


def wait_for(jobs: dict[str, Any], logs: pathlib.Path) -> bool:
    """Waits for jobs by name; True if a signal ended one early.

    Raises:
      GailfeError: a job failed; the others have been waited for.
    """
    try:
        errors = {name: job.exception() for name, job in jobs.items()}
    except KeyboardInterrupt:
        for job in jobs.values():
            job.cancel()
        raise
    failed = [(name, str(error).strip().splitlines()) for name, error in errors.items() if error is not None]
    if failed:
        name, lines = failed[0]
        raise GailfeError(
            f"cluster: {len(failed)} of {len(jobs)} jobs failed, first program {name} "
            f"({lines[-1] if lines else 'no message'}); see {logs} and --resume"
        )
    return any(job.result() for job in jobs.values())
