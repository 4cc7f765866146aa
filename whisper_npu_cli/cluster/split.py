"""A long recording whose parts are with several workers: parts out, one transcription back."""

from __future__ import annotations

from dataclasses import replace
from itertools import count, takewhile

from whisper_npu_cli.audio.find import Input
from whisper_npu_cli.cluster.tasks import Outcome, Task
from whisper_npu_cli.longform.decided import DecidedText
from whisper_npu_cli.longform.parts import Cut, DecidedPart
from whisper_npu_cli.timings import add_timings


class Split:
    """The parts of `source`, which is `cut` by the outcome of a task."""

    def __init__(self, source: Input, task: Task, outcome: Outcome, cut: Cut) -> None:
        self.source = source
        self.tasks = [
            replace(task, is_growing=False, progress=None, part=part) for part in cut.parts
        ]
        self._outcome = outcome
        self._cut = cut
        self._options = task.options
        self._done: dict[int, DecidedPart] = {}

    @property
    def share(self) -> float:
        """Share of the parts that are done, 0 to 1."""
        return len(self._done) / len(self.tasks)

    @property
    def part_s(self) -> float:
        """Seconds of a part, as if all were of one length."""
        assert self._outcome.info is not None
        return self._outcome.info.duration_s / len(self.tasks)

    @property
    def is_complete(self) -> bool:
        """Whether all parts are done."""
        return len(self._done) == len(self.tasks)

    @property
    def has_progress(self) -> bool:
        """Whether the first of the parts is done, from which a later run can go on."""
        return 0 in self._done

    def add(self, task: Task, done: DecidedPart) -> None:
        """Take what came of one of the tasks."""
        assert task.part is not None
        self._done[task.part.number] = done

    def join(self) -> Outcome:
        """Return the outcome of the recording: of its first parts, where others were given up."""
        survey, before, result = self._cut.survey, self._cut.progress, self._outcome.result
        assert result is not None
        text = DecidedText(self._options, before)
        parts = [self._done[i] for i in takewhile(self._done.__contains__, count())]
        for decided in (decided for part in parts for decided in part.decided):
            text.add(decided, survey)
        if self.is_complete:
            text.end_frame = survey.stats.n_frames
        segments = tuple(text.segments)
        joined = replace(
            result,
            transcript=replace(result.transcript, segments=segments),
            timings=add_timings([result.timings, *(part.timings for part in parts)]),
            windows=tuple(window for part in parts for window in part.windows),
            uncovered=text.find_uncovered(survey),
            is_complete=self.is_complete,
        )
        progress = replace(before, end_frame=text.end_frame, segments=segments)
        return replace(
            self._outcome, result=joined, cut=None, progress=None if self.is_complete else progress
        )
