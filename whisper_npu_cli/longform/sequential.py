"""Long form as in openai/whisper's `transcribe()`: each window follows the text before it.

Mel windows in, segments out. Windows depend on each other, so none is decoded ahead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from whisper_npu_cli.decoding.prompt import History
from whisper_npu_cli.decoding.retry import DecodedWindow
from whisper_npu_cli.engines.base import CrossKV
from whisper_npu_cli.longform.guide import Ahead, Guide, is_echo
from whisper_npu_cli.longform.hallucinations import Outcome, find_speech_end, follow_words
from whisper_npu_cli.longform.languages import find_change
from whisper_npu_cli.longform.segments import (
    drop_empty,
    ends_in_silence,
    make_segments,
    order_times,
)
from whisper_npu_cli.longform.stages import Stages
from whisper_npu_cli.longform.windows import Decided, MelSource, Window, make_window
from whisper_npu_cli.spans import Span
from whisper_npu_cli.transcript import Segment


def transcribe_sequential(
    source: MelSource,
    stages: Stages,
    clips: Sequence[Span],
    guide: Guide | None = None,
    earlier: Sequence[Segment] = (),
) -> Iterator[Decided]:
    """Yield the segments of each window of `clips`, which `earlier` ones of the audio precede.

    With a `guide` no window without speech is decoded, and where text leaves out speech of its
    window, the next window begins there.
    """
    history, language = _remember(stages, earlier)
    before_rest: Sequence[Segment] = []  # of the window whose rest is decoded
    last_speech_s = find_speech_end(earlier) or 0.0
    is_first = not earlier
    for clip in clips:
        seek, cut, change = clip.start, None, clip.start  # where another language begins
        while True:
            heard, start = skip_silence(source, clip, seek, guide)
            if start > seek:
                seek = start
                yield Decided([], seek)
            if seek >= heard.end:
                break
            is_whole = cut is None and change <= seek
            limits = make_window(seek, heard, cut or (change if seek < change else None))
            window, encoded = _encode(source, stages, limits, guide if is_whole else None)
            change = window.end if window.end < limits.end else change
            (decoded,) = stages.decode([encoded], history.tokens, first=is_first, language=language)
            is_first = False
            if stages.is_silence(decoded):
                seek, cut = window.end, None
                yield Decided([], seek)
                continue
            outcome = _follow(stages, encoded, decoded, window, last_speech_s)
            seek = max(outcome.seek, seek + 1)
            last_speech_s = find_speech_end(outcome.segments) or last_speech_s
            segments: Sequence[Segment] = drop_empty(outcome.segments)
            if is_echo(segments, before_rest):
                segments = []
            ahead = Ahead(segments, seek)
            if guide is not None:
                ahead = guide.go_on(segments, window, seek, is_alone=cut is not None)
            is_rest = ahead.end is None and ahead.start < seek
            segments, seek, cut = ahead.segments, ahead.start, ahead.end
            before_rest = segments if is_rest else []
            if segments and decoded.language != language:
                history, language = stages.begin_history(), decoded.language
            if not outcome.is_void:
                history.add([t for s in segments for t in s.tokens], decoded.last_temperature)
            yield Decided(segments, seek)


def _encode(
    source: MelSource, stages: Stages, window: Window, guide: Guide | None
) -> tuple[Window, CrossKV]:
    """Encode a window; with a `guide` it ends where another language begins in it."""
    mel = source.window(window.start, window.end)
    encoded = stages.encode(mel, window.start)
    change = None if guide is None else find_change(window, mel, encoded, stages, guide)
    if change is None:
        return window, encoded
    part = source.window(window.start, change)
    return replace(window, end=change), stages.encode(part, window.start)


def skip_silence(source: MelSource, clip: Span, seek: int, guide: Guide | None) -> tuple[Span, int]:
    """Hear on from frame `seek` to a window that may have speech.

    Return the clip, cut at the end of the audio, and where that window begins: at the end if
    there is none.
    """
    heard, is_silent = source.reach(clip, seek), False
    while guide is not None and seek < heard.end:
        start = min(guide.skip_silence(seek, heard, is_silent=is_silent), source.n_heard)
        if start == seek:
            break
        seek, is_silent = start, True
        heard = source.reach(clip, seek)
    return heard, seek


def _remember(stages: Stages, earlier: Sequence[Segment]) -> tuple[History, str | None]:
    """Return the history after earlier segments, and the language that they end in."""
    history, language = stages.begin_history(), stages.language
    for _, window in groupby(earlier, key=lambda segment: segment.seek):
        segments = list(window)
        if segments[0].language != language:
            history, language = stages.begin_history(), segments[0].language
        history.add([t for s in segments for t in s.tokens], segments[0].temperature)
    return history, language


def _follow(
    stages: Stages,
    encoded: CrossKV,
    decoded: DecodedWindow,
    window: Window,
    last_speech_s: float,
) -> Outcome:
    """Return the segments of a window, with words if asked for, and where the next begins."""
    segments, advance = make_segments(decoded, stages.tokenizer, window)
    if stages.words is None:
        return Outcome(segments, window.start + advance)
    outcome = follow_words(
        stages.add_words(encoded, segments, window.n_frames, last_speech_s),
        window,
        window.start + advance,
        is_final=ends_in_silence(decoded.tokens, stages.tokenizer.timestamp_begin),
        last_speech_s=last_speech_s,
        threshold_s=stages.words.hallucination_silence_threshold,
    )
    # Times are put in order last, because the unordered times tell which text was made up.
    ordered = order_times(outcome.segments, window.start_s, window.end_s)
    return replace(outcome, segments=ordered)
