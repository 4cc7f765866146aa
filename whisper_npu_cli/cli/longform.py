"""The options of `transcribe` on audio of more than one window; VAD ones as in `VadOptions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from whisper_npu_cli.cli.decoding import number_or_none

if TYPE_CHECKING:
    from whisper_npu_cli.speech.detect import VadOptions

_PANEL = "Long form"

Mode = Annotated[
    Literal["auto", "sequential", "batched"],
    typer.Option(
        "--long-form",
        help="sequential: as openai-whisper, each window told the text before it. "
        "batched: windows of speech, decoded together. auto: batched above 60 s.",
        rich_help_panel=_PANEL,
    ),
]
BatchSize = Annotated[
    int,
    typer.Option(min=1, help="Windows decoded together in batched mode.", rich_help_panel=_PANEL),
]
Threshold = Annotated[
    float, typer.Option(help="Probability above which there is speech.", rich_help_panel=_PANEL)
]
NegThreshold = Annotated[
    float | None,
    typer.Option(
        parser=number_or_none,
        metavar="NUMBER|none",
        help="Probability below which speech ends; none: threshold - 0.15.",
        rich_help_panel=_PANEL,
    ),
]
MinSpeech = Annotated[
    int,
    typer.Option(help="Speech shorter than this is ignored, milliseconds.", rich_help_panel=_PANEL),
]
MaxSpeech = Annotated[
    float, typer.Option(help="Longest window of batched mode, seconds.", rich_help_panel=_PANEL)
]
MinSilence = Annotated[
    int,
    typer.Option(
        help="Pauses shorter than this do not end speech, milliseconds.", rich_help_panel=_PANEL
    ),
]
SpeechPad = Annotated[
    int,
    typer.Option(help="Silence kept around a window, milliseconds.", rich_help_panel=_PANEL),
]


def vad_options(parameters: dict[str, Any]) -> VadOptions:
    """Return the VAD options among a command's `parameters`; UsageError for bad values."""
    from dataclasses import fields

    from whisper_npu_cli.speech.detect import VadOptions

    names = [field.name for field in fields(VadOptions)]
    return VadOptions(**{name: parameters[f"vad_{name}"] for name in names})
