"""Cues that people can read: words in; lines, and when they are shown, out.

The numbers are those of two public guides for people who write subtitles:

- Netflix: Timed Text Style Guide, General Requirements, English Template, and Subtitle Timing
  Guidelines (partnerhelp.netflixstudios.com, articles 215758617, 219375728 and 360051554394);
- the BBC's Subtitle Guidelines (www.bbc.co.uk/accessibility/forproducts/guides/subtitles).

Both say that lines end at natural points. All ways of dividing the words are compared, by a sum of
penalties and dynamic programming; the penalties have no source but how the results read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf

from whisper_npu_cli.options import SubtitleLayout
from whisper_npu_cli.transcript import Transcript, Word
from whisper_npu_cli.writers.phrases import SENTENCE, Piece, find_pieces, measure_width

LINE_WIDTH = 42  # columns (Netflix: English Template, 5)
LINE_COUNT = 2  # (Netflix: General Requirements, 5; BBC, 3.3)
MAX_SPEED = 17.0  # columns a second, of adults (Netflix: English Template, 2)
MIN_S = 1.0  # Netflix has 5/6 s (General Requirements, 1); whole seconds are what people ask for
MAX_S = 7.0  # (Netflix: General Requirements, 1)
GAP_MS = 84  # two frames at 24 a second, between any two cues (Netflix: General Requirements, 3)
CLOSED_GAP_MS = 500  # a gap of up to 12 frames is closed to two (Netflix: Timing Guidelines, 1)
LAG_MS = 1500  # a cue stays after the speech, or comes after it, by no more (BBC, 5.2)
_LEAST_MS = 250  # of cues in such a crowd that all lag so far; shorter ones cannot be seen at all

# Penalties in the unit of a line that ends with a clause
_CUE = 2.0  # of each cue: few long ones read better than many short ones
_CUE_END = 2.0  # a cue's end weighs so many times a line's
_RAGGED = 4.0  # of lines as unequal as can be
_INNER_SENTENCE = 3.5  # of a sentence that ends within a cue (BBC, 3.2: single sentences)
_INNER_PAUSE = 3.0  # of each second of pause within a cue after the first half
_HASTE = 8.0  # of reading at twice the speed that is allowed
_FLASH = 8.0  # of showing a cue for no time, and less for more of MIN_S


@dataclass(frozen=True)
class Shown:
    """Lines of one speaker, shown from `start_ms` to `end_ms`; no line begins with a space."""

    start_ms: int
    end_ms: int
    lines: tuple[tuple[Word, ...], ...]

    @property
    def speaker(self) -> str | None:
        """Who says it."""
        return self.lines[0][0].speaker


@dataclass(frozen=True)
class _Lines:
    """How the pieces of a cue are divided: the index after the last piece of each line."""

    ends: tuple[int, ...] = ()
    strain: float = 0.0  # of the ends of lines within the cue
    squares: float = 0.0  # of the widths of the lines, as parts of the limit

    def add(self, end: int, strain: float, width: float) -> _Lines:
        return _Lines((*self.ends, end), self.strain + strain, self.squares + width * width)

    @property
    def cost(self) -> float:
        return self.strain + _RAGGED * self.squares


def label_speaker(speaker: str | None) -> str:
    """Return `[name]: `, as WhisperX writes it before a text, or nothing for no speaker."""
    return "" if speaker is None else f"[{speaker}]: "


def lay_out(transcript: Transcript, layout: SubtitleLayout) -> list[Shown]:
    """Return the cues of all words, in order of time, none overlapping another.

    Every segment has words. Numbers that `layout` has take the place of LINE_WIDTH and LINE_COUNT.
    Of wide characters MAX_SPEED is 8.5 a second (Netflix's guides: Chinese 9, Korean 12, Japanese
    4). Only a word that cannot be parted is ever wider than a line. Speech that is faster than
    MAX_SPEED is shown as fast, whole: cues use the pauses after them, but no word is left out.
    """
    planner = _Planner(transcript, layout)
    cues = sorted(planner.find_cues(), key=lambda shown: shown.start_ms)
    return list(_give_times(cues, round(1000 * transcript.duration_s)))


class _Planner:
    """The best division of the words of one transcript."""

    def __init__(self, transcript: Transcript, layout: SubtitleLayout) -> None:
        self._width = layout.max_line_width or LINE_WIDTH
        self._n_lines = layout.max_line_count or LINE_COUNT
        self._pieces = find_pieces(transcript.segments, transcript.language, self._width)

    def find_cues(self) -> Iterator[Shown]:
        """Yield the cues of the cheapest division, shown while their words are said."""
        n_pieces = len(self._pieces)
        costs = [0.0, *([inf] * n_pieces)]  # of the cheapest division of the pieces before
        cues: list[tuple[int, ...]] = [()] * (n_pieces + 1)  # its last: begin, and ends of lines
        for begin in range(n_pieces):
            for lines in self._break_lines(begin):
                end = lines.ends[-1]
                cost = costs[begin] + self._judge_cue(begin, lines)
                if cost < costs[end]:
                    costs[end], cues[end] = cost, (begin, *lines.ends)
        chosen = []
        end = n_pieces
        while end:
            chosen.append(cues[end])
            end = cues[end][0]
        return (self._make_cue(bounds) for bounds in reversed(chosen))

    def _break_lines(self, begin: int) -> Iterator[_Lines]:
        """Yield the best lines of every cue that can begin with the piece `begin`.

        They are as few as possible (Netflix: one line unless it exceeds the limit), and then those
        that end best and are most alike.
        """
        stop = self._find_stop(begin)
        found: set[int] = set()
        before = {begin: _Lines()}
        for _ in range(self._n_lines):
            reached: dict[int, _Lines] = {}
            for middle, lines in before.items():
                strain = self._pieces[middle - 1].strain if middle > begin else 0.0
                for end, width in self._list_ends(begin, middle, stop):
                    longer = lines.add(end, strain, width)
                    is_better = end not in reached or longer.cost < reached[end].cost
                    if end not in found and is_better:
                        reached[end] = longer
            yield from reached.values()
            found |= reached.keys()
            before = reached

    def _find_stop(self, begin: int) -> int:
        """Return the end of the longest run from `begin` of one speaker and MAX_S."""
        first = self._pieces[begin]
        stop = begin + 1
        while stop < len(self._pieces):
            piece = self._pieces[stop]
            if piece.speaker != first.speaker or piece.end - first.start > MAX_S:
                break
            stop += 1
        return stop

    def _list_ends(self, begin: int, middle: int, stop: int) -> Iterator[tuple[int, float]]:
        """Yield the end of each line that can begin with the piece `middle`, and its width."""
        label = label_speaker(self._pieces[begin].speaker) if middle == begin else ""
        width = measure_width(label)
        for end in range(middle + 1, stop + 1):
            piece = self._pieces[end - 1]
            width += piece.width + (piece.lead if end > middle + 1 else 0)
            if width > self._width and end > middle + 1:
                return
            yield end, width / self._width

    def _judge_cue(self, begin: int, lines: _Lines) -> float:
        """Return the penalty of a cue."""
        end = lines.ends[-1]
        pieces = self._pieces[begin:end]
        width = sum(piece.width + piece.lead for piece in pieces) - pieces[0].lead
        width += measure_width(label_speaker(pieces[0].speaker))
        alike = (width / self._width) ** 2 / len(lines.ends)  # the squares of equal lines
        inner = sum(_judge_inner(piece, following) for piece, following in pairwise(pieces))
        shown_s = self._estimate_time(begin, end, width)
        haste = max(0.0, width / shown_s / MAX_SPEED - 1) if shown_s > 0 else width
        return (
            _CUE
            + lines.strain
            + _RAGGED * max(0.0, lines.squares - alike)
            + _CUE_END * pieces[-1].strain
            + inner
            + _HASTE * haste
            + _FLASH * max(0.0, MIN_S - shown_s)
        )

    def _estimate_time(self, begin: int, end: int, width: int) -> float:
        """Return for how many seconds a cue can be shown before the next piece is said."""
        start, last = self._pieces[begin].start, self._pieces[end - 1].end
        until = last + LAG_MS / 1000
        if end < len(self._pieces):
            until = min(until, max(last, self._pieces[end].start - GAP_MS / 1000))
        return min(until, max(last, start + max(MIN_S, width / MAX_SPEED))) - start

    def _make_cue(self, bounds: Sequence[int]) -> Shown:
        lines = tuple(
            _strip(tuple(w for piece in self._pieces[a:b] for w in piece.words))
            for a, b in pairwise(bounds)
        )
        start, end = lines[0][0].start, lines[-1][-1].end
        return Shown(round(1000 * start), round(1000 * end), lines)


def _judge_inner(piece: Piece, following: Piece) -> float:
    """Return the penalty for two pieces that stand in one cue."""
    pause_s = following.start - piece.end
    sentence = _INNER_SENTENCE if piece.strain == SENTENCE else 0.0
    return sentence + _INNER_PAUSE * max(0.0, pause_s - 0.5)


def _strip(words: tuple[Word, ...]) -> tuple[Word, ...]:
    """Return the words of a line without the space before the first."""
    return (replace(words[0], word=words[0].word.lstrip()), *words[1:])


def _give_times(cues: Sequence[Shown], duration_ms: int) -> Iterator[Shown]:
    """Let each cue be read, and end before the next, which waits for it if it must.

    A cue stays for MIN_S and for MAX_SPEED, up to LAG_MS after its words, if the next is not said
    yet. To last MIN_S, or where two talk at once, it makes the next wait, which lags by up to
    LAG_MS. Nothing is shown after the end of the audio but what begins there.
    """
    free_ms = 0  # when the screen is free
    nexts = [*(shown.start_ms for shown in cues), inf][1:]
    for shown, next_ms in zip(cues, nexts, strict=True):
        start_ms = max(shown.start_ms, free_ms)
        min_ms, max_ms = (start_ms + round(1000 * seconds) for seconds in (MIN_S, MAX_S))
        read_ms = max(min_ms, start_ms + round(1000 * _count_columns(shown) / MAX_SPEED))
        end_ms = max(shown.end_ms, min(read_ms, shown.end_ms + LAG_MS))
        if next_ms - end_ms <= CLOSED_GAP_MS:
            end_ms = int(next_ms) - GAP_MS
        wanted_ms = max(min_ms, min(read_ms, shown.end_ms))
        end_ms = max(end_ms, int(min(wanted_ms, next_ms + LAG_MS - GAP_MS)))
        end_ms = min(end_ms, max_ms, max(duration_ms, shown.end_ms))
        end_ms = max(end_ms, start_ms + _LEAST_MS)
        free_ms = end_ms + GAP_MS
        yield replace(shown, start_ms=start_ms, end_ms=end_ms)


def _count_columns(shown: Shown) -> int:
    text = " ".join("".join(word.word for word in line) for line in shown.lines)
    return measure_width(label_speaker(shown.speaker) + text)
