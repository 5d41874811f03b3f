"""How much of a file may be taken into memory, decided before any is."""

from __future__ import annotations

from gailfe_jax.errors import GailfeError
from gailfe_jax.io.host_memory import free_host_bytes

MAX_COMPRESSION = 1032
"""Deflate cannot shrink by more than 1032 to 1: what claims more lies about its size."""
EXPANSION = 20
"""Times its own size that a file may become, all arrays together: recordings shrink by less."""
ALWAYS = 128 * 2**20
"""Bytes that any file may become, for small ones may well hold little but zeros."""


class Budget:
    """What the arrays of one file may take together.

    Args:
      name: the file.
      stored: its size in bytes.
    """

    def __init__(self, name: str, stored: int):
        self.name, self.stored = name, stored
        # Arrays are there twice for a while: as they are stored, and in float32.
        self._free = free_host_bytes() / 3
        self._taken = 0

    def take(self, field: str, declared: int, stored: int | None = None) -> None:
        """Accounts for an array.

        Args:
          field: its name.
          declared: bytes that it will take.
          stored: bytes that it takes in the file; the whole file's if None.

        Raises:
          GailfeError: it declares more than the file can hold; or all together are more than fits into the memory, or
            than a file of this size holds of what was recorded.
        """
        stored = self.stored if stored is None else min(stored, self.stored)
        where = f"{self.name}: field '{field}'"
        if declared > MAX_COMPRESSION * stored:
            raise GailfeError(f"{where}: declares {declared} bytes, more than the file can hold")
        self._taken += declared
        if self._taken > max(ALWAYS, EXPANSION * self.stored):
            raise GailfeError(
                f"{where}: the file's {self.stored} bytes become {self._taken}; expected at most {EXPANSION} times as "
                "many, or the file stored with less compression"
            )
        if self._taken > self._free:
            raise GailfeError(f"{where}: more than fits into the free memory; expected a smaller file")
