"""What arrives is heard as a recording is, whatever its blocks, and is decided before its end."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.digits import compose_recording
from whisper_npu_cli.audio.mel import HostMel
from whisper_npu_cli.audio.sources import SamplesSource
from whisper_npu_cli.dims import HOP_LENGTH, N_FRAMES, SAMPLE_RATE
from whisper_npu_cli.longform.hearing import Arriving, Ears, Recorded
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.options import VadOptions
from whisper_npu_cli.spans import Span
from whisper_npu_cli.timings import Stopwatch

OPEN = Span(0, 10**9)
LAG = 2 * N_FRAMES  # frames after which a window is decided: its own, and those of the next speech


def ears() -> Ears:
    return Ears(HostMel(80), VadOptions(), Stopwatch())


@cache
def compose() -> NDArray[np.float32]:
    """Return 3 minutes of digits with pauses of up to 40 s; the loudest moment is the first."""
    samples = compose_recording(180.0, longest_gap_s=40.0) / 10
    samples[:1600] = np.random.default_rng(0).uniform(-1, 1, 1600)
    return samples


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return Recorded.hear(SamplesSource(compose()), ears())


def cut(sizes: list[int], pauses: list[bool]) -> Iterator[NDArray[np.float32]]:
    """Yield the samples in blocks of these sizes, over and over, some after an empty one."""
    at, turn = 0, 0
    while at < compose().size:
        if pauses[turn % len(pauses)]:
            yield np.zeros(0, np.float32)
        size = sizes[turn % len(sizes)]
        yield compose()[at : at + size]
        at, turn = at + size, turn + 1


sizes = st.lists(st.integers(1_000, 200_000), min_size=1, max_size=4)


@settings(max_examples=10, deadline=None)
@given(sizes, st.lists(st.booleans(), min_size=1, max_size=3))
def test_windows_are_those_of_the_recording_in_any_blocks(
    recorded: Recorded, sizes: list[int], pauses: list[bool]
) -> None:
    arriving = Arriving(cut(sizes, pauses), ears())
    expected = list(recorded.plan_windows([Span(0, recorded.n_heard)]))
    assert len(expected) > 3
    found: list[Window] = []
    for window in arriving.plan_windows([OPEN]):
        if window is None:
            assert any(pauses)
            continue
        found.append(window)
        recorded.rewind()
        np.testing.assert_array_equal(
            arriving.window(window.start, window.end), recorded.window(window.start, window.end)
        )
    assert found == expected
    assert (arriving.speech, arriving.faint) == (recorded.speech, recorded.faint)
    assert arriving.stats == recorded.stats
    assert arriving.n_heard == recorded.n_heard


def test_a_window_is_decided_soon_after_its_speech() -> None:
    arriving = Arriving(cut([8_000], [True]), ears())
    for window in arriving.plan_windows([OPEN]):
        if window is not None and not arriving.is_ended:
            assert arriving.stats.n_frames < window.start + LAG


def test_a_window_in_turn_is_heard_to_its_end_and_little_further(recorded: Recorded) -> None:
    arriving = Arriving(cut([8_000], [False]), ears())
    for seek in range(0, 12_000, 2_500):
        assert arriving.reach(OPEN, seek) == OPEN
        assert arriving.n_heard >= seek + N_FRAMES
        assert arriving.stats.n_frames < seek + LAG
        before, expected = (
            [span for span in audio.speech if span.end < seek] for audio in (arriving, recorded)
        )
        assert before == expected
    n_frames = compose().size // HOP_LENGTH
    assert arriving.reach(OPEN, n_frames - 100) == Span(0, n_frames)
    assert arriving.is_ended


def test_the_peak_is_that_so_far() -> None:
    rising = np.linspace(0.01, 1, 40 * SAMPLE_RATE, dtype=np.float32)
    noise = np.random.default_rng(0).standard_normal(rising.size).astype(np.float32) * rising
    arriving = Arriving(iter(np.split(noise, 400)), ears())
    peaks = []
    while not arriving.is_ended:
        arriving.hear()
        peaks.append(arriving.stats.peak)
    assert all(a <= b for a, b in pairwise(peaks))
    assert peaks[0] < peaks[-1] - 2  # log10 units of power: a factor of 100 in amplitude is 4
    assert arriving.stats == Recorded.hear(SamplesSource(noise), ears()).stats


@pytest.mark.parametrize("mode", ["in turn", "in batches"])
def test_silence_without_an_end_takes_no_memory(mode: str) -> None:
    block = np.random.default_rng(0).standard_normal(4 * SAMPLE_RATE).astype(np.float32) * 1e-3
    arriving = Arriving((block for _ in range(300)), ears())  # 20 minutes
    arriving.hear()  # imports
    tracemalloc.start()
    if mode == "in batches":
        assert list(arriving.plan_windows([OPEN])) == []
    else:
        seek, clip = 0, OPEN
        while seek < (clip := arriving.reach(clip, seek)).end:
            seek = arriving.n_heard
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert arriving.stats.duration_s == 1200
    # 30 s and the two longest blocks of them take 1 MB and 5 MB; 20 minutes are 38 MB
    assert peak < 12_000_000


def test_what_waits_is_charged_to_no_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("whisper_npu_cli.timings.perf_counter", lambda: now[0])

    def blocks() -> Iterator[NDArray[np.float32]]:
        for _ in range(3):
            now[0] += 1  # of work
            yield compose()[:16_000]
            yield compose()[:0]
            now[0] += 100  # of waiting
            yield compose()[:0]

    own = ears()
    arriving = Arriving(blocks(), own)
    while not arriving.is_ended:
        arriving.hear()
    timings = own.stopwatch.read()
    assert {row.stage: row.seconds for row in timings.rows} == {"audio": 3, "vad": 0, "mel": 0}
    assert (timings.total_s, timings.audio_s) == (3, 3)


def test_what_is_spoken_live_is_heard_within_a_quarter_of_a_second() -> None:
    arriving = Arriving(cut([1_600], [False]), Ears(HostMel(80), VadOptions(), Stopwatch(), True))
    for _ in range(300):
        arriving.hear()
        # 0.1 s of VAD, 0.1 s of mel and the half of a frame that follows
        assert arriving.stats.n_frames - arriving.n_frames < 25
    assert arriving.ended_speech == [s for s in arriving.speech if s.end <= arriving.next_start]
    arriving.forget_speech(arriving.ended_speech[0].end)
    arriving.forget(500)
    assert arriving.first_frame == 500
    with pytest.raises(ValueError, match="after one at 500"):
        arriving.forget(400)
