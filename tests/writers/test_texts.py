from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.support.transcripts import TRANSCRIPT, make_segment, make_spoken
from whisper_npu_cli.transcript import Transcript, Word
from whisper_npu_cli.writers import make_writers

# Written by openai/whisper's own writers (20250625) for the same segments.
EXPECTED = {
    "txt": "seven\tthree\none --> two\n",
    "tsv": "start\tend\ttext\n0\t2500\tseven three\n3601250\t3605999\tone --> two\n",
}


@pytest.mark.parametrize("suffix", EXPECTED)
def test_format_is_openai_whispers(suffix: str) -> None:
    assert make_writers()[suffix](TRANSCRIPT) == EXPECTED[suffix]


def test_json_has_openai_whispers_fields() -> None:
    fields = json.loads(make_writers()["json"](TRANSCRIPT))
    assert list(fields) == ["text", "segments", "language"]
    assert fields["text"] == " seven\tthree one --> two"
    assert fields["segments"][1] == {
        "id": 1,
        "seek": 0,
        "start": 3601.25,
        "end": 3605.999,
        "text": " one --> two",
        "tokens": [1, 2],
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "compression_ratio": 0.8,
        "no_speech_prob": 0.01,
    }


def test_json_has_words_where_they_are_known() -> None:
    first = json.loads(make_writers()["json"](make_spoken()))["segments"][0]
    assert list(first)[-1] == "words"
    assert first["words"][0] == {"word": " And", "start": 0.0, "end": 0.24, "probability": 0.9}


@pytest.mark.parametrize("suffix", make_writers())
def test_silence_is_an_empty_transcript(suffix: str) -> None:
    text = make_writers()[suffix](Transcript("en", 30.0, ()))
    empty = {"vtt": "WEBVTT\n\n", "tsv": "start\tend\ttext\n"}
    if suffix == "json":
        assert json.loads(text) == {"text": "", "segments": [], "language": "en"}
    else:
        assert text == empty.get(suffix, "")


def test_a_line_of_lyrics_is_one_line() -> None:
    text = " one\ntwo\r\n\r\nthree"
    for words in (None, (Word(text, 0.0, 1.0, 0.9),)):
        said = replace(make_segment(0.0, 1.0, text), words=words)
        (line,) = make_writers()["lrc"](Transcript("en", 1.0, (said,))).splitlines()
        assert line.startswith("[00:00.00]")
        assert line.endswith("one two three")


def test_lyrics_have_the_time_of_each_line_and_word() -> None:
    lines = make_writers()["lrc"](make_spoken()).splitlines()
    assert lines[0].startswith("[00:00.00]<00:00.00> And<00:00.34> so,")
    assert lines[3].startswith("[59:59.00]<59:59.00> what")  # minutes go on: no hours
    plain = Transcript("en", 9000.0, (make_segment(3601.25, 3605.999, " one"),))
    assert make_writers()["lrc"](plain) == "[60:01.25]one\n"


def test_markdown_begins_a_paragraph_after_a_pause() -> None:
    transcript = Transcript(
        "en",
        3700.0,
        (
            make_segment(0.0, 2.0, " One,"),
            make_segment(3.9, 5.0, " two *stars*."),
            make_segment(7.0, 9.0, " <b> # three"),
        ),
    )
    expected = "**00:00** One, two \\*stars\\*.\n\n**00:07** \\<b\\> # three\n"
    assert make_writers()["md"](transcript) == expected


def test_speakers_are_told_in_every_format() -> None:
    transcript = Transcript(
        "en",
        9.0,
        (
            replace(make_segment(0.0, 2.0, " One"), speaker="left"),
            replace(make_segment(1.0, 3.0, " two"), speaker="a*b"),
        ),
    )
    written = {suffix: write(transcript) for suffix, write in make_writers().items()}
    assert written["txt"] == "[left]: One\n[a*b]: two\n"
    assert written["tsv"] == (
        "start\tend\ttext\tspeaker\n0\t2000\tOne\tleft\n1000\t3000\ttwo\ta*b\n"
    )
    assert written["lrc"] == "[00:00.00]left: One\n[00:01.00]a*b: two\n"
    assert written["md"] == "**00:00 left** One\n\n**00:01 a\\*b** two\n"
    speakers = [segment["speaker"] for segment in json.loads(written["json"])["segments"]]
    assert speakers == ["left", "a*b"]
