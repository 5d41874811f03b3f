from __future__ import annotations

import hashlib

import pytest

from gailfe_jax.io.digests import canonical_json, file_sha256, json_sha256


def test_a_files_digest_is_that_of_its_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "none")


def test_equal_values_have_one_text():
    assert canonical_json({"b": (1, 2.5), "a": None}) == b'{"a":null,"b":[1,2.5]}'
    assert json_sha256({"b": [1, 2.5], "a": None}) == hashlib.sha256(b'{"a":null,"b":[1,2.5]}').hexdigest()
    assert json_sha256({"a": 1}) != json_sha256({"a": 1.0})
    with pytest.raises(TypeError):
        json_sha256({"a": object()})
