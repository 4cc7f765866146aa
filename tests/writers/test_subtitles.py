from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import webvtt
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


def test_a_text_that_begins_or_ends_with_a_line_break_is_in_its_cue() -> None:
    words = tuple(Word(text, i, i + 1.0, 0.9) for i, text in enumerate(("\n\none", "two\n")))
    said = replace(make_segment(0.0, 2.0, "\n\nonetwo\n"), words=words)
    srt = make_writers()["srt"](Transcript("en", 2.0, (said,)))
    assert srt == "1\n00:00:00,000 --> 00:00:02,000\nonetwo\n\n"
    vtt = make_writers()["vtt"](Transcript("en", 2.0, (said,)))
    assert vtt == "WEBVTT\n\n00:00.000 --> 00:02.000\nonetwo\n\n"


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


LAYOUTS_OF_WORDS = st.one_of(
    st.builds(SubtitleLayout, highlight_words=st.booleans(), max_line_width=st.integers(1, 40)),
    st.builds(
        SubtitleLayout,
        highlight_words=st.booleans(),
        max_line_width=st.integers(1, 40),
        max_line_count=st.integers(1, 3),
    ),
    st.builds(SubtitleLayout, highlight_words=st.booleans(), max_words_per_line=st.integers(1, 5)),
)
ANY_LAYOUT = st.one_of(
    LAYOUTS_OF_WORDS,
    st.builds(SubtitleLayout, subtitles=st.just(True), highlight_words=st.booleans()),
)


@given(transcripts(), LAYOUTS_OF_WORDS)
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


MARKS = ["-", ">", "<", "&", "\n", "\r", " ", "-->", "&lt;", "<b>", "NOTE"]
ANY_TEXT = st.lists(
    st.one_of(st.sampled_from(MARKS), st.characters(codec="utf-8")), max_size=12
).map("".join)
STEPS = st.sampled_from([0.0, 0.0, 0.0004, 0.001, 0.02, 3.7])  # seconds; many equal times
SPEAKERS = st.sampled_from([None, "left", "R&D <1>"])


@st.composite
def any_transcripts(draw: st.DrawFn) -> Transcript:
    """Any text at equal and overlapping times, of no or several speakers, with words or without."""
    has_words, first, segments = draw(st.booleans()), 0.0, []
    for i in range(draw(st.integers(0, 5))):
        first += draw(STEPS)
        now, words, speaker = first, [], draw(SPEAKERS)
        for text in draw(st.lists(ANY_TEXT, min_size=1, max_size=4)):
            start = now + draw(STEPS)
            now = start + draw(STEPS)
            words.append(Word(text, start, now, 0.5, speaker))
        segment = make_segment(first, now, "".join(word.word for word in words), i)
        known = tuple(words) if has_words else None
        segments.append(replace(segment, words=known, speaker=speaker))
    return Transcript("en", 60.0, tuple(segments))


def keep_characters(text: str) -> list[str]:
    """Return the characters of a text but white space and dashes (an arrow loses one), sorted."""
    return sorted("".join(text.replace("-", "").split()))


@given(any_transcripts(), ANY_LAYOUT)
def test_webvtt_is_valid_whatever_is_said_and_when(
    transcript: Transcript, layout: SubtitleLayout
) -> None:
    cues = list(webvtt.from_string(make_writers(layout)["vtt"](transcript), strict=True))
    starts = [cue.start_time.in_milliseconds() for cue in cues]
    assert starts == sorted(starts)
    for cue in cues:
        assert cue.start_time.in_milliseconds() < cue.end_time.in_milliseconds()
        assert not re.search(r"<(?!/?u>|v [^<>\n]+>)|&(?!amp;|lt;|gt;)", cue.raw_text)
    if not layout.highlight_words or not transcript.segments or not transcript.segments[0].words:
        said = "".join(cue.text for cue in cues).replace("&lt;", "<").replace("&amp;", "&")
        assert keep_characters(said) == keep_characters(transcript.text)


@given(any_transcripts(), ANY_LAYOUT)
def test_srt_has_a_block_for_each_cue_whatever_is_said(
    transcript: Transcript, layout: SubtitleLayout
) -> None:
    text = make_writers(layout)["srt"](transcript)
    n_cues = len(list(webvtt.from_string(make_writers(layout)["vtt"](transcript))))
    assert text.count("-->") == n_cues
    numbers = re.findall(r"(?:\A|\n\n)(\d+)\n\d\d:\d\d:\d\d,\d\d\d --> ", text)
    assert numbers == [str(i + 1) for i in range(n_cues)]


def test_no_cue_lasts_no_time_or_runs_into_the_next() -> None:
    times = [(0.0, 2.0), (2.0, 2.0), (2.01, 3.0), (5.0, 5.0), (5.0, 5.5), (10.78, 10.78)]
    segments = tuple(make_segment(a, b, f" {i}", i) for i, (a, b) in enumerate(times))
    lines = make_writers()["vtt"](Transcript("en", 11.0, segments)).splitlines()
    assert [line for line in lines if "-->" in line] == [
        "00:00.000 --> 00:02.000",
        "00:02.000 --> 00:02.010",
        "00:02.010 --> 00:03.000",
        "00:05.000 --> 00:05.001",
        "00:05.001 --> 00:05.500",
        "00:10.780 --> 00:10.800",
    ]


@given(transcripts())
def test_plain_text_has_openai_whispers_bytes(transcript: Transcript) -> None:
    """Without words, as its `WriteVTT` and `WriteSRT` do it."""
    lasting = [replace(s, words=None) for s in transcript.segments if s.end - s.start > 0.001]
    plain = replace(transcript, segments=tuple(s for s in lasting if "--" not in s.text))
    vtt, srt = "WEBVTT\n\n", ""
    for i, segment in enumerate(plain.segments, start=1):
        for hours, marker in ((False, "."), (True, ",")):
            start, end = (
                format_timestamp(seconds, hours=hours, decimal_marker=marker)
                for seconds in (segment.start, segment.end)
            )
            block = f"{start} --> {end}\n{segment.text.strip()}\n\n"
            vtt, srt = (vtt, f"{srt}{i}\n{block}") if hours else (vtt + block, srt)
    assert (make_writers()["vtt"](plain), make_writers()["srt"](plain)) == (vtt, srt)


def test_speakers_are_labelled_as_players_know_it() -> None:
    words = (Word(" one", 0.0, 1.0, 0.9, "left"),), (Word(" two", 0.5, 1.5, 0.9, "R&D"),)
    segments = tuple(
        replace(make_segment(own[0].start, own[0].end, own[0].word), speaker=own[0].speaker)
        for own in words
    )
    spoken = tuple(replace(s, words=own) for s, own in zip(segments, words, strict=True))
    layout = SubtitleLayout(max_line_width=40, max_line_count=2)  # cues go on in the next segment
    for transcript in (Transcript("en", 2.0, segments), Transcript("en", 2.0, spoken)):
        writers = make_writers(layout)
        assert writers["vtt"](transcript) == (
            "WEBVTT\n\n00:00.000 --> 00:01.000\n<v left>one\n\n"
            "00:00.500 --> 00:01.500\n<v R&amp;D>two\n\n"
        )
        assert writers["srt"](transcript) == (
            "1\n00:00:00,000 --> 00:00:01,000\n[left]: one\n\n"
            "2\n00:00:00,500 --> 00:00:01,500\n[R&D]: two\n\n"
        )
