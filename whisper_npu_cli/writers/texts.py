"""Transcripts as plain text, tables, JSON, lyrics and Markdown.

txt, tsv and json are byte for byte as openai/whisper's `utils.py` writes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from whisper_npu_cli.transcript import Segment, Transcript
from whisper_npu_cli.writers.document import plain
from whisper_npu_cli.writers.subtitles import format_timestamp

PARAGRAPH_PAUSE_S = 2.0  # longer than a breath, as between two thoughts or two speakers

# What Markdown and HTML would take for markup within a line.
_MARKUP = re.compile(r"[\\`*_<>\[\]&]")
_ESCAPED = r"\\\g<0>"


def to_txt(transcript: Transcript) -> str:
    """Return one line a segment."""
    return "".join(f"{segment.text.strip()}\n" for segment in transcript.segments)


def to_tsv(transcript: Transcript) -> str:
    """Return start and end in integer milliseconds, and the text, separated by tabs."""
    rows = (
        (round(1000 * s.start), round(1000 * s.end), s.text.strip().replace("\t", " "))
        for s in transcript.segments
    )
    return "start\tend\ttext\n" + "".join(f"{start}\t{end}\t{text}\n" for start, end, text in rows)


def to_json(transcript: Transcript) -> str:
    """Return openai/whisper's result: text, segments and language."""
    segments = plain(transcript.segments)
    for fields in segments:
        del fields["language"]  # of the window, which openai/whisper does not tell
    return json.dumps(
        {
            "text": transcript.text,
            "segments": segments,
            "language": transcript.language,
        }
    )


def to_lrc(transcript: Transcript) -> str:
    """Return lyrics: a line a segment, with the time of each word where words are known."""
    lines = []
    for segment in transcript.segments:
        text = segment.text.strip()
        if segment.words:
            text = "".join(f"<{_lrc_time(w.start)}>{w.word}" for w in segment.words)
        lines.append(f"[{_lrc_time(segment.start)}]{text}\n")
    return "".join(lines)


def _lrc_time(seconds: float) -> str:
    """Return `MM:SS.cc`; the format has no hours."""
    n_minutes, hundredths = divmod(round(seconds * 100), 6000)
    return f"{n_minutes:02d}:{hundredths // 100:02d}.{hundredths % 100:02d}"


def to_markdown(transcript: Transcript) -> str:
    """Return paragraphs, each after the time at which it begins.

    A paragraph ends where nothing is said for PARAGRAPH_PAUSE_S.
    """
    texts = []
    for segments in _paragraphs(transcript.segments):
        time = format_timestamp(segments[0].start, hours=False, decimal_marker=".")
        text = "".join(segment.text for segment in segments).strip()
        texts.append(f"**{time.partition('.')[0]}** {_MARKUP.sub(_ESCAPED, text)}\n")
    return "\n".join(texts)


def _paragraphs(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    paragraph: list[Segment] = []
    for segment in segments:
        if paragraph and segment.start - paragraph[-1].end >= PARAGRAPH_PAUSE_S:
            yield paragraph
            paragraph = []
        paragraph.append(segment)
    if paragraph:
        yield paragraph
