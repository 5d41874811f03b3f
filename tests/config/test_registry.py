"""Tables of what can be chosen by name."""

from __future__ import annotations

import pytest

from gailfe_jax.config.registry import Registry
from gailfe_jax.errors import GailfeError


@pytest.fixture
def table():
    return Registry("colour", {"red": int, "blue": float}, "register_colour")


def test_built_in_entries_come_first_and_a_users_may_be_replaced(table):
    table.add("green", str, object)
    assert list(table) == ["red", "blue", "green"] and len(table) == 3
    assert table.find("green") is str and table["red"] is int
    table.add("green", bytes)
    assert table["green"] is bytes and len(table) == 3
    assert table.name_of(bytes) == "green" and table.name_of(float) == "blue"


@pytest.mark.parametrize("name", ["red", "two words", "", "1st", "a.b", None])
def test_a_name_that_is_taken_or_no_word_is_refused(table, name):
    with pytest.raises(GailfeError, match=r"^colour: got the name .*; expected one word other than red, blue$"):
        table.add(name, str)
    assert list(table) == ["red", "blue"]


@pytest.mark.parametrize("entry", [str, 3, lambda: None])
def test_an_entry_of_another_kind_is_refused(table, entry):
    with pytest.raises(GailfeError, match=r"^colour pink: got .*; expected a subclass of int$"):
        table.add("pink", entry, int)
    table.add("pink", bool, int)


def test_what_is_not_there_is_told_what_is(table):
    with pytest.raises(GailfeError, match=r"^colour: unknown colour 'pink'; expected one of red, blue$"):
        table.find("pink")
    with pytest.raises(
        GailfeError, match=r"^colour: str has no name; expected one given by gailfe_jax.register_colour"
    ):
        table.name_of(str)
