"""Transcriptions of the channels of one recording as one, with the name of who speaks.

Each channel is transcribed alone; segments are merged by their starts. This module knows what a
transcription gives, not how.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Protocol

from whisper_npu_cli.timings import Stopwatch
from whisper_npu_cli.transcript import Progress, Result, Segment, Transcript, TranscriptionInfo


class Job(Protocol):
    """An audio being transcribed. Iterating, which can be done once, does the work."""

    stopwatch: Stopwatch

    def begin(self) -> TranscriptionInfo:
        """Read the audio once and find its language; iterating does so where nobody did."""

    def __iter__(self) -> Iterator[Segment]:
        """Yield segments as they are decided."""

    def stop(self) -> None:
        """End the iteration after the segments of the windows that are being decoded."""

    @property
    def progress(self) -> float:
        """Share of the audio that is decided, 0 to 1."""

    @property
    def work_done(self) -> float:
        """Share of the work that is done, 0 to 1."""

    @property
    def checkpoint(self) -> Progress | None:
        """What has been decided so far, for a later one to go on from; None where none can."""

    @property
    def result(self) -> Result:
        """What has been decided so far: all of it once the iteration has ended."""


class ChannelTranscription:
    """Two channels being transcribed. Iterating, which can be done once, does the work.

    `jobs` are their transcriptions, by the speaker's name; all are timed by `stopwatch`.
    """

    def __init__(self, jobs: Mapping[str, Job], stopwatch: Stopwatch) -> None:
        self.stopwatch = stopwatch
        self._jobs = jobs
        self._segments: list[Segment] = []

    def begin(self) -> TranscriptionInfo:
        """Read the recording once for each channel, and find the languages.

        Raises AudioError for an input that cannot be transcribed, or whose channels are no two.
        """
        infos = [job.begin() for job in self._jobs.values()]
        language, probs = _choose_language([(info.language, info.language_probs) for info in infos])
        return replace(infos[0], language=language, language_probs=probs)

    def __iter__(self) -> Iterator[Segment]:
        """Yield segments in order of their starts, once it is decided that none comes before.

        Raises AudioError before the first one, or never; RuntimeError the second time.
        """
        named = [_name_speaker(iter(job), name) for name, job in self._jobs.items()]
        return self._merge(named)

    def stop(self) -> None:
        """End the iteration after the segments of the windows that are being decoded."""
        for job in self._jobs.values():
            job.stop()

    @property
    def progress(self) -> float:
        """Share of the audio that is decided, 0 to 1."""
        return sum(job.progress for job in self._jobs.values()) / len(self._jobs)

    @property
    def work_done(self) -> float:
        """Share of the work that is done, 0 to 1."""
        return sum(job.work_done for job in self._jobs.values()) / len(self._jobs)

    @property
    def checkpoint(self) -> None:
        """Nothing: what is decided of the channels ends at different times."""

    @property
    def result(self) -> Result:
        """What has been decided so far of both channels: all once the iteration has ended."""
        results = {name: job.result for name, job in self._jobs.items()}
        transcripts = [result.transcript for result in results.values()]
        language, probs = _choose_language([(t.language, t.language_probs) for t in transcripts])
        duration_s = max(transcript.duration_s for transcript in transcripts)
        return Result(
            transcript=Transcript(language, duration_s, tuple(self._segments), probs),
            timings=self.stopwatch.read(),
            windows=tuple(
                replace(window, speaker=name)
                for name, result in results.items()
                for window in result.windows
            ),
            uncovered=tuple(sorted(span for r in results.values() for span in r.uncovered)),
            long_form=next(iter(results.values())).long_form,
            is_complete=all(result.is_complete for result in results.values()),
            damage=next(iter(results.values())).damage,
            peak_dbfs=max((r.peak_dbfs for r in results.values() if r.peak_dbfs), default=None),
        )

    def _merge(self, channels: list[Iterator[Segment]]) -> Iterator[Segment]:
        self.begin()  # of all channels, so that none fails after a segment of another
        for segment in heapq.merge(*channels, key=lambda segment: segment.start):
            self._segments.append(replace(segment, id=len(self._segments)))
            yield self._segments[-1]


def _name_speaker(segments: Iterator[Segment], name: str) -> Iterator[Segment]:
    """Yield the segments with the name, and their words too."""
    for segment in segments:
        words = segment.words and tuple(replace(word, speaker=name) for word in segment.words)
        yield replace(segment, speaker=name, words=words)


def _choose_language(
    languages: list[tuple[str, Mapping[str, float]]],
) -> tuple[str, Mapping[str, float]]:
    """Return the language that the channels are surest of together, and its probabilities.

    These are the means over the channels with speech. A segment has the language of its own.
    """
    heard = [probs for _, probs in languages if probs]
    if not heard:  # it was given, or nothing is said
        return next(((code, {}) for code, _ in languages if code), ("", {}))
    means = {code: sum(probs.get(code, 0.0) for probs in heard) / len(heard) for code in heard[0]}
    ranked = dict(sorted(means.items(), key=lambda item: -item[1]))
    return next(iter(ranked)), ranked
