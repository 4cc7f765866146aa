"""Transcribe speech with Whisper on AMD XDNA1 NPUs, and on the CPU everywhere.

The names below are the Python API. They are imported when they are used, so that `--help`
stays fast.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whisper_npu_cli.decoding.options import DecodingOptions as DecodingOptions
    from whisper_npu_cli.engines.registry import EngineOptions as EngineOptions
    from whisper_npu_cli.errors import WhisperNpuError as WhisperNpuError
    from whisper_npu_cli.longform.words import WordOptions as WordOptions
    from whisper_npu_cli.options import TranscribeOptions as TranscribeOptions
    from whisper_npu_cli.pipeline import Transcriber as Transcriber
    from whisper_npu_cli.pipeline import Transcription as Transcription
    from whisper_npu_cli.speech.detect import VadOptions as VadOptions
    from whisper_npu_cli.transcript import Segment as Segment
    from whisper_npu_cli.transcript import Transcript as Transcript

__version__ = "0.1.0"

# Importing openvino reports that to its makers over the network, unless this module is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

_MODULES = {
    "DecodingOptions": "decoding.options",
    "EngineOptions": "engines.registry",
    "Segment": "transcript",
    "TranscribeOptions": "options",
    "Transcriber": "pipeline",
    "Transcript": "transcript",
    "Transcription": "pipeline",
    "VadOptions": "speech.detect",
    "WhisperNpuError": "errors",
    "WordOptions": "longform.words",
}
__all__ = sorted(_MODULES)  # noqa: PLE0605, one list of names


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
