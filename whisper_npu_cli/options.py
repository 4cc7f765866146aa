"""What a person may ask of a transcription."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import Literal, TypeAlias

from whisper_npu_cli.decoding.options import DecodingOptions
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.longform.words import WordOptions
from whisper_npu_cli.speech.detect import VadOptions

LongForm: TypeAlias = Literal["sequential", "batched"]
BATCHED_FROM_S = 60.0  # `auto` takes batched for longer audio


@dataclass(frozen=True)
class TranscribeOptions:
    """What to transcribe, and how to decode it."""

    language: str | None = None  # a code such as "en"; None: detected in the first window
    multilingual: bool = False  # detect the language of every window (faster-whisper)
    task: str = "transcribe"  # or "translate", into English
    clip_timestamps: tuple[float, ...] = ()  # start, end, start, … in seconds; empty: all
    words: WordOptions | None = None  # None: no word timestamps
    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    long_form: LongForm | Literal["auto"] = "auto"
    batch_size: int = 8  # windows decoded together in batched mode
    vad: VadOptions = field(default_factory=VadOptions)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError("the batch size must be at least 1")
        if self.task not in ("transcribe", "translate"):
            raise UsageError(f"unknown task {self.task!r}", hint="transcribe or translate")
        if not all(a <= b < inf for a, b in pairwise([0.0, *self.clip_timestamps])):
            raise UsageError(
                "clip timestamps must not decrease, and be seconds from 0",
                hint='for example "0,30,60,90"',
            )
        if self.long_form == "batched" and self._drops_hallucinations:
            raise UsageError(
                "the hallucination silence threshold is for sequential long form",
                hint="batched mode hears no silence: leave it out, or add --long-form sequential",
            )
        if self.multilingual and self.language is not None:
            raise UsageError(
                f"the language is given as {self.language!r} and is to be detected in every window",
                hint="leave out --language or --multilingual",
            )

    def long_form_of(self, duration_s: float) -> LongForm:
        """Return how audio of this length is transcribed."""
        if self.long_form != "auto":
            return self.long_form
        is_long = duration_s > BATCHED_FROM_S
        return "batched" if is_long and not self._drops_hallucinations else "sequential"

    @property
    def _drops_hallucinations(self) -> bool:
        return self.words is not None and self.words.hallucination_silence_threshold is not None
