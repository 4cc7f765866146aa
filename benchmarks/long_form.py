"""Long files in both long-form modes: digits right and wrong, seconds, and peak memory.

    python benchmarks/long_form.py --minutes 10 60 120 --no-speech-minutes 10

Composes files of spoken digits whose text is known, and files without speech, transcribes each in
a process of its own, and prints one row of a Markdown table a run. The recordings are the test
split of the Free Spoken Digit Dataset (`tests/data/digits.flac`), which the demo model was not
trained on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from tests.support.digits import SPEAKERS, WORDS, load_recordings  # noqa: E402

RATE = 16000
MAIN = "from whisper_npu_cli.cli.app import main; main()"


def compose(path: Path, minutes: float, seed: int = 0) -> list[str]:
    """Write digits in phrases of one speaker, 3 to 10 each, and up to 5 s between them."""
    rng = np.random.default_rng(seed)
    recordings, rate = load_recordings()
    words: list[str] = []
    n_left = int(minutes * 60 * rate)
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        while n_left > 0:
            speaker = SPEAKERS[rng.integers(len(SPEAKERS))]
            for digit in rng.integers(10, size=rng.integers(3, 11)):
                said = recordings[f"{digit}_{speaker}_{rng.integers(5)}"]
                pause = np.zeros(int(rng.uniform(0.1, 0.8) * rate), np.float32)
                file.write(np.concatenate([said, pause]))
                words.append(WORDS[digit])
                n_left -= said.size + pause.size
            gap = np.zeros(int(rng.uniform(0, 5) * rate), np.float32)
            file.write(gap)
            n_left -= gap.size
    return words


def _noise(t: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(t.size, np.float32) * np.float32(0.05)


def _hum(t: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mains hum of 50 Hz with its third harmonic."""
    return 0.3 * np.sin(2 * np.pi * 50 * t) + 0.1 * np.sin(2 * np.pi * 150 * t)


def _music(t: NDArray[np.float32]) -> NDArray[np.float32]:
    """Chords struck twice a second, which fade, in a round of four."""
    thirds = np.array([[262, 330, 392], [220, 262, 330], [175, 220, 262], [196, 247, 294]])
    pitches = thirds[(t / 2).astype(int) % len(thirds)]  # (n, 3) Hz
    chord = sum(np.sin(2 * np.pi * pitch * t) for pitch in pitches.T)
    return (0.15 * chord * np.exp(-4 * (t % 0.5))).astype(np.float32)


# seconds (n,) of at most a minute -> samples (n,) at RATE without speech; minutes repeat
NO_SPEECH: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "silence": np.zeros_like,
    "noise": _noise,
    "hum": _hum,
    "music": _music,
}


def write_no_speech(path: Path, sound: str, minutes: int) -> None:
    """Write `minutes` of a sound of NO_SPEECH."""
    minute = NO_SPEECH[sound](np.arange(60 * RATE, dtype=np.float32) / RATE)
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for _ in range(minutes):
            file.write(minute)


def n_edits(expected: list[str], found: list[str]) -> int:
    """Return the least number of insertions, deletions and substitutions between two texts."""
    names = {word: i for i, word in enumerate(set(expected) | set(found))}
    target = np.array([names[word] for word in found], np.int64)
    steps = np.arange(len(found) + 1)
    costs = steps
    for i, word in enumerate(expected, start=1):
        best = np.minimum(costs[1:] + 1, costs[:-1] + (target != names[word]))
        costs = np.minimum.accumulate(np.concatenate([[i], best]) - steps) + steps
    return int(costs[-1])


def transcribe(path: Path, model: str, mode: str) -> tuple[dict[str, Any], float]:
    """Transcribe in a child process; return its only result and its peak memory in MB."""
    arguments = ["transcribe", str(path), "--model", model, "--long-form", mode, "--json"]
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            [sys.executable, "-c", MAIN, *arguments],
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


def _costs(result: dict[str, Any], peak_mb: float) -> str:
    """Return the cells of a row that say what a transcription took."""
    seconds = sum(row["seconds"] for row in result["timings"] if row["stage"] != "load")
    return f"{seconds:.1f} | {result['duration_s'] / seconds:.0f}x | {peak_mb:.0f} |"


def print_speech(minutes: list[float], modes: list[str], model: str) -> None:
    """Print the table of files of digits."""
    print("| minutes | mode | digits | wrong | speech without text | seconds | speed | peak MB |")
    print("|---|---|---|---|---|---|---|---|")
    for length in minutes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "digits.wav"
            words = compose(path, length)
            for mode in modes:
                result, peak_mb = transcribe(path, model, mode)
                wrong = n_edits(words, str(result["text"]).split())
                print(
                    f"| {length:g} | {mode} | {len(words)} | {wrong} ({wrong / len(words):.1%}) "
                    f"| {len(result['uncovered'])} | {_costs(result, peak_mb)}",
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
                print(f"| {sound} | {mode} | {n_segments} | {_costs(result, peak_mb)}", flush=True)


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
