"""`gailfe card`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gailfe_jax.cli.parsing import PathWord, parse


@dataclasses.dataclass(frozen=True)
class Card:
    """Write a model card for a run, in Hugging Face's form: results, command, data, names and units, and limits.

    All of it comes from the run folder, and nothing is sent anywhere. Run gailfe evaluate first, for results of more
    episodes.
    """

    path: PathWord
    """Describe the run in this folder."""
    out: str | None = None
    """Write this file. The default is <run>/README.md."""
    seed: int | None = None
    """Show how this seed's policy is loaded. By default it is the best, as in gailfe export."""
    name: str | None = None
    """Call the model so. The default is its method and task."""
    license: str | None = None
    """Name this license, as Hugging Face writes it (apache-2.0). The default names none."""
    overwrite: bool = False
    """Replace an existing file."""

    def __call__(self) -> int:
        from gailfe_jax.apps.card import write_card

        path = write_card(
            self.path, out=self.out, seed=self.seed, name=self.name, license=self.license, overwrite=self.overwrite
        )
        print(f"wrote {path}")
        return 0


def run(args: Sequence[str]) -> int:
    """Carries the command out; returns the exit code."""
    return parse(Card, "card", args)()
