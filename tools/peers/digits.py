"""`docs/accuracy-digits.md`: the demo checkpoint, whose recordings have word times.

The files are the clips of ten digits of `tools/training/evaluate.py`, and composed files of some
minutes. Their text and times are known, and the model was not trained on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from tests.support.digits import SPEAKERS, WORDS, load_recordings
from tests.support.long_files import compose_long_file
from tests.support.places import DEMO
from tools.goldens.provenance import hash_weights
from tools.peers.comparison import (
    LONG_OPTIONS,
    ORIGINAL,
    OURS,
    Clip,
    Contender,
    Results,
    Trial,
    compute_error_rate,
    compute_share_alike,
    introduce,
    join_text,
    join_tokens,
    list_contenders,
)
from tools.peers.workers import convert
from tools.speech.clips import make_clips
from tools.speech.voices import TEST_INDICES
from whisper_npu_cli.dims import SAMPLE_RATE

PEER_S, TRUE_S = 0.02, 0.08  # tolerances to openai-whisper, to the truth
LONG_MINUTES = (2, 5)


def prepare(folder: Path, peers: str, n_clips: int, n_close: int) -> list[Contender]:
    """Write files and models into `folder`; of the clips the first `n_close` for tokens."""
    clips, long = compose_clips(folder, n_clips), compose_long(folder)
    close = [
        Trial("greedy", clips[:n_close], {"words": True}),
        Trial("beam 5", clips[:n_close], {"beam": 5}),
    ]
    trials = [Trial("all", clips, {}), *close]
    trials += [Trial(name, long, options) for name, options in LONG_OPTIONS.items()]
    openai, ctranslate2 = folder / "demo.pt", folder / "demo-ctranslate2"
    convert(peers, "openai-whisper", DEMO, openai)
    convert(peers, "faster-whisper", DEMO, ctranslate2)
    original, *others = list_contenders(DEMO, openai, ctranslate2, trials)
    arguments = {"model": str(DEMO), "device": "reference"}
    return [original, Contender(f"{OURS}, reference", OURS, arguments, close), *others]


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


def split_words(segments: Sequence[Any]) -> list[str]:
    """Return the words of the text, which has no punctuation."""
    return join_text(segments).split()


def _rate(clips: Sequence[Clip], files: Sequence[Sequence[Any]]) -> float:
    return compute_error_rate([clip.words for clip in clips], list(map(split_words, files)))


def make_clip_rows(clips: Sequence[Clip], results: dict[str, Results]) -> Iterator[str]:
    """Yield the table of all clips."""
    yield "| program | word error rate |"
    yield "|---|---|"
    for name, result in results.items():
        if files := result.segments.get("all"):
            yield f"| {name} | {_rate(clips, files):.2%} |"


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
                f"| {name} | {search} | {_rate(clips, files):.2%} "
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
            if split_words(ours) == split_words(theirs):
                apart.extend(np.abs(times - list_word_times(theirs)).max(axis=1, initial=0))
            if split_words(ours) == clip.words:
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
    for mode in LONG_OPTIONS:
        original = list(map(split_words, results[ORIGINAL].segments.get(mode, [])))
        for name, result in results.items():
            if files := result.segments.get(mode):
                found = list(map(split_words, files))
                alike = f"{compute_share_alike(original, found):.2%}" if original else "–"
                yield f"| {name} | {mode} | {_rate(clips, files):.2%} | {alike} |"


# It is one template, which is longer than 50 lines, so that the page can be read as it will be.
def write_page(contenders: Sequence[Contender], results: dict[str, Results]) -> str:
    """Return the page."""
    trials = contenders[-1].trials
    clips = {trial.name: trial.clips for trial in trials}
    n_words = sum(len(clip.words) for clip in clips["sequential"])
    tables = {
        "all": make_clip_rows(clips["all"], results),
        "tokens": make_token_rows(clips["greedy"], results),
        "words": make_word_rows(clips["greedy"], results),
        "long": make_long_rows(clips["sequential"], results),
    }
    rows = {name: "\n".join(table) for name, table in tables.items()}
    return f"""# Accuracy: the demo checkpoint on spoken digits

{introduce(results.values())}

The bundled demo checkpoint (sha256 {hash_weights(DEMO)[:12]}), converted for each program,
transcribes spoken digits of the test split of the Free Spoken Digit Dataset, on which it was not
trained. How good the demo model is says nothing about the programs; how alike they are does.
`reference` is NumPy in fp32.

## {len(clips["all"])} clips of ten digits

Greedy. The clips are those of `tools/training/evaluate.py`.

{rows["all"]}

## Tokens of the first {len(clips["greedy"])} clips

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

Phrases of 3 to 10 digits with pauses of up to 5 s, {n_words} words, greedy.

{rows["long"]}
"""
