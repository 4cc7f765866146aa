"""The options of `transcribe` that decide the text, by the names that `DecodingOptions` has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from whisper_npu_cli.decoding.options import DecodingOptions

_SEARCH = "Decoding"
_FALLBACK = "Fallback and silence"
_PROMPT = "Prompt"


def number_or_none(value: str | float) -> float | None:
    """Read a number, or `none` for None. Typer hands over the default too, which is a number."""
    text = str(value)
    if text.lower() == "none":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither a number nor none") from error


def count_or_none(value: str | int) -> int | None:
    """Read a whole number from 1, or `none` for None."""
    text = str(value)
    if text.lower() == "none":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is neither a whole number from 1 nor none")
    return int(text)


def _number(panel: str, text: str) -> Any:
    return typer.Option(
        parser=number_or_none, metavar="NUMBER|none", help=text, rich_help_panel=panel
    )


def _count(panel: str, text: str) -> Any:
    return typer.Option(parser=count_or_none, metavar="N|none", help=text, rich_help_panel=panel)


BeamSize = Annotated[
    int | None, _count(_SEARCH, "Beams at temperature 0; none: greedy, which is fastest.")
]
Patience = Annotated[
    float | None, _number(_SEARCH, "Beams times this many texts must end (none: 1).")
]
LengthPenalty = Annotated[
    float | None,
    _number(_SEARCH, "Exponent 0 to 1 that favours long texts; none: mean over the tokens."),
]
BestOf = Annotated[int | None, _count(_SEARCH, "Samples at temperatures above 0.")]
Seed = Annotated[
    int,
    typer.Option(
        help="Seed of the samples: the same one gives the same text.", rich_help_panel=_SEARCH
    ),
]
SuppressTokens = Annotated[
    str,
    typer.Option(
        help="Token ids never to write, with commas; -1: symbols that are not speech.",
        rich_help_panel=_SEARCH,
    ),
]
SuppressBlank = Annotated[
    bool, typer.Option(help="No blank at the beginning of a window.", rich_help_panel=_SEARCH)
]
WithoutTimestamps = Annotated[
    bool,
    typer.Option(
        "--without-timestamps", help="One segment for each 30 s.", rich_help_panel=_SEARCH
    ),
]
MaxInitialTimestamp = Annotated[
    float | None, _number(_SEARCH, "Latest begin of a window's first segment, seconds.")
]
RepetitionPenalty = Annotated[
    float,
    typer.Option(help="Above 1: words said before are less likely.", rich_help_panel=_SEARCH),
]
NoRepeatNgramSize = Annotated[
    int,
    typer.Option(
        help="Runs of so many tokens come once in a window (0: any).", rich_help_panel=_SEARCH
    ),
]
Temperature = Annotated[
    float, typer.Option(help="Randomness of the first attempt.", rich_help_panel=_FALLBACK)
]
TemperatureIncrement = Annotated[
    float | None, _number(_FALLBACK, "Added at each further attempt, up to 1; none: no fallback.")
]
CompressionRatioThreshold = Annotated[
    float | None, _number(_FALLBACK, "Text that compresses better is a loop: try again.")
]
LogprobThreshold = Annotated[
    float | None, _number(_FALLBACK, "Mean log-probability below this: try again.")
]
NoSpeechThreshold = Annotated[
    float | None,
    _number(_FALLBACK, "Probability above this, with an unlikely text: a window of silence."),
]
ConditionOnPreviousText = Annotated[
    bool,
    typer.Option(
        help="Tell each window the text before it (sequential mode).", rich_help_panel=_PROMPT
    ),
]
InitialPrompt = Annotated[
    str | None,
    typer.Option(
        help="Text before the first window, in batched mode before every one: names, spelling.",
        rich_help_panel=_PROMPT,
    ),
]
CarryInitialPrompt = Annotated[
    bool,
    typer.Option(
        "--carry-initial-prompt",
        help="Put it before every window (sequential mode; batched always does).",
        rich_help_panel=_PROMPT,
    ),
]
Prefix = Annotated[
    str | None,
    typer.Option(
        help="How the first window's text begins; it is not written itself.",
        rich_help_panel=_PROMPT,
    ),
]
Hotwords = Annotated[
    str | None,
    typer.Option(help="Words to expect, told to every window.", rich_help_panel=_PROMPT),
]


def decoding_options(parameters: dict[str, Any]) -> DecodingOptions:
    """Return the options among a command's `parameters`; UsageError where they contradict."""
    from dataclasses import fields

    from whisper_npu_cli.decoding.options import DecodingOptions

    names = [field.name for field in fields(DecodingOptions)]
    return DecodingOptions(**{name: parameters[name] for name in names})


def clip_timestamps(text: str) -> tuple[float, ...]:
    """Read `start,end,start,…` in seconds."""
    from whisper_npu_cli.errors import UsageError

    try:
        return tuple(float(seconds) for seconds in text.split(",") if seconds.strip())
    except ValueError as error:
        raise UsageError(
            f"cannot read clip timestamps from {text!r}", hint='in seconds, for example "0,30,60"'
        ) from error
