"""A report in headless Chromium: no error, nothing leaves the page, controls and charts work, and axe finds nothing."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from gailfe_jax.report.page import write_report
from tests.browser import accessibility, browser, needs_browser
from tests.report.made import write_cell, write_lines, write_run
from tests.report.test_page import HOSTILE, space

pytestmark = [pytest.mark.slow, needs_browser]

CHART = "document.querySelector('.chart').chart"
SHOWN = f"{CHART}.plot.series.filter((s, i) => i && s.show && s.label === '{{}}').length"
READOUT = "document.querySelector('.readout').textContent"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> pathlib.Path:
    """Of two runs and an experiment, on two tasks, with a picture of the state space."""
    folder = tmp_path_factory.mktemp("report")
    one, two = write_run(folder / "gailfe", algo="gailfe"), write_run(folder / "gail", level=0.8, settings={"lr": 1e-4})
    write_cell(folder / "e" / "ant-gail.json", "GAIL on Ant", env="ant")
    return write_report([one, two, folder / "e"], folder / "report.html", spaces={one: space()}, films={one: "None."})


def opened(page, path, width=1280, height=900, dark=False, media="screen"):
    page.look(width, height, dark, media)
    page.driver.get("about:blank")
    page.errors(), page.requests()
    page.driver.get(path.as_uri())
    page.until("document.querySelector('.chart canvas') !== null")


def control(page, text):
    """Clicks the box or button with this label, in the first task's controls."""
    labels = "[...document.querySelectorAll('#controls-0 label')]"
    page.js(f"{labels}.find(l => l.textContent.trim() === arguments[0]).click()", text)


def test_nothing_is_loaded_and_nothing_fails(page, report):
    opened(page, report)
    page.js("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    # A chart is drawn when it comes near.
    last = "[...document.querySelectorAll('.chart')].pop()"
    assert page.js(f"return {last}.chart.built") is False
    page.js(f"{last}.scrollIntoView()")
    page.until(f"{last}.chart.built")
    page.js("document.querySelectorAll('.chart').forEach(c => c.chart.build())")
    assert page.errors() == []
    assert [url for url in page.requests() if not url.startswith(("data:", "about:"))] == [report.as_uri()]
    # Each canvas has been drawn on.
    blank = page.js(
        "return [...document.querySelectorAll('.chart canvas')].filter(c => "
        "!c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(x => x)).length"
    )
    assert blank == 0


def test_methods_seeds_and_axes_are_toggled(page, report):
    opened(page, report)
    assert page.js(f"return {SHOWN.format('mid')}") == 2 and page.js(f"return {SHOWN.format('seed')}") == 0
    control(page, "single seeds")
    assert page.js(f"return {SHOWN.format('seed')}") == 6
    page.js("[...document.querySelectorAll('#controls-0 details label')][0].click()")
    assert page.js(f"return {SHOWN.format('seed')}") == 5
    control(page, "gail")
    assert page.js(f"return {SHOWN.format('mid')}") == 1 and page.js(f"return {SHOWN.format('seed')}") == 2
    assert "gailfe" in page.js(f"return {READOUT}") and "gail 2," not in page.js(f"return {READOUT}")
    assert page.js(f"return {CHART}.plot.scales.x.max") == 6000
    control(page, "wall clock")
    # Three seeds at 500 steps a second.
    assert page.js(f"return {CHART}.plot.scales.x.max") == 36
    assert "36 s" in page.js(f"return {READOUT}")
    control(page, "as share of the expert's return")
    assert page.js(f"return {CHART}.plot.scales.y.max") < 2
    assert "expert 1" in page.js(f"return {READOUT}")
    control(page, "expert")
    assert "expert" not in page.js(f"return {READOUT}")
    # The other task keeps its own.
    assert page.js("return document.querySelectorAll('#controls-1 input[type=radio]')[1].disabled") is True
    assert page.errors() == []


def test_the_controls_have_the_colours_of_the_lines(page, report):
    for dark in (False, True):
        opened(page, report, dark=dark)
        shown = page.js(
            "return [...document.querySelectorAll('#controls-0 .swatch')].map(s => getComputedStyle(s).borderTopColor)"
        )
        drawn = page.js(
            f"const rows = {CHART}.seriesRows, pen = document.createElement('canvas').getContext('2d');"
            "const rgb = (c) => { pen.fillStyle = c; return pen.fillStyle; };"
            f"return rows.map((r, i) => [r.what, i]).filter(([w]) => w === 'mid').map(([_, i]) => "
            f"rgb({CHART}.plot.series[i + 1].stroke()))"
        )
        numbers = [tuple(map(int, colour[4:-1].split(","))) for colour in shown]
        assert [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in numbers] == drawn and len(set(drawn)) == 2


def test_a_chart_is_as_wide_as_what_it_shows(page, tmp_path):
    short, long = write_run(tmp_path / "short", level=2), write_run(tmp_path / "long")
    lines = [json.loads(line) for line in (long / "metrics.jsonl").read_text().splitlines()]
    write_lines(long, [line | {"step": 10 * line["step"]} for line in lines])
    opened(page, write_report([short, long], tmp_path / "report.html"))
    ends = f"return [{CHART}.plot.scales.x.min, {CHART}.plot.scales.x.max]"
    assert page.js(ends) == [1000, 60000]
    control(page, "long")
    assert page.js(ends) == [1000, 6000]
    page.js(f"{CHART}.plot.setScale('x', {{ min: 2000, max: 3000 }})")
    # What is zoomed stays where it is.
    control(page, "long")
    assert page.js(ends) == [2000, 3000]
    page.js("document.querySelector('.u-over').dispatchEvent(new MouseEvent('dblclick', { bubbles: true }))")
    page.until(f"{CHART}.plot.scales.x.max === 60000")


def test_what_is_compared_with_is_named_in_the_chart(page, report):
    opened(page, report)
    said = page.js(
        f"const said = [], plot = {CHART}.plot, pen = plot.ctx, write = pen.fillText.bind(pen);"
        "pen.fillText = (text, x, y) => { said.push([text, y]); write(text, x, y); };"
        "return new Promise((done) => { plot.redraw(); setTimeout(() => done(said), 100); })"
    )
    places = {text: y for text, y in said if text in ("expert", "demonstrations")}
    # The expert is above the demonstrations, and their words do not meet.
    assert places["expert"] + 10 < places["demonstrations"]


def test_hovering_reads_the_chart_and_dragging_zooms(page, report):
    from selenium.webdriver import ActionChains

    opened(page, report)
    over = page.driver.find_element("css selector", ".chart .u-over")
    ActionChains(page.driver).move_to_element_with_offset(over, -over.size["width"] // 2 + 5, 0).perform()
    page.until(f"{READOUT}.startsWith('1k steps')")
    drag = ActionChains(page.driver).move_to_element_with_offset(over, -200, 0)
    drag.click_and_hold().move_by_offset(300, 0).release().perform()
    page.until(f"{CHART}.plot.scales.x.max < 6000")
    page.js("[...document.querySelectorAll('.chart .tools button')][2].click()")
    assert page.js(f"return {CHART}.plot.scales.x.max") == 6000


def test_a_chart_is_read_and_zoomed_by_keys(page, report):
    opened(page, report)
    page.js("document.querySelector('.chart').focus()")
    page.press("\ue011")  # Home.
    assert page.js(f"return {READOUT}").startswith("1k steps: gailfe ")
    page.press("\ue014", "\ue014")
    said = page.js("return document.querySelector('.chart [role=status]').textContent")
    assert said.startswith("3k steps: gailfe ") and "gail " in said and "expert 3,600" in said
    page.press("+")
    assert page.js(f"return {CHART}.plot.scales.x.max") < 6000
    page.press("0")
    assert page.js(f"return {CHART}.plot.scales.x.max") == 6000


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_it_fits_and_is_accessible(page, report, tmp_path, width, height, dark):
    opened(page, report, width, height, dark)
    page.js("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.js("document.querySelectorAll('.chart').forEach(c => c.chart.build())")
    assert page.js("return document.documentElement.scrollWidth") <= width
    assert accessibility(page) == []
    # The ground follows the scheme, and the lines are drawn in its colours.
    ground = page.js("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") is not dark
    page.screenshot(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 50_000


def test_it_prints_light_and_without_its_controls(page, report):
    opened(page, report, dark=True)
    page.look(1280, 900, dark=True, media="print")
    page.until("document.documentElement.classList.contains('printing')")
    assert page.js("return getComputedStyle(document.documentElement).getPropertyValue('--text').trim()") == "#1b1f24"
    assert page.js("return getComputedStyle(document.getElementById('controls-0')).display") == "none"
    page.look(1280, 900, dark=True)
    page.until("!document.documentElement.classList.contains('printing')")


def test_points_of_the_state_space_are_read(page, report):
    opened(page, report)
    page.js("document.getElementById('space-0-policy').scrollIntoView()")
    page.js(
        "const c = document.getElementById('space-0-policy'), b = c.getBoundingClientRect();"
        "c.dispatchEvent(new MouseEvent('mousemove', { clientX: b.left + 9, clientY: b.top + 9, bubbles: true }))"
    )
    assert page.js("return document.getElementById('space-0-said').textContent").startswith("Policy's pair at (")
    assert page.errors() == []


def test_a_strangers_folder_runs_nothing(page, tmp_path):
    folder = write_run(
        tmp_path / "<img src=x onerror=alert(1)>", algo=HOSTILE, env=HOSTILE, settings={HOSTILE: HOSTILE},
        provenance={HOSTILE: HOSTILE},
    )  # fmt: skip
    lines = [{"seed": 0, "step": t, "return_mean": float(t), HOSTILE: 1.0, "__proto__": 2.0} for t in (1, 2)]
    write_lines(folder, lines)
    out = write_report([folder], tmp_path / "report.html", title=HOSTILE, spaces={folder: space(about=HOSTILE)})
    opened(page, out)
    page.js("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.js("document.querySelectorAll('.chart').forEach(c => c.chart.build())")
    assert page.js("return document.querySelector('h1').textContent") == HOSTILE
    assert page.js("return document.querySelectorAll('img, svg').length") == 0
    assert page.errors() == []
    # Even where markup came in, the page's policy would not run it.
    page.js("document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.ran = 1\">')")
    page.until("document.images.length === 1")
    assert page.js("return window.ran === undefined")
    assert any("Content Security Policy" in message for message in page.errors())


def test_a_curve_with_gaps_and_one_of_a_single_evaluation_are_drawn(page, tmp_path):
    one, two = write_run(tmp_path / "one", seeds=(0,)), write_run(tmp_path / "two", seeds=(0,))
    (tmp_path / "one" / "summary.json").unlink()
    write_lines(one, [{"seed": 0, "step": t, "return_mean": None if t == 2 else float(t)} for t in range(1, 5)])
    write_lines(two, [{"seed": 0, "step": 3, "return_mean": 2.5}])
    out = write_report([one, two], tmp_path / "report.html")
    opened(page, out)
    data = page.js(f"return {CHART}.plot.data")
    assert data[0] == [1, 2, 3, 4]
    assert np.array(json.loads(json.dumps(data[3])), object).tolist() == [1, None, 3, 4]
    page.js("document.querySelector('.chart').focus()")
    page.press("\ue011")
    assert "one 1 [1, 1]; two 2.5 [2.5, 2.5]" in page.js(f"return {READOUT}")
    assert page.errors() == []
