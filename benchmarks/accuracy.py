"""Write `docs/accuracy.md`: this program beside openai-whisper and faster-whisper, same weights.

    python benchmarks/accuracy.py --peers PYTHON

PYTHON is an interpreter with `benchmarks/requirements.txt`; this program runs in the one that runs
the script. What is compared: 200 clips of ten digits, those of `scripts/evaluate_demo.py`, and
composed files of some minutes. Their text and times are known, and none was trained on.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "scripts")]

from demo_clips import make_clips  # noqa: E402
from digits import SPEAKERS, WORDS, load_recordings  # noqa: E402
from long_form import compose, n_edits  # noqa: E402
from programs import RATE, Ask  # noqa: E402
from workers import Worker, convert  # noqa: E402

DEMO = ROOT / "whisper_npu_cli" / "demo"
BEAMS = {"greedy": 1, "beam 5": 5}
ORIGINAL = "openai-whisper"
PEER_S, TRUE_S = 0.02, 0.08  # how far word times may be from openai-whisper's, from the truth
LONG_MINUTES = (1, 3, 6)


@dataclass(frozen=True)
class Clip:
    """A file and what is said in it; `starts` in seconds, where they are known."""

    path: str
    words: list[str]
    starts: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Contender:
    """A row of the tables: a program and the arguments of its class in `programs.py`."""

    name: str
    program: str
    arguments: dict[str, Any]
    long_batches: tuple[int, ...] = ()  # in which the long files are decoded; 0: sequential


@dataclass
class Results:
    """The segments of every file, by the way they were asked for."""

    clips: dict[str, list[list[Any]]] = field(default_factory=dict)  # greedy, beam 5
    long: dict[tuple[str, str], list[list[Any]]] = field(default_factory=dict)  # mode, search
    versions: dict[str, str] = field(default_factory=dict)


def compose_clips(folder: Path, n_clips: int) -> list[Clip]:
    """Write the clips of `scripts/evaluate_demo.py`."""
    recordings, rate = load_recordings()
    clips = make_clips(lambda name: (recordings[name], rate), list(SPEAKERS), range(5), n_clips)
    written = []
    for i, clip in enumerate(clips):
        path = str(folder / f"clip-{i}.wav")
        soundfile.write(path, clip.samples[: clip.length], RATE, "FLOAT")
        words, starts = [WORDS[digit] for digit in clip.digits], [start for start, _ in clip.times]
        written.append(Clip(path, words, starts))
    return written


def compose_long(folder: Path) -> list[Clip]:
    """Write files of `LONG_MINUTES`."""
    written = []
    for minutes in LONG_MINUTES:
        path = folder / f"long-{minutes}.wav"
        words = compose(path, minutes, seed=minutes)
        samples, rate = soundfile.read(path, dtype="float32")
        soundfile.write(path, soxr.resample(samples, rate, RATE), RATE, "FLOAT")
        written.append(Clip(str(path), words))
    return written


def contenders(folder: Path) -> list[Contender]:
    """Return all programs, the slowest first."""
    original = {"model": str(folder / "demo.pt"), "checkpoint": str(DEMO)}
    ctranslate2 = {"model": str(folder / "demo-ctranslate2")}
    ours, faster = "whisper-npu", "faster-whisper"
    return [
        Contender(ORIGINAL, ORIGINAL, original, (0,)),
        Contender(f"{ours}, reference", ours, {"model": str(DEMO), "device": "reference"}),
        Contender(f"{ours}, cpu", ours, {"model": str(DEMO), "device": "cpu"}, (0, 8)),
        Contender(f"{faster} float32", faster, ctranslate2 | {"precision": "float32"}, (0, 8)),
        Contender(f"{faster} int8", faster, ctranslate2 | {"precision": "int8"}, (0, 8)),
    ]


def measure(
    contender: Contender, python: str, clips: Sequence[Clip], long: Sequence[Clip]
) -> Results:
    """Transcribe everything with one program on one thread."""
    results = Results()

    def segments(files: Sequence[Clip], **ask: Any) -> list[list[Any]]:
        return [worker.transcribe(Ask(clip.path, **ask))["segments"] for clip in files]

    with Worker(python, contender.program, n_threads=1, **contender.arguments) as worker:
        results.versions = worker.versions
        for search, beam in BEAMS.items():
            results.clips[search] = segments(clips, beam=beam, words=search == "greedy")
            for batch in contender.long_batches:
                mode = "batched" if batch else "sequential"
                results.long[mode, search] = segments(long, beam=beam, batch=batch)
            print(f"{contender.name}: {search} done", file=sys.stderr)
    return results


def tokens_of(segments: Sequence[Any]) -> list[int]:
    """Return all tokens, timestamps included."""
    return list(chain.from_iterable(segment["tokens"] for segment in segments))


def words_of(segments: Sequence[Any]) -> list[str]:
    """Return the words of the text."""
    return " ".join(segment["text"] for segment in segments).split()


def error_rate(clips: Sequence[Clip], files: Sequence[Sequence[Any]]) -> float:
    """Return wrong words over words, of all files together."""
    wrong = sum(n_edits(clip.words, words_of(f)) for clip, f in zip(clips, files, strict=True))
    return wrong / sum(len(clip.words) for clip in clips)


def share_alike(original: Sequence[Sequence[Any]], other: Sequence[Sequence[Any]]) -> float:
    """Return the share of `original`'s items, tokens or words, that `other` has in their place."""
    n_apart = sum(n_edits(a, b) for a, b in zip(original, other, strict=True))
    return 1 - n_apart / sum(map(len, original))


def clip_rows(clips: Sequence[Clip], results: dict[str, Results]) -> Iterator[str]:
    """Yield the table of the clips."""
    yield "| program | search | word error rate | identical tokens | identical clips |"
    yield "|---|---|---|---|---|"
    for search in BEAMS:
        original = [tokens_of(segments) for segments in results[ORIGINAL].clips[search]]
        for name, result in results.items():
            files = result.clips[search]
            tokens = [tokens_of(segments) for segments in files]
            same = np.mean([a == b for a, b in zip(original, tokens, strict=True)])
            yield (
                f"| {name} | {search} | {error_rate(clips, files):.2%} "
                f"| {share_alike(original, tokens):.2%} | {same:.1%} |"
            )


def word_rows(clips: Sequence[Clip], results: dict[str, Results]) -> Iterator[str]:
    """Yield the table of word times."""
    yield (
        f"| program | words compared | within {PEER_S * 1000:.0f} ms of {ORIGINAL}'s "
        f"| words right | off the truth, median | within {TRUE_S * 1000:.0f} ms |"
    )
    yield "|---|---|---|---|---|---|"
    for name, result in results.items():
        apart, off = [], []
        for clip, theirs, ours in zip(
            clips, results[ORIGINAL].clips["greedy"], result.clips["greedy"], strict=True
        ):
            times = word_times(ours)
            if words_of(ours) == words_of(theirs):
                apart.extend(np.abs(times - word_times(theirs)).max(axis=1, initial=0))
            if words_of(ours) == clip.words:
                off.extend(np.abs(times[:, 0] - clip.starts))
        # Times are multiples of 20 ms: what is less than a hundredth above is rounding.
        yield (
            f"| {name} | {len(apart)} | {np.mean(np.array(apart) <= PEER_S * 1.01):.1%} "
            f"| {len(off)} | {np.median(off) * 1000:.0f} ms "
            f"| {np.mean(np.array(off) <= TRUE_S):.1%} |"
        )


def word_times(segments: Sequence[Any]) -> np.ndarray:
    """Return starts and ends of words, (n_words, 2) in seconds."""
    times = [word[1:] for segment in segments for word in segment["words"]]
    return np.array(times, float).reshape(-1, 2)


def long_rows(clips: Sequence[Clip], results: dict[str, Results]) -> Iterator[str]:
    """Yield the table of the long files."""
    yield f"| program | long form | search | word error rate | words as {ORIGINAL}'s |"
    yield "|---|---|---|---|---|"
    for mode, search in product(("sequential", "batched"), BEAMS):
        original = list(map(words_of, results[ORIGINAL].long["sequential", search]))
        for name, result in results.items():
            if files := result.long.get((mode, search)):
                alike = share_alike(original, list(map(words_of, files)))
                yield (
                    f"| {name} | {mode} | {search} | {error_rate(clips, files):.2%} | {alike:.2%} |"
                )


def document(
    command: str, clips: Sequence[Clip], long: Sequence[Clip], results: dict[str, Results]
) -> str:
    """Return the page."""
    versions = {name: v for result in results.values() for name, v in result.versions.items()}
    digest = hashlib.sha256((DEMO / "model.safetensors").read_bytes()).hexdigest()
    n_words = sum(len(clip.words) for clip in clips)
    n_long = sum(len(clip.words) for clip in long)
    listed = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
    rows = {
        "clips": "\n".join(clip_rows(clips, results)),
        "words": "\n".join(word_rows(clips, results)),
        "long": "\n".join(long_rows(long, results)),
    }
    return f"""# Accuracy

Made by `{command}` on {date.today():%d %B %Y}; do not edit.

The bundled demo checkpoint (sha256 {digest[:12]}), converted for each program, transcribes the same
files: spoken digits of the test split of the Free Spoken Digit Dataset, which it was not trained
on. How good the demo model is says nothing about the programs; how alike they are does.

All decode at temperature 0 without fallback, because what programs draw at random cannot be the
same; every other option is the program's default. `cpu` is what `--device auto` takes where there
is no NPU: an OpenVINO encoder and a decoder of int8 weights. `reference` is NumPy in fp32.
{listed}.

## {len(clips)} clips of ten digits

Identical tokens: the share of {ORIGINAL}'s tokens, timestamps included, that the program has in
the same place (1 - edit distance / number). {n_words} words.

{rows["clips"]}

## Word times

Of the clips above, greedy. Compared with {ORIGINAL} are the clips in which both write the same
words, by the worse of a word's start and end; with the truth those in which all ten words are
right, by a word's start.

{rows["words"]}

## Files of {", ".join(map(str, LONG_MINUTES))} minutes

Phrases of 3 to 10 digits with pauses of up to 5 s, {n_long} words. Batched is 8 windows at once,
cut by the VAD; {ORIGINAL} has no such mode and is compared with its own.
faster-whisper is told to write timestamps in batches too, as the others do.

{rows["long"]}
"""


def main() -> None:
    """Write the page and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="programs at a time")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "accuracy.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips, long = compose_clips(folder, arguments.clips), compose_long(folder)
        convert(arguments.peers, "openai-whisper", DEMO, folder / "demo.pt")
        convert(arguments.peers, "faster-whisper", DEMO, folder / "demo-ctranslate2")
        rows = contenders(folder)
        pythons = [
            sys.executable if row.program == "whisper-npu" else arguments.peers for row in rows
        ]
        run = partial(measure, clips=clips, long=long)
        with ThreadPoolExecutor(arguments.jobs) as pool:
            results = dict(
                zip([row.name for row in rows], pool.map(run, rows, pythons), strict=True)
            )
    page = document("make accuracy", clips, long, results)
    arguments.output.write_text(page)
    print(page)


if __name__ == "__main__":
    main()
