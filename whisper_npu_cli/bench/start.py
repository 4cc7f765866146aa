"""What a start costs: a short recording and the model `demo`, from the command to its end."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from statistics import median
from time import perf_counter
from typing import Any

from whisper_npu_cli.environment import find_shipped, make_command

_SAMPLE = "samples/lucas-1-6-1-8-0.wav"  # 5 s
_MAIN = "from whisper_npu_cli.cli.app import main; sys.argv[1:] = {}; main()"
_IMPORT = re.compile(rb"import time: +(\d+) \| +\d+ \| +([^.\s]+)")  # us, without what it imports


def measure_start(n_runs: int) -> dict[str, Any]:
    """Return the median seconds of `n_runs` starts, and the ms that each package's imports take.

    A further run tells the imports, by `python -X importtime`. One before warms the caches.
    """
    _start()
    seconds = []
    for _ in range(n_runs):
        start = perf_counter()
        _start()
        seconds.append(perf_counter() - start)
    return {
        "seconds": median(seconds),
        "min_seconds": min(seconds),
        "imports_ms": sum_up_imports(_start("-X", "importtime")),
    }


def sum_up_imports(told: bytes) -> dict[str, float]:
    """Return the ms of each package, most first, from what `-X importtime` has told."""
    us = Counter[str]()
    for time_us, package in _IMPORT.findall(told):
        us[package.decode()] += int(time_us)
    return {package: n / 1000 for package, n in us.most_common()}


def _start(*flags: str) -> bytes:
    """Run the command; return what it printed on stderr."""
    arguments = ["transcribe", "--model", "demo", "--quiet", str(find_shipped(_SAMPLE))]
    command = [sys.executable, *flags, *make_command(_MAIN.format(arguments))[1:]]
    return subprocess.run(command, capture_output=True, check=True).stderr
