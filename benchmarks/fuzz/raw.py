"""Bytes changed at random, whatever they mean."""

from __future__ import annotations

import numpy as np

_NUMBERS = (0, 2**31 - 1, 2**40, 2**63 - 1, 2**64 - 1)


def changed(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut off, with a few bytes changed, put in, dropped or repeated, or with a number that is far too large."""
    data = bytearray(content)
    kind = int(rng.integers(8))
    at = int(rng.integers(len(data) + 1))
    if kind == 0:
        return bytes(data[:at])
    if kind == 1 and len(data) > 8:
        place = int(rng.integers(len(data) - 8))
        data[place : place + 8] = _NUMBERS[int(rng.integers(len(_NUMBERS)))].to_bytes(8, "little")
    elif kind == 2:
        data[at:at] = rng.bytes(int(rng.integers(1, 16)))
    elif kind == 3:
        del data[at : at + int(rng.integers(1, 20))]
    elif kind == 4:
        data[at:at] = data[at : at + int(rng.integers(1, 40))]
    elif data:
        for _ in range(int(rng.integers(1, 8))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
    return bytes(data)
