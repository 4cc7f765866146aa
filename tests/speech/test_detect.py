from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.digits import compose_clips
from whisper_npu_cli.dims import N_FRAMES, SAMPLE_RATE
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.options import VadOptions
from whisper_npu_cli.speech.detect import (
    Bounds,
    SpeechFinder,
    SpeechTracker,
    Window,
    make_windows,
    uncovered,
    within,
)


def track(probabilities: list[float], options: VadOptions) -> list[Bounds]:
    tracker = SpeechTracker(options)
    tracker.add(probabilities)
    tracker.finish()
    return tracker.spans


def frames(spans: list[Bounds]) -> list[Bounds]:
    """Chunks of 32 ms as mel frames, without rounding trouble: multiples of 16 frames."""
    return [(start * 16 // 5, end * 16 // 5) for start, end in spans]


def as_bounds(windows: list[Window]) -> list[Bounds]:
    assert all(window.start < window.speech_end <= window.end for window in windows)
    return [(window.start, window.end) for window in windows]


runs = st.lists(
    st.tuples(st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0]), st.integers(1, 1500)), max_size=12
)
noisy = st.lists(st.floats(0, 1), max_size=300)
probabilities = st.one_of(runs.map(lambda parts: [p for p, n in parts for _ in range(n)]), noisy)
options = st.builds(
    VadOptions,
    threshold=st.sampled_from([0.3, 0.5, 0.7]),
    max_speech_duration_s=st.sampled_from([5.0, 12.5, 30.0]),
    min_silence_duration_ms=st.sampled_from([0, 160, 2000]),
    speech_pad_ms=st.sampled_from([0, 30, 400]),
)


@given(probabilities, options)
def test_spans_cover_all_speech_in_order(values: list[float], options: VadOptions) -> None:
    spans = track(values, options)
    covered = {i for start, end in spans for i in range(start, end)}
    assert {i for i, p in enumerate(values) if p >= options.threshold} <= covered
    assert covered <= set(range(len(values)))
    assert all(start < end for start, end in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))


@given(probabilities, options)
def test_windows_cover_all_speech_and_are_never_too_long(
    values: list[float], options: VadOptions
) -> None:
    speech = frames(track(values, options))
    n_frames = len(values) * 16 // 5
    windows = as_bounds(make_windows(speech, (0, n_frames), options))
    assert all(0 <= a < b <= n_frames for a, b in windows)
    assert all(b - a <= options.max_frames <= N_FRAMES for a, b in windows)
    assert all(a[1] <= b[0] for a, b in pairwise(windows))
    assert all(any(a <= start and end <= b for a, b in windows) for start, end in speech)


@given(probabilities, options, st.integers(0, 500), st.integers(0, 2000))
def test_windows_stay_in_the_clip(
    values: list[float], options: VadOptions, start: int, length: int
) -> None:
    clip = (start, start + length)
    speech = frames(track(values, options))
    windows = as_bounds(make_windows(speech, clip, options))
    assert all(clip[0] <= a < b <= clip[1] for a, b in windows)
    assert not uncovered(within(speech, clip), windows, 1)


def test_speech_without_a_pause_is_cut_where_it_is_least_likely() -> None:
    values = [0.9] * 2000
    values[700] = 0.55  # within the later half of the longest window, 911 chunks
    spans = track(values, VadOptions())
    assert spans[0] == (0, 700)
    assert spans[1][0] == 700
    assert spans[-1][1] == 2000


def test_short_silence_is_part_of_speech_and_long_silence_ends_it() -> None:
    values = [0.9] * 10 + [0.0] * 4 + [0.9] * 10 + [0.0] * 5 + [0.9] * 10  # 160 ms are 5 chunks
    assert track(values, VadOptions()) == [(0, 24), (29, 39)]


def test_speech_that_is_too_short_is_dropped() -> None:
    values = [0.9] * 3 + [0.0] * 10 + [0.9] * 10
    assert track(values, VadOptions(min_speech_duration_ms=100)) == [(13, 23)]


def test_padding_is_shared_between_neighbours_and_absent_at_a_seam() -> None:
    speech = [(100, 2900), (2920, 4000), (4000, 6000)]
    assert make_windows(speech, (0, 6010), VadOptions()) == [
        Window(60, 2910, 2900),
        Window(2910, 4000, 4000),
        Window(4000, 6010, 6000),
    ]


def test_digits_are_found() -> None:
    clip = compose_clips(1)[0].samples
    silence = np.zeros(5 * SAMPLE_RATE, np.float32)
    finder = SpeechFinder(VadOptions())
    for block in np.array_split(np.concatenate([silence, clip, silence]), 7):
        finder.add(block)
    spans = finder.finish()
    end = 500 + clip.size // 160
    assert all(450 < a < b < end + 50 for a, b in spans)
    assert sum(b - a for a, b in spans) > (end - 500) / 3  # the rest is pauses between digits


t = np.arange(10 * SAMPLE_RATE) / SAMPLE_RATE


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros_like(t),
        np.random.default_rng(0).standard_normal(t.size) * 0.1,
        0.3 * np.sin(2 * np.pi * 50 * t) + 0.1 * np.sin(2 * np.pi * 150 * t),
        sum(0.1 * np.sin(2 * np.pi * f * t) for f in (262, 330, 392)) * (np.sin(9 * t) > 0),
    ],
    ids=["silence", "noise", "hum", "chords"],
)
def test_no_speech_in_what_is_none(samples: NDArray[np.float64]) -> None:
    finder = SpeechFinder(VadOptions())
    finder.add(samples.astype(np.float32))
    assert finder.finish() == []


def test_audio_shorter_than_a_frame() -> None:
    finder = SpeechFinder(VadOptions())
    finder.add(np.ones(10, np.float32))
    assert finder.finish() == []


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 20)), max_size=5))
def test_uncovered_is_what_no_text_covers(parts: list[tuple[int, int]]) -> None:
    speech, text = [(0, 50), (60, 100)], [(a, a + n) for a, n in parts]
    left = {i for a, b in speech for i in range(a, b)}
    left -= {i for a, b in text for i in range(a, b)}
    assert {i for a, b in uncovered(speech, text, 1) for i in range(a, b)} == left
    assert all(b - a >= 5 for a, b in uncovered(speech, text, 5))


def test_short_words_without_text_are_missed_together() -> None:
    words = [(0, 40), (50, 90), (100, 140)]
    assert uncovered(words, [], 100) == [(0, 140)]
    assert uncovered(words, [(50, 90)], 100) == []  # said, so that the others are 40 each
    assert uncovered([(0, 40), (150, 240)], [], 100) == []  # too far from each other


@pytest.mark.parametrize(
    "bad",
    [
        {"threshold": 0.0},
        {"threshold": 1.0},
        {"neg_threshold": 0.6},
        {"speech_pad_ms": -1},
        {"max_speech_duration_s": 31.0},
        {"max_speech_duration_s": 1.0},
    ],
)
def test_bad_options_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        VadOptions(**bad)  # type: ignore[arg-type]
