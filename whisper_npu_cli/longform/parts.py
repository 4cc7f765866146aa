"""A long recording cut at pauses into parts that are transcribed apart, wherever.

What was surveyed of the whole in, parts out; a part in, what is decided of its windows out. The
windows, their batches, the loudest moment and the language are those of the whole, so that the
parts together have its text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile, islice

from whisper_npu_cli.audio.sources import Source
from whisper_npu_cli.dims import FRAMES_PER_SECOND
from whisper_npu_cli.longform.batched import transcribe_batched
from whisper_npu_cli.longform.guide import Guide
from whisper_npu_cli.longform.hearing import Ears, Recorded, Survey
from whisper_npu_cli.longform.stages import Stages
from whisper_npu_cli.longform.windows import Decided, Window
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.spans import Span, pick_spans
from whisper_npu_cli.timings import Timings
from whisper_npu_cli.transcript import EncodedBy, Progress


@dataclass(frozen=True)
class Part:
    """Whole batches of windows of a recording, and what they depend on of it."""

    number: int  # its place among them
    survey: Survey  # with the speech of these windows alone
    windows: tuple[Window, ...]
    language: str | None
    language_probs: Mapping[str, float]
    is_first: bool  # no text comes before it


@dataclass(frozen=True)
class DecidedPart:
    """What was made of a part."""

    decided: tuple[Decided, ...]
    windows: tuple[EncodedBy, ...]
    timings: Timings


@dataclass(frozen=True)
class Cut:
    """A recording that was read once: what it has, how far its text is decided, and the rest."""

    survey: Survey
    progress: Progress
    parts: tuple[Part, ...]


def cut_recording(
    survey: Survey, progress: Progress, options: TranscribeOptions, longest_s: float
) -> Cut | None:
    """Return a recording whose rest is in parts, each not longer or of one batch; None for one."""
    n_frames = round(longest_s * FRAMES_PER_SECOND)
    groups = _group(_list_batches(survey, progress.end_frame, options), n_frames)
    parts = [
        Part(
            number=i,
            survey=_narrow(survey, Span(windows[0].start, windows[-1].end)),
            windows=tuple(windows),
            language=progress.language,
            language_probs=dict(progress.language_probs),
            is_first=i == 0 and not progress.end_frame,
        )
        for i, windows in enumerate(groups)
    ]
    return Cut(survey, progress, tuple(parts)) if len(parts) > 1 else None


def transcribe_part(
    source: Source, part: Part, options: TranscribeOptions, stages: Stages, ears: Ears
) -> Iterator[Decided]:
    """Yield what is decided of each batch of a part."""
    stages.language, stages.language_probs = part.language, dict(part.language_probs)
    guide = Guide(part.survey.speech, options.vad.pad_frames, part.survey.faint)
    return transcribe_batched(
        Recorded(source, ears, part.survey),
        stages,
        iter(part.windows),
        options.batch_size,
        guide,
        is_first=part.is_first,
    )


def _narrow(survey: Survey, limits: Span) -> Survey:
    """Return it with the speech within `limits` alone: an hour has 2,400 spans."""
    speech, faint = (list(pick_spans(spans, limits)) for spans in (survey.speech, survey.faint))
    return replace(survey, speech=speech, faint=faint)


def _list_batches(
    survey: Survey, end_frame: int, options: TranscribeOptions
) -> Iterator[list[Window]]:
    """Yield the batches that a transcription of all of it has after what is decided."""
    planned = survey.plan_windows(survey.find_clips(options.clip_timestamps), options.vad)
    left = dropwhile(lambda window: window.start < end_frame, planned)
    size = 1 if options.decoding.prefix and not end_frame else options.batch_size
    while batch := list(islice(left, size)):
        yield batch
        size = options.batch_size


def _group(batches: Iterator[list[Window]], n_frames: int) -> list[Sequence[Window]]:
    """Return successive batches together, of at most `n_frames`."""
    groups: list[list[Window]] = []
    for batch in batches:
        if groups and batch[-1].end - groups[-1][0].start <= n_frames:
            groups[-1].extend(batch)
        else:
            groups.append(batch)
    return list(groups)
