"""A watched run in headless Chromium: the page renews itself and keeps what its reader has set."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys

import pytest

from tests.browser import accessibility, browser, needs_browser
from tests.report.made import metrics, write_lines, write_run, write_sweep
from tests.report.test_browser import CHART, READOUT, SHOWN, control
from tests.report.test_live import hold, serving

pytestmark = [pytest.mark.slow, needs_browser]

LIVE = "document.getElementById('live').textContent"


def lines(evaluations):
    """Of two seeds that have been evaluated so many times."""
    made = [(seed, metrics(seed)) for seed in (0, 1)]
    return [
        {"seed": seed, "step": 1000 * (i + 1)} | {name: float(values[i]) for name, values in held.items()}
        for i in range(evaluations)
        for seed, held in made
    ]


def test_it_renews_itself_and_keeps_what_was_set(tmp_path):
    folder = write_run(tmp_path / "run", algo="gailfe", seeds=(0, 1))
    (folder / "summary.json").unlink()
    (folder / "metrics.jsonl").unlink()
    hold(folder)
    with browser(tmp_path / "profile") as page, serving(folder) as server:
        page.look(1280, 900)
        page.driver.get("about:blank")
        page.errors(), page.requests()
        page.driver.get(server.url)
        assert page.js(f"return {LIVE}") == "Training goes on. There is no evaluation yet."
        assert "The first one brings the curves." in page.js("return document.body.innerText")
        assert accessibility(page) == []

        write_lines(folder, lines(4))
        page.until("document.querySelector('.chart canvas') !== null")
        page.until(f"{LIVE}.startsWith('Training goes on. Step 4,000 of 6,000 (67%)')")
        # What a reader sets: seeds, zoom, what is folded out, the place and the focus.
        control(page, "single seeds")
        control(page, "demonstrations")
        page.js(f"{CHART}.plot.setScale('x', {{ min: 1000, max: 2000 }})")
        page.js("document.querySelector('#settings details summary').click()")
        page.js("window.scrollTo(0, 500)")
        page.js("document.querySelectorAll('.chart')[1].focus({ preventScroll: true })")
        place = page.js("return document.activeElement.id")

        write_lines(folder, lines(6))
        page.until(f"{LIVE}.startsWith('Training goes on. Step 6,000')")
        page.until(f"{CHART}.plot.data[0].length === 6")
        assert page.js(f"return [{CHART}.plot.scales.x.min, {CHART}.plot.scales.x.max]") == [1000, 2000]
        assert page.js(f"return {SHOWN.format('seed')}") == 2
        assert page.js(f"return {SHOWN.format('reference')}") == 1
        assert page.js("return document.querySelector('#settings details').open") is True
        assert page.js("return window.scrollY") == 500
        assert page.js("return document.activeElement.id") == place
        boxes = "[...document.querySelectorAll('#controls-0 label')]"
        assert page.js(f"return {boxes}.find(l => l.textContent === 'demonstrations').control.checked") is False
        page.js("[...document.querySelectorAll('.chart .tools button')][2].click()")
        assert page.js(f"return {CHART}.plot.scales.x.max") == 6000
        assert page.js(f"return {READOUT}").startswith("Last, 6k steps")

        # It ends.
        (folder / "in_use.json").unlink()
        (folder / "summary.json").write_text(json.dumps({"finished": True, "train_seconds": 1.0}))
        page.until(f"{LIVE} === 'Training has ended. Step 6,000 of 6,000 (100%).'")
        assert page.errors() == []
        assert accessibility(page) == []
        asked = {url.removeprefix(server.url) for url in page.requests() if not url.startswith(("data:", "about:"))}
        assert asked == {"", "state"}


def test_a_sweep_renews_itself_when_a_setting_is_done(tmp_path):
    folder = write_sweep(tmp_path / "s")
    shutil.move(folder / "settings" / "0000", tmp_path / "done")
    hold(folder)
    with browser(tmp_path / "profile") as page, serving(folder) as server:
        page.look(1280, 900)
        page.driver.get(server.url)
        page.until("document.querySelector('.chart canvas') !== null")
        assert page.js(f"return {LIVE}").startswith("The sweep goes on. 0 of 3 settings are done. 2 settings train")
        assert page.js(f"return {SHOWN.format('mid')}") == 2
        assert page.js(f"return {CHART}.plot.data[0]") == [0, 1000, 2000, 3000, 4000, 5000, 6000]
        control(page, "reward.lr=0.001")
        shutil.move(tmp_path / "done", folder / "settings" / "0000")
        page.until(f"{LIVE}.startsWith('The sweep goes on. 1 of 3')")
        page.until("document.body.innerText.includes('reward.lr=0.0001')")
        # The one that was there before and is not shown stays so; the new one is shown.
        assert page.js(f"return {SHOWN.format('mid')}") == 2
        assert page.errors() == [] and accessibility(page) == []


def test_ctrl_c_ends_the_command_and_the_page_says_so(tmp_path):
    folder = write_run(tmp_path / "run")
    words = [sys.executable, "-m", "gailfe_jax", "watch", str(folder), "--no-browser"]
    # What runs in the background ignores Ctrl-C, and hands that on.
    pipes = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), "text": True}
    pipes |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with browser(tmp_path / "profile") as page, subprocess.Popen(words, **pipes) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "Training has ended. Step 6,000 of 6,000 (100%).\n"
        page.driver.get(command.stdout.readline().split()[1])
        page.until("document.querySelector('.chart canvas') !== null")
        command.send_signal(signal.SIGINT)
        try:
            out, err = command.communicate(timeout=60)
        finally:
            command.kill()
        assert (command.returncode, out, err) == (0, "\n", "")
        page.until(f"{LIVE}.startsWith('The server does not answer')")
        assert page.js(f"return {READOUT}").startswith("Last, 6k steps")
