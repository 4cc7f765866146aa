"""Write `docs/accuracy*.md`: this program beside openai-whisper and faster-whisper, same weights.

    python -m tools.peers.accuracy --peers PYTHON --parts recordings

PYTHON is an interpreter with `tools/peers/requirements.txt`; this program runs in the interpreter
of this module. Each program has one thread, and as many programs as there are cores run at a time.
For recordings OpenAI's weights are fetched once, and `../shared/audio` is read.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.support.places import ROOT
from tools.peers import digits, recordings
from tools.peers.comparison import measure_all

PARTS = ("recordings", "digits")


def main() -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--clips", type=int, default=200, help="of digits, for word error rates")
    parser.add_argument("--close", type=int, default=50, help="of them, for tokens and times")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="programs at a time")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", metavar="FOLDER")
    arguments = parser.parse_args()
    peers, n_jobs, output = arguments.peers, arguments.jobs, arguments.output
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "recordings" in arguments.parts:
            models = recordings.prepare(folder, peers)
            results = {model: measure_all(rows, peers, n_jobs) for model, rows in models.items()}
            page = recordings.write_page(models, results, peers)
            (output / "accuracy.md").write_text(page)
        if "digits" in arguments.parts:
            rows = digits.prepare(folder, peers, arguments.clips, arguments.close)
            page = digits.write_page(rows, measure_all(rows, peers, n_jobs))
            (output / "accuracy-digits.md").write_text(page)


if __name__ == "__main__":
    main()
