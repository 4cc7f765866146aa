"""Long files in both long-form modes: wrong digits, seconds, and peak memory.

    python -m tools.peers.long_form --minutes 10 60 120 --no-speech-minutes 10

It composes files of spoken digits whose text is known, and files without speech, transcribes each
in a process of its own, and prints a row of a Markdown table for each run. The recordings are the
test split of the Free Spoken Digit Dataset (`tests/data/digits.flac`), which the demo model was
not trained on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.support.edits import count_edits
from tests.support.long_files import NO_SPEECH, compose_long_file, write_no_speech
from tests.support.places import ROOT
from tools.peers.workers import WHISPER_NPU


def transcribe(path: Path, model: str, mode: str) -> tuple[dict[str, Any], float]:
    """Transcribe in a child process; return its only result and its peak memory in MB."""
    arguments = ["transcribe", str(path), "--model", model, "--long-form", mode, "--json"]
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            [*WHISPER_NPU, *arguments],
            stdout=output,
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            raise SystemExit(f"{path}: the transcription failed")
        output.seek(0)
        (result,) = json.load(output)["results"]
    return result, usage.ru_maxrss / 1000


def _format_costs(result: dict[str, Any], peak_mb: float) -> str:
    """Return the cells of a row for seconds, speed and memory."""
    seconds = sum(row["seconds"] for row in result["timings"] if row["stage"] != "load")
    return f"{seconds:.1f} | {result['duration_s'] / seconds:.0f}x | {peak_mb:.0f} |"


def print_speech(minutes: list[float], modes: list[str], model: str) -> None:
    """Print the table of files of digits."""
    print("| minutes | mode | digits | wrong | speech without text | seconds | speed | peak MB |")
    print("|---|---|---|---|---|---|---|---|")
    for length in minutes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "digits.wav"
            words = compose_long_file(path, length)
            for mode in modes:
                result, peak_mb = transcribe(path, model, mode)
                wrong = count_edits(words, str(result["text"]).split())
                print(
                    f"| {length:g} | {mode} | {len(words)} | {wrong} ({wrong / len(words):.1%}) "
                    f"| {len(result['uncovered'])} | {_format_costs(result, peak_mb)}",
                    flush=True,
                )


def print_no_speech(minutes: int, modes: list[str], model: str) -> None:
    """Print the table of files without speech, none of which should give text."""
    print(f"\n| {minutes} minutes of | mode | segments of text | seconds | speed | peak MB |")
    print("|---|---|---|---|---|---|")
    for sound in NO_SPEECH:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{sound}.wav"
            write_no_speech(path, sound, minutes)
            for mode in modes:
                result, peak_mb = transcribe(path, model, mode)
                n_segments = len(result["segments"])
                print(
                    f"| {sound} | {mode} | {n_segments} | {_format_costs(result, peak_mb)}",
                    flush=True,
                )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 60.0, 120.0])
    parser.add_argument("--no-speech-minutes", type=int, default=10)
    parser.add_argument("--modes", nargs="+", default=["sequential", "batched"])
    parser.add_argument("--model", default="demo")
    arguments = parser.parse_args()
    print_speech(arguments.minutes, arguments.modes, arguments.model)
    print_no_speech(arguments.no_speech_minutes, arguments.modes, arguments.model)


if __name__ == "__main__":
    main()
