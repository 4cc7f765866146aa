"""Live transcription: what is settled stays, whatever the pace of the audio and of the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.digits import compose_clips, compose_recording
from tests.support.edits import count_edits
from tests.support.long_files import NO_SPEECH
from whisper_npu_cli.audio.live import LeapingClock, PlayedSource
from whisper_npu_cli.audio.mel import HostMel
from whisper_npu_cli.audio.sources import SamplesSource
from whisper_npu_cli.dims import N_FRAMES, SAMPLE_RATE
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.longform.events import (
    Event,
    Listening,
    LiveOptions,
    PolicyName,
    Settled,
    SpeechEnded,
    SpeechStarted,
    Tail,
)
from whisper_npu_cli.longform.hearing import Arriving, Ears
from whisper_npu_cli.longform.live import Asked, Live, Pace
from whisper_npu_cli.longform.policies import Heard
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.options import DecodingOptions, EngineOptions, TranscribeOptions
from whisper_npu_cli.pipeline import Transcriber
from whisper_npu_cli.timings import Stopwatch

POLICIES: tuple[PolicyName, ...] = ("streaming", "utterance")
ENGLISH = TranscribeOptions(language="en", decoding=DecodingOptions(beam_size=None))


@pytest.fixture(scope="module")
def transcriber() -> Iterator[Transcriber]:
    with Transcriber("demo", EngineOptions(device="cpu")) as loaded:
        yield loaded


@cache
def compose() -> tuple[NDArray[np.float32], list[str]]:
    """Return some 15 s of digits with pauses between them, and the words."""
    clips = compose_clips(2, seed=1)
    pause = np.zeros(SAMPLE_RATE, np.float32)
    samples = np.concatenate([part for clip in clips for part in (clip.samples, pause)])
    return samples, " ".join(clip.text for clip in clips).split()


class Chunks:
    """Samples in chunks of these sizes, over and over, after which they are awaited or not."""

    name, can_reread = "chunks", False

    def __init__(
        self, samples: NDArray[np.float32], sizes: Sequence[int], waits: Sequence[bool]
    ) -> None:
        self._samples, self._sizes, self._waits = samples, sizes, waits

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        at, turn = 0, 0
        while at < self._samples.size:
            size = self._sizes[turn % len(self._sizes)]
            yield self._samples[at : at + size]
            if self._waits[turn % len(self._waits)]:
                yield self._samples[:0]
            at, turn = at + size, turn + 1

    def close(self) -> None:
        pass


def play(transcriber: Transcriber, samples: NDArray[np.float32], policy: PolicyName) -> list[Event]:
    clock = LeapingClock()
    source = PlayedSource(SamplesSource(samples), clock)
    return list(transcriber.listen(source, ENGLISH, LiveOptions(policy=policy), clock))


def read_words(events: Sequence[Event]) -> list[str]:
    return "".join(e.segment.text for e in events if isinstance(e, Settled)).split()


@pytest.mark.parametrize("policy", POLICIES)
def test_digits_are_settled_while_they_are_spoken(
    transcriber: Transcriber, policy: PolicyName
) -> None:
    samples, words = compose()
    events = play(transcriber, samples, policy)
    assert read_words(events) == words
    kinds = [type(event) for event in events]
    assert kinds[0] is Listening
    assert kinds.count(SpeechStarted) == kinds.count(SpeechEnded) > 2
    for event in events:
        if isinstance(event, Settled):
            # A word waits for the pause that ends its utterance, or else for a step and a margin;
            # the longest utterance has 5 s, and the clock leaps over the work.
            assert 0 <= event.audio_s - event.segment.end < (2.0 if policy == "streaming" else 7.0)
            assert event.lag_s == pytest.approx(0, abs=0.2)  # blocks of 0.1 s


@pytest.mark.parametrize("policy", POLICIES)
def test_events_are_in_order(transcriber: Transcriber, policy: PolicyName) -> None:
    events = play(transcriber, compose()[0], policy)
    assert all(a.clock_s <= b.clock_s and a.audio_s <= b.audio_s for a, b in pairwise(events))
    segments = [event.segment for event in events if isinstance(event, Settled)]
    assert [segment.id for segment in segments] == list(range(len(segments)))
    words = [word for segment in segments for word in segment.words or ()]
    assert [word.word.strip() for word in words] == read_words(events)
    assert all(a.start <= a.end <= b.start <= b.end for a, b in pairwise(words))
    speech = [e.at_s for e in events if isinstance(e, SpeechStarted | SpeechEnded)]
    assert speech == sorted(speech)
    tail = ""
    for event in events:
        tail = event.text if isinstance(event, Tail) else tail
        assert not (isinstance(event, SpeechEnded) and tail)


@settings(max_examples=4)
@given(
    st.lists(st.integers(400, 40_000), min_size=1, max_size=4),
    st.lists(st.booleans(), min_size=1, max_size=3),
    st.sampled_from(POLICIES),
)
def test_all_chunkings_settle_to_nearly_the_same_words(
    transcriber: Transcriber, sizes: list[int], waits: list[bool], policy: PolicyName
) -> None:
    samples, words = compose()
    live = transcriber.listen(
        Chunks(samples, sizes, waits), ENGLISH, LiveOptions(policy=policy), LeapingClock()
    )
    # A word that a step cuts may be told as another: one of 20, where real speech is held to
    # 1.5 % by `make bench-live`.
    assert count_edits(words, read_words(list(live))) <= 1


@pytest.mark.parametrize(
    "minutes", [0.3, pytest.param(10, marks=pytest.mark.slow)], ids=["0.3 min", "10 min"]
)
@pytest.mark.parametrize("sound", NO_SPEECH)
def test_what_is_no_speech_has_no_text(
    transcriber: Transcriber, sound: str, minutes: float
) -> None:
    times = np.arange(60 * minutes * SAMPLE_RATE) / SAMPLE_RATE
    events = play(transcriber, NO_SPEECH[sound]((times % 60).astype(np.float32)), "streaming")
    assert read_words(events) == []


def test_the_language_is_heard_where_it_is_not_given(transcriber: Transcriber) -> None:
    samples, words = compose()
    clock = LeapingClock()
    live = transcriber.listen(
        PlayedSource(SamplesSource(samples), clock),
        live=LiveOptions(policy="streaming"),
        clock=clock,
    )
    events = list(live)
    assert read_words(events) == words
    assert {e.segment.language for e in events if isinstance(e, Settled)} == {"en"}


@pytest.mark.parametrize("step", [0.2, 10.0])
def test_auto_chooses_by_the_time_of_the_encoder(transcriber: Transcriber, step: float) -> None:
    live = transcriber.listen(SamplesSource(compose()[0]), ENGLISH, LiveOptions(step=step))
    first = next(iter(live))
    assert isinstance(first, Listening)
    encode_s = float(first.reason.split("encoded in ")[1].split()[0])
    # It is told with two decimals.
    assert first.policy == ("streaming" if encode_s <= step / 2 + 0.005 else "utterance")
    assert f"{step:g} s" in first.reason


def test_options_of_recordings_are_refused(transcriber: Transcriber) -> None:
    options = TranscribeOptions(clip_timestamps=(1.0, 2.0))
    with pytest.raises(UsageError, match="clip_timestamps is for recordings"):
        transcriber.listen(SamplesSource(compose()[0]), options)


class _Text:
    """The part of a growing text that `Live` sees."""

    def __init__(self) -> None:
        self.start = 0

    def release(self, speech_start: int, pad_frames: int) -> None:
        self.start = max(self.start, speech_start - pad_frames)


class SlowPolicy:
    """A policy that settles nothing, and for which each decoding takes `seconds`."""

    def __init__(self, clock: LeapingClock, seconds: float) -> None:
        self.text = _Text()
        self.windows: list[Window] = []
        self.finished: list[Window] = []
        self._clock, self._seconds = clock, seconds

    def follow(self, window: Window) -> Heard:
        self.windows.append(window)
        self._clock.sleep(self._seconds)
        if window.n_frames > N_FRAMES - 500:  # as every policy must
            self.text.release(window.end, 0)
        return Heard()

    def finish(self, window: Window) -> Heard:
        self.finished.append(window)
        self._clock.sleep(self._seconds)
        return Heard()


def listen_slowly(
    samples: NDArray[np.float32], seconds: float
) -> tuple[SlowPolicy, Arriving, list[Event], int]:
    """Listen with a slow policy; return also the most frames that were held."""
    clock = LeapingClock()
    options = Asked(ENGLISH, LiveOptions(), clock)
    source = PlayedSource(SamplesSource(samples), clock)
    ears = Ears(HostMel(80), options.make_vad(), Stopwatch(), soon=True)
    audio, policy = Arriving(source.blocks(), ears), SlowPolicy(clock, seconds)
    listening = Listening(0.0, 0.0, "streaming", "", "", "")
    live = Live(audio, policy, Pace(clock, 100, 40), listening)  # type: ignore[arg-type]
    events, most = [], 0
    for event in live:
        events.append(event)
        most = max(most, audio.n_frames - audio.first_frame)
        assert len(audio.speech) < 20
    return policy, audio, events, most


def test_steps_grow_where_the_machine_is_slow_and_nothing_is_dropped() -> None:
    samples, _ = compose()
    quick, slow = (listen_slowly(samples, seconds) for seconds in (0.1, 2.5))
    assert len(slow[0].windows) < len(quick[0].windows) / 2
    for policy, audio, events, _ in (quick, slow):
        assert audio.stats.n_samples == samples.size
        assert policy.finished == quick[0].finished
        assert [type(e) for e in events].count(SpeechEnded) == len(policy.finished)
    assert max(event.lag_s for event in quick[2]) < 0.5  # a decoding and a half
    assert max(event.lag_s for event in slow[2]) > 2.0


def test_memory_does_not_grow_with_the_audio() -> None:
    samples = compose_recording(120.0, longest_gap_s=4.0)
    _, audio, _, most = listen_slowly(samples, 0.1)
    assert most <= N_FRAMES
    assert audio.n_frames - audio.first_frame < N_FRAMES


def test_a_backlog_is_heard_window_by_window() -> None:
    samples = compose_recording(90.0, longest_gap_s=2.0)
    policy, audio, _, most = listen_slowly(samples, 20.0)
    assert audio.stats.n_samples == samples.size
    assert most <= N_FRAMES
    assert all(window.n_frames <= N_FRAMES for window in [*policy.windows, *policy.finished])


def test_it_ends_when_it_is_stopped(transcriber: Transcriber) -> None:
    clock = LeapingClock()
    source = PlayedSource(SamplesSource(compose()[0]), clock)
    live = transcriber.listen(source, ENGLISH, LiveOptions(policy="streaming"), clock)
    events = []
    for event in live:
        events.append(event)
        if isinstance(event, Settled):
            live.stop()
    assert 0 < len(read_words(events)) < len(compose()[1])
    assert not live.is_complete
