"""Headless Chromium for tests of pages, driven by selenium; such tests are skipped where either is missing."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

_FLAGS = (
    *("--headless=new", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-sync", "--disable-quic"),
    # Else it looks for updates and accounts at every start.
    *("--disable-background-networking", "--disable-component-update", "--disable-default-apps"),
    "--disable-features=OptimizationHints,MediaRouter",
)
WEBGL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
"""Flags for pictures in three dimensions, drawn by the processor."""
_AXE = pathlib.Path(__file__).parent / "vendor" / "axe.min.js"
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def missing() -> str | None:
    """Why no browser can be driven here; None where one can."""
    if not any(map(shutil.which, _CHROMIUM)) or not shutil.which("chromedriver"):
        return "Chromium and its driver are not installed (Debian: apt-get install chromium chromium-driver)"
    return None if importlib.util.find_spec("selenium") else "selenium is not installed (extra: dev)"


needs_browser = pytest.mark.skipif(missing() is not None, reason=str(missing()))


class Page:
    """A page in a browser of its own.

    Attributes:
      driver: selenium's.
    """

    def __init__(self, driver: Any):
        self.driver = driver

    def js(self, code: str, *args: Any) -> Any:
        """What a function body of JavaScript returns."""
        return self.driver.execute_script(code, *args)

    def until(self, code: str, seconds: float = 60) -> Any:
        """What an expression of JavaScript gives, once it is true."""
        end = time.monotonic() + seconds
        while not (value := self.js(f"return {code}")):
            assert time.monotonic() < end, (
                f"not within {seconds} s: {code}\n{self.js('return document.body.innerText')}"
            )
            time.sleep(0.05)
        return value

    def press(self, *keys: str) -> None:
        """Presses keys, wherever the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def look(self, width: int, height: int, dark: bool = False, media: str = "screen") -> None:
        """Sets the window's size in CSS pixels, the colour scheme and the medium."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})

    def screenshot(self, path: pathlib.Path | str, *, whole: bool = True) -> None:
        """Writes a PNG, of the whole page or of what the window shows."""
        options: dict[str, Any] = {}
        if whole:
            size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            options = {"captureBeyondViewport": True, "clip": clip}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", options)
        pathlib.Path(path).write_bytes(base64.b64decode(shot["data"]))

    def errors(self) -> list[str]:
        """What the console got since the last call: errors and warnings, blocked requests among them."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


@contextlib.contextmanager
def browser(profile: pathlib.Path, *flags: str) -> Iterator[Page]:
    """A headless Chromium that keeps its things in the folder `profile`; `flags` come after its usual ones."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = next(path for name in _CHROMIUM if (path := shutil.which(name)))
    for flag in (*_FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Its sandbox refuses to work for root.
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Page(driver)
    finally:
        driver.quit()


def accessibility(page: Page) -> list[str]:
    """What axe-core finds serious or critical on the page as it stands, a line each."""
    page.driver.execute_script(_AXE.read_text(encoding="utf-8"))
    found = page.driver.execute_async_script("const done = arguments[0]; axe.run().then((r) => done(r.violations));")
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}: {[node['target'] for node in rule['nodes']][:5]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]
