from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.places import GOLDEN
from tests.support.words_model import LAYOUTS, spoken_segments
from whisper_npu_cli.errors import OutputError, UsageError
from whisper_npu_cli.options import SubtitleLayout
from whisper_npu_cli.transcript import Segment, Transcript, Word
from whisper_npu_cli.writers import format_timestamp, write_atomically, writers
from whisper_npu_cli.writers.subtitles import CueBuilder


def segment(start: float, end: float, text: str, index: int = 0) -> Segment:
    return Segment(index, 0, start, end, text, (1, 2), 0.0, -0.25, 0.8, 0.01)


TRANSCRIPT = Transcript(
    "en",
    3700.0,
    (segment(0.0, 2.5, " seven\tthree"), segment(3601.25, 3605.999, " one --> two", 1)),
)

# Written by openai/whisper's own writers (20250625) for the same segments.
EXPECTED = {
    "txt": "seven\tthree\none --> two\n",
    "srt": "1\n00:00:00,000 --> 00:00:02,500\nseven\tthree\n\n"
    "2\n01:00:01,250 --> 01:00:05,999\none -> two\n\n",
    "vtt": "WEBVTT\n\n00:00.000 --> 00:02.500\nseven\tthree\n\n"
    "01:00:01.250 --> 01:00:05.999\none -> two\n\n",
    "tsv": "start\tend\ttext\n0\t2500\tseven three\n3601250\t3605999\tone --> two\n",
}


@pytest.mark.parametrize("suffix", EXPECTED)
def test_format_is_openai_whispers(suffix: str) -> None:
    assert writers()[suffix](TRANSCRIPT) == EXPECTED[suffix]


def test_json_has_openai_whispers_fields() -> None:
    fields = json.loads(writers()["json"](TRANSCRIPT))
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


@pytest.mark.parametrize("suffix", writers())
def test_silence_is_an_empty_transcript(suffix: str) -> None:
    text = writers()[suffix](Transcript("en", 30.0, ()))
    empty = {"vtt": "WEBVTT\n\n", "tsv": "start\tend\ttext\n"}
    if suffix == "json":
        assert json.loads(text) == {"text": "", "segments": [], "language": "en"}
    else:
        assert text == empty.get(suffix, "")


def test_timestamp_rounds_to_milliseconds_and_carries() -> None:
    assert format_timestamp(59.9996, hours=False, decimal_marker=".") == "01:00.000"


def test_output_replaces_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "clip.txt"
    write_atomically(path, "old", hint="")
    write_atomically(path, "new", hint="")
    assert path.read_text() == "new"
    assert [file.name for file in path.parent.iterdir()] == ["clip.txt"]


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.txt"
    write_atomically(path, "old", hint="")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OutputError, match=r"clip\.txt: cannot be written: No space left"):
        write_atomically(path, "new", hint="")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["clip.txt"]


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/clip\.txt: cannot be written") as caught:
        write_atomically(tmp_path / "file" / "clip.txt", "text", hint="another")
    assert caught.value.hint == "another"


GOLDENS = json.loads((GOLDEN / "subtitles.json").read_text())


def spoken() -> Transcript:
    """The segments with words that openai/whisper's writers were given."""
    segments = [
        replace(
            segment(fields["start"], fields["end"], fields["text"], i),
            words=tuple(Word(**word) for word in fields["words"]),
        )
        for i, fields in enumerate(spoken_segments())
    ]
    return Transcript("en", 3700.0, tuple(segments))


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("suffix", ["srt", "vtt"])
def test_subtitles_of_words_are_openai_whispers(name: str, suffix: str) -> None:
    layout = SubtitleLayout(**LAYOUTS[name])
    assert writers(layout)[suffix](spoken()) == GOLDENS[name][suffix]


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    """Segments with words in order of time, some without any."""
    texts = st.text("abc,.-", min_size=1, max_size=12).map(lambda text: f" {text}")
    now, segments = 0.0, []
    for i in range(draw(st.integers(0, 4))):
        words = []
        for text in draw(st.lists(texts, max_size=8)):
            start = round(now + draw(st.floats(0, 5)), 2)
            now = round(start + draw(st.floats(0, 2)), 2)
            words.append(Word(text, start, now, 0.5))
        text = "".join(word.word for word in words)
        start = words[0].start if words else now
        segments.append(replace(segment(start, now, text, i), words=tuple(words)))
    return Transcript("en", now, tuple(segments))


@given(
    transcripts(),
    st.one_of(
        st.builds(SubtitleLayout, st.booleans(), st.integers(1, 40)),
        st.builds(SubtitleLayout, st.booleans(), st.integers(1, 40), st.integers(1, 3)),
        st.builds(SubtitleLayout, st.booleans(), st.none(), st.none(), st.integers(1, 5)),
    ),
)
def test_any_layout_keeps_every_word_in_its_limits(
    transcript: Transcript, layout: SubtitleLayout
) -> None:
    words = [word for s in transcript.segments for word in s.words or ()]
    cues = list(CueBuilder(layout).cues(transcript.segments))
    assert [(w.start, w.end) for cue in cues for w in cue] == [(w.start, w.end) for w in words]
    for cue in cues:
        lines = "".join(word.word for word in cue).split("\n")
        if layout.max_line_width:  # only a word of its own may be wider
            assert all(len(x) <= layout.max_line_width or " " not in x.strip() for x in lines)
        if layout.max_line_count:
            assert len(lines) <= layout.max_line_count
        if layout.max_words_per_line:
            assert len(cue) <= layout.max_words_per_line
    texts = [w.word.strip() for cue in cues for w in cue]
    assert texts == [w.word.strip() for w in words]


def test_layouts_that_contradict_are_refused() -> None:
    with pytest.raises(UsageError, match="needs --max-line-width"):
        SubtitleLayout(max_line_count=2)
    with pytest.raises(UsageError, match="exclude each other"):
        SubtitleLayout(max_line_width=20, max_words_per_line=2)


def test_lyrics_have_the_time_of_each_line_and_word() -> None:
    lines = writers()["lrc"](spoken()).splitlines()
    assert lines[0].startswith("[00:00.00]<00:00.00> And<00:00.34> so,")
    assert lines[3].startswith("[59:59.00]<59:59.00> what")  # minutes go on: no hours
    plain = Transcript("en", 9000.0, (segment(3601.25, 3605.999, " one"),))
    assert writers()["lrc"](plain) == "[60:01.25]one\n"


def test_markdown_begins_a_paragraph_after_a_pause() -> None:
    transcript = Transcript(
        "en",
        3700.0,
        (
            segment(0.0, 2.0, " One,"),
            segment(3.9, 5.0, " two *stars*."),
            segment(7.0, 9.0, " <b> # three"),
        ),
    )
    expected = "**00:00** One, two \\*stars\\*.\n\n**00:07** \\<b\\> # three\n"
    assert writers()["md"](transcript) == expected


def test_json_has_words_where_they_are_known() -> None:
    first = json.loads(writers()["json"](spoken()))["segments"][0]
    assert list(first)[-1] == "words"
    assert first["words"][0] == {"word": " And", "start": 0.0, "end": 0.24, "probability": 0.9}
