"""JSON of files is bounded, whoever wrote it."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

import gailfe_jax
from gailfe_jax.errors import GailfeError
from gailfe_jax.io import json_text
from gailfe_jax.io.json_text import DEEPEST, parse_json, read_json

REFUSED = {
    "lists without end": ("[" * 100_000, "nests more than 64"),
    "objects without end": ('{"a":' * 100_000, "nests more than 64"),
    "lists too deep": ("[" * 65 + "]" * 65, "nests more than 64"),
    "a digit too many": ("[1, 18446744073709551616]", "whole number of 20 digits; expected one of 64 bits"),
    "400 digits": ("-" + "1" * 400, "whole number of 401 digits"),
    "a million digits": ("1" * 1_000_000, "whole number of 1000000 digits"),
    "an exponent": ('{"a": 1e400}', "1e400, which is not finite"),
    "not a number": ('{"a": NaN}', "NaN; expected a finite number"),
    "infinity": ('{"a": -Infinity}', "-Infinity; expected a finite number"),
    "a name twice": ('{"a": {"b": 1, "b": 1}}', "b is given twice"),
    "no JSON": ("{", "is no JSON"),
    "nothing": ("", "is no JSON"),
    "no UTF-8": (b'"\xff"', "is no JSON"),
    "half a character": ('["\\ud800"]', "is no JSON"),
    "two values": ("1 2", "is no JSON"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_hostile_text_is_one_line(tmp_path, case):
    text, words = REFUSED[case]
    with pytest.raises(GailfeError, match=words):
        parse_json(text)
    path = tmp_path / "x.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(GailfeError) as error:
        read_json(path, "record of something")
    message = str(error.value)
    assert message.startswith(f"{path}: ") and message.endswith("; expected a record of something")
    assert "\n" not in message and len(message) < 400


def test_ordinary_text_is_what_json_makes_of_it():
    whole = {"a": [1, -2.5e-300, 2**64 - 1, -(2**63), None, True, "é"], "b": {"c": {}}, "sha256": "1" * 64, "d": 1e299}
    deep = "[" * DEEPEST + "]" * DEEPEST
    for text in (json.dumps(whole), json.dumps(whole, ensure_ascii=False).encode(), deep):
        assert parse_json(text) == json.loads(text)
    assert str(parse_json("[NaN, Infinity]", nonfinite=True)) == "[nan, inf]"


def test_a_file_is_as_small_as_such_files_are(tmp_path, monkeypatch):
    (tmp_path / "x.json").write_text(json.dumps("x" * 100))
    with pytest.raises(GailfeError, match=r"x\.json: has over 50 bytes; expected a JSON file"):
        read_json(tmp_path / "x.json", most=50)
    with pytest.raises(GailfeError, match="has 102 characters; expected at most 50"):
        parse_json(json.dumps("x" * 100), most=50)
    with pytest.raises(GailfeError, match="expected a readable JSON file"):
        read_json(tmp_path / "missing.json")
    # A device tells no size.
    monkeypatch.setattr(json_text, "LARGEST", 1000)
    if pathlib.Path("/dev/zero").exists():
        with pytest.raises(GailfeError, match="/dev/zero: has over 1000 bytes"):
            read_json("/dev/zero", most=1000)


def test_nothing_else_of_the_package_reads_json():
    """What is listed reads what this package has just written, to itself or beside itself."""
    own = {
        "annotate/pictures.py", "analysis/video.py", "bench/worker.py",  # From a process of its own.
        "training/manifest.py", "training/run_folder.py", "io/safetensors_io.py",  # As it will be read back.
        "export/runtime/jax_check.py", "export/runtime/numpy_policy.py", "export/runtime/onnx_check.py",  # Stand alone.
        "io/json_text.py",
    }  # fmt: skip
    root = pathlib.Path(gailfe_jax.__file__).parent
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"\bjson\.loads?\(", path.read_text(encoding="utf-8"))
    }
    assert found <= own
