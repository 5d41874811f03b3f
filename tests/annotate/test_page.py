"""The page in headless Chromium: played, scrubbed, labelled by keys and by buttons, and resumed."""

from __future__ import annotations

import pytest

from gailfe_jax.annotate.session import FAILED, FAILED_FROM, GOOD, Label
from gailfe_jax.data.trajectories import Demonstrations, Trajectories
from tests.browser import accessibility, browser, needs_browser
from tests.data.made import make_demonstrations
from tests.host_episodes import random_episode

pytestmark = [pytest.mark.slow, needs_browser]

TEXT = "document.getElementById('{}').textContent"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


def text(page, name):
    return page.js(f"return {TEXT.format(name)}")


def opened(page, server):
    """The page of a server, once an episode's curves are drawn; what was logged before is forgotten."""
    page.look(1280, 900)
    page.errors(), page.requests()
    page.driver.get(server.url)
    page.until("document.querySelectorAll('#curves canvas').length > 0 && document.getElementById('about').textContent")


def test_episodes_are_labelled_by_keys_and_buttons(page, serve, tmp_path):
    make_demonstrations().save(tmp_path / "demos.npz")
    server = serve(str(tmp_path / "demos.npz"))
    opened(page, server)
    assert text(page, "title") == "Episode 1 of 5"
    assert text(page, "about").startswith("No pictures, for observations and actions have other sizes")
    assert "5 steps, return" in text(page, "facts") and "among the demonstrations" in text(page, "facts")
    assert page.js("return document.querySelectorAll('#episodes button').length") == 5

    page.press("g")
    page.until(f"{TEXT.format('title')} === 'Episode 2 of 5'")
    assert text(page, "said") == "Saved: episode 1, good. Now episode 2."
    page.press("\ue014", "\ue014", "h")  # Right, right.
    page.until(f"{TEXT.format('title')} === 'Episode 3 of 5'")
    assert server.session.labels == {0: Label(GOOD), 1: Label(FAILED_FROM, 2)}
    assert text(page, "progress") == "2 of 5 episodes decided"

    # Only one demonstration of one step is left besides: it may fail, the last one may not.
    page.js("document.getElementById('failed').click()")
    page.until(f"{TEXT.format('title')} === 'Episode 4 of 5'")
    page.press("p", "p", "p", "f")
    page.until(f"{TEXT.format('said')}.startsWith('Saved: episode 1, failed')")
    page.press("p", "p", "p", "p")
    page.press("n", "f")
    page.until(f"{TEXT.format('wrong')} !== ''")
    assert "no demonstration would be left" in text(page, "wrong")
    assert server.session.labels[1] == Label(FAILED_FROM, 2)
    page.press("p", "u")
    page.until(f"{TEXT.format('label')} === 'none yet'")
    assert server.session.labels == {1: Label(FAILED_FROM, 2), 2: Label(FAILED)}
    # What the server refuses is an error to the browser, and shown.
    assert [message for message in page.errors() if "422" not in message] == []
    assert {url.removeprefix(server.url).split("/")[0] for url in page.requests() if not url.startswith("data:")} <= {
        *("", "style.css", "page.js", "curves.js", "session", "observed", "about", "label", "picture")
    }

    made = Demonstrations.load(server.session.out)
    assert made.expert.lengths.tolist() == [5, 2] and made.failures.lengths.tolist() == [1, 1, 2, 4]
    again = serve(str(tmp_path / "demos.npz"))
    opened(page, again)
    assert text(page, "title") == "Episode 1 of 5" and text(page, "progress") == "2 of 5 episodes decided"
    assert page.js("return document.querySelectorAll('#episodes .failed_from').length") == 1
    assert page.errors() == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_it_fits_and_is_accessible(page, serve, tmp_path, width, height, dark):
    make_demonstrations().save(tmp_path / "demos.npz")
    server = serve(str(tmp_path / "demos.npz"))
    server.session.decide(0, Label(FAILED_FROM, 2))
    server.session.decide(1, Label(GOOD))
    opened(page, server)
    page.look(width, height, dark)
    assert page.js("return document.documentElement.scrollWidth") <= width
    assert accessibility(page) == []


def test_single_keys_can_be_switched_off(page, serve, tmp_path):
    make_demonstrations().save(tmp_path / "demos.npz")
    server = serve(str(tmp_path / "demos.npz"))
    opened(page, server)
    page.js("document.getElementById('keys').click()")
    page.press("n", "f", "\ue014")
    assert text(page, "title") == "Episode 1 of 5" and server.session.labels == {}
    page.js("document.getElementById('step').focus()")
    page.press("\ue014")
    assert text(page, "at") == "1 / 5"


def test_a_page_of_another_origin_can_do_nothing(page, serve, tmp_path):
    make_demonstrations().save(tmp_path / "demos.npz")
    server, other = serve(str(tmp_path / "demos.npz")), serve(str(tmp_path / "demos.npz"))
    opened(page, other)
    # Even one that knew the token: its own policy is lifted, so that the server alone refuses.
    page.driver.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    opened(page, other)
    outcome = page.driver.execute_async_script(
        """
        const [url, done] = arguments;
        const body = JSON.stringify({ episode: 0, label: "failed" });
        const tries = [
          fetch(url + "session"),
          fetch(url + "label", { method: "POST", headers: { "Content-Type": "application/json" }, body }),
          fetch(url + "label", { method: "POST", mode: "no-cors", body }),
        ];
        Promise.allSettled(tries).then((all) => done(all.map((one) => one.status)));
        """,
        server.url,
    )
    page.driver.execute_cdp_cmd("Page.setBypassCSP", {"enabled": False})
    assert outcome == ["rejected"] * 3
    assert server.session.labels == {}


def test_a_robot_is_seen_moving(page, serve, tmp_path):
    shown = Trajectories.concatenate([random_episode("hopper", 100, seed) for seed in range(2)])
    Demonstrations("Hopper-v5", shown, shown.select([])).save(tmp_path / "demos.npz")
    server = serve(str(tmp_path / "demos.npz"), size=160)
    server.film._pictures._begun.join()
    if server.film.problem:
        pytest.skip(server.film.problem)
    opened(page, server)
    # A hash of the pixels.
    pixels = """(() => { const c = document.getElementById('picture');
      const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
      let [sum, bright] = [0, 0]; d.forEach((x, i) => { sum = (sum * 31 + x) % 1000003; bright += x; });
      return [c.width, sum, bright]; })()"""
    page.until("document.getElementById('picture').dataset.shown === '0/0'")
    width, first, bright = page.js(f"return {pixels}")
    assert width == 160 and bright > 1e6
    page.press("\ue010")  # End.
    steps = int(shown.lengths[0])
    page.until(f"document.getElementById('picture').dataset.shown === '0/{steps}'")
    assert page.js(f"return {pixels}")[1] != first
    page.press("\ue011", " ")  # Home, and play.
    page.until(f"Number(document.getElementById('step').value) === {steps}")
    assert text(page, "play").startswith("Play")
    assert text(page, "about") == "Drawn from the simulator states in the file."
    assert page.js("return document.getElementById('picture').getAttribute('aria-label')").startswith(
        "The robot in episode 1"
    )
    # But for Chromium's advice on this test's own reading of pixels.
    assert [message for message in page.errors() if "getImageData" not in message] == []
