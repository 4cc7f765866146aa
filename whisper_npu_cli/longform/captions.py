"""A transcript of live events: pieces of settled text in, a segment for each sentence out."""

from __future__ import annotations

from dataclasses import replace

from whisper_npu_cli.longform.events import Event, Settled, SpeechEnded
from whisper_npu_cli.longform.words import SENTENCE_ENDS
from whisper_npu_cli.transcript import Segment, Transcript


class Captions:
    """What was settled so far, in segments that end with a sentence or a pause."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._duration_s = 0.0
        self._is_open = False  # whether the last segment goes on

    def add(self, event: Event) -> None:
        """Take the next event."""
        self._duration_s = event.audio_s
        if isinstance(event, SpeechEnded):
            self._is_open = False
        elif isinstance(event, Settled):
            self._append(event.segment)

    @property
    def transcript(self) -> Transcript:
        """All of it; its language is that of the last segment."""
        language = self._segments[-1].language if self._segments else ""
        return Transcript(language, self._duration_s, tuple(self._segments))

    def _append(self, piece: Segment) -> None:
        if self._is_open:
            self._segments[-1] = _join(self._segments[-1], piece)
        else:
            self._segments.append(replace(piece, id=len(self._segments)))
        self._is_open = piece.text.strip()[-1:] not in SENTENCE_ENDS


def _join(first: Segment, second: Segment) -> Segment:
    return replace(
        first,
        end=second.end,
        text=first.text + second.text,
        tokens=first.tokens + second.tokens,
        avg_logprob=min(first.avg_logprob, second.avg_logprob),
        words=(first.words or ()) + (second.words or ()),
    )
