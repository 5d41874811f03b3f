"""Files that somebody has meddled with."""

from __future__ import annotations

from gailfe_jax.errors import GailfeError


def refuses(path, read):
    """Whether a file is refused in one line that names it; any other exception than ours is one too many."""
    try:
        read()
    except GailfeError as error:
        said = str(error)
    else:
        return False
    assert str(path) in said and "\n" not in said
    return True


def mutated(content, rng):
    """A copy with a few bytes changed, a piece dropped or repeated, or the end cut off."""
    data = bytearray(content)
    at = int(rng.integers(len(data)))
    kind = rng.integers(4)
    if kind == 0:
        for place in rng.integers(len(data), size=int(rng.integers(1, 5))):
            data[place] = int(rng.integers(256))
    elif kind == 1:
        del data[at : at + int(rng.integers(1, 20))]
    elif kind == 2:
        data[at:at] = data[at : at + int(rng.integers(1, 40))]
    else:
        del data[at:]
    return bytes(data)
