"""Take the README's picture of the page at `/`, after a sample was transcribed with the demo model.

Usage: python -m tools.page_picture docs/page.png [--dark] [--width 860]
Needs Chromium, as the tests of the page do (CONTRIBUTING.md).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.support.chromium import open_chromium
from tests.support.serving import SAMPLE, serving

_N_WARM = 2  # transcriptions before the one that is shown: the first of a process takes longer


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=860, help="pixels")
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        serving() as served,
        open_chromium(Path(folder)) as page,
    ):
        scheme = {"name": "prefers-color-scheme", "value": "dark" if args.dark else "light"}
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        for _ in range(_N_WARM + 1):
            page.open(served.url, args.width)
            page.get("file").send_keys(str(SAMPLE))
            page.wait_shown("files")
        page.wait_shown("audio")
        page.run("document.querySelectorAll('.word')[2].click(); audio.pause()")
        page.wait(lambda: page.list_all(".word.now"))
        page.resize(args.width, int(str(page.run("return document.body.scrollHeight"))))
        args.out.write_bytes(page.browser.get_screenshot_as_png())


if __name__ == "__main__":
    main()
