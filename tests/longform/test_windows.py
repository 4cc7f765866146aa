from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.support.speech_spans import (
    listen,
    options,
    probabilities,
    shortest,
    to_frames,
    track_frames,
)
from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.longform.windows import (
    Window,
    make_window,
    plan_ahead,
    plan_clips,
    plan_windows,
)
from whisper_npu_cli.options import VadOptions
from whisper_npu_cli.spans import Span, cut_spans, find_uncovered


def as_spans(windows: list[Window]) -> list[Span]:
    assert all(window.start < window.until <= window.end for window in windows)
    return [Span(window.start, window.end) for window in windows]


def test_clips_are_pairs_within_the_audio() -> None:
    assert plan_clips((), 5000) == [(0, 5000)]
    assert plan_clips((0.0,), 5000) == [(0, 5000)]
    assert plan_clips((1.0, 2.5, 30.0), 5000) == [(100, 250), (3000, 5000)]
    assert plan_clips((10.0, 1000.0), 5000) == [(1000, 5000)]
    assert plan_clips((90.0, 100.0), 5000) == []


def test_a_window_ends_with_its_clip_or_after_30_s() -> None:
    clip = Span(100, 4000)
    assert make_window(100, clip) == Window(100, 100 + N_FRAMES, 4000)
    assert make_window(3990, clip) == Window(3990, 4000, 4000)


@given(probabilities, options)
def test_windows_cover_all_speech_and_are_never_too_long(
    values: list[float], options: VadOptions
) -> None:
    speech = track_frames(values, options)
    n_frames = len(values) * 16 // 5
    windows = as_spans(plan_windows(speech, Span(0, n_frames), options))
    assert all(0 <= a < b <= n_frames for a, b in windows)
    assert all(b - a <= options.max_frames <= N_FRAMES for a, b in windows)
    assert all(a[1] <= b[0] for a, b in pairwise(windows))
    assert all(any(a <= start and end <= b for a, b in windows) for start, end in speech)


@given(probabilities, options, shortest, st.integers(0, 3000))
def test_windows_that_later_speech_cannot_change_are_those_of_the_whole(
    values: list[float], options: VadOptions, shortest_ms: int, n_heard: int
) -> None:
    options = replace(options, min_speech_duration_ms=shortest_ms)
    tracker = listen(values, options, n_heard)
    (next_start, _), *settled = to_frames([(tracker.start, 0), *tracker.spans, *tracker.settled])
    clip, is_speaking = Span(0, 10**9), bool(tracker.settled)
    final, open_ = plan_ahead(settled, next_start, clip, options, is_speaking=is_speaking)
    whole = plan_windows(track_frames(values, options), clip, options)
    assert final == whole[: len(final)]
    starts = [window.start for window in whole[len(final) :]]
    assert [window.start for window in open_] == starts[: len(open_)]
    assert len(open_) <= 1
    assert all(start >= next_start - options.pad_frames for start in starts[len(open_) :])


@given(probabilities, options, st.integers(0, 500), st.integers(0, 2000))
def test_windows_stay_in_the_clip(
    values: list[float], options: VadOptions, start: int, length: int
) -> None:
    clip = Span(start, start + length)
    speech = track_frames(values, options)
    windows = as_spans(plan_windows(speech, clip, options))
    assert all(clip[0] <= a < b <= clip[1] for a, b in windows)
    assert not find_uncovered(cut_spans(speech, clip), windows, 1)


def test_padding_is_shared_between_neighbours_and_absent_at_a_seam() -> None:
    speech = [Span(100, 2900), Span(2920, 4000), Span(4000, 6000)]
    assert plan_windows(speech, Span(0, 6010), VadOptions()) == [
        Window(60, 2910, 2900),
        Window(2910, 4000, 4000),
        Window(4000, 6010, 6000),
    ]
