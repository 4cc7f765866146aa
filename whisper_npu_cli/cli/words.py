"""The options of `transcribe` for words and subtitles, by openai-whisper's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from whisper_npu_cli.errors import UsageError

if TYPE_CHECKING:
    from whisper_npu_cli.longform.words import WordOptions
    from whisper_npu_cli.writers import SubtitleLayout

_PANEL = "Words and subtitles"
# What means nothing without --word-timestamps.
_NEED_WORDS = (
    "highlight_words",
    "max_line_width",
    "max_line_count",
    "max_words_per_line",
    "hallucination_silence_threshold",
)

WordTimestamps = Annotated[
    bool,
    typer.Option(
        "--word-timestamps",
        help="Find when each word is said, and fit segments to words.",
        rich_help_panel=_PANEL,
    ),
]
HighlightWords = Annotated[
    bool,
    typer.Option(
        "--highlight-words",
        help="Underline each word as it is said, in srt and vtt; needs --word-timestamps.",
        rich_help_panel=_PANEL,
    ),
]
MaxLineWidth = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Characters of a subtitle's line; needs --word-timestamps.",
        rich_help_panel=_PANEL,
    ),
]
MaxLineCount = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Lines of a subtitle; needs --max-line-width and --word-timestamps.",
        rich_help_panel=_PANEL,
    ),
]
MaxWordsPerLine = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Words of a subtitle; needs --word-timestamps, excludes --max-line-width.",
        rich_help_panel=_PANEL,
    ),
]
PrependPunctuations = Annotated[
    str, typer.Option(help="Punctuation that belongs to the word after it.", rich_help_panel=_PANEL)
]
AppendPunctuations = Annotated[
    str,
    typer.Option(help="Punctuation that belongs to the word before it.", rich_help_panel=_PANEL),
]
HallucinationSilenceThreshold = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Drop odd text with longer silences than this around it, seconds; "
        "needs --word-timestamps; sequential mode only.",
        rich_help_panel=_PANEL,
    ),
]
PrintColors = Annotated[
    bool,
    typer.Option(
        "--print-colors",
        help="Colour words, or else segments, by confidence: green, yellow, red (on a terminal).",
        rich_help_panel=_PANEL,
    ),
]


def word_options(parameters: dict[str, Any]) -> WordOptions | None:
    """Return the options among a command's `parameters`; None without --word-timestamps.

    UsageError for an option that needs it.
    """
    from whisper_npu_cli.longform.words import WordOptions

    if parameters["word_timestamps"]:
        return WordOptions(
            parameters["prepend_punctuations"],
            parameters["append_punctuations"],
            parameters["hallucination_silence_threshold"],
        )
    for name in _NEED_WORDS:
        if parameters[name]:
            raise UsageError(
                f"--{name.replace('_', '-')} needs word times", hint="add --word-timestamps"
            )
    return None


def subtitle_layout(parameters: dict[str, Any]) -> SubtitleLayout:
    """Return the layout among a command's `parameters`; UsageError where they contradict."""
    from dataclasses import fields

    from whisper_npu_cli.writers import SubtitleLayout

    return SubtitleLayout(**{f.name: parameters[f.name] for f in fields(SubtitleLayout)})
