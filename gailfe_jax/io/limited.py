"""Reading a file whole, if it is as small as such files are."""

from __future__ import annotations

from pathlib import Path

from gailfe_jax.errors import GailfeError


def read_limited(path: Path, most: int, what: str) -> bytes:
    """The content of a file of at most `most` bytes.

    Args:
      path: of the file; it opens the message.
      most: bytes.
      what: such a file is, in words: `ONNX file`.

    Raises:
      GailfeError: it cannot be read, or is larger.
    """
    try:
        with open(path, "rb") as file:
            # Not by the size that the file system tells: a device or a pipe has none.
            content = file.read(most + 1)
    except OSError as error:
        raise GailfeError(f"{path}: expected a readable {what} ({error.strerror})") from None
    if len(content) > most:
        raise GailfeError(f"{path}: has over {most} bytes; expected a {what}")
    return content
