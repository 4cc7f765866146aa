"""SubRip and WebVTT, byte for byte as openai/whisper's `utils.py` writes them.

Without words a cue is a segment. With words cues are laid out anew: lines have a largest width,
cues a largest number of lines, and each word may be underlined while it is spoken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from whisper_npu_cli.options import SubtitleLayout
from whisper_npu_cli.transcript import Segment, Transcript, Word

Cue: TypeAlias = tuple[str, str, str]  # start, end, text
LONG_PAUSE_S = 3.0  # a longer pause ends a cue
UNLIMITED = 1000  # characters or words; openai/whisper uses it for no limit


def format_timestamp(seconds: float, *, hours: bool, decimal_marker: str) -> str:
    """Return `[HH:]MM:SS<marker>mmm`; `hours` forces the hours even where they are zero."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    n_minutes, second = divmod(whole, 60)
    hour, minute = divmod(n_minutes, 60)
    prefix = f"{hour:02d}:" if hours or hour else ""
    return f"{prefix}{minute:02d}:{second:02d}{decimal_marker}{milliseconds:03d}"


def to_srt(transcript: Transcript, layout: SubtitleLayout) -> str:
    """Return SubRip subtitles."""
    cues = format_cues(transcript, layout, hours=True, decimal_marker=",")
    return "".join(
        f"{i}\n{start} --> {end}\n{text}\n\n" for i, (start, end, text) in enumerate(cues, start=1)
    )


def to_vtt(transcript: Transcript, layout: SubtitleLayout) -> str:
    """Return WebVTT subtitles."""
    cues = format_cues(transcript, layout, hours=False, decimal_marker=".")
    return "WEBVTT\n\n" + "".join(f"{start} --> {end}\n{text}\n\n" for start, end, text in cues)


def format_cues(
    transcript: Transcript, layout: SubtitleLayout, *, hours: bool, decimal_marker: str
) -> Iterator[Cue]:
    """Yield the cues of a transcript, with formatted times."""

    def format_time(seconds: float) -> str:
        return format_timestamp(seconds, hours=hours, decimal_marker=decimal_marker)

    segments = transcript.segments
    if not segments or segments[0].words is None:
        for segment in segments:
            text = segment.text.strip().replace("-->", "->")
            yield format_time(segment.start), format_time(segment.end), text
        return
    for words in CueBuilder(layout).build(segments):
        stamped = [(format_time(word.start), format_time(word.end), word.word) for word in words]
        if layout.highlight_words:
            yield from _highlight(stamped)
        else:
            yield stamped[0][0], stamped[-1][1], "".join(text for _, _, text in stamped)


def _highlight(words: Sequence[Cue]) -> Iterator[Cue]:
    """Yield a cue for each word, which is underlined in it, and for each pause between words."""
    texts = [text for _, _, text in words]
    last_end = words[0][0]
    for i, (start, end, text) in enumerate(words):
        if last_end != start:
            yield last_end, start, "".join(texts)
        underlined = re.sub(r"^(\s*)(.*)$", r"\1<u>\2</u>", text)
        yield start, end, "".join([*texts[:i], underlined, *texts[i + 1 :]])
        last_end = end


class CueBuilder:
    """Lay out the words of one transcript in lines and cues."""

    def __init__(self, layout: SubtitleLayout) -> None:
        self._width = layout.max_line_width or UNLIMITED
        self._n_lines = layout.max_line_count
        self._n_words = layout.max_words_per_line or UNLIMITED
        # Cues of limited width and lines run across the bounds of segments; others do not.
        self._keeps_segments = layout.max_line_count is None or layout.max_line_width is None
        self._cue: list[Word] = []
        self._line_width = 0
        self._line_count = 1

    def build(self, segments: Sequence[Segment]) -> Iterator[list[Word]]:
        """Yield the words of each cue, with line ends in their texts."""
        words = [word for segment in segments for word in segment.words or ()]
        last_start = words[0].start if words else 0.0
        for segment in segments:
            for i, word in enumerate(segment.words or ()):
                is_long_pause = not self._keeps_segments and word.start - last_start > LONG_PAUSE_S
                begins_cue = self._keeps_segments and i % self._n_words == 0 and bool(self._cue)
                if self._ends_cue(word, is_long_pause, begins_cue):
                    yield self._cue
                    self._cue, self._line_width, self._line_count = [], 0, 1
                self._add(word)
                last_start = word.start
        if self._cue:
            yield self._cue

    def _fits(self, word: Word) -> bool:
        return self._line_width > 0 and self._line_width + len(word.word) <= self._width

    def _ends_cue(self, word: Word, is_long_pause: bool, begins_cue: bool) -> bool:
        """Return whether the present cue ends before `word`."""
        if begins_cue:
            return True
        if not self._cue or self._n_lines is None:
            return False
        is_full = not self._fits(word) and self._line_count >= self._n_lines
        return is_long_pause or is_full

    def _add(self, word: Word) -> None:
        """Add `word` to the line, or begin the next line with it."""
        if self._fits(word):
            self._cue.append(word)
            self._line_width += len(word.word)
            return
        text = word.word.strip()
        if self._line_width > 0:
            self._line_count += 1
            self._cue.append(replace(word, word=f"\n{text}"))
        else:
            self._cue.append(replace(word, word=text))
        self._line_width = len(text)
