from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.places import GOLDEN
from tests.support.transcripts import TRANSCRIPT, make_segment, make_spoken
from tests.support.words_model import LAYOUTS
from whisper_npu_cli.options import SubtitleLayout
from whisper_npu_cli.transcript import Transcript, Word
from whisper_npu_cli.writers import format_timestamp, make_writers
from whisper_npu_cli.writers.subtitles import CueBuilder

GOLDENS = json.loads((GOLDEN / "subtitles.json").read_text())
# Written by openai/whisper's own writers (20250625) for the same segments.
EXPECTED = {
    "srt": "1\n00:00:00,000 --> 00:00:02,500\nseven\tthree\n\n"
    "2\n01:00:01,250 --> 01:00:05,999\none -> two\n\n",
    "vtt": "WEBVTT\n\n00:00.000 --> 00:02.500\nseven\tthree\n\n"
    "01:00:01.250 --> 01:00:05.999\none -> two\n\n",
}


@pytest.mark.parametrize("suffix", EXPECTED)
def test_format_is_openai_whispers(suffix: str) -> None:
    assert make_writers()[suffix](TRANSCRIPT) == EXPECTED[suffix]


def test_timestamp_rounds_to_milliseconds_and_carries() -> None:
    assert format_timestamp(59.9996, hours=False, decimal_marker=".") == "01:00.000"


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("suffix", ["srt", "vtt"])
def test_subtitles_of_words_are_openai_whispers(name: str, suffix: str) -> None:
    layout = SubtitleLayout(**LAYOUTS[name])
    # What openai/whisper writes of a word "-->" is no cue's text: a parser takes it for times.
    expected = re.sub(r"(?<!\d )-->", "->", GOLDENS[name][suffix])
    assert make_writers(layout)[suffix](make_spoken()) == expected


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
        segments.append(replace(make_segment(start, now, text, i), words=tuple(words)))
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
    cues = list(CueBuilder(layout).build(transcript.segments))
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
