"""What a start imports: that alone which a run needs."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from whisper_npu_cli.bench import start
from whisper_npu_cli.bench.start import measure_start, sum_up_imports

TOLD = b"""import time: self [us] | cumulative | imported package
import time:      1500 |       1500 |   numpy.core
import time:       500 |       2000 | numpy
import time:       250 |        250 | site
[00:00.540 --> 00:02.900]  one
"""


def test_the_modules_of_a_package_are_added_up() -> None:
    assert sum_up_imports(TOLD) == {"numpy": 2.0, "site": 0.25}


@pytest.mark.parametrize("n_runs", [1, 3])
def test_a_start_is_run_for_each_time_and_for_the_imports(
    n_runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, b"", TOLD)

    monkeypatch.setattr(subprocess, "run", run)
    measured = measure_start(n_runs)
    assert measured["imports_ms"] == {"numpy": 2.0, "site": 0.25}
    assert measured["min_seconds"] <= measured["seconds"]
    assert ["importtime" in command for command in commands] == [False] * (n_runs + 1) + [True]


def test_a_start_imports_nothing_that_it_can_do_without() -> None:
    """Each takes a tenth of a second or more of every run."""
    start._start()  # which compiles what is not stored
    imported = sum_up_imports(start._start("-X", "importtime")).keys()
    assert {"numpy", "openvino", "llvmlite", "tokenizers"} <= imported
    assert not {"numba", "scipy", "huggingface_hub", "requests", "rich", "av"} & imported
