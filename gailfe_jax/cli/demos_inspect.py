"""`gailfe demos inspect`."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence

from gailfe_jax.cli.parsing import PathWord, parse


@dataclasses.dataclass(frozen=True)
class Inspect:
    """Say what is in a demonstration file or a recording, whether it fits its environment, and which methods it allows.

    Counts, lengths, returns, ranges against the bounds, what is constant, saturated, duplicated or not finite, and
    episodes far shorter than the rest. Pairs with a stored simulator state are replayed. A picture is drawn beside.
    """

    source: PathWord
    """A demonstration file, or any recording that gailfe demos import reads."""
    env: str | None = None
    """Look at it beside this environment. By default it is the one that the file names."""
    format: str | None = None
    """The layout, as for gailfe demos import. By default it is found."""
    map: tuple[str, ...] = ()
    """Say which columns make a field: obs=observation.state action=torque_* ..."""
    out: str | None = None
    """Draw the picture into this file (.png, .pdf or .svg). By default it is <source>.png."""
    json: bool = False
    """Print JSON instead of words, and draw only where --out says so."""

    def __call__(self) -> int:
        from gailfe_jax.analysis.plots.demonstrations import demonstrations_picture
        from gailfe_jax.apps.inspection import inspect_demonstrations
        from gailfe_jax.data.trajectories import bounds_of

        found = inspect_demonstrations(self.source, env=self.env, format=self.format, mapping=self.map)
        spec = found.spec
        picture = self.out
        if picture is None and not self.json:
            name = self.source.replace(":", "-").rstrip("/")
            picture = f"{pathlib.Path(name).with_suffix('')}.png"
        if picture is not None:
            # Those of an environment that the actions do not fit would be drawn beside them.
            fits = spec is not None and not spec.discrete and spec.action_size == found.parts["expert"].action.shape[1]
            bounds = bounds_of(spec)[:2] if fits and spec is not None else None
            limit = None if spec is None else spec.max_episode_steps
            title = f"{pathlib.Path(self.source).name}: {found.env_id or 'no environment named'}"
            demonstrations_picture(found.parts, picture, title=title, bounds=bounds, limit=limit)
        if self.json:
            print(json.dumps(found.record(), indent=1))
            return 0
        beside = "" if spec is None else f", looked at beside {spec.name}"
        print(f"{self.source}: {found.format}, of {found.env_id or 'an environment that it does not name'}{beside}")
        for note in found.notes:
            print(f"  {note}")
        for part, findings in found.findings.items():
            print(f"{part}:")
            for finding in findings:
                if finding.words is not None:
                    print(f"  {'! ' if finding.warns else ''}{finding.words}")
        print("what it allows:")
        for line in found.advice:
            print(f"  {line}")
        print(f"wrote {picture}")
        return 0


def run(args: Sequence[str]) -> int:
    return parse(Inspect, "demos inspect", args)()
