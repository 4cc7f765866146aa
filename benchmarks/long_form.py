"""Long files in both long-form modes: digits right and wrong, seconds, and peak memory.

    python benchmarks/long_form.py --minutes 10 60 120

Composes files of spoken digits whose text is known, transcribes each in a process of its own,
and prints one row of a Markdown table a run. The recordings are the test split of the Free
Spoken Digit Dataset (`tests/data/digits.flac`), which the demo model was not trained on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from digits import SPEAKERS, WORDS, load_recordings  # noqa: E402

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


def transcribe(path: Path, model: str, mode: str) -> tuple[dict[str, object], float]:
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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 60.0, 120.0])
    parser.add_argument("--modes", nargs="+", default=["sequential", "batched"])
    parser.add_argument("--model", default="demo")
    arguments = parser.parse_args()
    print("| minutes | mode | digits | wrong | speech without text | seconds | speed | peak MB |")
    print("|---|---|---|---|---|---|---|---|")
    for minutes in arguments.minutes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "digits.wav"
            words = compose(path, minutes)
            for mode in arguments.modes:
                result, peak_mb = transcribe(path, arguments.model, mode)
                wrong = n_edits(words, str(result["text"]).split())
                seconds = sum(row["seconds"] for row in result["timings"] if row["stage"] != "load")
                print(
                    f"| {minutes:g} | {mode} | {len(words)} | {wrong} ({wrong / len(words):.1%}) "
                    f"| {len(result['uncovered'])} | {seconds:.1f} "
                    f"| {result['duration_s'] / seconds:.0f}x | {peak_mb:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
