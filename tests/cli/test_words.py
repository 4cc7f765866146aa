"""`whisper-npu transcribe` with words: its options, its errors, and its colours."""

from __future__ import annotations

import io
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import webvtt

from tests.cli.conftest import Cli
from tests.support.places import SAMPLES
from whisper_npu_cli.cli.outputs import choose_colour, print_segment
from whisper_npu_cli.transcript import Segment, Word

WORDS = (Word(" seven", 0.0, 0.5, 0.95), Word(" three", 0.5, 1.0, 0.1))
SEGMENT = Segment(0, 0, 0.0, 1.0, " seven three", (1, 2), 0.0, -0.01, 0.8, 0.01, words=WORDS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--highlight-words"], "--highlight-words is for files with cues: srt, vtt and lrc"),
        (["--max-line-width", 20, "-f", "txt"], "--max-line-width is for files with cues"),
        (["--hallucination-silence-threshold", 2], "--hallucination-silence-threshold needs"),
        (["--word-timestamps", "--max-line-count", 2], "--max-line-count needs --max-line-width"),
        (
            ["--word-timestamps", "--max-line-width", 20, "--max-words-per-line", 3],
            "exclude each other",
        ),
        (["--subtitles", "-f", "srt", "--max-words-per-line", 3], "exclude each other"),
        (["--subtitles"], "--subtitles is for files with cues: srt, vtt and lrc"),
        (["--subtitles", "-f", "txt"], "hint: add --output-format srt"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    cli: Cli, options: list[object], message: str
) -> None:
    result = cli("transcribe", min(SAMPLES.glob("*.wav")), *options)
    assert result.status == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_the_width_of_a_line_asks_for_words(cli: Cli, tmp_path: Path) -> None:
    sample = min(SAMPLES.glob("*.wav"))
    options = ("--max-line-width", 12, "-o", tmp_path / "narrow.srt")
    assert cli("transcribe", sample, "--model", "demo", *options).status == 0
    lines = (tmp_path / "narrow.srt").read_text().splitlines()
    assert 2 < max(len(line) for line in lines if "-->" not in line) <= 12


def test_words_are_in_the_document_and_in_the_subtitles(cli: Cli, tmp_path: Path) -> None:
    sample = min(SAMPLES.glob("*.wav"))
    result = cli(
        *("transcribe", sample, "--model", "demo", "--json", "--word-timestamps"),
        *("--max-words-per-line", 1, "-f", "srt", "-o", tmp_path),
    )
    assert result.status == 0
    (transcribed,) = result.document["results"]
    words = [word for segment in transcribed["segments"] for word in segment["words"]]
    assert "".join(word["word"] for word in words).strip() == transcribed["text"].strip()
    assert "align" in {row["stage"] for row in transcribed["timings"]}
    assert (tmp_path / f"{sample.stem}.srt").read_text().count("-->") == len(words)


@pytest.mark.parametrize(
    ("options", "width", "n_lines"),
    [([], 42, 2), (["--max-line-width", 12, "--max-line-count", 1], 12, 1)],
)
def test_subtitles_are_cues_that_can_be_read(
    cli: Cli, tmp_path: Path, options: list[object], width: int, n_lines: int
) -> None:
    sample = min(SAMPLES.glob("*.wav"))
    files = ("-f", "vtt", "-o", tmp_path)
    result = cli("transcribe", sample, "--model", "demo", "--json", "--subtitles", *options, *files)
    assert result.status == 0
    cues = list(webvtt.read(tmp_path / f"{sample.stem}.vtt"))
    (transcribed,) = result.document["results"]
    assert " ".join(cue.text for cue in cues).split() == transcribed["text"].split()
    for cue in cues:
        assert len(cue.lines) <= n_lines
        assert max(map(len, cue.lines)) <= width
    times = [(cue.start_time.in_milliseconds(), cue.end_time.in_milliseconds()) for cue in cues]
    end_ms = round(1000 * transcribed["duration_s"])
    assert all(1000 <= end - start <= 7000 or end == end_ms for start, end in times)
    assert all(end < start for (_, end), (start, _) in pairwise(times))


@pytest.mark.parametrize(
    ("probability", "name"), [(0.95, "green"), (0.6, "yellow"), (0.1, "red"), (0.0, "red")]
)
def test_colour_tells_confidence(probability: float, name: str) -> None:
    assert choose_colour(probability) == name


class Terminal(io.StringIO):
    """Standard output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_words_are_coloured_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for stream, is_coloured in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stdout", stream)
        print_segment(SEGMENT, colours=True)
        assert ("\x1b[32m seven" in stream.getvalue()) == is_coloured
        assert ("\x1b[31m three" in stream.getvalue()) == is_coloured
        assert stream.getvalue().startswith("[00:00.000 --> 00:01.000] ")


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    print_segment(SEGMENT, colours=True)
    assert "\x1b[3" not in stream.getvalue()
