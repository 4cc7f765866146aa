"""Parts are the batches of the whole, in order, with all that their windows need of it."""

from __future__ import annotations

from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from whisper_npu_cli.audio.mel import MelStats
from whisper_npu_cli.dims import HOP_LENGTH
from whisper_npu_cli.longform.hearing import Survey
from whisper_npu_cli.longform.parts import cut_recording
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.options import DecodingOptions, TranscribeOptions
from whisper_npu_cli.spans import Span, pick_spans
from whisper_npu_cli.transcript import Progress

lengths = st.lists(st.integers(20, 4000), min_size=2, max_size=80)  # of speech and pauses, frames
PLAIN = TranscribeOptions(batch_size=3)


def survey(lengths: list[int]) -> Survey:
    """Return a recording in which speech and pauses alternate."""
    ends = list(accumulate(lengths, initial=0))
    speech = [Span(a, b) for a, b in list(pairwise(ends))[::2]]
    faint = [Span(b - 5, b) for _, b in list(pairwise(ends))[1::2]]
    return Survey(MelStats(ends[-1] * HOP_LENGTH, -1.0), 0.5, speech, faint)


def plan(whole: Survey, options: TranscribeOptions) -> list[Window]:
    return list(whole.plan_windows(whole.find_clips(options.clip_timestamps), options.vad))


@given(lengths, st.integers(30, 300), st.sampled_from([None, " So"]))
def test_parts_have_each_batch_of_the_whole_once(
    lengths: list[int], longest_s: int, prefix: str | None
) -> None:
    options = TranscribeOptions(batch_size=3, decoding=DecodingOptions(prefix=prefix))
    whole, progress = survey(lengths), Progress(language="en", language_probs={"en": 0.9})
    windows = plan(whole, options)
    n_first = 1 if prefix else 3
    batches = [windows[:n_first], *(windows[i : i + 3] for i in range(n_first, len(windows), 3))]
    cut = cut_recording(whole, progress, options, longest_s)
    if cut is None:
        assert len(batches) < 2 or windows[-1].end - windows[0].start <= 100 * longest_s
        return
    assert [window for part in cut.parts for window in part.windows] == windows
    firsts = [batch[0] for batch in batches if batch]
    for number, part in enumerate(cut.parts):
        limits = Span(part.windows[0].start, part.windows[-1].end)
        assert part.number == number
        assert part.is_first == (number == 0)
        assert part.windows[0] in firsts
        assert limits.end - limits.start <= 100 * longest_s or part.windows in map(tuple, batches)
        assert part.survey.stats == whole.stats
        assert part.survey.speech == list(pick_spans(whole.speech, limits))
        assert part.survey.faint == list(pick_spans(whole.faint, limits))
        assert (part.language, part.language_probs) == ("en", {"en": 0.9})


@given(lengths, st.integers(0, 20))
def test_what_is_decided_is_in_no_part(lengths: list[int], n_batches: int) -> None:
    whole = survey(lengths)
    windows = plan(whole, PLAIN)
    n_decided = min(3 * n_batches, len(windows))
    end = windows[n_decided - 1].end if n_decided else 0
    cut = cut_recording(whole, Progress(end), PLAIN, 30)
    left = [window for part in cut.parts for window in part.windows] if cut else []
    assert left == windows[n_decided:] or (not left and len(windows) - n_decided <= 3)
    assert not cut or cut.parts[0].is_first == (not end)
