"""Where windows and segments begin, told by spans of speech."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.transcripts import make_segment
from whisper_npu_cli.longform.guide import (
    Guide,
    find_speech,
    is_echo,
    is_sparse,
    move_start,
)
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.spans import Span
from whisper_npu_cli.transcript import Segment

CLIP = Span(0, 12000)


@pytest.mark.parametrize(
    ("speech", "seek", "start"),
    [
        ([Span(100, 400)], 0, 0),  # the window has speech: it is openai-whisper's
        ([Span(2900, 3400)], 0, 0),
        ([Span(2951, 3400)], 0, 2911),  # in its last half second
        ([Span(7000, 7400)], 0, 6960),
        ([Span(100, 400)], 500, 12000),
        ([], 0, 12000),
        ([Span(100, 410), Span(9000, 9500)], 400, 8960),  # a rest of earlier speech
        ([Span(100, 440), Span(9000, 9500)], 400, 400),
        ([Span(5000, 5010)], 4000, 4000),  # short, but not a rest
    ],
)
def test_a_window_without_speech_is_skipped(speech: list[Span], seek: int, start: int) -> None:
    assert Guide(speech, pad_frames=40).skip_silence(seek, CLIP) == start


def test_what_may_be_speech_is_not_skipped() -> None:
    speech = [Span(100, 200), Span(9000, 9100)]
    guide = Guide(speech, 40, faint=[Span(90, 210), Span(3500, 3599), Span(4000, 4100)])
    assert [guide.skip_silence(seek, CLIP) for seek in (0, 210, 4100, 9100)] == [
        0,
        3960,
        8960,
        CLIP.end,
    ]


def test_speech_behind_silence_begins_its_window() -> None:
    guide = Guide([Span(3500, 4000)], pad_frames=40)  # of audio whose 20 s before were heard first
    assert guide.skip_silence(2000, CLIP) == 2000
    assert guide.skip_silence(2000, CLIP, is_silent=True) == 3460
    assert guide.skip_silence(3480, CLIP, is_silent=True) == 3480


def test_silence_is_not_skipped_backwards() -> None:
    assert Guide([Span(3010, 3400)], pad_frames=40).skip_silence(3005, Span(3005, 3040)) == 3005


@pytest.mark.parametrize(
    ("text_end_s", "resumed"),
    [(11.0, 1460), (14.8, 1480), (15.9, 2000), (5.0, 560)],
)
def test_speech_after_the_text_of_a_window_begins_the_next(text_end_s: float, resumed: int) -> None:
    guide = Guide([Span(600, 1100), Span(1500, 1650)], pad_frames=40)
    window = Window(0, 2000, 9000)
    assert guide.find_rest([make_segment(0.0, text_end_s, " a")], window) == resumed
    assert guide.find_rest([], window) == 2000


SENTENCES = [Span(100, 500), Span(600, 1000), Span(1100, 1500), Span(1600, 2000)]
WINDOW = Window(0, 3000, 9000)


def say(start: float, end: float, n_tokens: int) -> Segment:
    return replace(make_segment(start, end, " a"), tokens=tuple(range(n_tokens)))


@pytest.mark.parametrize(
    ("segments", "n_kept", "alone"),
    [
        ([say(1, 5, 12), say(6, 10, 12), say(11, 15, 12), say(16, 20, 12)], 4, None),
        ([say(1, 5, 12), say(6, 20, 12)], 1, (560, 1050)),  # one text lasts over three sentences
        ([say(1, 5, 12), say(16, 20, 12)], 1, (560, 1050)),  # text for two of them is missing
        ([say(16, 20, 12)], 0, (60, 550)),
        ([say(1, 20, 60)], 0, (60, 550)),  # 19 s are two texts or more
        (
            [say(1, 5, 12), say(6, 15, 20), say(16, 20, 5)],
            3,
            None,
        ),  # the last sentence cannot be cut
        ([], 0, None),
    ],
)
def test_speech_with_too_little_text_is_decoded_alone(
    segments: list[Segment], n_kept: int, alone: tuple[int, int] | None
) -> None:
    guide = Guide(SENTENCES, pad_frames=40)
    ahead = guide.go_on(segments, WINDOW, WINDOW.end)
    assert ahead.segments == segments[:n_kept]
    assert (ahead.start, ahead.end) == (alone or (WINDOW.end, None))
    again = guide.go_on(segments, WINDOW, WINDOW.end, is_alone=True)
    assert (again.segments, again.end) == (segments, None)


def test_a_text_without_timestamps_is_no_long_one() -> None:
    ahead = Guide(SENTENCES, 40).go_on([say(0, 30, 60)], WINDOW, WINDOW.end)
    assert (len(ahead.segments), ahead.end) == (1, None)


def test_a_sparse_text_is_one_for_little_of_its_speech() -> None:
    assert is_sparse(say(1, 20, 31), SENTENCES)
    assert not is_sparse(say(1, 20, 32), SENTENCES)  # of 16 s of speech
    assert not is_sparse(say(1, 4.9, 1), SENTENCES)  # a word can be drawn out
    assert not is_sparse(say(1, 20, 1), [])


def test_a_rest_of_speech_is_no_speech() -> None:
    speech = [Span(0, 110), Span(300, 400)]
    assert find_speech(speech, Span(100, 1000)) == [(300, 400)]
    assert find_speech(speech, Span(80, 350)) == [(80, 110), (300, 350)]


def test_a_segment_that_begins_in_a_pause_begins_with_the_speech_in_it() -> None:
    speech = [Span(100, 210), Span(600, 900)]
    segment = make_segment(2.0, 9.0, " seven")
    assert move_start(segment, speech) == replace(segment, start=6.0)
    blip = Span(300, 315)  # alone, and shorter than a word
    assert move_start(segment, [blip, *speech]) == replace(segment, start=6.0)
    assert move_start(segment, [blip, Span(400, 900)]).start == 3.0
    for start, end in ((1.5, 9.0), (6.5, 9.0), (2.5, 5.0)):  # in speech, and where there is none
        assert move_start(make_segment(start, end, " a"), speech).start == start


def test_the_text_before_a_rest_is_not_written_twice() -> None:
    said, again = make_segment(0, 1, " it was so quiet"), make_segment(2, 3, " was so quiet")
    assert is_echo([again], [said])
    assert not is_echo([said], [again])
    assert not is_echo([make_segment(2, 3, " so quiet")], [said])  # two words may be said twice
    assert not is_echo([], [said])
