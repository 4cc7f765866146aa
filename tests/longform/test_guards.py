"""Times of segments and words, whatever the model and the rules of words made of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.longform.segments import order_times
from whisper_npu_cli.options import TranscribeOptions, WordOptions
from whisper_npu_cli.transcript import Segment, Word

seconds = st.floats(-10, 100)
words = st.lists(st.builds(Word, st.just(" one"), seconds, seconds, st.just(0.5)), max_size=4)
segments = st.builds(
    Segment,
    id=st.just(0),
    seek=st.just(0),
    start=seconds,
    end=seconds,
    text=st.just(" one"),
    tokens=st.just(()),
    temperature=st.just(0.0),
    avg_logprob=st.just(0.0),
    compression_ratio=st.just(1.0),
    no_speech_prob=st.just(0.0),
    words=st.one_of(st.none(), words.map(tuple)),
)


@given(st.lists(segments, max_size=4), st.floats(0, 50), st.floats(50, 90))
def test_times_never_run_backwards_or_out_of_bounds(
    found: list[Segment], begin_s: float, end_s: float
) -> None:
    ordered = order_times(found, begin_s, end_s)
    assert [(s.text, s.words is None) for s in ordered] == [
        (s.text, s.words is None) for s in found
    ]
    times = [begin_s]
    for segment in ordered:
        spoken = [t for word in segment.words or () for t in (word.start, word.end)]
        times += [segment.start, *spoken, segment.end]
    assert all(a <= b for a, b in pairwise([*times, end_s]))


def test_long_audio_is_batched_unless_silence_is_to_be_judged() -> None:
    plain = TranscribeOptions()
    assert plain.long_form_of(60.0) == "sequential"
    assert plain.long_form_of(60.1) == "batched"
    judged = TranscribeOptions(words=WordOptions(hallucination_silence_threshold=2.0))
    assert judged.long_form_of(600.0) == "sequential"
    with pytest.raises(UsageError, match="sequential"):
        TranscribeOptions(words=judged.words, long_form="batched")
