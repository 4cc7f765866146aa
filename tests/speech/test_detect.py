from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.digits import compose_clips, compose_recording
from tests.support.long_files import NO_SPEECH
from tests.support.speech_spans import listen, options, probabilities, shortest, track
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.options import VadOptions
from whisper_npu_cli.spans import Span, cut_spans
from whisper_npu_cli.speech.detect import SpeechFinder


@given(probabilities, options)
def test_spans_cover_all_speech_in_order(values: list[float], options: VadOptions) -> None:
    spans = track(values, options)
    covered = {i for start, end in spans for i in range(start, end)}
    assert {i for i, p in enumerate(values) if p >= options.threshold} <= covered
    assert covered <= set(range(len(values)))
    assert all(start < end for start, end in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))


@given(probabilities, options, shortest, st.integers(0, 3000))
def test_what_is_known_of_speech_that_goes_on_stays(
    values: list[float], options: VadOptions, shortest_ms: int, n_heard: int
) -> None:
    options = replace(options, min_speech_duration_ms=shortest_ms)
    tracker = listen(values, options, n_heard)
    so_far, whole = tracker.spans + tracker.present, track(values, options)
    known, final = (
        {i for start, end in spans for i in range(start, min(end, tracker.n_known))}
        for spans in (so_far, whole)
    )
    assert known == final
    assert tracker.spans == whole[: len(tracker.spans)]
    for start, end in tracker.settled:
        assert any(a == start and end <= b for a, b in whole)


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


def find(samples: NDArray[np.floating]) -> list[Span]:
    finder = SpeechFinder(VadOptions())
    finder.add(samples.astype(np.float32))
    return finder.finish()


@pytest.mark.parametrize("level_db", [-80, -60, -52, -42, -30])
@pytest.mark.parametrize("sound", NO_SPEECH)
def test_no_speech_at_any_level_in_what_is_none(sound: str, level_db: int) -> None:
    samples = NO_SPEECH[sound](t.astype(np.float32))
    rms = max(float(np.sqrt(np.square(samples).mean())), 1e-9)
    assert find(samples * (10 ** (level_db / 20) / rms)) == []


@pytest.mark.parametrize("level_db", [-70, -60, -52, -42])
def test_quiet_speech_is_heard_as_speech_at_a_normal_level_is(level_db: int) -> None:
    speech = compose_recording(30.0, 3.0)
    speech /= np.sqrt(np.square(speech).mean())
    marks = np.zeros((2, 3001), np.bool_)
    for mark, level in zip(marks, (-30, level_db), strict=True):
        pcm = np.round(speech * 10 ** (level / 20) * 32767).clip(-32768, 32767)
        for start, end in find(pcm / 32768):
            mark[start:end] = True
    # Digits have many edges, and short pauses that come and go; of real clips 3 % differ.
    assert np.mean(marks[0] != marks[1]) < 0.12
    assert marks[1].sum() > 0.85 * marks[0].sum()


@pytest.mark.parametrize("below_db", [30, 40, 50])
def test_speech_far_below_a_loud_speaker_is_heard(below_db: int) -> None:
    loud, pause = compose_recording(12.0, 0.5), np.zeros(5 * SAMPLE_RATE)
    quiet = compose_recording(12.0, 0.5, 1) * 10 ** (-below_db / 20)
    alone = find(np.concatenate([pause, quiet]))
    together = cut_spans(find(np.concatenate([loud, pause, quiet])), (1700, 2900))
    # Digits have short pauses that come and go; where batches begin differs too.
    assert sum(b - a for a, b in together) > 0.8 * sum(b - a for a, b in alone)


@pytest.mark.parametrize("level", [1e-4, 1e-3, 1e-2])
def test_room_tone_after_loud_speech_is_no_speech(level: float) -> None:
    tone = level * np.random.default_rng(0).standard_normal(60 * SAMPLE_RATE)
    spans = find(np.concatenate([compose_recording(12.0, 0.5), tone]))
    assert all(end < 1250 for _, end in spans)


def test_a_gain_does_not_depend_on_how_blocks_are_cut() -> None:
    samples = compose_recording(20.0, 2.0) * np.float32(0.002)
    finder = SpeechFinder(VadOptions())
    for block in np.split(samples, [7, 1000, 70_000, 70_001, 200_000]):
        finder.add(block)
    assert finder.finish() == find(samples)
    assert find(samples)


def test_a_click_is_no_level() -> None:
    samples = compose_recording(20.0, 0.0) * np.float32(0.002)
    clicked = samples.copy()
    clicked[::64_000] = 0.9
    assert sum(b - a for a, b in find(clicked)) > 0.8 * sum(b - a for a, b in find(samples))


def test_faint_speech_is_what_is_speech_at_half_of_the_threshold() -> None:
    samples = compose_recording(20.0, 2.0)
    finder = SpeechFinder(VadOptions())
    finder.add(samples)
    sure = finder.finish()
    half = SpeechFinder(VadOptions(threshold=0.25))
    half.add(samples)
    assert finder.faint == half.finish()
    assert sum(b - a for a, b in finder.faint) > sum(b - a for a, b in sure)


def test_speech_is_found_sooner_in_a_few_chunks_at_a_time_and_is_nearly_the_same() -> None:
    samples = np.concatenate([clip.samples for clip in compose_clips(4)])
    marks = np.zeros((2, samples.size // 160 + 1), np.bool_)
    for mark, n_chunks in zip(marks, (128, 3), strict=True):
        finder = SpeechFinder(VadOptions(), n_chunks)
        finder.add(samples[: SAMPLE_RATE * 3])
        if n_chunks == 3:
            assert finder.speech
        finder.add(samples[SAMPLE_RATE * 3 :])
        for start, end in finder.finish():
            mark[start:end] = True
    # The level is that of the 4 s before, not of those around: the edges of quiet words differ.
    assert np.mean(marks[0] != marks[1]) < 0.05


def test_speech_that_was_told_is_forgotten() -> None:
    samples = np.concatenate([clip.samples for clip in compose_clips(2)])
    finder = SpeechFinder(VadOptions())
    finder.add(samples)
    spans = finder.finish()
    finder.forget(spans[1].end)
    assert finder.speech == spans[2:]
