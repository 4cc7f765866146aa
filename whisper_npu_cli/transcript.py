"""What a transcription gives. The fields of segments and words are openai-whisper's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from whisper_npu_cli.options import LongForm
from whisper_npu_cli.timings import Timings

# Shorter than a syllable: a recording that lacks less has lost no word
_MIN_LOSS_S = 0.1


@dataclass(frozen=True)
class Damage:
    """Where a recording is not sound, in seconds from its beginning.

    What is missing is silence in the samples, or follows after them; what is not missing was
    decoded and may be wrong.
    """

    start: float
    end: float | None  # None where nobody knows how much is missing
    missing: bool
    reason: str

    @property
    def is_loss(self) -> bool:
        """Whether so much is missing that a word may be lost."""
        return self.missing and (self.end is None or self.end - self.start >= _MIN_LOSS_S)


@dataclass(frozen=True)
class Word:
    """A word with the space before it; `start` and `end` in seconds from the beginning."""

    word: str
    start: float
    end: float
    probability: float  # mean over its tokens
    speaker: str | None = None  # None where speakers are not told apart


@dataclass(frozen=True)
class Segment:
    """A stretch of speech: `start` and `end` in seconds from the beginning of the audio."""

    id: int
    seek: int  # frame (10 ms) at which the window began
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    language: str = ""  # of the window
    words: tuple[Word, ...] | None = None  # None where they were not asked for
    speaker: str | None = None  # None where speakers are not told apart
    logprobs: tuple[float, ...] | None = None  # of the tokens; None where they were not asked for


@dataclass(frozen=True)
class Transcript:
    """All segments of one audio of `duration_s` seconds, in order of time."""

    language: str
    duration_s: float
    segments: tuple[Segment, ...]
    language_probs: Mapping[str, float] = field(default_factory=dict)  # empty where not detected

    @property
    def text(self) -> str:
        """The whole text, segments joined as the model wrote them."""
        return "".join(segment.text for segment in self.segments)


@dataclass(frozen=True)
class Progress:
    """What of an audio is decided, from where a later transcription goes on."""

    end_frame: int = 0  # (10 ms) before which all is decided
    language: str | None = None
    language_probs: Mapping[str, float] = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True)
class DeviceProof:
    """Evidence that a device computed a window."""

    device: str  # as its driver names it
    overlay_sha256: str
    n_submissions: int  # run lists
    n_commands: int
    device_ms: float
    predicted: bool  # device_ms comes from the timing model
    host_ms: float  # processor time beside the run lists: measured, whatever else runs here


@dataclass(frozen=True)
class EncodedBy:
    """Which engine encoded the window at frame `seek`, and how a device proved it."""

    seek: int
    engine: str
    proof: DeviceProof | None
    speaker: str | None = None  # whose channel the window is of


@dataclass(frozen=True)
class TranscriptionInfo:
    """What is known before the first segment."""

    duration_s: float
    language: str  # a code; empty where there is nothing to hear
    language_probs: Mapping[str, float]  # empty where the language was given
    long_form: LongForm  # how the audio is transcribed


@dataclass(frozen=True)
class Result:
    """What a transcription has decided, and how: all of it where it `is_complete`."""

    transcript: Transcript
    timings: Timings
    windows: tuple[EncodedBy, ...]
    uncovered: tuple[tuple[float, float], ...]  # start, end of speech without text, in seconds
    long_form: LongForm
    is_complete: bool
    damage: tuple[Damage, ...] = ()  # of the recording
    peak_dbfs: float | None = None  # level of the loudest sample; None where there is no sound

    @property
    def has_losses(self) -> bool:
        """Whether so much of the recording is missing that words may be."""
        return any(damage.is_loss for damage in self.damage)
