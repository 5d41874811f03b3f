"""Reading summary.json of a run."""

from __future__ import annotations

import warnings

import pytest

from gailfe_jax.errors import GailfeWarning
from gailfe_jax.training.outcome import read_summary


def test_what_it_holds_is_read_and_where_there_is_none_there_is_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_summary(tmp_path) == {}
        (tmp_path / "summary.json").write_text('{"finished": true}')
        assert read_summary(tmp_path) == {"finished": True}


@pytest.mark.parametrize("content", [b"", b"[", b"[1, 2]", b"\x00" * 40, b'{"finished": tr', b'{"a": 1, "a": 2}'])
def test_a_damaged_one_is_told_by_its_name(tmp_path, content):
    (tmp_path / "summary.json").write_bytes(content)
    with pytest.warns(GailfeWarning, match=r"summary\.json: .*what it held is left out") as said:
        assert read_summary(tmp_path) == {}
    assert len(said) == 1 and "\n" not in str(said[0].message)


def test_a_folder_in_its_place_is_told_too(tmp_path):
    (tmp_path / "summary.json").mkdir()
    with pytest.warns(GailfeWarning, match=r"summary\.json: .*what it held is left out"):
        assert read_summary(tmp_path) == {}
