"""Text made up in silence is found by its words and dropped, or decoded again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from whisper_npu_cli.longform.hallucinations import (
    drop_between_silence,
    follow_words,
    is_anomaly,
    score_anomaly,
    skip_leading_silence,
)
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.transcript import Segment, Word


def segment(start: float, end: float, *words: Word) -> Segment:
    return Segment(0, 0, start, end, " text", (1, 2), 0.0, -0.25, 0.8, 0.01, "en", words)


def test_odd_words_are_unlikely_or_of_odd_length() -> None:
    assert score_anomaly(Word(" a", 0.0, 0.5, 0.9)) == 0
    assert score_anomaly(Word(" a", 0.0, 0.5, 0.1)) == 1
    assert score_anomaly(Word(" a", 0.0, 3.5, 0.9)) == pytest.approx(1.5)
    assert score_anomaly(Word(" a", 0.0, 0.033, 0.9)) == pytest.approx(1.5)


ODD = (Word(" you", 0.0, 0.02, 0.05),)
SOUND = (Word(" seven", 0.0, 0.5, 0.9),)


def at(start: float, words: tuple[Word, ...]) -> Segment:
    moved = (replace(w, start=w.start + start, end=w.end + start) for w in words)
    return segment(start, start + words[-1].end, *moved)


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
