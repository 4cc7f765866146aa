"""The result of a transcription. Field names are openai-whisper's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Word:
    """A word with the space before it; `start` and `end` in seconds from the beginning."""

    word: str
    start: float
    end: float
    probability: float  # mean over its tokens


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


@dataclass(frozen=True)
class Transcript:
    """All segments of one audio of `duration_s` seconds, in order of time."""

    language: str
    duration_s: float
    segments: tuple[Segment, ...]
    language_probs: Mapping[str, float] = field(default_factory=dict)  # empty where not detected
    uncovered: tuple[tuple[float, float], ...] = ()  # start, end of speech without text, seconds

    @property
    def text(self) -> str:
        """The whole text, segments joined as the model wrote them."""
        return "".join(segment.text for segment in self.segments)
