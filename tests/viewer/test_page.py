"""The page as text: its size, that it loads nothing, and that no word becomes markup."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gailfe_jax.envs import find_task
from gailfe_jax.errors import GailfeError
from gailfe_jax.viewer.page import MOST_EPISODES, Episode, write_play
from tests.report.test_page import HOSTILE, Parsed
from tests.viewer.made import episodes, make_task, moving


def page(out):
    return Parsed(out.read_text(encoding="utf-8"))


def test_the_page_has_what_there_is_to_see(tmp_path):
    found = page(write_play(make_task(tmp_path), episodes(), tmp_path / "x.html", title="A robot", about="Of seed 0."))
    data = found.data
    assert [episode["label"] for episode in data["episodes"]] == ["Policy", "Expert", "Failure"]
    assert [episode["steps"] for episode in data["episodes"]] == [30, 30, 10]
    assert [quantity["name"] for quantity in data["quantities"]] == ["reward", "belief"]
    assert data["episodes"][0]["curves"]["belief"] == [0.25] * 30 and "belief" not in data["episodes"][2]["curves"]
    assert data["seconds"] == pytest.approx(0.01)
    # What stands still has a place of its own, and what moves a body.
    bodies = [shape["body"] for shape in data["scene"]["shapes"]]
    assert bodies == [None, None, 0, 0, 1, 1, 1, None] and len(data["scene"]["meshes"]) == 2
    words = " ".join(found.words)
    assert "A robot" in words and "Of seed 0." in words and "Replayed." in words and "the task ended it" in words
    assert "is stored" not in words
    assert [
        attrs for tag, attrs in found.elements if tag in ("link", "img", "iframe") and "data:," not in str(attrs)
    ] == []
    assert not any(attrs.get("src") for tag, attrs in found.elements)


def test_words_stay_words(tmp_path):
    hostile = [Episode("policy", HOSTILE, moving(3), HOSTILE, {}, HOSTILE)]
    found = page(write_play(make_task(tmp_path), hostile, tmp_path / "x.html", title=HOSTILE, about=HOSTILE))
    assert [tag for tag, _ in found.elements].count("script") == 2
    assert not any(tag == "img" for tag, _ in found.elements)
    assert found.data["episodes"][0]["label"] == HOSTILE


def test_three_episodes_that_nothing_compresses_are_below_two_megabytes(tmp_path):
    task, rng = find_task("humanoid"), np.random.default_rng(0)
    noise = [rng.normal(size=(1001, 24)) for _ in range(3)]
    curves = {name: rng.normal(size=1000) for name in ("reward", "belief", "value")}
    shown = [Episode("policy", "Noise", qpos, "cut", curves) for qpos in noise]
    out = write_play(task, shown, tmp_path / "x.html", title="Noise")
    assert 500_000 < out.stat().st_size < 2_000_000
    assert "is stored" not in " ".join(page(out).words)
    # Longer ones are thinned, and the page says so.
    longer = [Episode("policy", "Noise", np.tile(qpos, (8, 1)), "cut") for qpos in noise]
    out = write_play(task, longer, tmp_path / "y.html", title="Noise")
    assert out.stat().st_size < 2_000_000
    assert "steps one is stored" in " ".join(page(out).words)


def test_numbers_that_are_none_are_left_out(tmp_path):
    shown = [Episode("policy", "x", moving(2), "cut", {"reward": np.array([1.0, np.nan])})]
    found = page(write_play(make_task(tmp_path), shown, tmp_path / "x.html", title="x"))
    assert json.dumps(found.data["episodes"][0]["curves"]) == '{"reward": [1.0, null]}'


@pytest.mark.parametrize("count", [0, MOST_EPISODES + 1])
def test_too_many_episodes_are_refused(tmp_path, count):
    with pytest.raises(GailfeError, match=f"episodes: got {count}; expected 1 to 6"):
        write_play(make_task(tmp_path), episodes()[:1] * count, tmp_path / "x.html", title="x")
    assert not (tmp_path / "x.html").exists()
