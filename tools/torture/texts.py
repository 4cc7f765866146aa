"""Hostile transcripts through every writer, and hostile options through the command line."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import fields
from math import inf
from typing import Any, Literal, get_args, get_origin, get_type_hints
from unittest.mock import patch

import numpy as np
import typer

from tests.support.places import SAMPLES
from tools.torture.campaign import Campaign, Row
from tools.torture.command import Home, read_outputs
from tools.torture.forking import Nursery
from whisper_npu_cli.cli import app, transcribe
from whisper_npu_cli.cli.fields import find_leaves
from whisper_npu_cli.cli.outputs import OutputOptions, Outputs
from whisper_npu_cli.cluster.settings import ClusterOptions
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.fields import about, strip_none
from whisper_npu_cli.options import (
    DecodingOptions,
    EngineOptions,
    SubtitleLayout,
    TranscribeOptions,
)
from whisper_npu_cli.serve import run as serving
from whisper_npu_cli.serve.settings import ServeOptions
from whisper_npu_cli.transcript import Segment, Transcript, Word
from whisper_npu_cli.writers import make_writers

_WRITTEN, _GIVEN, _RUN = range(3)  # kinds of trials
_SAMPLE = SAMPLES / "lucas-1-6-1-8-0.wav"
_PIECES = (
    *(" one", " two", "three", " ", "  ", "", ".", "-->", " --> ", "<b>", "</i>", "&amp;", "&"),
    *("\n", "\n\n", "\r\n", "\r", "\t", "\0", "\x1b[31m", "\x85", "\u2028", "\ufeff", "\u202e"),
    *("00:00:00.000 --> 00:00:01.000", "WEBVTT", "NOTE", "1", "[00:01.00]", "{\\an8}", "**", "`"),
    *("é", "e\u0301", "日本", "🙂", "\U0001f468\u200d\U0001f469", "a" * 300, "\u0300" * 50),
)
_SPEAKERS = (None, "left", "A: B", "<v A>", "-->", "é", "]", "x" * 300)  # names are one line
_GAPS_S = (0.0, 0.0, 0.0004, 0.3, 2.5, 3600.0, 1e6)
_LANGUAGES = ("en", "ja", "zh", "th", "ar", "")


def write_and_parse(campaign: Campaign) -> list[Row]:
    """Write transcripts, and give options, until the time is over."""
    return [
        write_all(campaign.share(0.3)),
        give_options(campaign.share(0.3)),
        _run_accepted(campaign.rest()),
    ]


# Writers


def write_all(campaign: Campaign) -> Row:
    """Write hostile transcripts in every format and with every layout, and read them again."""
    row = Row("texts, times, words and speakers through every writer")
    for number in campaign.numbers(_WRITTEN):
        random = campaign.random(number)
        transcript, layout = _make_transcript(random), _make_layout(random)
        faults = list[str]()
        for suffix, write in make_writers(layout).items():
            try:
                text = write(transcript)
                text.encode()
                faults += [f"{suffix}: {fault}" for fault in _CHECKS[suffix](text, transcript)]
            except Exception as error:
                faults.append(f"{suffix}: {type(error).__name__}: {error!s:.200}")
        row.count(number, faults)
    return row


def _make_transcript(random: np.random.Generator) -> Transcript:
    now, segments = 0.0, []
    for i in range(random.integers(6)):
        words = []
        speaker = _choose(random, _SPEAKERS)
        for _ in range(random.integers(8)):
            start = now + _choose(random, _GAPS_S)
            now = start + _choose(random, _GAPS_S)
            text = "".join(_choose(random, _PIECES) for _ in range(random.integers(1, 4)))
            words.append(Word(text, start, now, random.random(), speaker))
        start, end = (words[0].start, words[-1].end) if words else (now, now)
        text = "".join(word.word for word in words)
        said = tuple(words) if random.random() < 0.7 else None
        segments.append(
            Segment(i, 0, start, end, text, (1,), 0.0, -0.1, 1.0, 0.0, "en", said, speaker)
        )
    return Transcript(_choose(random, _LANGUAGES), now, tuple(segments))


def _choose(random: np.random.Generator, values: Sequence[Any]) -> Any:
    return values[int(random.integers(len(values)))]


def _make_layout(random: np.random.Generator) -> SubtitleLayout:
    """Return options of which some are given, and which do not contradict one another."""
    kinds = get_type_hints(SubtitleLayout)
    while True:
        given = {
            named.name: _make_valid(kinds[named.name], about(named).bounds, random)
            for named in fields(SubtitleLayout)
            if random.random() < 0.3
        }
        try:
            return SubtitleLayout(**given)
        except UsageError:
            continue


def _make_valid(kind: Any, bounds: Any, random: np.random.Generator) -> Any:
    """Return a value of a type, mostly within its bounds."""
    kind = strip_none(kind)
    if get_origin(kind) is Literal:
        return _choose(random, get_args(kind))
    if kind is bool:
        return bool(random.random() < 0.5)
    if kind in (int, float):
        low = bounds.low if bounds else 0
        high = bounds.high if bounds and bounds.high < inf else low + 100
        return kind(random.choice([low, high, random.uniform(low, high)]))
    return _choose(random, ("", "a", "left,right", "x" * 300))


_SRT_TIMES = re.compile(r"\d\d+:\d\d:\d\d,\d{3} --> \d\d+:\d\d:\d\d,\d{3}")
_VTT_TIMES = re.compile(r"(?:\d\d+:)?\d\d:\d\d\.\d{3} --> (?:\d\d+:)?\d\d:\d\d\.\d{3}(?: .*)?")


def _check_srt(text: str, _: Transcript) -> Iterator[str]:
    blocks = re.sub("\n{3,}", "\n\n", text).split("\n\n")  # a cue may be empty
    if blocks.pop():
        yield "the last cue has no end"
    for i, block in enumerate(blocks, 1):
        number, times, *lines = [*block.split("\n"), ""]
        if number != str(i) or not _SRT_TIMES.fullmatch(times):
            yield f"cue {i} begins {block[:60]!r}"
        yield from (f"cue {i} has {line[:60]!r}" for line in lines if "-->" in line)


def _check_vtt(text: str, _: Transcript) -> Iterator[str]:
    head, *blocks = text.split("\n\n")
    if not head.startswith("WEBVTT"):
        yield f"it begins {head[:60]!r}"
    for block in blocks:
        lines = block.strip("\n").split("\n")
        if lines == [""]:
            continue
        if not _VTT_TIMES.fullmatch(lines[0]):
            yield f"a cue begins {block[:60]!r}"
        yield from (f"a cue has {line[:60]!r}" for line in lines[1:] if "-->" in line)


def _check_tsv(text: str, transcript: Transcript) -> Iterator[str]:
    has_speakers = any(segment.speaker for segment in transcript.segments)
    breaks = any("\n" in segment.text.strip() for segment in transcript.segments)
    if breaks:  # openai/whisper's has rows that are broken there, and this one is as it is
        return
    rows = text.split("\n")[:-1]
    if any(row.count("\t") != 2 + has_speakers for row in rows):
        yield f"other columns: {text[:100]!r}"
    if len(rows) != 1 + len(transcript.segments):
        yield f"{len(rows)} rows"


def _check_json(text: str, transcript: Transcript) -> Iterator[str]:
    if json.loads(text)["text"] != transcript.text:
        yield "another text"


def _check_lrc(text: str, _: Transcript) -> Iterator[str]:
    for line in text.split("\n")[:-1]:
        if not re.match(r"\[\d\d+:\d\d\.\d\d\]", line):
            yield f"a line begins {line[:60]!r}"


def _check_nothing(_: str, __: Transcript) -> Iterator[str]:
    yield from ()


_CHECKS: Mapping[str, Callable[[str, Transcript], Iterator[str]]] = {
    "txt": _check_nothing,
    "srt": _check_srt,
    "vtt": _check_vtt,
    "tsv": _check_tsv,
    "json": _check_json,
    "lrc": _check_lrc,
    "md": _check_nothing,
}

# Options

_TABLE = {
    name: [leaf for kind in kinds for leaf in find_leaves(kind)]
    for name, kinds in (
        (
            "transcribe",
            (TranscribeOptions, SubtitleLayout, OutputOptions, EngineOptions, ClusterOptions),
        ),
        ("serve", (ServeOptions, DecodingOptions, EngineOptions)),
    )
}
_ACCEPTED = 77  # the status where work would begin
_HOSTILE = (
    *("", "-", "--", "-1", "0", "1", "nan", "inf", "1e999", "9" * 5000, "0x10", "1_0", "٣", "½"),
    *("a", "a,b", ",", "é", "\udcff", "a\nb", "{}", "[", "/", "..", "~", "*", "%s", "x" * 5000),
    *("en", "auto", "true", "none", "1/3", "0,10", "left,right", "srt", "cpu", "tcp://a:1"),
)


def give_options(campaign: Campaign) -> Row:
    """Give the commands options; each set is refused in one line, or work would begin."""
    row = Row("options of `transcribe` and `serve`")
    n_accepted = 0
    for number in campaign.numbers(_GIVEN):
        arguments = _make_arguments(campaign.random(number))
        status, faults = _give(arguments)
        n_accepted += status in (0, _ACCEPTED)
        row.count(number, faults, refused=status == UsageError.exit_code)
    row.notes.append(f"{n_accepted} accepted")
    return row


def _make_arguments(random: np.random.Generator, *, only_numbers: bool = False) -> list[str]:
    """Return a command with some options of the table, each with any value."""
    name = "transcribe" if only_numbers or random.random() < 0.7 else "serve"
    arguments = [name, *([str(_SAMPLE)] if name == "transcribe" else [])]
    for _ in range(random.integers(1, 5)):
        leaf = _choose(random, _TABLE[name])
        kind = strip_none(leaf.kind)
        if only_numbers and kind not in (bool, int, float) and get_origin(kind) is not Literal:
            continue  # it may name a folder or an address
        if kind is bool:
            arguments.append(_choose(random, (leaf.flag, f"--no-{leaf.flag[2:]}")))
        elif random.random() < 0.5:
            arguments += [leaf.flag, str(_make_valid(kind, leaf.about.bounds, random))]
        else:
            arguments += [leaf.flag, _choose(random, _HOSTILE)]
    return arguments


def _give(arguments: Sequence[str]) -> tuple[object, list[str]]:
    """Return the exit status of the command up to its work, and what is wrong."""

    def begin(*_: object, **__: object) -> None:
        raise typer.Exit(_ACCEPTED)

    stdout, stderr = io.StringIO(), io.StringIO()
    with ExitStack() as stack:
        stack.enter_context(patch.object(sys, "argv", ["whisper-npu", *arguments]))
        stack.enter_context(patch.object(transcribe, "_open_here", begin))
        stack.enter_context(patch.object(transcribe, "_open_cluster", begin))
        stack.enter_context(patch.object(Outputs, "prepare_folders", lambda _: None))
        stack.enter_context(patch.object(serving, "listen", begin))
        stack.enter_context(redirect_stdout(stdout))
        stack.enter_context(redirect_stderr(stderr))
        try:
            app.main()
        except SystemExit as end:
            status: object = end.code
        except BaseException as error:
            return None, [f"{arguments}: {type(error).__name__}: {error!s:.200}"]
    return status, [f"{arguments}: {fault}" for fault in _judge(status, stderr.getvalue())]


def _judge(status: object, stderr: str) -> Iterator[str]:
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    if status in (0, _ACCEPTED):
        return
    if status not in (1, 2, 3) or len(errors) != 1:
        yield f"exit status {status}: {stderr[-300:]!r}"


def _run_accepted(campaign: Campaign) -> Row:
    """Run what is accepted, with options that are numbers, words of a list, or switches."""
    row = Row("`transcribe` with options that are accepted")
    home = Home(campaign.make_folder("options"))
    with Nursery(home) as nursery:
        for number in campaign.numbers(_RUN):
            arguments = _make_arguments(campaign.random(number), only_numbers=True)
            ran = nursery.start([*arguments, "--model", "demo", "-o", home.out]).finish()
            faults = [*ran.list_faults(), *home.list_leftovers()]
            if ran.status not in (0, 1, 2, 3) or bool(ran.status) != (len(ran.errors) == 1):
                faults.append(f"exit status {ran.status}: {ran.stderr[-300:]!r}")
            if ran.status == 0 and any(not content for content in read_outputs(home).values()):
                faults.append("an empty output")
            home.clear_outputs()
            row.count(number, [str(arguments), *faults] if faults else [], refused=ran.status != 0)
    return row
