"""What may stand where something else is expected: values of JSON, words of a command line, shapes and types."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

DEEP = 100_000
"""Levels of nesting that no reader can follow by calling itself."""

JSON: tuple[str, ...] = (
    *("null", "true", "-1", "0", "0.5", "1e300", "1e999", "-1e999", "NaN", "Infinity", "1e-400"),
    *(str(2**31), str(2**63), str(2**64), "9" * 400, "9" * 5000, "-0.0"),
    *('""', '"x"', '"nan"', '"1"', '"\\ud800"', '"\\u0000"', '"é∞"', json.dumps("x" * 200_000)),
    *("[]", "{}", "[null]", "[[]]", "[{}]", '{"a": 1}', "[1, 2]", "[true]", "[1e999]"),
    *("[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "[" + "0," * 50_000 + "0]"),
)
"""Texts of JSON, some of which it has no word for."""

WORDS: tuple[str, ...] = (
    *(
        "",
        " ",
        "-",
        "--",
        "-1",
        "0",
        "1",
        "2",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e300",
        "1e-320",
        "1e5,",
        "1_000",
        "0x10",
    ),
    *(
        "9" * 30,
        "9" * 5000,
        "-" + "9" * 30,
        "2147483648",
        "18446744073709551616",
        "1.5",
        "٣",
        "１",
        "é",
        "\udcff",
        "\n",
    ),
    *(
        "true",
        "false",
        "none",
        "None",
        "null",
        "[]",
        "{}",
        "()",
        "[" * 5000,
        "x" * 100_000,
        "a,b,,c",
        ",",
        ":",
        "=",
        "a=b",
    ),
    *(
        "..",
        ".",
        "absent",
        "absent.npz",
        "absent.safetensors",
        "x.toml",
        "minari:",
        "minari:absent",
        "gymnasium:absent",
    ),
    *("delayed1:" * 3000 + "cliff", "delayed99999999999:cliff", "delayed" + "9" * 5000 + ":cliff", "delayed-1:cliff"),
    *("reward.lr=", "reward.lr=nan", "reward.lr=uniform:-1e308:1e308", "reward.lr=log:0:1", "rollout.num_envs=1e300"),
    *(
        "rollout.num_envs=uniform:0:1e300",
        "gamma=choice:",
        "8x8x",
        "x8",
        "0x0",
        "8x" * 2000 + "8",
        "2147483647x2147483647",
    ),
    *("own", "terminated", "return<", "return<nan", "return<1e400", "length<" + "9" * 400, "%s", "{}", "$HOME", "a b"),
)
"""Words of a command line."""

SHAPES: tuple[Any, ...] = (
    *((), (0,), (1,), (-1,), (True, 3), (False,), (2**63,), (2**64, 2), (10**400,), (1.5,), ("3",), None, 3, [3]),
    *((3, 3), (0, 3), (3, 0), (1,) * 40, (2**31, 2**31), (10**10,)),
)
DTYPES: tuple[str, ...] = (
    *(
        "|O",
        "<U1",
        "<U3",
        "|S1",
        "|S0",
        "<c8",
        ">f4",
        "<f2",
        "<f8",
        "<i8",
        "<u8",
        "|b1",
        "|i1",
        "|V8",
        "<M8[ns]",
        "<m8",
    ),
    *("<U1000000000", "|V2147483647", "<f16", "x", "", "[('a', '<f4')]", "<U0"),
)


def pick(choices: Any, rng: np.random.Generator) -> Any:
    """One of a sequence."""
    return choices[int(rng.integers(len(choices)))]


def numbers(array: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Another array in its place, and what of it is another."""
    whole = np.array(array)
    kinds: dict[str, Callable[[], np.ndarray]] = {
        "not a number": lambda: _with(whole, np.nan, rng),
        "infinite": lambda: _with(whole, np.inf, rng),
        "huge": lambda: _with(whole, 1e38, rng),
        "huge everywhere": lambda: np.full(whole.shape, 1e38),
        "negative": lambda: _with(whole, -1, rng),
        "out of range": lambda: _with(_plain(whole).astype(np.float64), 2**62, rng).astype(np.int64),
        "empty": lambda: whole[:0] if whole.ndim else whole,
        "shorter": lambda: whole[:-1] if whole.ndim else whole[None],
        "longer": lambda: np.concatenate([whole, whole[-1:]]) if whole.ndim and len(whole) else whole[None],
        "flat": lambda: whole.reshape(-1),
        "transposed": lambda: whole.T.copy(),
        "deeper": lambda: whole[None],
        "one number": lambda: np.array(0.0),
        "reversed": lambda: whole[::-1].copy() if whole.ndim else whole,
        "text": lambda: np.array(["x"] * max(len(whole), 1)) if whole.ndim else np.array("x"),
        "whole numbers": lambda: np.nan_to_num(_plain(whole)).astype(np.int64),
        "doubles": lambda: _plain(whole).astype(np.float64),
        "halves": lambda: _plain(whole).astype(np.float16),
        "complex": lambda: _plain(whole).astype(np.complex64),
        "truth": lambda: _plain(whole).astype(bool),
        "zeros": lambda: np.zeros_like(_plain(whole)),
        "wider": lambda: np.concatenate([whole, whole], axis=-1) if whole.ndim > 1 else whole,
    }
    name = pick(list(kinds), rng)
    with np.errstate(all="ignore"):
        return kinds[name](), name


def _plain(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind in "fiub" else np.zeros(array.shape)


def _with(array: np.ndarray, value: float, rng: np.random.Generator) -> np.ndarray:
    array = _plain(array)
    made = array.astype(np.float32) if array.dtype.kind != "f" and not np.isfinite(value) else array.copy()
    if made.size:
        with np.errstate(all="ignore"):
            made.reshape(-1)[int(rng.integers(made.size))] = np.array(value).astype(made.dtype)
    return made


class Written(str):
    """A text that stands in JSON as it is."""


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of a record stand, those that hold others too."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, held in inner:
        yield (*place, name)
        yield from places(held, (*place, name))


def record_changed(record: Any, rng: np.random.Generator) -> tuple[Any, str]:
    """A record of JSON in which one value is another, is gone, is twice there or has another name."""
    changed = json.loads(json.dumps(record))
    found = list(places(changed))
    if not found or rng.integers(30) == 0:
        return Written(pick(JSON, rng)), "all of it"
    place = found[int(rng.integers(len(found)))]
    holder = changed
    for name in place[:-1]:
        holder = holder[name]
    name = place[-1]
    kind = int(rng.integers(10))
    shown = ".".join(map(str, place))
    if kind == 0:
        del holder[name]
        return changed, f"{shown} gone"
    if kind == 1 and isinstance(holder, dict):
        holder[pick(["", "x", name + "x", "\ud800", "__class__"], rng)] = holder.pop(name)
        return changed, f"{shown} renamed"
    if kind == 2:
        other = changed
        for part in pick(found, rng):
            other = other[part]
        holder[name] = json.loads(json.dumps(other))
        return changed, f"{shown} is another value of the record"
    if kind == 3 and isinstance(holder[name], int | float) and not isinstance(holder[name], bool):
        holder[name] = holder[name] * pick([-1, 2, 0.5, 1e10], rng)
        return changed, f"{shown} is {holder[name]}"
    if kind == 4 and isinstance(holder[name], str):
        holder[name] = pick(WORDS, rng)
        return changed, f"{shown} is {holder[name][:40]!r}"
    text = pick(JSON, rng)
    holder[name] = Written(text)
    return changed, f"{shown} is {text[:40]}"


def as_json(record: Any) -> str:
    """A record as text, in which `Written` stands as it is."""
    texts: list[str] = []

    def marked(value: Any) -> Any:
        if isinstance(value, Written):
            texts.append(str(value))
            return f"\x01{len(texts) - 1}\x01"
        if isinstance(value, dict):
            return {name: marked(inner) for name, inner in value.items()}
        return [marked(inner) for inner in value] if isinstance(value, list) else value

    text = json.dumps(marked(record))
    for number, written in enumerate(texts):
        text = text.replace(f'"\\u0001{number}\\u0001"', written)
    return text
