"""Programs that transcribe the same files with the same weights, and how alike their texts are."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from tests.support.edits import count_edits
from tools.peers.programs import Ask
from tools.peers.workers import Worker
from whisper_npu_cli.bench.limits import supports_bf16

ORIGINAL, OURS, FASTER = "openai-whisper", "whisper-npu", "faster-whisper"
LONG_OPTIONS: dict[str, dict[str, Any]] = {
    "sequential": {},
    "sequential, each window alone": {"previous_text": False},
    "batched": {"batch": 8},
}


@dataclass(frozen=True)
class Clip:
    """A file, the words said in it and, where they are known, their starts in seconds."""

    path: str
    words: list[str]
    starts: list[float] = field(default_factory=list)
    language: str = "en"

    @property
    def text(self) -> str:
        """All that is said."""
        return " ".join(self.words)


@dataclass(frozen=True)
class Trial:
    """Files, and the options of `Ask` that all programs transcribe them with."""

    name: str
    clips: Sequence[Clip]
    options: dict[str, Any]


@dataclass(frozen=True)
class Contender:
    """A row of the tables: a program, and the arguments of its class in `programs.py`."""

    name: str
    program: str
    arguments: dict[str, Any]
    trials: Sequence[Trial]


@dataclass(frozen=True)
class Results:
    """The segments of every file by names of trials, and the versions that made them."""

    segments: dict[str, list[list[Any]]]
    versions: dict[str, str]


def list_contenders(
    model: Path, openai: Path, ctranslate2: Path, trials: Sequence[Trial]
) -> list[Contender]:
    """Return the programs with one model in their formats, the slowest first."""
    ours = {"model": str(model), "device": "cpu"}
    faster = {"model": str(ctranslate2)}
    original = {"model": str(openai), "checkpoint": str(model)}
    alone = [trial for trial in trials if "batch" not in trial.options]  # it has no batches
    return [
        Contender(ORIGINAL, ORIGINAL, original, alone),
        Contender(f"{OURS}, cpu", OURS, ours, trials),
        Contender(f"{OURS}, cpu int8", OURS, ours | {"precision": "int8"}, trials),
        Contender(f"{FASTER} float32", FASTER, faster | {"precision": "float32"}, trials),
        Contender(f"{FASTER} int8", FASTER, faster | {"precision": "int8"}, trials),
    ]


def measure_all(contenders: Sequence[Contender], peers: str, n_jobs: int) -> dict[str, Results]:
    """Return each contender's results, `n_jobs` contenders at a time on one thread each."""
    with ThreadPoolExecutor(n_jobs) as pool:
        results = pool.map(partial(measure, peers=peers), contenders)
        return {row.name: result for row, result in zip(contenders, results, strict=True)}


def measure(contender: Contender, peers: str) -> Results:
    """Return what one program makes of its trials; `peers` is the interpreter of the others."""
    python = sys.executable if contender.program == OURS else peers
    segments = {}
    with Worker(python, contender.program, n_threads=1, **contender.arguments) as worker:
        for trial in contender.trials:
            segments[trial.name] = [
                worker.transcribe(Ask(clip.path, language=clip.language, **trial.options))[
                    "segments"
                ]
                for clip in trial.clips
            ]
            print(f"{contender.name}: {trial.name} done", file=sys.stderr, flush=True)
        return Results(segments, worker.versions)


def introduce(results: Iterable[Results]) -> str:
    """Return how a page was made, and what its rows are."""
    versions = {name: number for result in results for name, number in result.versions.items()}
    listed = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
    precision = "bf16" if supports_bf16() else "fp32"
    return f"""Made by `make accuracy` on {date.today():%-d %B %Y}; do not edit.

All decode at temperature 0 without fallback, because what programs draw at random cannot be the
same. `cpu` is what `--device auto` takes where there is no NPU: an OpenVINO encoder, in {precision}
on this machine, and a decoder of int8 weights; `cpu int8` is that with `--precision int8`.
{ORIGINAL} computes in fp32.

Long form is sequential with the text of the window before as its prompt, the default of all
three, or without it (`--no-condition-on-previous-text`). Batched is 8 windows at once, cut by the
VAD, which {ORIGINAL} does not have; {FASTER} is told to write timestamps there too,
as the others do.

{listed}."""


def join_tokens(segments: Sequence[Any]) -> list[int]:
    """Return all tokens, timestamps included."""
    return list(chain.from_iterable(segment["tokens"] for segment in segments))


def join_text(segments: Sequence[Any]) -> str:
    """Return the text."""
    return " ".join(segment["text"].strip() for segment in segments)


def compute_error_rate(expected: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> float:
    """Return the share of wrong words in all files together."""
    wrong = sum(count_edits(*pair) for pair in zip(expected, found, strict=True))
    return wrong / sum(map(len, expected))


def compute_share_alike(original: Sequence[Sequence[Any]], other: Sequence[Sequence[Any]]) -> float:
    """Return the share of items, tokens or words, that both have in the same place."""
    pairs = list(zip(original, other, strict=True))
    return 1 - sum(count_edits(*pair) for pair in pairs) / sum(
        max(map(len, pair)) for pair in pairs
    )
