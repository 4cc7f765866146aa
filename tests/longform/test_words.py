"""Words of segments: punctuation, pauses and bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_npu_cli.longform.segments import order_times
from whisper_npu_cli.longform.words import (
    TimedWord,
    add_words,
    limit_sentence_ends,
    merge_punctuation,
)
from whisper_npu_cli.options import WordOptions
from whisper_npu_cli.transcript import Segment


def segment(start: float, end: float, seek: int = 0) -> Segment:
    return Segment(0, seek, start, end, " text", (1, 2), 0.0, -0.25, 0.8, 0.01, "en")


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
    """A window as the aligner leaves it: words in order within the content, and any segments."""
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
