"""Transcribe speech with Whisper on AMD XDNA1 NPUs, and on the CPU everywhere.

The names below are the Python API. They are imported when they are used, so that `--help`
stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from whisper_npu_cli import environment as environment

if TYPE_CHECKING:
    from whisper_npu_cli.audio.capture import Microphone as Microphone
    from whisper_npu_cli.audio.encoded import FileSource as FileSource
    from whisper_npu_cli.audio.live import PlayedSource as PlayedSource
    from whisper_npu_cli.audio.sources import Source as Source
    from whisper_npu_cli.errors import WhisperNpuError as WhisperNpuError
    from whisper_npu_cli.longform.channels import ChannelTranscription as ChannelTranscription
    from whisper_npu_cli.longform.events import Event as Event
    from whisper_npu_cli.longform.events import Listening as Listening
    from whisper_npu_cli.longform.events import LiveOptions as LiveOptions
    from whisper_npu_cli.longform.events import Settled as Settled
    from whisper_npu_cli.longform.events import SpeechEnded as SpeechEnded
    from whisper_npu_cli.longform.events import SpeechStarted as SpeechStarted
    from whisper_npu_cli.longform.events import Tail as Tail
    from whisper_npu_cli.longform.live import Live as Live
    from whisper_npu_cli.options import DecodingOptions as DecodingOptions
    from whisper_npu_cli.options import EngineOptions as EngineOptions
    from whisper_npu_cli.options import TranscribeOptions as TranscribeOptions
    from whisper_npu_cli.options import VadOptions as VadOptions
    from whisper_npu_cli.options import WordOptions as WordOptions
    from whisper_npu_cli.pipeline import Transcriber as Transcriber
    from whisper_npu_cli.pipeline import Transcription as Transcription
    from whisper_npu_cli.transcript import Progress as Progress
    from whisper_npu_cli.transcript import Result as Result
    from whisper_npu_cli.transcript import Segment as Segment
    from whisper_npu_cli.transcript import Transcript as Transcript
    from whisper_npu_cli.transcript import TranscriptionInfo as TranscriptionInfo

__version__ = "0.1.0"

_MODULES = {
    "ChannelTranscription": "longform.channels",
    "DecodingOptions": "options",
    "EngineOptions": "options",
    "Event": "longform.events",
    "FileSource": "audio.encoded",
    "Listening": "longform.events",
    "Live": "longform.live",
    "LiveOptions": "longform.events",
    "Microphone": "audio.capture",
    "PlayedSource": "audio.live",
    "Progress": "transcript",
    "Result": "transcript",
    "Segment": "transcript",
    "Settled": "longform.events",
    "Source": "audio.sources",
    "SpeechEnded": "longform.events",
    "SpeechStarted": "longform.events",
    "Tail": "longform.events",
    "TranscribeOptions": "options",
    "Transcriber": "pipeline",
    "Transcript": "transcript",
    "Transcription": "pipeline",
    "TranscriptionInfo": "transcript",
    "VadOptions": "options",
    "WhisperNpuError": "errors",
    "WordOptions": "options",
}
__all__ = sorted(_MODULES)  # noqa: PLE0605, one list of names


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
