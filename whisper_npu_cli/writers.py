"""Transcript files: txt, srt, vtt, tsv and json, byte for byte as openai/whisper writes them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from whisper_npu_cli.errors import OutputError
from whisper_npu_cli.transcript import Segment, Transcript


def format_timestamp(seconds: float, *, hours: bool, decimal_marker: str) -> str:
    """Return `[HH:]MM:SS<marker>mmm`; `hours` forces the hours even where they are zero."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    n_minutes, second = divmod(whole, 60)
    hour, minute = divmod(n_minutes, 60)
    prefix = f"{hour:02d}:" if hours or hour else ""
    return f"{prefix}{minute:02d}:{second:02d}{decimal_marker}{milliseconds:03d}"


def segment_fields(segment: Segment) -> dict[str, Any]:
    """Return a segment as JSON-ready fields."""
    return {**asdict(segment), "tokens": list(segment.tokens)}


def to_txt(transcript: Transcript) -> str:
    """Return one line a segment."""
    return "".join(f"{segment.text.strip()}\n" for segment in transcript.segments)


def to_srt(transcript: Transcript) -> str:
    """Return SubRip subtitles."""
    cues = _cues(transcript, hours=True, decimal_marker=",")
    return "".join(f"{i}\n{cue}\n" for i, cue in enumerate(cues, start=1))


def to_vtt(transcript: Transcript) -> str:
    """Return WebVTT subtitles."""
    return "WEBVTT\n\n" + "".join(
        f"{cue}\n" for cue in _cues(transcript, hours=False, decimal_marker=".")
    )


def to_tsv(transcript: Transcript) -> str:
    """Return start and end in integer milliseconds, and the text, separated by tabs."""
    rows = (
        (round(1000 * s.start), round(1000 * s.end), s.text.strip().replace("\t", " "))
        for s in transcript.segments
    )
    return "start\tend\ttext\n" + "".join(f"{start}\t{end}\t{text}\n" for start, end, text in rows)


def to_json(transcript: Transcript) -> str:
    """Return openai/whisper's result: text, segments and language."""
    return json.dumps(
        {
            "text": transcript.text,
            "segments": [
                {key: value for key, value in segment_fields(segment).items() if key != "language"}
                for segment in transcript.segments
            ],
            "language": transcript.language,
        }
    )


WRITERS: dict[str, Callable[[Transcript], str]] = {
    "txt": to_txt,
    "srt": to_srt,
    "vtt": to_vtt,
    "tsv": to_tsv,
    "json": to_json,
}


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to `path` so that a reader finds the old or the new file, never a part."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).chmod(0o666 & ~_umask())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror or error}",
            hint="name a folder that you can write to with --output-dir",
        ) from error


def _umask() -> int:
    """Return the process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _cues(transcript: Transcript, *, hours: bool, decimal_marker: str) -> list[str]:
    """Return `start --> end`, the text and a line end for each segment."""

    def stamp(seconds: float) -> str:
        return format_timestamp(seconds, hours=hours, decimal_marker=decimal_marker)

    return [
        f"{stamp(s.start)} --> {stamp(s.end)}\n{s.text.strip().replace('-->', '->')}\n"
        for s in transcript.segments
    ]
