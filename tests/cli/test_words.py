"""`whisper-npu transcribe` with words: its options, its errors, and its colours."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.support.places import SAMPLES
from whisper_npu_cli.cli.outputs import choose_colour, print_segment
from whisper_npu_cli.transcript import Segment, Word

WORDS = (Word(" seven", 0.0, 0.5, 0.95), Word(" three", 0.5, 1.0, 0.1))
SEGMENT = Segment(0, 0, 0.0, 1.0, " seven three", (1, 2), 0.0, -0.01, 0.8, 0.01, words=WORDS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--highlight-words"], "--highlight-words needs --word-timestamps"),
        (["--max-line-width", 20], "--max-line-width needs --word-timestamps"),
        (["--hallucination-silence-threshold", 2], "--hallucination-silence-threshold needs"),
        (["--word-timestamps", "--max-line-count", 2], "--max-line-count needs --max-line-width"),
        (
            ["--word-timestamps", "--max-line-width", 20, "--max-words-per-line", 3],
            "exclude each other",
        ),
    ],
)
def test_options_that_mean_nothing_are_refused(
    cli: Cli, options: list[object], message: str
) -> None:
    result = cli("transcribe", min(SAMPLES.glob("*.wav")), *options)
    assert result.status == 2
    assert message in result.stderr
    assert result.stdout == ""


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
