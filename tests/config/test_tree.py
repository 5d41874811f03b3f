"""Settings by their names: full ones, short ones, wrong ones, and those that nothing reads."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from gailfe_jax.config.parts import Part, setting, subpart, traced
from gailfe_jax.config.tree import find, leaves, nearest, put, refuse_unread, set_values, without_unread
from gailfe_jax.errors import GailfeError
from gailfe_jax.learners.methods import METHODS, find_method


class Lamp(Part):
    """Its colour counts while it is on."""

    on: bool = setting(False)
    colour: Literal["red", "blue"] = setting("red")
    bright: float = traced(1.0)

    def unread(self):
        return {} if self.on else {"colour": "on is false", "bright": "on is false"}


class Room(Part):
    """Without power no lamp is on."""

    power: bool = setting(True)
    size: int = setting(3, least=1)
    left: Lamp = subpart(Lamp())
    right: Lamp | None = subpart(Lamp())

    def unread(self):
        return {} if self.power else {"left.on": "power is false", "right.on": "power is false"}


LIT = Room(left=Lamp(on=True, colour="blue", bright=2.0))


def test_settings_are_listed_in_order_with_what_they_stand_at():
    found = leaves(LIT)
    assert list(found) == [
        *("power", "size", "left.on", "left.colour", "left.bright"),
        *("right.on", "right.colour", "right.bright"),
    ]
    assert [leaf.value for leaf in found.values()] == [True, 3, True, "blue", 2.0, False, "red", 1.0]
    assert {name for name, leaf in found.items() if leaf.unread} == {"right.colour", "right.bright"}
    assert found["left.bright"].setting.marks.traced and not found["left.colour"].setting.marks.traced
    assert list(leaves(Room(right=None))) == list(found)[:5]


def test_an_outer_part_says_of_inner_settings_that_nothing_reads_them():
    dark = LIT.replace(power=False)
    assert leaves(dark)["left.on"].unread == "power is false"


def test_values_are_put_where_their_names_point():
    changed = put(LIT, {"size": 5, "right.bright": 0.5})
    assert changed == LIT.replace(size=5, right=Lamp(bright=0.5))
    assert put(LIT, {}) is LIT
    with pytest.raises(GailfeError, match=r"^Room\.size: got 0; expected a whole number from 1"):
        put(LIT, {"size": 0})


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("left.bright", "left.bright"),
        ("size", "size"),
        (" size ", "size"),
    ],
)
def test_a_name_is_found_in_full_or_by_its_last_word(name, full):
    assert find(name, leaves(LIT)) == full
    assert find("on", leaves(Room(right=None))) == "left.on"
    known = leaves(find_method("gail"))
    assert find("max-kl", known) == "policy.max_kl"
    # What is a name itself is no last word of others.
    assert find("steps", ["steps", "reward.steps"]) == "steps"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bright", r"^bright: is one of left\.bright, right\.bright; expected one of these names"),
        ("brigt", r"^brigt: no such setting; did you mean left\.bright or right\.bright\?"),
        ("sizes", r"^sizes: no such setting; did you mean size\?"),
        ("left.coluor", r"^left\.coluor: no such setting; did you mean left\.colour\?"),
        ("xyz", r"^xyz: no such setting; --help lists them"),
        ("", r"^\(no name\): no such setting"),
    ],
)
def test_a_wrong_name_is_told_the_nearest(name, message):
    with pytest.raises(GailfeError, match=message) as error:
        find(name, leaves(LIT))
    assert "\n" not in str(error.value)


def test_who_asks_may_say_what_a_name_has_become():
    with pytest.raises(GailfeError, match=r"^lamp: no such setting; it is called left now"):
        find("lamp", leaves(LIT), hint=lambda name: "it is called left now")
    assert nearest("siez", ["size"]) == "did you mean size?"


def test_values_are_set_by_full_or_short_name_typed_or_as_text():
    changed = set_values(Room(), {"left.on": "true", "left.colour": "blue", "size": "4"})
    assert changed == Room(size=4, left=Lamp(on=True, colour="blue"))
    assert set_values(Room(right=None), {"on": True, "bright": 3}).left == Lamp(on=True, bright=3.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"left.colour": "blue"}, r"^left\.colour: nothing reads it: on is false"),
        ({"left.bright": 1.0}, r"^left\.bright: nothing reads it: on is false"),
        ({"power": False, "left.on": True}, r"^left\.on: nothing reads it: power is false"),
        ({"left.on": True, "left.colour": "green"}, r"^left\.colour: got 'green'; expected one of red, blue"),
        ({"size": 2.5}, r"^size: got 2\.5; expected a whole number from 1"),
        ({"siz": 2}, r"^siz: no such setting; did you mean size\?"),
        ({"size": 2, "size ": 3}, r"^size is given twice; expected each setting once"),
    ],
)
def test_what_cannot_be_set_is_one_clear_error(values, message):
    with pytest.raises(GailfeError, match=message) as error:
        set_values(Room(), values)
    assert "\n" not in str(error.value)


def test_what_nothing_reads_any_more_goes_back_to_its_default():
    assert set_values(LIT, {"left.on": False}) == Room()
    # What is off now may have been what others were read for.
    assert without_unread(LIT.replace(power=False)) == Room(power=False)
    assert without_unread(LIT) == LIT
    swept = LIT.replace(right=Lamp(bright=np.array([1.0, 2.0])))
    assert without_unread(swept) == LIT


def test_what_nothing_reads_is_refused_where_it_differs_from_its_default():
    refuse_unread(LIT)
    refuse_unread(Room())
    with pytest.raises(GailfeError, match=r"^right\.colour: got blue; nothing reads it: on is false"):
        refuse_unread(Room(right=Lamp(colour="blue")))
    with pytest.raises(GailfeError, match=r"^left\.on: got True; nothing reads it: power is false"):
        refuse_unread(Room(power=False, left=Lamp(on=True)))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_found_by_its_unique_last_words(name):
    known = leaves(find_method(name))
    words = [full.rpartition(".")[2] for full in known]
    for full, word in zip(known, words, strict=True):
        assert find(full, known) == full
        if words.count(word) == 1:
            assert find(word, known) == find(word.replace("_", "-"), known) == full
        elif word not in known:
            with pytest.raises(GailfeError, match=rf"^{word}: is one of "):
                find(word, known)
