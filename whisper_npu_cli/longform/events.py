"""What is asked of live transcription, and what it tells: values. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from whisper_npu_cli.fields import Bounds, Options, option
from whisper_npu_cli.transcript import Segment

PolicyName: TypeAlias = Literal["streaming", "utterance"]


@dataclass(frozen=True)
class LiveOptions(Options):
    """When words of audio that is spoken now are decoded and settled."""

    policy: Literal["auto", "streaming", "utterance"] = option(
        "auto",
        "utterance: decode what was said once the speaker pauses. streaming: decode every step, "
        "and settle words while they are spoken. auto: streaming where a window is encoded in "
        "half of a step",
        group="Live",
    )
    step: float = option(
        1.0,
        "Audio between two decodings of streaming; more where the machine falls behind",
        unit="seconds",
        bounds=Bounds(0.2, 10),
        group="Live",
    )
    margin: float = option(
        0.5,  # as SimulStreaming's frame_threshold of 25; with 0.4 s base had 1.3 points more wrong
        "Words that end less than this before the end of the audio so far may change (streaming)",
        unit="seconds",
        bounds=Bounds(0, 5),
        group="Live",
    )
    pause: float = option(
        0.5, "Silence that ends an utterance", unit="seconds", bounds=Bounds(0.1, 5), group="Live"
    )


@dataclass(frozen=True)
class Event:
    """Something that became known when `audio_s` of audio were heard, at `clock_s`.

    Both are seconds since the audio began; `clock_s` is the clock's, later by what a wait for the
    rest of a block, and the decoding, took.
    """

    name: ClassVar[str]
    audio_s: float
    clock_s: float

    @property
    def lag_s(self) -> float:
        """How far what was decided is behind what is spoken."""
        return self.clock_s - self.audio_s


@dataclass(frozen=True)
class Listening(Event):
    """It begins, by this policy and for this reason, with these engines."""

    name: ClassVar[str] = "listening"
    policy: PolicyName
    reason: str
    encoder: str
    decoder: str


@dataclass(frozen=True)
class SpeechStarted(Event):
    """Somebody speaks from `at_s` on."""

    name: ClassVar[str] = "speech_started"
    at_s: float


@dataclass(frozen=True)
class SpeechEnded(Event):
    """Nobody speaks from `at_s` on, and what was said is settled."""

    name: ClassVar[str] = "speech_ended"
    at_s: float


@dataclass(frozen=True)
class Settled(Event):
    """Text that follows what was settled before, and changes no more."""

    name: ClassVar[str] = "settled"
    segment: Segment


@dataclass(frozen=True)
class Tail(Event):
    """Text after what is settled, as far as it can be told yet; it replaces the tail before."""

    name: ClassVar[str] = "tail"
    text: str
