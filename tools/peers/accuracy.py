"""Write `docs/accuracy.md`: this program beside openai-whisper and faster-whisper, same weights.

    python -m tools.peers.accuracy --peers PYTHON

PYTHON is an interpreter with `tools/peers/requirements.txt`; this program runs in the interpreter
of this module. The files are the clips of ten digits of `tools/training/evaluate.py`, and composed
files of some minutes. Their text and times are known, and the model was not trained on them. Each
program has one thread, and as many programs as there are cores run at a time.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from tests.support.digits import SPEAKERS, WORDS, load_recordings
from tests.support.edits import count_edits
from tests.support.long_files import compose_long_file
from tests.support.places import DEMO, ROOT
from tools.goldens.provenance import hash_weights
from tools.peers.programs import Ask
from tools.peers.workers import Worker, convert
from tools.speech.clips import make_clips
from tools.speech.voices import TEST_INDICES
from whisper_npu_cli.bench.limits import supports_bf16
from whisper_npu_cli.dims import SAMPLE_RATE

ORIGINAL, REFERENCE = "openai-whisper", "whisper-npu, reference"
PEER_S, TRUE_S = 0.02, 0.08  # tolerances to openai-whisper, to the truth
LONG_MINUTES = (2, 5)
# Options by comparison of clips; REFERENCE takes part only in the second and third.
ASKS: dict[str, dict[str, Any]] = {
    "all": {"beam": 1},
    "greedy": {"beam": 1, "words": True},
    "beam 5": {"beam": 5},
}
LONG_ASKS: dict[str, dict[str, Any]] = {
    "sequential": {"beam": 1},
    "sequential, each window alone": {"beam": 1, "previous_text": False},
    "batched": {"beam": 1, "batch": 8},
}


@dataclass(frozen=True)
class Clip:
    """A file, the words said in it and, where they are known, their starts in seconds."""

    path: str
    words: list[str]
    starts: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Contender:
    """A row of the tables: a program, and the arguments of its class in `programs.py`."""

    name: str
    program: str
    arguments: dict[str, Any]
    asks: tuple[str, ...]  # keys of ASKS and LONG_ASKS


@dataclass(frozen=True)
class Results:
    """The segments of every file by keys of ASKS and LONG_ASKS, and the versions that made them."""

    segments: dict[str, list[list[Any]]]
    versions: dict[str, str]


def compose_clips(folder: Path, n_clips: int) -> list[Clip]:
    """Write the clips of `tools/training/evaluate.py`."""
    recordings, rate = load_recordings()
    clips = make_clips(lambda name: (recordings[name], rate), list(SPEAKERS), TEST_INDICES, n_clips)
    written = []
    for i, clip in enumerate(clips):
        path = str(folder / f"clip-{i}.wav")
        soundfile.write(path, clip.samples[: clip.length], SAMPLE_RATE, "FLOAT")
        words, starts = [WORDS[digit] for digit in clip.digits], [start for start, _ in clip.times]
        written.append(Clip(path, words, starts))
    return written


def compose_long(folder: Path) -> list[Clip]:
    """Write files of `LONG_MINUTES`."""
    written = []
    for minutes in LONG_MINUTES:
        path = folder / f"long-{minutes}.wav"
        words = compose_long_file(path, minutes, seed=minutes)
        samples, rate = soundfile.read(path, dtype="float32")
        soundfile.write(path, soxr.resample(samples, rate, SAMPLE_RATE), SAMPLE_RATE, "FLOAT")
        written.append(Clip(str(path), words))
    return written


def list_contenders(folder: Path) -> list[Contender]:
    """Return all programs, the slowest first."""
    original = {"model": str(folder / "demo.pt"), "checkpoint": str(DEMO)}
    ctranslate2 = {"model": str(folder / "demo-ctranslate2")}
    ours, faster = "whisper-npu", "faster-whisper"
    every = (*ASKS, *LONG_ASKS)
    return [
        Contender(ORIGINAL, ORIGINAL, original, every[:-1]),
        Contender(
            REFERENCE, ours, {"model": str(DEMO), "device": "reference"}, ("greedy", "beam 5")
        ),
        Contender(f"{ours}, cpu", ours, {"model": str(DEMO), "device": "cpu"}, every),
        Contender(
            f"{ours}, cpu int8",
            ours,
            {"model": str(DEMO), "device": "cpu", "precision": "int8"},
            every,
        ),
        Contender(f"{faster} float32", faster, ctranslate2 | {"precision": "float32"}, every),
        Contender(f"{faster} int8", faster, ctranslate2 | {"precision": "int8"}, every),
    ]


def measure(contender: Contender, python: str, files: dict[str, Sequence[Clip]]) -> Results:
    """Transcribe `files`, by keys of ASKS and LONG_ASKS, with one program on one thread."""
    segments = {}
    with Worker(python, contender.program, n_threads=1, **contender.arguments) as worker:
        for name in contender.asks:
            options = (ASKS | LONG_ASKS)[name]
            segments[name] = [
                worker.transcribe(Ask(clip.path, **options))["segments"] for clip in files[name]
            ]
            print(f"{contender.name}: {name} done", file=sys.stderr, flush=True)
        return Results(segments, worker.versions)


def join_tokens(segments: Sequence[Any]) -> list[int]:
    """Return all tokens, timestamps included."""
    return list(chain.from_iterable(segment["tokens"] for segment in segments))


def join_words(segments: Sequence[Any]) -> list[str]:
    """Return the words of the text."""
    return " ".join(segment["text"] for segment in segments).split()


def compute_error_rate(clips: Sequence[Clip], files: Sequence[Sequence[Any]]) -> float:
    """Return the share of wrong words in all files together."""
    wrong = sum(
        count_edits(clip.words, join_words(f)) for clip, f in zip(clips, files, strict=True)
    )
    return wrong / sum(len(clip.words) for clip in clips)


def compute_share_alike(original: Sequence[Sequence[Any]], other: Sequence[Sequence[Any]]) -> float:
    """Return the share of items, tokens or words, that both have in the same place."""
    pairs = list(zip(original, other, strict=True))
    return 1 - sum(count_edits(*pair) for pair in pairs) / sum(
        max(map(len, pair)) for pair in pairs
    )


def make_clip_rows(clips: Sequence[Clip], results: dict[str, Results]) -> Iterator[str]:
    """Yield the table of all clips."""
    yield "| program | word error rate |"
    yield "|---|---|"
    for name, result in results.items():
        if files := result.segments.get("all"):
            yield f"| {name} | {compute_error_rate(clips, files):.2%} |"


def make_token_rows(clips: Sequence[Clip], results: dict[str, Results]) -> Iterator[str]:
    """Yield the table of tokens."""
    yield "| program | search | word error rate | identical tokens | identical clips |"
    yield "|---|---|---|---|---|"
    for search in ("greedy", "beam 5"):
        original = list(map(join_tokens, results[ORIGINAL].segments[search]))
        for name, result in results.items():
            files = result.segments[search]
            tokens = list(map(join_tokens, files))
            same = np.mean([a == b for a, b in zip(original, tokens, strict=True)])
            yield (
                f"| {name} | {search} | {compute_error_rate(clips, files):.2%} "
                f"| {compute_share_alike(original, tokens):.2%} | {same:.1%} |"
            )


def make_word_rows(clips: Sequence[Clip], results: dict[str, Results]) -> Iterator[str]:
    """Yield the table of word times."""
    yield (
        f"| program | words compared | within {PEER_S * 1000:.0f} ms of {ORIGINAL}'s "
        f"| words right | off the truth, median | within {TRUE_S * 1000:.0f} ms |"
    )
    yield "|---|---|---|---|---|---|"
    for name, result in results.items():
        apart: list[float] = []
        off: list[float] = []
        original, files = results[ORIGINAL].segments["greedy"], result.segments["greedy"]
        for clip, theirs, ours in zip(clips, original, files, strict=True):
            times = list_word_times(ours)
            if join_words(ours) == join_words(theirs):
                apart.extend(np.abs(times - list_word_times(theirs)).max(axis=1, initial=0))
            if join_words(ours) == clip.words:
                off.extend(np.abs(times[:, 0] - clip.starts))
        # Times are multiples of 20 ms, and the hundredth above that is for rounding.
        yield (
            f"| {name} | {len(apart)} | {np.mean(np.array(apart) <= PEER_S * 1.01):.1%} "
            f"| {len(off)} | {np.median(off) * 1000:.0f} ms "
            f"| {np.mean(np.array(off) <= TRUE_S):.1%} |"
        )


def list_word_times(segments: Sequence[Any]) -> np.ndarray:
    """Return starts and ends of words, (n_words, 2) in seconds."""
    times = [word[1:] for segment in segments for word in segment["words"]]
    return np.array(times, float).reshape(-1, 2)


def make_long_rows(clips: Sequence[Clip], results: dict[str, Results]) -> Iterator[str]:
    """Yield the table of the long files."""
    yield f"| program | long form | word error rate | words as {ORIGINAL}'s |"
    yield "|---|---|---|---|"
    for mode in LONG_ASKS:
        original = list(map(join_words, results[ORIGINAL].segments.get(mode, [])))
        for name, result in results.items():
            if files := result.segments.get(mode):
                found = list(map(join_words, files))
                alike = f"{compute_share_alike(original, found):.2%}" if original else "–"
                yield f"| {name} | {mode} | {compute_error_rate(clips, files):.2%} | {alike} |"


# It is one template, which is longer than 50 lines, so that the page can be read as it will be.
def write_page(files: dict[str, Sequence[Clip]], results: dict[str, Results]) -> str:
    """Return the page."""
    versions = {name: v for result in results.values() for name, v in result.versions.items()}
    digest = hash_weights(DEMO)
    n_words = sum(len(clip.words) for clip in files["sequential"])
    listed = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
    tables = {
        "all": make_clip_rows(files["all"], results),
        "tokens": make_token_rows(files["greedy"], results),
        "words": make_word_rows(files["greedy"], results),
        "long": make_long_rows(files["sequential"], results),
    }
    rows = {name: "\n".join(table) for name, table in tables.items()}
    precision = "bf16" if supports_bf16() else "fp32"
    return f"""# Accuracy

Made by `make accuracy` on {date.today():%-d %B %Y}; do not edit.

The bundled demo checkpoint (sha256 {digest[:12]}), converted for each program, transcribes the same
files: spoken digits of the test split of the Free Spoken Digit Dataset, which it was not trained
on. How good the demo model is says nothing about the programs; how alike they are does.

All decode at temperature 0 without fallback, because what programs draw at random cannot be the
same. `cpu` is what `--device auto` takes where there is no NPU: an OpenVINO encoder, in {precision}
on this machine, and a decoder of int8 weights; `cpu int8` is that with `--precision int8`.
`reference` is NumPy in fp32; openai-whisper computes in fp32 too.
{listed}.

## {len(files["all"])} clips of ten digits

Greedy. The clips are those of `tools/training/evaluate.py`.

{rows["all"]}

## Tokens of the first {len(files["greedy"])} clips

Identical tokens: the share, timestamps included, that {ORIGINAL} and the program have in the same
place (1 - edit distance / length of the longer). Greedy is with word timestamps, which can move
where a second window begins.

{rows["tokens"]}

## Word times

Of the same clips, greedy. Compared with {ORIGINAL} are the clips in which both write the same
words, by the worse of a word's start and end; with the truth those in which all ten words are
right, by a word's start.

{rows["words"]}

## Files of {" and ".join(map(str, LONG_MINUTES))} minutes

Phrases of 3 to 10 digits with pauses of up to 5 s, {n_words} words, greedy. Sequential is with the
text of the window before as its prompt, the default of all three, or without
(`--no-condition-on-previous-text`). Batched is 8 windows at once, cut by the
VAD, which {ORIGINAL} does not have; faster-whisper is told to write timestamps there too, as the
others do.

{rows["long"]}
"""


def main() -> None:
    """Write the page and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--clips", type=int, default=200, help="for word error rates")
    parser.add_argument("--close", type=int, default=50, help="of them, for tokens and times")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="programs at a time")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "accuracy.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips, long = compose_clips(folder, arguments.clips), compose_long(folder)
        files: dict[str, Sequence[Clip]] = dict.fromkeys(ASKS, clips[: arguments.close])
        files |= {"all": clips} | dict.fromkeys(LONG_ASKS, long)
        convert(arguments.peers, "openai-whisper", DEMO, folder / "demo.pt")
        convert(arguments.peers, "faster-whisper", DEMO, folder / "demo-ctranslate2")
        rows = list_contenders(folder)
        pythons = [
            sys.executable if row.program == "whisper-npu" else arguments.peers for row in rows
        ]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            measured = list(pool.map(partial(measure, files=files), rows, pythons))
    page = write_page(files, dict(zip([row.name for row in rows], measured, strict=True)))
    arguments.output.write_text(page)
    print(page)


if __name__ == "__main__":
    main()
