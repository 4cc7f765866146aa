"""Pieces of settled text become segments that end with a sentence or a pause."""

from __future__ import annotations

from whisper_npu_cli.longform.captions import Captions
from whisper_npu_cli.longform.events import Settled, SpeechEnded, Tail
from whisper_npu_cli.transcript import Segment, Word


def settle(text: str, start: float) -> Settled:
    end = start + 1
    words = (Word(text, start, end, 0.9),)
    return Settled(
        end, end, Segment(0, 0, start, end, text, (1,), 0.0, -start, 1.0, 0.1, "en", words)
    )


def test_pieces_are_joined_up_to_the_end_of_a_sentence_or_a_pause() -> None:
    captions = Captions()
    pause = SpeechEnded(9.5, 9.5, 9.0)
    for event in (
        *(settle(" Ask", 1.0), Tail(2.5, 2.5, " not"), settle(" not.", 2.0)),
        *(settle(" What", 3.0), pause, settle(" you", 10.0), Tail(12.0, 12.0, " can")),
    ):
        captions.add(event)
    transcript = captions.transcript
    assert (transcript.language, transcript.duration_s) == ("en", 12.0)
    assert [(s.id, s.text, s.start, s.end) for s in transcript.segments] == [
        (0, " Ask not.", 1.0, 3.0),
        (1, " What", 3.0, 4.0),
        (2, " you", 10.0, 11.0),
    ]
    first = transcript.segments[0]
    assert (first.tokens, first.avg_logprob) == ((1, 1), -2.0)
    assert [word.word for word in first.words or ()] == [" Ask", " not."]


def test_nothing_said_is_no_segment() -> None:
    assert Captions().transcript.segments == ()
