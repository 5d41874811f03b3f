"""The page as text: what it holds, that it loads nothing, and that nothing in a folder becomes markup or script."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re

import numpy as np
import pytest

from gailfe_jax.analysis.metrics import GROUPS, JUDGED, METRICS, grouped, grouped_name
from gailfe_jax.analysis.state_space import Axis, StateSpace
from gailfe_jax.analysis.video import Film
from gailfe_jax.report import charts
from gailfe_jax.report.charts import by_task, chart_data, final_interval
from gailfe_jax.report.page import write_report
from gailfe_jax.report.read import read_series
from gailfe_jax.web.markup import embedded, join, tag
from tests.report.made import STEPS, metrics, write_cell, write_lines, write_run

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&-->"


class Parsed(html.parser.HTMLParser):
    """Elements and their attributes, and the text of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.inside, self.texts, self.words = [], None, [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside = (tag, dict(attrs))
            self.texts.append([*self.inside, ""])

    def handle_endtag(self, tag):
        if self.inside and tag == self.inside[0]:
            self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.texts[-1][2] += data
        else:
            self.words.append(data)

    @property
    def data(self):
        (found,) = [json.loads(text) for tag, attrs, text in self.texts if attrs.get("type") == "application/json"]
        return found


def page(tmp_path, *paths, **options):
    out = write_report(paths, tmp_path / "out" / "report.html", **options)
    return Parsed(out.read_text(encoding="utf-8"))


def space(**more):
    axis = Axis(0.5, (("joint <b>", 0.75), ("x", -0.5)))
    made = {
        "axes": (axis, axis), "points": np.random.default_rng(0).normal(size=(20, 2)), "calibrated": False,
        "expert_probability": np.linspace(0, 1, 20), "is_policy": np.arange(20) % 2 == 0, "policy_found": 0.75,
        "expert_found": 0.5, "about": "The discriminator of seed 0",
    }  # fmt: skip
    return StateSpace(**(made | more))


def test_text_is_text():
    assert tag("p", HOSTILE, tag("b", "a & b"), None) == (
        "<p>&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(2)&gt;"
        "&quot;&#x27;&amp;--&gt;<b>a &amp; b</b></p>"
    )
    assert tag("input", class_="a", aria_label='"x"', checked=True, hidden=False) == (
        '<input class="a" aria-label="&quot;x&quot;" checked>'
    )
    assert join("<", tag("br")) == "&lt;<br>"
    assert "<" not in embedded({"a": HOSTILE}) and json.loads(embedded({"a": HOSTILE})) == {"a": HOSTILE}


def test_the_page_says_how_each_ended(tmp_path):
    one, two = write_run(tmp_path / "good"), write_run(tmp_path / "bad", level=0.5, settings={"lr": 1e-4})
    found = page(tmp_path, two, one)
    text = "\n".join(found.words)
    good, bad = (np.mean([metrics(s, level)["return_mean"][-1] for s in range(3)]) for level in (1.0, 0.5))
    assert f"{good:,.0f} [" in text and f"{bad:,.0f} [" in text
    assert text.index(f"{good:,.0f} [") < text.index(f"{bad:,.0f} [")  # The best first.
    assert f"{good / 3600:.2f}" in text and "20%" in text
    for words in ("expert", "demonstrations", "3,600", "3,400", "Multiplier of the constraint", "gailfe train"):
        assert words in text
    # They differ in the rate alone.
    differ = text[text.index("Settings that differ") : text.index("All settings")]
    assert "reward.lr" in differ and "0.0003" in differ and "policy.max_kl" not in differ


def test_curves_and_bands_are_the_runs(tmp_path):
    found = page(tmp_path, write_run(tmp_path / "mine")).data
    (task,) = found["tasks"]
    assert task["series"] == [{"label": "mine", "seeds": ["0", "1", "2"]}]
    assert {r["label"]: r["value"] for r in task["references"]} == {"expert": 3600.0, "demonstrations": 3400.0}
    judged = task["charts"][0]
    (line,) = judged["lines"]
    values = np.array([metrics(seed)["return_mean"] for seed in range(3)])
    assert (judged["name"], judged["judged"], line["steps"]) == ("return_mean", True, STEPS.tolist())
    np.testing.assert_allclose(line["mid"], values.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(line["seeds"], values, rtol=1e-4)
    assert (np.array(line["low"]) <= line["mid"]).all() and (np.array(line["mid"]) <= line["high"]).all()
    np.testing.assert_allclose(line["seconds"], 3 * STEPS / 500.0)
    others = {chart["name"]: chart for chart in task["charts"][1:]}
    assert set(others) == set(metrics(0)) - {"return_mean"}
    (line,) = others["violation"]["lines"]
    np.testing.assert_allclose(line["mid"], metrics(0)["violation"], rtol=1e-4)


def test_the_start_is_drawn_and_not_averaged(tmp_path):
    plain, folder = write_run(tmp_path / "a" / "mine"), write_run(tmp_path / "b" / "mine")
    (folder / "start.json").write_text(json.dumps({"return_mean": [-500.0, -600.0, -700.0]}))
    without, found = page(tmp_path, plain), page(tmp_path, folder)
    (line,) = found.data["tasks"][0]["charts"][0]["lines"]
    assert line["steps"] == [0, *STEPS] and line["seconds"][:2] == [0, 6] and line["mid"][0] == -600.0
    assert [row[0] for row in line["seeds"]] == [-500.0, -600.0, -700.0]
    # The table says of both the same.
    table = [words for words in found.words if "[" in words and "," in words]
    assert table and table == [words for words in without.words if "[" in words and "," in words]


def test_the_table_and_the_chart_say_the_same(tmp_path):
    (part,) = by_task(read_series([write_run(tmp_path / "mine", seeds=tuple(range(6)))]))
    interval, lost = final_interval(part.series[0], "return_mean")
    (line,) = chart_data([part])["tasks"][0]["charts"][0]["lines"]
    assert lost == 0 and interval is not None
    assert [interval.estimate, interval.low, interval.high] == pytest.approx(
        [line["mid"][-1], line["low"][-1], line["high"][-1]], rel=1e-4
    )


def test_numbers_that_are_none_break_the_curve_and_are_counted(tmp_path):
    folder = write_run(tmp_path / "mine")
    lines = [
        {"seed": s, "step": t, "return_mean": 1.0 + s if (s, t) != (1, 2) else None} for s in (0, 1) for t in (1, 2)
    ]
    write_lines(folder, lines)
    found = page(tmp_path, folder)
    (line,) = found.data["tasks"][0]["charts"][0]["lines"]
    assert line["mid"] == [1.5, None] and line["seeds"] == [[1.0, 1.0], [2.0, None]]
    assert "2 (1 diverged)" in found.words


def test_much_is_thinned_and_said_to_be(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "mine")
    monkeypatch.setattr(charts, "_MOST_NUMBERS", 100)
    found = page(tmp_path, folder)
    every = found.data["every"]
    assert every > 1
    (line,) = found.data["tasks"][0]["charts"][0]["lines"]
    last = STEPS[(len(STEPS) - 1) % every :: every].tolist()
    assert line["steps"] == sorted({int(STEPS[0]), *last}) and line["steps"][-1] == STEPS[-1]
    assert any(f"Of every {every} evaluations one is drawn." in words for words in found.words)


def test_of_many_the_best_are_drawn(tmp_path, monkeypatch):
    folders = [write_run(tmp_path / f"run-{i}", seeds=(0,), level=1 + i / 10) for i in range(4)]
    monkeypatch.setattr(charts, "MOST_SERIES", 3)
    found = page(tmp_path, *folders)
    assert [series["label"] for series in found.data["tasks"][0]["series"]] == ["run-3", "run-2", "run-1"]
    assert "run-0" in found.words  # In the table.


def test_tasks_have_sections_of_their_own(tmp_path):
    write_cell(tmp_path / "e" / "a.json", "GAIL")
    write_cell(tmp_path / "e" / "b.json", "GAIL", env="ant")
    found = page(tmp_path, tmp_path / "e", write_run(tmp_path / "mine"))
    assert [task["name"] for task in found.data["tasks"]] == ["hopper", "ant"]
    assert {attrs.get("id") for _, attrs in found.elements} >= {"task-0", "task-1", "controls-1", "chart-1-0"}


def test_nothing_from_a_folder_becomes_markup_or_script(tmp_path):
    name = "<svg onload=alert(3)>"
    folder = write_run(
        tmp_path / name, algo=HOSTILE, env=HOSTILE, settings={HOSTILE: HOSTILE, "lr": HOSTILE},
        provenance={HOSTILE: HOSTILE}, sweep={"values": {HOSTILE: HOSTILE}},
    )  # fmt: skip
    lines = [{"seed": 0, "step": 1, HOSTILE: 1.0, "return_mean": 2.0, "__proto__": 3.0}]
    write_lines(folder, lines)
    clean = page(tmp_path, write_run(tmp_path / "clean"))
    found = page(tmp_path, folder, title=HOSTILE, spaces={folder: space(about=HOSTILE)}, films={folder: HOSTILE})
    kinds = {tag for tag, _ in found.elements}
    assert not kinds & {"img", "svg", "iframe", "object", "embed", "base", "form"}
    assert [t for t, _ in found.elements if t == "script"] == [t for t, _ in clean.elements if t == "script"]
    for _, attrs in found.elements:
        assert not [key for key in attrs if key.startswith("on") or key == "style"], attrs
        for key in ("href", "src"):
            assert attrs.get(key, "#").startswith(("#", "data:")), attrs
    # As text it is there, to the letter.
    assert HOSTILE in "".join(found.words) and HOSTILE in json.dumps(found.data).encode().decode("unicode_escape")


def test_the_page_loads_nothing_and_runs_its_own_script_alone(tmp_path):
    found = page(tmp_path, write_run(tmp_path / "mine"))
    (policy,) = [a["content"] for t, a in found.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    allowed = dict(re.findall(r"(script|style)-src '([^']+)'", policy))
    for kind in ("script", "style"):
        (text,) = [text for t, attrs, text in found.texts if t == kind and "type" not in attrs]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert allowed[kind] == f"sha256-{digest}"
        # uPlot names its own home in a comment.
        assert re.findall(r"(?:https?:)?//[\w.]+\.\w+/\S*", re.sub(r"/\*!.*?\*/", "", text)) == []
    assert "unsafe" not in policy and not [
        a for t, a in found.elements if t in ("script", "img", "iframe") and "src" in a
    ]
    text = (tmp_path / "out" / "report.html").read_text()
    assert "Permission is hereby granted" in text[: text.index("<html")]
    assert len(text) < 300_000


def test_films_and_the_state_space_are_embedded(tmp_path):
    folder = write_run(tmp_path / "mine")
    films = [Film("best", 20, 3500.0, b"\x00film"), Film("worst", 20, 12.0, b"\x01film")]
    found = page(tmp_path, folder, spaces={folder: space()}, films={folder: films})
    videos = [attrs for tag, attrs in found.elements if tag == "video"]
    assert [base64.b64decode(video["src"].partition(",")[2]) for video in videos] == [b"\x00film", b"\x01film"]
    assert videos[0]["aria-label"] == "mine, best of 20 episodes: return 3,500.0"
    text = "".join(found.words)
    assert "takes 50% of the demonstrated pairs for the expert's and 75% of the policy's" in text
    assert "Horizontal: 50% of the variance, mostly +0.75 joint <b>, -0.50 x" in text
    (points,) = found.data["spaces"]
    assert points["policy"] == [1, 0] * 10 and points["probability"][-1] == 1.0
    assert {"space-0-expert", "space-0-policy"} <= {attrs.get("id") for _, attrs in found.elements}
    said = page(tmp_path, folder, spaces={folder: "Not shown: its demonstrations are gone."})
    assert "Not shown: its demonstrations are gone." in said.words and said.data["spaces"] == []


def test_each_metric_has_one_name_and_words():
    names = [metric.name for metric in (*JUDGED, *(m for group in GROUPS for m in group.metrics))]
    assert len(names) == len(set(names))
    assert all(metric.title and metric.unit and metric.how.endswith(".") for metric in METRICS.values())
    assert {group.prefix for group in GROUPS} >= {
        "return",
        "discriminator",
        "policy",
        "value",
        "failures",
        "model",
        "speed",
    }
    names = {"kl": "policy/kl", "return_mean": "return/return_mean", "mine": "other/mine"}
    assert {name: grouped_name(name) for name in names} == names


def test_what_is_not_known_is_shown_by_its_name():
    groups = grouped(["kl", "my_metric", "return_mean", "expert_normalised"], "return_mean")
    assert [(group.title, [m.name for m in group.metrics]) for group in groups] == [
        ("Policy step", ["kl"]), ("Others", ["my_metric"]),
    ]  # fmt: skip
