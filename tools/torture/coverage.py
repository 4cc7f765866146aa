"""Fuzz one parser by what it covers, with atheris (optional).

python -m tools.torture.coverage config.json CORPUS -max_total_time=60
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris


def main() -> None:
    """Fuzz until the time is over; libFuzzer ends this process."""
    with atheris.instrument_imports(include=["whisper_npu_cli", "json", "zipfile", "pickletools"]):
        from tools.torture.parsers import PARSERS
    parser = PARSERS[sys.argv[1]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, parser.name)
        parser.write(path)

        def read(data: bytes) -> None:
            path.write_bytes(data)
            parser.is_refused(path)

        atheris.Setup([sys.argv[0], *sys.argv[2:]], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
