"""SubRip and WebVTT, byte for byte as openai/whisper's `utils.py` writes them where that is valid.

Without words a cue is a segment. With words cues are laid out anew: lines have a largest width,
cues a largest number of lines, and each word may be underlined while it is spoken.
With the preset `subtitles` they are those of `cues.py`.
openai/whisper's cues may last no time, and text may have what ends a cue or begins a tag: not here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf

from whisper_npu_cli.dims import TIME_PRECISION_S
from whisper_npu_cli.options import SubtitleLayout
from whisper_npu_cli.transcript import Segment, Transcript, Word
from whisper_npu_cli.writers.cues import Shown, label_speaker, lay_out

LONG_PAUSE_S = 3.0  # a longer pause ends a cue
UNLIMITED = 1000  # characters or words; openai/whisper uses it for no limit
_INSTANT_MS = round(1000 * TIME_PRECISION_S)  # length of a cue that begins and ends at one time

# What WebVTT takes for markup in a cue's text, and `>` too in an annotation (its section 4.2.2)
_TEXT_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;"})
_ANNOTATION_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclass(frozen=True)
class Cue:
    """A text shown from `start_ms` to `end_ms`."""

    start_ms: int
    end_ms: int
    text: str
    speaker: str | None


def format_timestamp(seconds: float, *, hours: bool, decimal_marker: str) -> str:
    """Return `[HH:]MM:SS<marker>mmm`; `hours` forces the hours even where they are zero."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    n_minutes, second = divmod(whole, 60)
    hour, minute = divmod(n_minutes, 60)
    prefix = f"{hour:02d}:" if hours or hour else ""
    return f"{prefix}{minute:02d}:{second:02d}{decimal_marker}{milliseconds:03d}"


def to_srt(transcript: Transcript, layout: SubtitleLayout) -> str:
    """Return SubRip subtitles."""
    blocks = []
    for i, cue in enumerate(make_cues(transcript, layout), start=1):
        times = _format_times(cue, hours=True, decimal_marker=",")
        blocks.append(f"{i}\n{times}\n{_keep_in_cue(label_speaker(cue.speaker) + cue.text)}\n\n")
    return "".join(blocks)


def to_vtt(transcript: Transcript, layout: SubtitleLayout) -> str:
    """Return WebVTT subtitles."""
    blocks = ["WEBVTT\n\n"]
    for cue in make_cues(transcript, layout, lambda text: text.translate(_TEXT_ESCAPES)):
        times = _format_times(cue, hours=False, decimal_marker=".")
        voice = f"<v {cue.speaker.translate(_ANNOTATION_ESCAPES)}>" if cue.speaker else ""
        blocks.append(f"{times}\n{voice}{_keep_in_cue(cue.text)}\n\n")
    return "".join(blocks)


def _format_times(cue: Cue, *, hours: bool, decimal_marker: str) -> str:
    start, end = (
        format_timestamp(ms / 1000, hours=hours, decimal_marker=decimal_marker)
        for ms in (cue.start_ms, cue.end_ms)
    )
    return f"{start} --> {end}"


def _keep_in_cue(text: str) -> str:
    """Return a text without empty lines, which end a cue, and without the arrow of its times."""
    return re.sub("-{2,}>", "->", re.sub(r"[\r\n]+", "\n", text).strip("\n"))


def make_cues(
    transcript: Transcript, layout: SubtitleLayout, escape: Callable[[str], str] = str
) -> list[Cue]:
    """Return the cues in order of their starts; `escape` is applied to what was said."""
    segments = transcript.segments
    cues: list[Cue] = []
    if segments and segments[0].words is not None:
        for said in _lay_out_words(transcript, layout, escape):
            cues.extend(_highlight(said) if layout.highlight_words else [_join(said)])
    else:
        for segment in segments:
            start_ms, end_ms = _to_ms(segment.start), _to_ms(segment.end)
            cues.append(Cue(start_ms, end_ms, escape(segment.text.strip()), segment.speaker))
    return list(_give_lengths(sorted(cues, key=lambda cue: cue.start_ms)))


def _lay_out_words(
    transcript: Transcript, layout: SubtitleLayout, escape: Callable[[str], str]
) -> Iterator[list[Cue]]:
    """Yield the words of each cue, with their times and with line ends in their texts."""
    if layout.subtitles:
        for shown in lay_out(transcript, layout):
            yield _fit_words(shown, escape)
        return
    for words in CueBuilder(layout).build(transcript.segments):
        yield [
            Cue(_to_ms(word.start), _to_ms(word.end), escape(word.word), word.speaker)
            for word in words
        ]


def _fit_words(shown: Shown, escape: Callable[[str], str]) -> list[Cue]:
    """Return the words of a cue, which last from its begin to its end and no longer."""
    said = []
    for i, line in enumerate(shown.lines):
        for j, word in enumerate(line):
            start_ms, end_ms = (
                min(max(_to_ms(seconds), shown.start_ms), shown.end_ms)
                for seconds in (word.start, word.end)
            )
            text = ("\n" if i and not j else "") + escape(word.word)
            said.append(Cue(start_ms, end_ms, text, word.speaker))
    said[0] = replace(said[0], start_ms=shown.start_ms)
    said[-1] = replace(said[-1], end_ms=shown.end_ms)
    return said


def _to_ms(seconds: float) -> int:
    return round(1000 * seconds)


def _join(said: Sequence[Cue]) -> Cue:
    return replace(said[0], end_ms=said[-1].end_ms, text="".join(word.text for word in said))


def _highlight(said: Sequence[Cue]) -> Iterator[Cue]:
    """Yield a cue for each word, which is underlined in it, and for each pause between words."""
    texts = [word.text for word in said]
    last_end_ms = said[0].start_ms
    for i, word in enumerate(said):
        if last_end_ms < word.start_ms:
            yield Cue(last_end_ms, word.start_ms, "".join(texts), word.speaker)
        underlined = re.sub(r"^(\s*)(.*)$", r"\1<u>\2</u>", word.text)
        yield replace(word, text="".join([*texts[:i], underlined, *texts[i + 1 :]]))
        last_end_ms = word.end_ms


def _give_lengths(cues: Sequence[Cue]) -> Iterator[Cue]:
    """Let every cue last: WebVTT forbids one that does not, and players drop it.

    It gets the length of Whisper's shortest step, or what there is before the next cue. Where
    that begins at the same time, it gets 1 ms, and the next begins later.
    """
    earliest_ms = 0
    starts = [*(cue.start_ms for cue in cues), inf]
    for cue, (_, next_start) in zip(cues, pairwise(starts), strict=True):
        start_ms, end_ms = max(cue.start_ms, earliest_ms), cue.end_ms
        if end_ms <= start_ms:
            end_ms = max(start_ms + 1, int(min(start_ms + _INSTANT_MS, next_start)))
            earliest_ms = end_ms
        yield replace(cue, start_ms=start_ms, end_ms=end_ms)


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
        if begins_cue or (self._cue and self._cue[-1].speaker != word.speaker):
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
