"""Audio that is spoken now: events out, of what is said and how sure that is, while it is said.

All that has arrived is heard before anything is decoded. Where the machine falls behind, more has
arrived at the next step, so that steps grow and nothing is dropped. What is decided is given up:
memory does not grow with the audio.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from whisper_npu_cli.audio.live import Clock, split_blocks
from whisper_npu_cli.audio.sources import Source
from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.dims import FRAMES_PER_SECOND, N_FRAMES
from whisper_npu_cli.engines.loading import Engines
from whisper_npu_cli.errors import AudioError, UsageError
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
from whisper_npu_cli.longform.growing import GrowingText
from whisper_npu_cli.longform.hearing import Arriving, Ears
from whisper_npu_cli.longform.policies import Heard, Policy, Streaming, Utterances, adapt
from whisper_npu_cli.longform.segments import order_times
from whisper_npu_cli.longform.stages import Stages
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.options import TranscribeOptions, VadOptions
from whisper_npu_cli.spans import Span
from whisper_npu_cli.timings import Stopwatch

_FULL_FRAMES = N_FRAMES - 200  # more of what is not decided would not fit into a window
_ENCODING_SHARE = 0.5  # of a step, at most; the rest is for decoding and for others
_MIN_SPEECH_MS = 100  # shorter than a word; music has such
_OF_RECORDINGS = ("clip_timestamps", "long_form", "strict", "speakers")


@dataclass(frozen=True)
class Asked:
    """What is wanted of live transcription, and what tells the time."""

    options: TranscribeOptions
    live: LiveOptions
    clock: Clock

    def make_vad(self) -> VadOptions:
        """Return where there is speech: it ends with the pause that ends an utterance."""
        vad = self.options.vad
        return replace(
            vad,
            min_silence_duration_ms=round(1000 * self.live.pause),
            min_speech_duration_ms=max(vad.min_speech_duration_ms, _MIN_SPEECH_MS),
        )


def begin(engines: Engines, tokenizer: Tokenizer, source: Source, asked: Asked) -> Live:
    """Return the events of `source`, of which nothing is read yet.

    UsageError where the options ask for what only a recording has, or the model has not.
    """
    options, vad, stopwatch = asked.options, asked.make_vad(), Stopwatch()
    for name in _OF_RECORDINGS:
        if getattr(options, name) != getattr(TranscribeOptions, name):
            raise UsageError(f"{name} is for recordings", hint=f"leave out {name}")
    audio = Arriving(split_blocks(source.blocks()), Ears(engines.mel, vad, stopwatch, soon=True))
    chosen, reason = _choose_policy(engines, asked.live)
    drafts, stages = (
        Stages(engines, tokenizer, adapt(options, is_draft=is_draft), stopwatch)
        for is_draft in (True, False)
    )
    text = GrowingText(audio, stages)
    utterances = Utterances(text, stages, asked.live.margin)
    policy = Streaming(text, drafts, utterances) if chosen == "streaming" else utterances
    names = engines.encoder.name, engines.decoder.name
    pace = Pace(asked.clock, round(asked.live.step * FRAMES_PER_SECOND), vad.pad_frames)
    return Live(audio, policy, pace, Listening(0.0, 0.0, chosen, reason, *names))


def _choose_policy(engines: Engines, options: LiveOptions) -> tuple[PolicyName, str]:
    """Return the policy, and why that."""
    if options.policy != "auto":
        return options.policy, "asked for"
    encode_s = _measure_encoder(engines)
    name: PolicyName = "streaming" if encode_s <= _ENCODING_SHARE * options.step else "utterance"
    return name, f"a window is encoded in {encode_s:.2f} s, a step is {options.step:g} s"


def _measure_encoder(engines: Engines) -> float:
    """Return the seconds in which a window is encoded: the second one, for the first warms up."""
    dims = engines.encoder.dims
    silence = np.zeros((dims.n_mels, N_FRAMES), np.float32)
    seconds = 0.0
    with engines.encoding() as encoder:
        for _ in range(2):
            start = perf_counter()
            encoder.encode(silence)
            seconds = perf_counter() - start
    return seconds


@dataclass(frozen=True)
class Pace:
    """What tells the time; how much is heard between two decodings, and around speech."""

    clock: Clock
    step_frames: int
    pad_frames: int


class Live:
    """Audio being heard. Iterating, which can be done once, does the work."""

    def __init__(self, audio: Arriving, policy: Policy, pace: Pace, listening: Listening) -> None:
        self.stopwatch = audio.stopwatch
        self._listening = listening
        self._audio = audio
        self._policy = policy
        self._pace = pace
        self._origin_s: float | None = None  # when the audio began, on the clock
        self._is_speaking = False
        self._followed = 0  # frames heard when it was decoded last
        self._end_s = 0.0  # of the last segment
        self._n_settled = 0
        self._tail = ""
        self._is_stopped = False

    def stop(self) -> None:
        """End the iteration after what is being decoded."""
        self._is_stopped = True

    @property
    def is_complete(self) -> bool:
        """Whether all of the audio was heard."""
        return self._audio.is_ended

    def __iter__(self) -> Iterator[Event]:
        """Yield events. An AudioError of the source is raised once what was heard is settled."""
        yield self._listening
        audio, failure = self._audio, None
        while not (audio.is_ended or self._is_stopped):
            try:
                is_more = audio.hear()
            except AudioError as error:
                if not audio.stats.n_samples:
                    raise
                failure, is_more = error, audio.hear()  # which ends it
            if self._origin_s is None and audio.stats.n_samples:
                self._origin_s = self._pace.clock.now() - audio.stats.duration_s
            is_full = audio.n_frames - audio.first_frame >= _FULL_FRAMES
            if audio.is_ended or is_full or not is_more:
                yield from self._follow_speech()
        if failure is not None:
            raise failure

    def _follow_speech(self) -> Iterator[Event]:
        audio, text, ended = self._audio, self._policy.text, self._audio.ended_speech
        for span, following in zip(ended, [*audio.speech[1:], None], strict=False):
            yield from self._begin(span)
            # Speech as long as a window is two spans that touch: it goes on.
            if following is None or following.start > span.end:
                yield from self._end(span, following)
        for span in audio.speech[len(ended) :]:
            yield from self._begin(span)
            if audio.n_frames - self._followed >= self._pace.step_frames:
                self._followed = audio.n_frames
                window = Window(text.start, audio.n_frames, audio.n_frames)
                yield from self._tell(self._policy.follow(window))
        if ended:
            audio.forget_speech(ended[-1].end)
        if not self._is_speaking:
            self._release(audio.next_start)
        audio.forget(max(text.start, audio.first_frame))

    def _release(self, speech_start: int) -> None:
        """Let the text begin with the silence before the next speech, or with its context."""
        self._policy.text.release(speech_start, self._pace.pad_frames)

    def _begin(self, span: Span) -> Iterator[Event]:
        if not self._is_speaking:
            self._is_speaking, self._followed = True, span.start
            self._release(span.start)
            yield SpeechStarted(*self._times, span.seconds[0])

    def _end(self, span: Span, following: Span | None) -> Iterator[Event]:
        limit = self._audio.n_frames if following is None else following.start
        end = min(span.end + self._pace.pad_frames, limit)
        window = Window(self._policy.text.start, end, span.end)
        yield from self._tell(self._policy.finish(window))
        self._is_speaking = False
        yield SpeechEnded(*self._times, span.seconds[1])

    def _tell(self, heard: Heard) -> Iterator[Event]:
        duration_s = self._audio.n_frames / FRAMES_PER_SECOND
        for segment in heard.settled:
            (ordered,) = order_times([segment], self._end_s, duration_s)
            self._end_s = ordered.end
            yield Settled(*self._times, replace(ordered, id=self._n_settled))
            self._n_settled += 1
        if heard.tail != self._tail:
            self._tail = heard.tail
            yield Tail(*self._times, heard.tail)

    @property
    def _times(self) -> tuple[float, float]:
        clock_s = self._pace.clock.now() - (self._origin_s or 0.0)
        return self._audio.stats.duration_s, clock_s
