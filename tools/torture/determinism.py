"""The same audio again: in one process, in others, on other threads, in other batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.long_files import compose_long_file
from tests.support.places import SAMPLES
from tools.torture.campaign import MOST_TRIALS, Campaign, Row
from tools.torture.command import Home, run
from whisper_npu_cli.options import EngineOptions, TranscribeOptions
from whisper_npu_cli.pipeline import Transcriber
from whisper_npu_cli.writers.document import to_plain

_SAMPLE = SAMPLES / "lucas-1-6-1-8-0.wav"
_MINUTES = 2.0
_N_REPEATED = 1000  # at most
_REPEATED, _PROCESSES, _THREADS, _BATCHES = range(4)  # kinds of trials
_SEQUENTIAL = ("--long-form", "sequential")


def repeat(campaign: Campaign) -> list[Row]:
    """Transcribe the same again and compare the bytes."""
    long = campaign.folder / "long.wav"
    compose_long_file(long, _MINUTES, campaign.seed)
    home = Home(campaign.make_folder("home"))
    compared = _Compared(home, long)
    return [
        _repeat_here(campaign.share(0.7)),
        compared.vary(campaign.rest(0.3), _PROCESSES, "other processes", [()]),
        compared.vary(
            campaign.rest(0.5), _THREADS, "threads 1 and 2", [("--threads", n) for n in (1, 2)]
        ),
        compared.vary(
            campaign.rest(),
            _BATCHES,
            "batches of 1 to 16 windows",
            [("--long-form", "batched", "--batch-size", n) for n in (1, 2, 3, 4, 8, 16)],
        ),
    ]


def _repeat_here(campaign: Campaign) -> Row:
    row, first = Row("in one process", aim=_N_REPEATED), ""
    options = TranscribeOptions(language="en")
    with Transcriber("demo", EngineOptions(device="cpu"), offline=True) as transcriber:
        for number in campaign.numbers(_REPEATED, aim=_N_REPEATED):
            transcription = transcriber.transcribe(_SAMPLE, options)
            text = json.dumps([to_plain(segment) for segment in transcription])
            first = first or text
            row.count(number, [] if text == first else [f"{text[:200]} instead of {first[:200]}"])
    return row


@dataclass(frozen=True)
class _Compared:
    """A recording that is transcribed in several ways."""

    home: Home
    recording: Path

    def vary(self, campaign: Campaign, kind: int, name: str, ways: list[tuple[object, ...]]) -> Row:
        """Transcribe in each of several ways, again and again; all is to be as the first was."""
        row, equal = Row(name), 0
        first = self._transcribe(ways[0])
        for number in campaign.numbers(kind):
            way = ways[(number + 1) % MOST_TRIALS % len(ways)]
            found = self._transcribe(way)
            faults = list(_compare(first, found))
            equal += found == first
            row.count(number, [str(way), *faults] if faults else [])
        row.notes.append(f"{equal} of {row.tried} to the byte")
        return row

    def _transcribe(self, way: tuple[object, ...]) -> dict[str, Any]:
        options = ["--model", "demo", "--language", "en", "-f", "json", "-o", self.home.out]
        mode = () if "--long-form" in way else _SEQUENTIAL
        ran = run(self.home, ["transcribe", self.recording, *options, *mode, *way])
        assert ran.status == 0, ran.stderr
        content: dict[str, Any] = json.loads((self.home.out / "long.json").read_text())
        return content


def _compare(first: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """Yield where text, tokens or times differ."""
    if found["text"] != first["text"]:
        yield "another text"
    for key in ("start", "end", "tokens"):
        a, b = ([segment[key] for segment in one["segments"]] for one in (first, found))
        if a != b:
            yield f"other {key}"
