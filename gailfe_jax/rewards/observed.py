"""Which numbers of an observation a reward judges, written as text: `0,2:5,joint:knee.qpos,*velocity`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

from gailfe_jax.errors import GailfeError

ALL = "all"
"""The text for all of them."""
_INDEX = re.compile(r"-?\d{1,9}")
_SLICE = re.compile(r"(-?\d{1,9})?:(-?\d{1,9})?")


def find_observed(text: str, size: int, names: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The numbers that a text chooses, in the observation's order.

    Args:
      text: with commas between: indices (`3`, `-1`), slices (`2:5`, `:4`), and names, in which `*` stands for anything.
      size: how many numbers an observation has.
      names: `name -> which numbers it is of`; upper and lower case are the same.

    Raises:
      GailfeError: the text chooses nothing, or what is not there.
    """
    found: set[int] = set()
    for word in _words(text):
        found.update(_chosen(word, size, names))
    if not found:
        raise GailfeError(f"reward.features: got {text!r}; expected {ALL}, or indices, slices and names")
    return tuple(sorted(found))


def _words(text: str) -> Iterator[str]:
    """The parts between commas that stand outside of brackets: a name may hold some, as in `clip(x, -1, 1)`."""
    depth, word = 0, ""
    for character in f"{text},":
        depth += (character in "([") - (character in ")]")
        if character == "," and depth <= 0:
            if word.strip():
                yield word.strip()
            word = ""
        else:
            word += character


def _chosen(word: str, size: int, names: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    if _INDEX.fullmatch(word):
        index = int(word)
        if not -size <= index < size:
            raise GailfeError(f"reward.features: got {word}; expected an index below {size}, the numbers observed")
        return (index % size,)
    if match := _SLICE.fullmatch(word):
        start, stop = (None if part is None else int(part) for part in match.groups())
        if not range(size)[start:stop]:
            raise GailfeError(f"reward.features: got {word}, which holds none of the {size} numbers observed")
        return tuple(range(size)[start:stop])
    pattern = re.compile(".*".join(map(re.escape, word.split("*"))), re.IGNORECASE)
    fitting = [indices for name, indices in names.items() if pattern.fullmatch(name)]
    if not fitting:
        near = difflib.get_close_matches(word, names, n=1, cutoff=0.4)
        known = f"did you mean {near[0]!r}?" if near else f"expected such as {next(iter(names), '0:2')!r}"
        raise GailfeError(f"reward.features: no number observed is called {word!r}; {known}")
    return tuple(index for indices in fitting for index in indices)
