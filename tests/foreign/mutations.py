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
