"""Words of segments: punctuation, pauses, bounds, and text made up in silence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_npu_cli.longform.hallucinations import (
    drop_between_silence,
    follow_words,
    is_anomaly,
    skip_leading_silence,
    word_anomaly,
)
from whisper_npu_cli.longform.segments import order_times
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.longform.words import (
    TimedWord,
    add_words,
    limit_sentence_ends,
    merge_punctuation,
)
from whisper_npu_cli.options import WordOptions
from whisper_npu_cli.transcript import Segment, Word


def segment(start: float, end: float, seek: int = 0, *words: Word) -> Segment:
    return Segment(0, seek, start, end, " text", (1, 2), 0.0, -0.25, 0.8, 0.01, "en", words)


def timed(*texts: str, length: float = 0.3) -> list[TimedWord]:
    """Words of one token each, one after the other."""
    return [
        TimedWord(text, (i,), i * length, (i + 1) * length, 0.9) for i, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("texts", "merged"),
    [
        ((" Hello", ",", " world", "!"), [" Hello,", " world!"]),
        ((' "', "Yes", '"', "."), [' "Yes".']),
        ((" (", " a", ")", " -", " b"), [" ( a)", " - b"]),
        ((" ¿", "Qué", "?", "!"), [" ¿Qué?!"]),
        ((" a", " ("), [" a", " ("]),  # nothing after it to join
        ((" a ", "."), [" a ", "."]),  # a space between them
        ((" it", "'s"), [" it", "'s"]),  # no punctuation mark alone
    ],
)
def test_punctuation_joins_its_word(texts: tuple[str, ...], merged: list[str]) -> None:
    words = merge_punctuation(timed(*texts), WordOptions())
    assert [word.word for word in words] == merged
    assert [token for word in words for token in word.tokens] == list(range(len(texts)))


def test_merged_words_keep_the_time_of_the_word() -> None:
    (word,) = merge_punctuation(timed(' "', "Yes", "!"), WordOptions())
    assert (word.start, word.end) == (0.3, 0.6)


def test_which_punctuation_joins_is_an_option() -> None:
    options = WordOptions(prepend_punctuations="", append_punctuations="!")
    words = merge_punctuation(timed(" (", " a", "!", "."), options)
    assert [word.word for word in words] == [" (", " a!", "."]


def test_long_words_around_the_end_of_a_sentence_are_cut() -> None:
    end, begin = TimedWord(".", (1,), 1.0, 4.0, 0.9), TimedWord(" So", (2,), 4.0, 9.0, 0.9)
    words = limit_sentence_ends([*timed(" a"), end, begin], max_s=0.5)
    assert [(word.start, word.end) for word in words[1:]] == [(1.0, 1.5), (8.5, 9.0)]


def test_first_word_after_a_pause_is_not_all_of_the_pause() -> None:
    words = [TimedWord(" a", (1,), 0.0, 5.0, 0.9), *timed(" b", " c", " d")[1:]]
    words[1:] = [replace(w, start=w.start + 4.7, end=w.end + 4.7) for w in words[1:]]
    (result,) = add_words([segment(0.0, 6.0)], [3], words, WordOptions(), 0.0)
    assert result.words is not None
    assert result.words[0].start == pytest.approx(5.0 - 2 * 0.3)  # twice the median
    assert result.start == result.words[0].start
    assert result.end == result.words[-1].end


def test_times_are_those_of_the_audio_and_words_of_their_segment() -> None:
    segments = [segment(10.0, 10.6, 1000), segment(10.6, 11.2, 1000)]
    words = timed(" a", " b", " c", " d")
    first, second = add_words(segments, [2, 2], words, WordOptions(), 10.0)
    assert [w.word for w in first.words or ()] == [" a", " b"]
    assert [(w.word, w.start) for w in second.words or ()] == [(" c", 10.6), (" d", 10.9)]


def test_segment_without_text_has_no_words() -> None:
    first, second = add_words(
        [segment(0, 0), segment(0, 1)], [0, 1], timed(" a"), WordOptions(), 0.0
    )
    assert first.words == ()
    assert [w.word for w in second.words or ()] == [" a"]


@st.composite
def aligned(draw: st.DrawFn) -> tuple[list[Segment], list[int], list[TimedWord], float, float]:
    """A window as the aligner leaves it: words in order within the content, any segments."""
    seek = draw(st.sampled_from([0, 1234, 90000]))
    content = draw(st.integers(1, 1500))
    texts = draw(st.lists(st.sampled_from([" a", " word", ".", " (", ",", "-", "!"]), max_size=20))
    times = sorted(
        draw(st.lists(st.integers(0, content), min_size=len(texts) + 1, max_size=len(texts) + 1))
    )
    words = [
        TimedWord(text, (i,), times[i] / 50, times[i + 1] / 50, 0.5) for i, text in enumerate(texts)
    ]
    cuts = sorted(draw(st.lists(st.integers(0, len(texts)), max_size=3)))
    n_tokens = [b - a for a, b in zip([0, *cuts], [*cuts, len(texts)], strict=True)]
    bounds = sorted(
        draw(
            st.lists(
                st.integers(0, content), min_size=2 * len(n_tokens), max_size=2 * len(n_tokens)
            )
        )
    )
    segments = [
        segment(seek / 100 + start / 50, seek / 100 + end / 50, seek)
        for start, end in zip(bounds[::2], bounds[1::2], strict=True)
    ]
    last_speech_s = draw(st.floats(0, 1)) * seek / 100
    return segments, n_tokens, words, last_speech_s, seek / 100 + content / 50


@given(aligned())
def test_words_cover_their_text_in_order_within_the_content(
    case: tuple[list[Segment], list[int], list[TimedWord], float, float],
) -> None:
    segments, n_tokens, words, last_speech_s, end_s = case
    found = add_words(segments, n_tokens, words, WordOptions(), last_speech_s)
    result = order_times(found, segments[0].seek / 100, end_s)
    assert "".join(w.word for s in result for w in s.words or ()) == "".join(w.word for w in words)
    times = [segments[0].seek / 100]
    for s in result:
        times += [s.start, *(t for w in s.words or () for t in (w.start, w.end)), s.end]
    assert times == sorted(times)
    assert times[-1] <= end_s


def test_odd_words_are_unlikely_or_of_odd_length() -> None:
    assert word_anomaly(Word(" a", 0.0, 0.5, 0.9)) == 0
    assert word_anomaly(Word(" a", 0.0, 0.5, 0.1)) == 1
    assert word_anomaly(Word(" a", 0.0, 3.5, 0.9)) == pytest.approx(1.5)
    assert word_anomaly(Word(" a", 0.0, 0.033, 0.9)) == pytest.approx(1.5)


ODD = (Word(" you", 0.0, 0.02, 0.05),)
SOUND = (Word(" seven", 0.0, 0.5, 0.9),)


def at(start: float, words: tuple[Word, ...], seek: int = 0) -> Segment:
    moved = (replace(w, start=w.start + start, end=w.end + start) for w in words)
    return segment(start, start + words[-1].end, seek, *moved)


def test_segments_of_odd_words_are_odd() -> None:
    assert is_anomaly(at(0, ODD))
    assert not is_anomaly(at(0, SOUND))
    assert not is_anomaly(at(0, ODD[:1] + SOUND * 4))
    assert not is_anomaly(segment(0, 1))
    assert not is_anomaly(None)


def test_odd_text_after_silence_is_decoded_again_from_there() -> None:
    window = Window(1000, 4000, 9000)
    assert skip_leading_silence([at(15.0, ODD)], window, 2.0) == 1500
    assert skip_leading_silence([at(11.0, ODD)], window, 2.0) is None
    assert skip_leading_silence([at(15.0, SOUND)], window, 2.0) is None


def test_odd_text_between_silences_is_dropped_with_all_after_it() -> None:
    window = Window(0, 3000, 9000)
    segments = [at(1.0, SOUND), at(10.0, ODD), at(20.0, SOUND)]
    kept, seek = drop_between_silence(segments, window, 2.0, 0.0)
    assert (kept, seek) == (segments[:1], 1000)
    in_speech = [at(9.0, SOUND), at(9.6, ODD), at(9.8, SOUND)]
    assert drop_between_silence(in_speech, window, 2.0, 8.9) == (in_speech, None)


def test_odd_text_at_the_end_ends_the_clip() -> None:
    segments = [at(1.0, SOUND), at(29.0, ODD)]
    assert drop_between_silence(segments, Window(0, 3000, 3050), 2.0, 0.0) == (segments[:1], 3050)


@pytest.mark.parametrize(
    ("threshold_s", "is_final", "seek"),
    [
        (None, False, 150),  # after the last word
        (None, True, 3000),  # nothing is spoken after it
        (2.0, False, 150),
        (29.0, False, 3000),  # what is left of the window is too short to be decoded again
    ],
)
def test_the_next_window_begins_after_the_last_word(
    threshold_s: float | None, is_final: bool, seek: int
) -> None:
    outcome = follow_words(
        [at(1.0, SOUND)],
        Window(0, 3000, 9000),
        3000,
        is_final=is_final,
        last_speech_s=0.0,
        threshold_s=threshold_s,
    )
    assert (outcome.seek, outcome.is_void, len(outcome.segments)) == (seek, False, 1)
