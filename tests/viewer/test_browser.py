"""The viewer in headless Chromium: it draws, moves and steps, loads nothing, and says where it cannot draw."""

from __future__ import annotations

import imageio.v3 as iio
import numpy as np
import pytest

from gailfe_jax.viewer.page import write_play
from tests.browser import WEBGL, accessibility, browser, needs_browser
from tests.viewer.made import episodes, make_task

pytestmark = [pytest.mark.slow, needs_browser]

READY = "document.documentElement.dataset.ready === '1'"
AT = "Number(document.getElementById('step').value)"
SHOWN = "[...document.querySelectorAll('.view')].map(v => Number(v.dataset.step))"
READOUTS = "[...document.querySelectorAll('.panel .readout')].map(r => r.textContent)"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("play")
    return write_play(make_task(folder), episodes(), folder / "play.html", title="A robot")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile"), *WEBGL) as found:
        yield found


def opened(page, path, width=1280, height=900, dark=False):
    page.look(width, height, dark)
    page.driver.get("about:blank")
    page.errors(), page.requests()
    page.driver.get(path.as_uri())
    page.until(READY)


def complaints(page):
    """But for Chromium's on how slow it is without a GPU."""
    return [message for message in page.errors() if "GL Driver Message (OpenGL, Performance" not in message]


def picture(page, number, folder):
    """`[height, width, 3]` of what a canvas shows."""
    page.js("document.querySelectorAll('.view')[arguments[0]].scrollIntoView({ block: 'center' })", number)
    # Drawn before the next frame is shown.
    page.driver.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()));"
    )
    box = page.js(
        "const b = document.querySelectorAll('.view')[arguments[0]].getBoundingClientRect();"
        "return [b.left, b.top, b.right, b.bottom].map(Math.round)",
        number,
    )
    page.screenshot(folder / "shot.png", whole=False)
    left, top, right, bottom = box
    return iio.imread(folder / "shot.png")[top + 8 : bottom - 8, left + 8 : right - 8, :3].astype(int)


def test_it_draws_and_the_slider_moves_the_bodies(page, written, tmp_path):
    opened(page, written)
    assert page.js("return document.getElementById('trouble').textContent") == ""
    first = [picture(page, number, tmp_path) for number in range(3)]
    # Sky, ground and a robot.
    assert all(np.unique(found.reshape(-1, 3), axis=0).shape[0] > 300 for found in first)
    page.js("const s = document.getElementById('step'); s.value = 20; s.dispatchEvent(new Event('input'))")
    page.until(f"{SHOWN}[0] === 20")
    assert page.js(f"return {SHOWN}") == [20, 20, 10]
    later = [picture(page, number, tmp_path) for number in range(3)]
    moved = [np.abs(a - b).max(axis=-1) > 40 for a, b in zip(first, later)]
    assert all(0.002 < share.mean() < 0.6 for share in moved)
    assert page.js(f"return {READOUTS}") == [
        "step 20 · return so far 6.55 · belief 0.25",
        "step 20 · return so far 20 · belief 0.5",
        "ended at step 10 · return so far 0",
    ]
    # The line in the curves stands at the step.
    line = page.js("const c = document.querySelector('.now'); return [c.offsetLeft, c.parentElement.clientWidth]")
    assert line[0] / line[1] == pytest.approx(20 / 29, abs=0.01)
    assert page.js("return document.getElementById('curve-belief-said').textContent") == "Policy: 0.25; Expert: 0.5"
    assert complaints(page) == []
    assert [url for url in page.requests() if not url.startswith(("data:", "about:"))] == [written.as_uri()]


def test_tendons_are_drawn_and_go_along(page, tmp_path):
    path = write_play(make_task(tmp_path, ropes=True), episodes(), tmp_path / "play.html", title="Ropes")
    opened(page, path)

    def rope():
        """Where in the first picture the purple one is: `[n, 2]` rows and columns."""
        red, green, blue = np.moveaxis(picture(page, 0, tmp_path), -1, 0)
        return np.argwhere((red > 60) & (blue > 60) & (green < red / 2) & (green < blue / 2))

    page.js("for (let i = 0; i < 2; i++) document.getElementById('nearer').click()")
    first = rope()
    page.js("const s = document.getElementById('step'); s.value = 30; s.dispatchEvent(new Event('input'))")
    page.until(f"{SHOWN}[0] === 30")
    later = rope()
    # Long and thin, and elsewhere when the body that it holds is.
    assert min(len(first), len(later)) > 40 and np.ptp(first, axis=0).max() > 30
    assert np.abs(first.mean(axis=0) - later.mean(axis=0)).max() > 5
    assert complaints(page) == []


def test_a_mesh_is_drawn_in_the_colours_of_its_texture(page, tmp_path):
    path = write_play(make_task(tmp_path, textured=True), episodes(), tmp_path / "play.html", title="A robot")
    opened(page, path)
    page.js("for (let i = 0; i < 4; i++) document.getElementById('nearer').click()")
    red, green, blue = np.moveaxis(picture(page, 0, tmp_path), -1, 0)
    assert ((green > 60) & (red > 60) & (blue < green / 2)).sum() > 20, "no yellow"
    assert ((blue > 60) & (red > 60) & (green < blue / 2)).sum() > 20, "no purple"
    assert complaints(page) == []


def test_keys_step_and_play(page, written):
    opened(page, written)
    page.press("\ue014", "\ue014", "\ue014", "\ue012")  # Right, three times, and left.
    page.until(f"{AT} === 2")
    page.js("document.getElementById('step').focus()")
    page.press("\ue014")
    page.until(f"{AT} === 3")
    page.js("document.getElementById('speed').value = '0.25'")
    page.press(" ")
    page.until(f"document.getElementById('play').textContent === 'Stop' && {AT} > 5")
    page.press(" ")
    page.until("document.getElementById('play').textContent === 'Play'")
    # It plays to the end and stops there; then it begins anew.
    page.js("document.getElementById('speed').value = '4'; document.getElementById('play').click()")
    page.until(f"{AT} === 30 && document.getElementById('play').textContent === 'Play'")
    page.js("document.getElementById('speed').value = '0.1'; document.getElementById('play').click()")
    page.until(f"{AT} < 30")
    assert complaints(page) == []


def test_a_drag_turns_and_buttons_zoom(page, written, tmp_path):
    from selenium.webdriver import ActionChains

    opened(page, written)
    before = picture(page, 0, tmp_path)
    view = page.driver.find_element("css selector", ".view")
    ActionChains(page.driver).move_to_element(view).click_and_hold().move_by_offset(80, 10).release().perform()
    turned = picture(page, 0, tmp_path)
    page.js("document.getElementById('farther').click()")
    smaller = picture(page, 0, tmp_path)
    page.js("document.getElementById('reset').click()")
    again = picture(page, 0, tmp_path)
    assert (np.abs(turned - before) > 40).mean() > 0.01 and (np.abs(smaller - turned) > 40).mean() > 0.005
    assert np.abs(again - before).mean() < 1
    # A click on a curve goes there.
    over = page.driver.find_element("css selector", "#curve-reward .u-over")
    ActionChains(page.driver).move_to_element(over).click().perform()
    page.until(f"{AT} > 12 && {AT} < 17")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_it_fits_and_is_accessible(page, written, tmp_path, width, height, dark):
    opened(page, written, width, height, dark)
    assert page.js("return document.documentElement.scrollWidth") <= width
    assert accessibility(page) == []
    corner = picture(page, 0, tmp_path)[:20, :20].mean()
    assert corner < 80 if dark else corner > 180


def test_where_nothing_can_be_drawn_it_says_so(written, tmp_path):
    with browser(tmp_path / "profile", "--disable-3d-apis") as page:
        opened(page, written)
        said = page.js("return document.getElementById('trouble').textContent")
        assert said.startswith(
            "This browser draws no pictures in three dimensions: WebGL 2 is missing or switched off."
        )
        # The curves and the player work without.
        page.press("\ue014")
        page.until(f"{AT} === 1")
        assert page.js(f"return {READOUTS}")[0].startswith("step 1 · return so far 0")
        assert page.js("return [...document.querySelectorAll('.view')].every(v => v.hidden)")
        assert page.errors() == []
