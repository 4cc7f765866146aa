"""Where decoding begins, goes on and ends, told by the speech that the VAD found.

Whisper writes "You" or "Thank you" for silence and noise, lets a segment begin in the pause before
it, and may end a window before its speech does. Spans of speech in, frames out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from whisper_npu_cli.dims import FRAMES_PER_SECOND
from whisper_npu_cli.longform.windows import Window, make_window
from whisper_npu_cli.spans import Span, cut_spans, pick_spans, round_span
from whisper_npu_cli.transcript import Segment

SHORTEST_REST = 20  # frames of speech; timestamps are less exact than a shorter rest
UNCOVERED_FRAMES = 100  # speech without text counts from 1 s: timestamps are not exact
_ALONE_FRAMES = 100
_LATE_FRAMES = 50  # speech that begins later in a window is cut before there is a word of it
# Of two languages, or of much else, Whisper may write one part as if it lasted over all. Texts of
# real clips have 2.4 tokens and more, timestamps included, in a second of speech.
_SPARSE_TOKENS = 2.0
_SPARSE_FRAMES = 400  # of speech: a word can be drawn out
_LONG_FRAMES = 1200  # one text that lasts longer than those of real clips may be two
_GAP_FRAMES = 200  # of speech between two texts
_UTTERANCE_FRAMES = 200  # at least: shorter speech does not tell its language
_PAUSE_FRAMES = 50  # between utterances


@dataclass(frozen=True)
class Ahead:
    """The segments that are kept of a window, and where the next one begins."""

    segments: Sequence[Segment]
    start: int
    end: int | None = None  # where it ends early, to hear one utterance alone


@dataclass(frozen=True)
class Guide:
    """The speech of an audio, and the frames of silence to hear before it.

    The speech may grow while the audio arrives.
    """

    speech: Sequence[Span]
    pad_frames: int
    faint: Sequence[Span] = ()  # what may be speech too

    def skip_silence(self, seek: int, clip: Span, *, is_silent: bool = False) -> int:
        """Return where the next window begins: at `seek` if it may have speech, else at the next.

        Where it `is_silent` before `seek`, it begins at the next speech in any case.
        Faint speech counts from 1 s: in music it lasts for up to 0.54 s, and base writes the
        sentence before the music once more.
        """
        faint = (span for span in self.faint if span.end - span.start >= UNCOVERED_FRAMES)
        rest = Span(seek, clip.end)
        ahead = sorted([*find_speech(self.speech, rest), *find_speech(list(faint), rest)])
        if not ahead:
            return clip.end
        is_near = ahead[0].start < make_window(seek, clip).end - _LATE_FRAMES
        return seek if is_near and not is_silent else max(seek, ahead[0].start - self.pad_frames)

    def list_utterances(self, window: Window) -> list[Span]:
        """Return the utterances in `window` that are long enough to tell their language."""
        joined: list[Span] = []
        for span in _cut_speech(self.speech, Span(window.start, window.end)):
            if joined and span.start - joined[-1].end < _PAUSE_FRAMES:
                joined[-1] = Span(joined[-1].start, span.end)
            else:
                joined.append(span)
        return [span for span in joined if span.end - span.start >= _UTTERANCE_FRAMES]

    def find_pause(self, start: int, end: int) -> int:
        """Return the middle of the last pause between two frames, at whose `end` speech begins."""
        before = _cut_speech(self.speech, Span(start, end))
        return ((before[-1].end if before else start) + end) // 2

    def find_rest(self, segments: Sequence[Segment], window: Window) -> int:
        """Return the frame of speech in `window` after its `segments`, else the window's end."""
        if not segments:
            return window.end
        text_end = round_span(segments[-1].start, segments[-1].end).end
        left = find_speech(self.speech, Span(text_end, window.end))
        n_frames = sum(end - start for start, end in left)
        if n_frames < UNCOVERED_FRAMES:
            return window.end
        return max(text_end, left[0].start - self.pad_frames)

    def go_on(
        self, segments: Sequence[Segment], window: Window, end: int, *, is_alone: bool = False
    ) -> Ahead:
        """Return what is kept of `segments`, which decide `window` before frame `end`.

        Speech that has too little text is decoded once more, without what follows a pause.
        """
        left_out = None if is_alone else self._find_left_out(segments, window)
        if left_out is not None:
            return left_out
        return Ahead(segments, self.find_rest(segments, window) if end == window.end else end)

    def _find_left_out(self, segments: Sequence[Segment], window: Window) -> Ahead | None:
        end = window.start
        for i, segment in enumerate(segments):
            span = round_span(segment.start, segment.end)
            is_gap = count_speech(self.speech, Span(end, span.start)) >= _GAP_FRAMES
            is_long = span.end - span.start > _LONG_FRAMES and span != (window.start, window.end)
            if is_gap or is_long or is_sparse(segment, self.speech):
                alone = self._find_utterance(Span(end, window.end))
                return alone and Ahead(segments[:i], *alone)
            end = span.end
        return None

    def _find_utterance(self, limits: Span) -> Span | None:
        """Return the first utterance within `limits` with half of the pause after it, if any."""
        inside = find_speech(self.speech, limits)
        for before, after in pairwise(inside):
            is_long = before.end - inside[0].start >= _UTTERANCE_FRAMES
            if is_long and after.start - before.end >= _PAUSE_FRAMES:
                start = max(limits.start, inside[0].start - self.pad_frames)
                return Span(start, (before.end + after.start) // 2)
        return None


def count_speech(speech: Sequence[Span], limits: Span) -> int:
    """Return the frames of speech within `limits`."""
    return sum(end - start for start, end in _cut_speech(speech, limits))


def is_sparse(segment: Segment, speech: Sequence[Span]) -> bool:
    """Return whether the text of a segment is too little for the speech in it."""
    n_frames = count_speech(speech, round_span(segment.start, segment.end))
    n_expected = _SPARSE_TOKENS * n_frames / FRAMES_PER_SECOND
    return n_frames >= _SPARSE_FRAMES and len(segment.tokens) < n_expected


def find_speech(speech: Sequence[Span], limits: Span) -> list[Span]:
    """Return the speech within `limits`, without a short rest of speech from before."""
    inside = pick_spans(speech, limits)
    whole = (span for span in inside if not span.start < limits.start > span.end - SHORTEST_REST)
    return cut_spans(whole, limits)


def _cut_speech(speech: Sequence[Span], limits: Span) -> list[Span]:
    return cut_spans(pick_spans(speech, limits), limits)


def is_echo(segments: Sequence[Segment], before: Sequence[Segment]) -> bool:
    """Return whether the text of a rest is that before it once more.

    The text before covered this speech then, with a time that was wrong: noise hid the pause.
    """
    text = "".join(segment.text for segment in segments).split()
    return len(text) > 2 and text == "".join(s.text for s in before).split()[-len(text) :]


def move_start(segment: Segment, speech: Sequence[Span]) -> Segment:
    """Return a segment that begins in a pause with the start of the speech in it."""
    inside = find_speech(speech, round_span(segment.start, segment.end))
    while len(inside) > 1 and _is_blip(*inside[:2]):
        inside = inside[1:]
    if not inside or inside[0].start / FRAMES_PER_SECOND <= segment.start:
        return segment
    return replace(segment, start=inside[0].start / FRAMES_PER_SECOND)


def _is_blip(span: Span, following: Span) -> bool:
    """Return whether a span is too short and alone to be a word: music and noise have such."""
    return span.end - span.start < SHORTEST_REST and following.start - span.end > _ALONE_FRAMES
