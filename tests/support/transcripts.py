"""Transcripts with and without words, of which the tests of the writers make files."""

from __future__ import annotations

import re
from dataclasses import replace

from tests.support.words_model import spoken_segments
from whisper_npu_cli.transcript import Segment, Transcript, Word


def make_segment(start: float, end: float, text: str, index: int = 0) -> Segment:
    return Segment(index, 0, start, end, text, (1, 2), 0.0, -0.25, 0.8, 0.01)


TRANSCRIPT = Transcript(
    "en",
    3700.0,
    (make_segment(0.0, 2.5, " seven\tthree"), make_segment(3601.25, 3605.999, " one --> two", 1)),
)


def make_spoken() -> Transcript:
    """Return the segments with words that openai/whisper's writers were given."""
    segments = [
        replace(
            make_segment(fields["start"], fields["end"], fields["text"], i),
            words=tuple(Word(**word) for word in fields["words"]),
        )
        for i, fields in enumerate(spoken_segments())
    ]
    return Transcript("en", 3700.0, tuple(segments))


def say(
    text: str, language: str = "en", *, word_s: float = 0.3, speaker: str | None = None
) -> Transcript:
    """Return a text in which each word, with the space before it, lasts `word_s`.

    `|` is a pause of a second; `/` parts words with no space between, and stands for nothing.
    """
    now, words = 0.0, []
    for part in re.findall(r"\||\s*[^\s|/]+", text):
        if part == "|":
            now += 1.0
            continue
        words.append(Word(part, now, now + word_s, 0.9, speaker))
        now += word_s
    said = "".join(word.word for word in words)
    segment = replace(make_segment(0.0, now, said), words=tuple(words), speaker=speaker)
    return Transcript(language, now, (segment,))
