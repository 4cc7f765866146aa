"""Formats of transcript files: a transcript in, the text of a file out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from whisper_npu_cli.options import SubtitleLayout
from whisper_npu_cli.transcript import Transcript
from whisper_npu_cli.writers.cues import label_speaker
from whisper_npu_cli.writers.files import remove_forgotten, write_atomically
from whisper_npu_cli.writers.subtitles import format_timestamp, to_srt, to_vtt
from whisper_npu_cli.writers.texts import (
    to_json,
    to_lrc,
    to_markdown,
    to_tsv,
    to_txt,
)

__all__ = [
    "SubtitleLayout",
    "format_timestamp",
    "label_speaker",
    "make_writers",
    "remove_forgotten",
    "to_json",
    "write_atomically",
]


def make_writers(layout: SubtitleLayout | None = None) -> dict[str, Callable[[Transcript], str]]:
    """Return suffix -> function from transcript to text; `layout` is for subtitles of words."""
    layout = layout or SubtitleLayout()
    return {
        "txt": to_txt,
        "srt": partial(to_srt, layout=layout),
        "vtt": partial(to_vtt, layout=layout),
        "tsv": to_tsv,
        "json": to_json,
        "lrc": partial(to_lrc, layout=layout),
        "md": to_markdown,
    }
