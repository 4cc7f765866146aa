"""Headless Chromium, as Debian's packages chromium and chromium-driver have it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

_PATIENCE_S = 60.0  # nothing here takes a second on a machine that does nothing else
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--autoplay-policy=no-user-gesture-required", "--mute-audio", "--hide-scrollbars"),
)
_MICROPHONE = (
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
    "--use-file-for-fake-audio-capture=",
)


@contextmanager
def open_chromium(folder: Path, microphone: Path | None = None) -> Iterator[Page]:
    """Start it with an empty profile in `folder`, where downloads go; skip where it is missing.

    Its microphone hears a file again and again, if one is given.
    """
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("there is no chromium with its chromedriver (CONTRIBUTING.md)")
    options = ChromeOptions()
    options.binary_location = binary
    heard = [*_MICROPHONE[:-1], f"{_MICROPHONE[-1]}{microphone}"] if microphone else []
    for flag in (*_FLAGS, *heard, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "WARNING"})
    browser = Chrome(options, Service(driver))
    try:
        yield Page(browser, folder)
    finally:
        browser.quit()


class Page:
    """A page in a browser; what is waited for fails after a minute."""

    def __init__(self, browser: Chrome, folder: Path) -> None:
        self.browser = browser
        self.folder = folder

    def open(self, url: str, width: int = 900) -> None:
        """Open an address, in a window of so many pixels."""
        self.resize(width, 900)
        self.browser.get(url)
        self.wait(lambda: self.run("return document.readyState") == "complete")

    def resize(self, width: int, height: int) -> None:
        """Give the page a size in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def get(self, name: str) -> WebElement:
        """Return the element with an id."""
        return self.browser.find_element("id", name)

    def list_all(self, selector: str) -> list[WebElement]:
        """Return the elements of a selector."""
        return self.browser.find_elements("css selector", selector)

    def run(self, script: str, *values: object) -> object:
        """Run JavaScript, and return what it returns."""
        return self.browser.execute_script(script, *values)

    def wait(self, is_so: Callable[[], object]) -> None:
        """Wait until something is so."""
        WebDriverWait(self.browser, _PATIENCE_S, 0.02).until(lambda _: is_so())

    def wait_shown(self, name: str) -> WebElement:
        """Wait until the element with an id is shown, and return it."""
        self.wait(lambda: self.get(name).is_displayed())
        return self.get(name)
