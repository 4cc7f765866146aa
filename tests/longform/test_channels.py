from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from tests.support.transcripts import make_segment
from whisper_npu_cli.longform.channels import ChannelTranscription
from whisper_npu_cli.timings import Stopwatch
from whisper_npu_cli.transcript import (
    EncodedBy,
    Result,
    Segment,
    Transcript,
    TranscriptionInfo,
    Word,
)


@dataclass
class Scripted:
    """A transcription whose segments begin and end at given times."""

    times: list[tuple[float, float]]
    probs: dict[str, float] = field(default_factory=dict)
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    n_decided: int = 0
    is_begun: bool = False
    is_stopped: bool = False

    def begin(self) -> TranscriptionInfo:
        self.is_begun = True
        return TranscriptionInfo(9.0, self.language, self.probs, "sequential")

    @property
    def language(self) -> str:
        return next(iter(self.probs), "")

    def __iter__(self) -> Iterator[Segment]:
        assert self.n_decided == 0
        for start, end in self.times:
            if self.is_stopped:
                return
            self.n_decided += 1
            words = (Word(f" {start:g}", start, end, 0.5),)
            yield replace(make_segment(start, end, words[0].word), words=words)

    def stop(self) -> None:
        self.is_stopped = True

    @property
    def progress(self) -> float:
        return self.n_decided / len(self.times) if self.times else 1.0

    @property
    def work_done(self) -> float:
        return self.progress

    @property
    def result(self) -> Result:
        return Result(
            transcript=Transcript(self.language, 9.0, (), self.probs),
            timings=self.stopwatch.read(),
            windows=(EncodedBy(0, "engine", None),),
            uncovered=tuple(self.times[:1]),
            long_form="sequential",
            is_complete=self.n_decided == len(self.times),
        )


def transcribe(left: Scripted, right: Scripted) -> ChannelTranscription:
    return ChannelTranscription({"agent": left, "customer": right}, Stopwatch())


def test_segments_are_merged_by_time_and_named() -> None:
    left, right = Scripted([(0.0, 2.0), (5.0, 8.0)]), Scripted([(1.0, 3.0), (5.0, 6.0), (7.0, 9.0)])
    job = transcribe(left, right)
    segments = list(job)
    assert [segment.id for segment in segments] == [0, 1, 2, 3, 4]
    assert [(s.start, s.speaker) for s in segments] == [
        *((0.0, "agent"), (1.0, "customer"), (5.0, "agent")),
        *((5.0, "customer"), (7.0, "customer")),
    ]
    assert all(word.speaker == s.speaker for s in segments for word in s.words or ())
    assert job.progress == 1.0
    result = job.result
    assert result.is_complete
    assert result.transcript.segments == tuple(segments)
    assert result.transcript.text == " 0 1 5 5 7"
    assert [window.speaker for window in result.windows] == ["agent", "customer"]
    assert result.uncovered == ((0.0, 2.0), (1.0, 3.0))


def test_both_channels_are_read_before_either_is_decoded() -> None:
    left, right = Scripted([(0.0, 1.0)]), Scripted([(0.0, 1.0)])
    segments = iter(transcribe(left, right))
    assert next(segments).speaker == "agent"
    assert left.is_begun
    assert right.is_begun


def test_segments_come_before_all_is_decided() -> None:
    left, right = (Scripted([(float(i), i + 1.0) for i in range(5)]) for _ in range(2))
    job = transcribe(left, right)
    assert next(iter(job)).start == 0.0
    assert (left.n_decided, right.n_decided) == (1, 1)
    assert job.progress == job.work_done == pytest.approx(0.2)


def test_a_stop_stops_both_and_keeps_what_was_decided() -> None:
    left, right = (Scripted([(float(i), i + 1.0) for i in range(5)]) for _ in range(2))
    job = transcribe(left, right)
    segments = iter(job)
    seen = [next(segments)]
    job.stop()
    seen.extend(segments)
    assert [(s.start, s.speaker) for s in seen] == [(0.0, "agent"), (0.0, "customer")]
    assert not job.result.is_complete
    assert job.result.transcript.segments == tuple(seen)


@pytest.mark.parametrize(
    ("left", "right", "language"),
    [
        ({"en": 0.6, "de": 0.4}, {"de": 0.9, "en": 0.1}, "de"),
        ({"en": 0.9, "de": 0.1}, {"de": 0.6, "en": 0.4}, "en"),
        ({"en": 0.9, "de": 0.1}, {}, "en"),  # nobody speaks on the right
        ({}, {}, ""),
    ],
)
def test_the_language_is_that_of_both_together(
    left: dict[str, float], right: dict[str, float], language: str
) -> None:
    job = transcribe(Scripted([], left), Scripted([], right))
    info = job.begin()
    assert info.language == language
    assert list(info.language_probs)[:1] == ([language] if language else [])
    assert sum(info.language_probs.values()) == pytest.approx(1.0 if left or right else 0.0)
    assert job.result.transcript.language_probs == info.language_probs
