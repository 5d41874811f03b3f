from __future__ import annotations

import contextlib
import warnings

import pytest

from gailfe_jax.errors import (
    GailfeError,
    GailfeWarning,
    one_line,
    refusal,
    shown_in_one_line,
    warned_unless_refused,
)


@pytest.mark.parametrize(
    ("said", "all_lines", "first_line"),
    [
        ("plain", "plain", "plain"),
        ("  two\n\n lines\tand\r\nmore ", "two lines and more", "two"),
        ("", "", ""),
        (GailfeError("a: expected\n b"), "a: expected b", "a: expected"),
        (KeyError(), "KeyError", "KeyError"),
        (RuntimeError("\n"), "RuntimeError", "RuntimeError"),
    ],
)
def test_one_line(said, all_lines, first_line):
    assert one_line(said) == all_lines
    assert one_line(said, first=True) == first_line


def test_an_exception_without_words_is_told_by_where_it_was_raised():
    with pytest.raises(AssertionError) as error:
        exec(compile("\nraise AssertionError", "/somewhere/robot.py", "exec"))
    assert one_line(error.value) == one_line(error.value, first=True) == "AssertionError in robot.py, line 2"


def test_what_the_file_system_refuses_names_the_file(tmp_path):
    with pytest.raises(OSError) as error:
        (tmp_path / "none").read_text()
    assert refusal(error.value) == f"{tmp_path / 'none'}: No such file or directory"
    assert refusal(OSError(28, "No space left on device")) == "file system: No space left on device"
    assert refusal(OSError("disk\nfull")) == "file system: disk full"
    assert refusal(GailfeError("steps: got\n-1")) == "steps: got -1"


@pytest.mark.parametrize(("ends", "expected"), [(None, ["wet"]), (GailfeError("dry"), []), (KeyError(), ["wet"])])
def test_warnings_do_not_stand_beside_a_refusal(ends, expected):
    with warnings.catch_warnings(record=True) as shown, contextlib.suppress(GailfeError, KeyError):
        warnings.simplefilter("always")
        with warned_unless_refused():
            warnings.warn("wet", UserWarning, stacklevel=1)
            if ends is not None:
                raise ends
    assert [str(said.message) for said in shown] == expected


def test_a_warning_is_one_line_once_and_those_of_others_are_left_to_others(monkeypatch, capsys):
    others = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(
            warnings, "showwarning", shown_in_one_line(lambda message, *_, **__: others.append(message))
        )
        for message in ("a", "b", "a"):
            warnings.warn(message, GailfeWarning, stacklevel=1)
        for _ in range(2):
            warnings.warn("c", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "gailfe: warning: a\ngailfe: warning: b\n"
    assert [str(message) for message in others] == ["c", "c"]
