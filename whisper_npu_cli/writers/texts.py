"""Transcripts as plain text, tables, JSON, lyrics and Markdown.

txt, tsv and json are byte for byte those of openai/whisper's `utils.py`, without speakers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from whisper_npu_cli.options import SubtitleLayout
from whisper_npu_cli.transcript import Segment, Transcript, Word
from whisper_npu_cli.writers.cues import label_speaker, lay_out
from whisper_npu_cli.writers.document import to_plain
from whisper_npu_cli.writers.subtitles import format_timestamp

PARAGRAPH_PAUSE_S = 2.0  # longer than a breath; pauses between thoughts or speakers are

# Markdown and HTML would take these characters for markup within a line.
_MARKUP = re.compile(r"[\\`*_<>\[\]&]")


def to_txt(transcript: Transcript) -> str:
    """Return one line for each segment."""
    return "".join(f"{label_speaker(s.speaker)}{s.text.strip()}\n" for s in transcript.segments)


def to_tsv(transcript: Transcript) -> str:
    """Return start and end in integer milliseconds, text, and speaker if any, with tabs between."""
    rows = [["start", "end", "text"]]
    for segment in transcript.segments:
        start_ms, end_ms = round(1000 * segment.start), round(1000 * segment.end)
        rows.append([str(start_ms), str(end_ms), segment.text.strip().replace("\t", " ")])
    if any(segment.speaker for segment in transcript.segments):
        speakers = ["speaker", *(segment.speaker or "" for segment in transcript.segments)]
        rows = [[*row, speaker] for row, speaker in zip(rows, speakers, strict=True)]
    return "".join("\t".join(row) + "\n" for row in rows)


def to_json(transcript: Transcript) -> str:
    """Return openai/whisper's result: text, segments and language."""
    segments = to_plain(transcript.segments)
    for fields in segments:
        del fields["language"]  # openai/whisper tells no language of a segment
    return json.dumps(
        {
            "text": transcript.text,
            "segments": segments,
            "language": transcript.language,
        }
    )


def to_lrc(transcript: Transcript, layout: SubtitleLayout) -> str:
    """Return lyrics: a line for each segment, with the times of its words where they are known.

    With the preset `subtitles` it is a line for each line of a cue.
    """
    lines = []
    if layout.subtitles:
        for shown in lay_out(transcript, layout):
            lines += [_format_lyric(x[0].start, shown.speaker, "", x) for x in shown.lines]
    else:
        for one in transcript.segments:
            lines.append(_format_lyric(one.start, one.speaker, one.text.strip(), one.words or ()))
    return "".join(lines)


def _format_lyric(start: float, speaker: str | None, text: str, words: Sequence[Word]) -> str:
    """Return a line of its words with their times, or else of `text`."""
    text = "".join(f"<{_format_lrc_time(w.start)}>{w.word}" for w in words) or text
    text = re.sub(r"[\r\n]+", " ", text)  # each line has its time
    return f"[{_format_lrc_time(start)}]{f'{speaker}: ' if speaker else ''}{text}\n"


def _format_lrc_time(seconds: float) -> str:
    """Return `MM:SS.cc`; the format has no hours."""
    n_minutes, hundredths = divmod(round(seconds * 100), 6000)
    return f"{n_minutes:02d}:{hundredths // 100:02d}.{hundredths % 100:02d}"


def to_markdown(transcript: Transcript) -> str:
    """Return paragraphs, each with the time at which it begins.

    A paragraph ends where nothing is said for PARAGRAPH_PAUSE_S, and where the speaker changes.
    """
    texts = []
    for segments in _split_paragraphs(transcript.segments):
        time = format_timestamp(segments[0].start, hours=False, decimal_marker=".")
        head = " ".join([time.partition(".")[0], _escape_markup(segments[0].speaker or "")]).strip()
        text = "".join(segment.text for segment in segments).strip()
        texts.append(f"**{head}** {_escape_markup(text)}\n")
    return "\n".join(texts)


def _escape_markup(text: str) -> str:
    return _MARKUP.sub(r"\\\g<0>", text)


def _split_paragraphs(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    paragraph: list[Segment] = []
    for segment in segments:
        if paragraph and _begins_paragraph(segment, paragraph[-1]):
            yield paragraph
            paragraph = []
        paragraph.append(segment)
    if paragraph:
        yield paragraph


def _begins_paragraph(segment: Segment, previous: Segment) -> bool:
    is_pause = segment.start - previous.end >= PARAGRAPH_PAUSE_S
    return is_pause or segment.speaker != previous.speaker
