"""What a person may ask of a transcription."""

from __future__ import annotations

from dataclasses import dataclass, field

from whisper_npu_cli.decoder.options import DecodingOptions
from whisper_npu_cli.errors import UsageError


@dataclass(frozen=True)
class TranscribeOptions:
    """What to transcribe, and how to decode it."""

    language: str | None = None  # a code such as "en"; None: detected in the first window
    multilingual: bool = False  # detect the language of every window (faster-whisper)
    task: str = "transcribe"  # or "translate", into English
    clip_timestamps: tuple[float, ...] = ()  # start, end, start, … in seconds; empty: all
    decoding: DecodingOptions = field(default_factory=DecodingOptions)

    def __post_init__(self) -> None:
        if self.multilingual and self.language is not None:
            raise UsageError(
                f"the language is given as {self.language!r} and is to be detected in every window",
                hint="leave out --language or --multilingual",
            )
