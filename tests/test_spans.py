from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from whisper_npu_cli.spans import Span, cut_spans, find_uncovered, pick_spans, round_span


def test_seconds_and_frames() -> None:
    assert Span(150, 3000).seconds == (1.5, 30.0)
    assert round_span(1.504, 1.506) == (150, 151)


def test_spans_are_cut_to_their_limits() -> None:
    assert cut_spans([(0, 10), (20, 30), (40, 50)], (5, 25)) == [(5, 10), (20, 25)]


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 20)), max_size=5))
def test_uncovered_is_what_no_text_covers(parts: list[tuple[int, int]]) -> None:
    speech, text = [(0, 50), (60, 100)], [(a, a + n) for a, n in parts]
    left = {i for a, b in speech for i in range(a, b)}
    left -= {i for a, b in text for i in range(a, b)}
    assert {i for a, b in find_uncovered(speech, text, 1) for i in range(a, b)} == left
    assert all(b - a >= 5 for a, b in find_uncovered(speech, text, 5))


def test_short_words_without_text_are_missed_together() -> None:
    words = [(0, 40), (50, 90), (100, 140)]
    assert find_uncovered(words, [], 100) == [(0, 140)]
    assert find_uncovered(words, [(50, 90)], 100) == []  # said, so that the others are 40 each
    assert find_uncovered([(0, 40), (150, 240)], [], 100) == []  # too far from each other


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=6),
    st.integers(0, 40),
    st.integers(0, 40),
)
def test_picked_spans_are_those_that_have_a_part_within(
    parts: list[tuple[int, int]], start: int, length: int
) -> None:
    spans, at = [], 0
    for gap, n_frames in parts:
        spans.append(Span(at + gap, at + gap + n_frames))
        at += gap + n_frames
    limits = Span(start, start + length)
    assert cut_spans(pick_spans(spans, limits), limits) == cut_spans(spans, limits)
    assert len(pick_spans(spans, limits)) == len(cut_spans(spans, limits)) or not length
