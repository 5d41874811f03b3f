"""Whether a run that goes on is shown what it was shown before; where it is not, the file that differs is named."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from gailfe_jax.config.run import DemoSettings
from gailfe_jax.errors import GailfeError
from gailfe_jax.training.manifest import check_config

_CONTENT = "content_sha256"


def check_same_run(
    run_dir: str | os.PathLike[str], before: Mapping[str, Any], now: Mapping[str, Any], *, ignore: Collection[str]
) -> None:
    """Refuses to go on with a run as another one. What is learned from hangs on the settings too, so these come first.

    Args:
      run_dir: the run folder.
      before, now: what the run is, by its record and today; `demos` as in `Inputs.record`.
      ignore: see `check_config`.

    Raises:
      GailfeError: names the first setting that differs, or the file that holds something else.
    """
    settings = DemoSettings().values()
    derived = [f"demos.{name}" for name in before["demos"].keys() | now["demos"].keys() if name not in settings]
    check_config(dict(before), dict(now), ignore=(*ignore, *derived))
    check_same_content(run_dir, before["demos"], now["demos"])
    check_config(dict(before), dict(now), ignore=ignore)


def check_same_content(
    folder: str | os.PathLike[str], before: Mapping[str, Any], now: Mapping[str, Any], *, what: str = "run"
) -> None:
    """Refuses demonstrations, or an expert, that are not those of before.

    Args:
      folder: of the run or sweep.
      before, now: as in `Inputs.record`.
      what: began with them.

    Raises:
      GailfeError: names the file that holds something else.
    """
    files = before.get("sha256"), now.get("sha256")
    # Of a file that is the same, another release or an annotator of the caller's own has made something else.
    if before.get(_CONTENT) == now.get(_CONTENT) or (files[0] == files[1] is not None):
        return
    if "demos" in now:
        kind, said = "demos", "holds other demonstrations than those"
    else:
        kind, said = "expert", "is another expert than the one"
    name, other = (record.get(kind) for record in (now, before))
    begun = f", {other}" if other and other != name else ""
    given = name or f"{kind} (given in memory)"
    raise GailfeError(f"{folder}: {given} {said} that the {what} began with{begun}; expected the same content")
