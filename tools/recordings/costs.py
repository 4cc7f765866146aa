"""What it costs to decode in another process."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import perf_counter

from tests.support.places import SHARED
from tools.recordings.encode import read_speech, write_sndfile
from whisper_npu_cli.audio.isolated import read_isolated
from whisper_npu_cli.audio.mono import read_mono
from whisper_npu_cli.audio.recording import Request

_ROUNDS = 20
_MAX_IDLE = 2  # processes that `isolated` may have kept, so that none is started


def measure_costs() -> dict[str, str]:
    """Return what is measured, by name."""
    with tempfile.TemporaryDirectory() as folder:
        wav = write_sndfile(Path(folder, "wav"), read_speech()[:80_000], format="WAV")
        mp3 = SHARED / "audio" / "two_languages.mp3"
        figures = {
            f"start of the process until the first samples of {name}": _format(_start(path))
            for name, path in (("wav", wav), ("mp3", mp3))
        }
        for name, path in (("5 s of wav", wav), ("60 s of mp3", mp3)):
            for how, function in (("in the same process", _read_here), ("in its own", _read_there)):
                function(path)
                figures[f"{name}, {how}"] = _format([_time(function, path) for _ in range(_ROUNDS)])
    return figures


def _start(path: Path) -> list[float]:
    """Return the seconds of starts; each process is kept busy until all have started."""
    busy, seconds = [], []
    for _ in range(_MAX_IDLE + 5):
        start = perf_counter()
        pieces = read_isolated(Request(str(path)))
        next(pieces)
        seconds.append(perf_counter() - start)
        busy.append(pieces)
    for pieces in busy:
        pieces.close()
    return seconds[_MAX_IDLE:]


def _read_here(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        for _ in read_mono(file, Request(str(path))):
            pass


def _read_there(path: Path) -> None:
    with closing(read_isolated(Request(str(path)))) as pieces:
        for _ in pieces:
            pass


def _time(function: Callable[[Path], None], path: Path) -> float:
    start = perf_counter()
    function(path)
    return perf_counter() - start


def _format(seconds: list[float]) -> str:
    return f"{1000 * statistics.median(seconds):.1f} ms (at most {1000 * max(seconds):.1f})"
