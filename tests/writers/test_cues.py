"""Cues as a viewer sees them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.transcripts import make_segment, say
from whisper_npu_cli.options import SubtitleLayout
from whisper_npu_cli.transcript import Transcript, Word
from whisper_npu_cli.writers import make_writers
from whisper_npu_cli.writers.cues import GAP_MS, LAG_MS, Shown, label_speaker, lay_out
from whisper_npu_cli.writers.phrases import find_pieces, measure_width

PRESET = SubtitleLayout(subtitles=True)


def list_lines(shown: Shown) -> list[str]:
    lines = ["".join(word.word for word in line) for line in shown.lines]
    return [label_speaker(shown.speaker) + lines[0], *lines[1:]]


def read(transcript: Transcript, layout: SubtitleLayout = PRESET) -> list[str]:
    """Return the texts of the cues, ` / ` between lines."""
    return [" / ".join(list_lines(shown)) for shown in lay_out(transcript, layout)]


# Kennedy in 1961, and LibriSpeech's 61-70968-0000, with the end of each word in seconds as OpenAI's
# base finds it; `|` is where the next word begins, if not there
KENNEDY = (
    "And 0.52 so 0.84 my 1.18 fellow 1.56 Americans, 2.1 | 2.76 ask 3.74 not 4.24 what 5.52 "
    "your 5.76 country 6.24 can 6.62 do 6.82 for 7.08 you, 7.34 | 7.74 ask 8.48 what 8.76 you 9.04 "
    "can 9.32 do 9.56 for 9.78 your 9.94 country. 10.36"
)
WIZARD = (
    "He 0.34 began 0.6 a 0.72 confused 1.12 complaint 1.5 against 1.84 the 2.04 wizard, 2.32 | "
    "2.68 who 2.76 had 2.86 vanished 3.12 behind 3.5 the 3.7 curtain 3.96 on 4.12 "
    "the 4.26 left. 4.52"
)


def hear(timed: str, duration_s: float) -> Transcript:
    """Return the words of a text with the time after each."""
    words, now = [], 0.0
    parts = timed.split()
    for text, time in zip(parts[::2], parts[1::2], strict=True):
        if text != "|":
            words.append(Word(f" {text}", now, float(time), 0.9))
        now = float(time)
    segment = make_segment(0.0, now, "".join(word.word for word in words))
    return Transcript("en", duration_s, (replace(segment, words=tuple(words)),))


def test_recordings_become_cues_that_are_in_time_with_the_speaker() -> None:
    assert make_writers(PRESET)["srt"](hear(KENNEDY, 11.0)) == (
        "1\n00:00:00,000 --> 00:00:02,100\nAnd so my fellow Americans,\n\n"
        "2\n00:00:02,760 --> 00:00:07,656\nask not what your country can do for you,\n\n"
        "3\n00:00:07,740 --> 00:00:10,360\nask what you can do for your country.\n\n"
    )
    assert make_writers(PRESET)["vtt"](hear(WIZARD, 4.905)) == (
        "WEBVTT\n\n"
        "00:00.000 --> 00:02.596\nHe began a confused complaint\nagainst the wizard,\n\n"
        "00:02.680 --> 00:04.905\nwho had vanished behind the curtain\non the left.\n\n"
    )


@pytest.mark.parametrize(
    ("language", "text", "cues"),
    [
        (
            "en",
            "And so my fellow Americans, | ask not what your country can do for you, ask what you "
            "can do for your country.",
            [
                "And so my fellow Americans,",
                "ask not what your country can do for you, / ask what you can do for your country.",
            ],
        ),
        (
            "en",
            "He began a confused complaint against the wizard, who had vanished behind the curtain "
            "on the left.",
            [
                "He began a confused complaint / against the wizard,",
                "who had vanished behind the curtain / on the left.",
            ],
        ),
        ("en", "Yes. No. I have seen it.", ["Yes. No. I have seen it."]),  # too short alone
        (
            "de",
            "Jeder, der diese Software und die dazugehörigen Dateien erhält, darf sie "
            "unentgeltlich verwenden, kopieren und an andere weitergeben.",
            [
                "Jeder, der diese Software / und die dazugehörigen Dateien erhält,",
                "darf sie unentgeltlich verwenden, / kopieren und an andere weitergeben.",
            ],
        ),
        (
            "ru",
            "Вариант, становящийся всё более популярным для тех, кто планирует взять академический "
            "год, это путешествовать и учиться.",
            [
                "Вариант, / становящийся всё более популярным для тех,",
                "кто планирует взять академический год, / это путешествовать и учиться.",
            ],
        ),
    ],
)
def test_cues_read_well(language: str, text: str, cues: list[str]) -> None:
    assert read(say(text, language)) == cues


def test_wide_characters_count_twice_and_lines_begin_with_no_punctuation() -> None:
    text = (
        "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした"
    )
    cues = lay_out(say("/".join(text), "ja", word_s=0.15), PRESET)
    lines = [line for shown in cues for line in list_lines(shown)]
    assert "".join(lines) == text
    assert max(map(measure_width, lines)) <= 42
    assert not any(line[0] in "。、" for line in lines)
    assert lines[0].endswith("。")


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("ar", "مرحبا بكم في هذا البرنامج، وسوف نتحدث اليوم عن اللغة العربية (العدد 25) وتاريخها."),
        ("he", "שלום לכולם, היום נדבר על ההיסטוריה של השפה העברית (1948) ועל הדקדוק שלה."),
    ],
)
def test_text_from_right_to_left_stays_in_the_order_of_speech(language: str, text: str) -> None:
    """Players order it by Unicode's bidirectional algorithm: no sign is moved, or added."""
    assert " ".join(read(say(text, language))).replace(" / ", " ") == text


def test_given_numbers_take_the_place_of_the_presets() -> None:
    spoken = say("one two three four five six seven eight nine ten", word_s=0.2)
    narrow = SubtitleLayout(subtitles=True, max_line_width=20, max_line_count=3)
    assert read(spoken, narrow) == ["one two three four / five six seven / eight nine ten"]
    assert len(read(spoken, SubtitleLayout(subtitles=True, max_line_count=1))) == 2


def test_speakers_never_share_a_cue_and_never_overlap() -> None:
    left, right = (
        say("I think that we should go now, or not at all.", speaker=name).segments[0]
        for name in ("left", "right")
    )
    cues = lay_out(Transcript("en", 4.0, (left, right)), PRESET)
    assert [shown.speaker for shown in cues] == ["left", "right"]
    assert list_lines(cues[0])[0].startswith("[left]: I think")
    assert max(measure_width(line) for shown in cues for line in list_lines(shown)) <= 42
    assert (cues[0].start_ms, cues[1].start_ms - cues[0].end_ms) == (0, GAP_MS)
    assert cues[0].end_ms >= 1000


def test_lyrics_have_the_lines_of_the_cues() -> None:
    spoken = say("He began a confused complaint against the wizard, who had vanished.")
    lyrics = make_writers(PRESET)["lrc"](spoken).splitlines()
    assert [line[:10] for line in lyrics] == ["[00:00.00]", "[00:01.50]"]
    assert lyrics[1].startswith("[00:01.50]<00:01.50>against<00:01.80> the<00:02.10> wizard,<")


def test_underlined_words_fill_the_time_of_their_cue() -> None:
    layout = SubtitleLayout(subtitles=True, highlight_words=True)
    srt = make_writers(layout)["srt"](say("Two words. |"))
    assert srt == (
        "1\n00:00:00,000 --> 00:00:00,300\n<u>Two</u> words.\n\n"
        "2\n00:00:00,300 --> 00:00:01,000\nTwo <u>words.</u>\n\n"
    )


ALPHABETS = ["abc de fgh", "ab, c. the", "日本語。、「」ー", "שלום, ב", "a語b "]


@st.composite
def spoken(draw: st.DrawFn) -> Transcript:
    """Words of any script, length and pauses, of up to two speakers who may talk at once."""
    n_speakers, segments, clock = draw(st.integers(0, 2)), [], {None: 0.0, "left": 0.0, "右": 0.0}
    alphabet = draw(st.sampled_from(ALPHABETS))
    for i in range(draw(st.integers(0, 4))):
        speaker = draw(st.sampled_from(["left", "右"][:n_speakers])) if n_speakers else None
        words, now = [], clock[speaker]
        for _ in range(draw(st.integers(1, 12))):
            text = draw(st.sampled_from(["", " "])) + draw(st.text(alphabet, max_size=12))
            start = now + draw(st.sampled_from([0.0, 0.0, 0.1, 0.7, 4.0]))
            now = start + draw(st.sampled_from([0.0, 0.1, 0.3, 0.6, 9.0]))
            words.append(Word(text, start, now, 0.5, speaker))
        clock[speaker] = now
        segment = make_segment(words[0].start, now, "".join(w.word for w in words), i)
        segments.append(replace(segment, words=tuple(words), speaker=speaker))
    segments.sort(key=lambda segment: segment.start)
    return Transcript("en", max(clock.values()), tuple(segments))


@given(spoken())
def test_every_word_is_there_once_and_in_order(transcript: Transcript) -> None:
    cues = lay_out(transcript, PRESET)
    for speaker in (None, "left", "右"):
        said = "".join(s.text for s in transcript.segments if s.speaker == speaker)
        lines = [line for shown in cues if shown.speaker == speaker for line in shown.lines]
        text = "".join(word.word for line in lines for word in line)
        assert "".join(text.split()) == "".join(said.split())


@given(spoken())
def test_cues_are_narrow_and_low(transcript: Transcript) -> None:
    unparted = {p.text.strip() for p in find_pieces(transcript.segments, "en", 42)}
    for shown in lay_out(transcript, PRESET):
        assert len(shown.lines) <= 2
        for line, labelled in zip(shown.lines, list_lines(shown), strict=False):
            text = "".join(word.word for word in line)
            assert measure_width(labelled) <= 42 or text in unparted
            assert text == text.strip() != ""
        assert {word.speaker for line in shown.lines for word in line} == {shown.speaker}


@given(spoken())
def test_cues_never_overlap_and_last_as_long_as_they_may(transcript: Transcript) -> None:
    cues = lay_out(transcript, PRESET)
    for shown, following in pairwise(cues):
        assert following.start_ms - shown.end_ms >= GAP_MS
    for i, shown in enumerate(cues):
        length_ms = shown.end_ms - shown.start_ms
        first, last = shown.lines[0][0], shown.lines[-1][-1]
        assert 250 <= length_ms <= 7000
        assert shown.start_ms >= round(1000 * first.start)
        # Short only where the audio ends, or where the next cue cannot wait longer
        ends_audio = shown.end_ms >= round(1000 * transcript.duration_s)
        lags = i + 1 < len(cues) and (
            shown.end_ms + GAP_MS >= round(1000 * cues[i + 1].lines[0][0].start) + LAG_MS
        )
        assert length_ms >= 1000 or ends_audio or lags
        # Faster than can be read only where the next is said, or speech has long ended
        columns = measure_width(" ".join(list_lines(shown)))
        is_slow = 17 * (length_ms + 1) >= 1000 * columns
        is_followed = i + 1 < len(cues) and cues[i + 1].start_ms - shown.end_ms == GAP_MS
        is_late = shown.end_ms >= round(1000 * last.end) + LAG_MS
        assert is_slow or is_followed or is_late or ends_audio or length_ms == 7000
