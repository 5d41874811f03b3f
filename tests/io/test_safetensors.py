"""Headers that are none of ours: one line, before the library or NumPy makes anything of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gailfe_jax.artifacts.confidence import Confidence
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.safetensors_io import read_metadata, read_tensors, write_tensors

_TENSOR = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'

HEADERS = {
    "no metadata": '{"__metadata__":null}',
    "metadata of numbers": '{"__metadata__":{"format":1}}',
    "metadata in a list": '{"__metadata__":["format"]}',
    "a list": "[]",
    "a number": "1",
    "nothing": "",
    "nested": '{"a":' * 100_000,
    "lists": "[" * 100_000,
    "a tensor twice": f'{{"a":{_TENSOR},"a":{_TENSOR}}}',
    "a tensor of null": '{"a":null}',
    "an unknown type": '{"a":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}',
    "a type without NumPy": '{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}',
    "a size of 400 digits": f'{{"a":{{"dtype":"F32","shape":[{"9" * 400}],"data_offsets":[0,4]}}}}',
    "a negative size": '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
    "sizes whose product overflows": '{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}',
    "data beyond the end": '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
    "no format": f'{{"a":{_TENSOR},"__metadata__":{{"x":"y"}}}}',
    "another format": f'{{"a":{_TENSOR},"__metadata__":{{"format":"pt"}}}}',
    "half a character": f'{{"a":{_TENSOR},"__metadata__":{{"format":"\\ud800"}}}}',
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_malformed_header_is_one_line(tmp_path, case):
    text = HEADERS[case].encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0\0\0\0")
    for load in (Policy.load, Confidence.load):
        with pytest.raises(GailfeError) as error:
            load(path)
        assert str(error.value).startswith(f"{path}: expected a") and "\n" not in str(error.value)
        assert len(str(error.value)) < 500


@pytest.mark.parametrize("size", [0, 8, 2**40, 2**63, 2**64 - 1])
def test_a_header_is_as_long_as_the_file_says(tmp_path, size):
    path = tmp_path / "x.safetensors"
    path.write_bytes(size.to_bytes(8, "little"))
    with pytest.raises(GailfeError, match=r"x\.safetensors: expected a policy file"):
        Policy.load(path)


@pytest.mark.parametrize("text", ["", "null", "[]", '{"a": 1}', '{"a": "b", "a": "c"}', "[" * 10_000])
def test_metadata_are_texts(tmp_path, text):
    path = write_tensors(tmp_path / "x", "gailfe_jax policy 1", {"a": np.zeros(1)}, {"metadata": text})
    header = read_tensors(path, "gailfe_jax policy 1")[1]
    with pytest.raises(GailfeError, match=r"^metadata: .*expected a JSON object"):
        read_metadata(header)
    assert read_metadata({"metadata": json.dumps({"a": "b"})}) == {"a": "b"}
