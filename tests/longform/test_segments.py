from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiny_model import TINY_DIMS
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.decoding.retry import DecodedWindow
from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.longform.segments import drop_empty, make_segments, order_times, split_tokens
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.transcript import Segment, Word

TOKENIZER = random_checkpoint(TINY_DIMS).tokenizer()
BEGIN = 100  # the first timestamp token


def at(seconds: float) -> int:
    return BEGIN + round(seconds / 0.02)


def test_consecutive_timestamps_split_and_seek_to_the_last() -> None:
    tokens = [at(0), 7, 8, at(2), at(3), 9, at(5), at(6)]
    spans, advance = split_tokens(tokens, BEGIN, N_FRAMES)
    assert [(s.start_s, s.end_s) for s in spans] == [(0.0, 2.0), (3.0, 5.0)]
    assert [s.tokens for s in spans] == [(at(0), 7, 8, at(2)), (at(3), 9, at(5))]
    assert advance == 500  # the end of the last complete segment; the begun one comes again


def test_single_timestamp_at_the_end_means_silence_to_the_end() -> None:
    tokens = [at(0), 7, at(2), at(2), 8, at(4)]
    spans, advance = split_tokens(tokens, BEGIN, 2500)
    assert [(s.start_s, s.end_s) for s in spans] == [(0.0, 2.0), (2.0, 4.0)]
    assert advance == 2500


def test_one_pair_is_one_segment_from_the_window_start() -> None:
    spans, advance = split_tokens([at(0.5), 7, at(2)], BEGIN, 1100)
    assert [(s.start_s, s.end_s) for s in spans] == [(0.0, 2.0)]
    assert advance == 1100


def test_without_timestamps_the_segment_is_the_whole_content() -> None:
    spans, advance = split_tokens([7, 8], BEGIN, 1100)
    assert [(s.start_s, s.end_s, s.tokens) for s in spans] == [(0.0, 11.0, (7, 8))]
    assert advance == 1100


@st.composite
def decoded_tokens(draw: st.DrawFn) -> list[int]:
    """Tokens as the timestamp rules allow them: pairs, never decreasing, segments not empty."""
    times = sorted(draw(st.lists(st.integers(0, 1500), min_size=1, max_size=12, unique=True)))
    tokens = []
    for start, end in zip(times[::2], times[1::2], strict=False):
        tokens += [BEGIN + start, *draw(st.lists(st.integers(0, 99), min_size=1)), BEGIN + end]
    if len(times) % 2 or not tokens:
        tokens.append(BEGIN + times[-1])  # a segment that has only begun
    return tokens


@given(decoded_tokens(), st.integers(1, N_FRAMES))
def test_any_window_moves_forward_and_keeps_order(tokens: list[int], n_frames: int) -> None:
    spans, advance = split_tokens(tokens, BEGIN, n_frames)
    assert 0 < advance <= N_FRAMES
    assert all(span.start_s <= span.end_s for span in spans)
    assert all(a.end_s <= b.start_s for a, b in pairwise(spans))
    joined = [token for span in spans for token in span.tokens]
    assert joined == tokens[: len(joined)]
    assert all(token >= BEGIN for token in tokens[len(joined) :])  # no text is lost


@given(decoded_tokens(), st.integers(1, N_FRAMES), st.integers(0, 10**6))
def test_segments_lie_within_their_window(tokens: list[int], n_frames: int, seek: int) -> None:
    shifted = tuple(t - BEGIN + TOKENIZER.timestamp_begin if t >= BEGIN else t for t in tokens)
    decoded = DecodedWindow("en", shifted, 0.0, -0.5, 1.0, 0.0, logprobs=tuple(map(float, shifted)))
    window = Window(seek, seek + n_frames, seek + n_frames)
    segments, advance = make_segments(decoded, TOKENIZER, window)
    start, end = seek / 100, (seek + n_frames) / 100
    assert 0 < advance <= n_frames
    # Sums of hundredths in floating point.
    assert all(start <= s.start <= s.end <= end + 1e-9 for s in segments)
    assert all(a.end <= b.start for a, b in pairwise(segments))
    assert all(s.text.strip() and s.start < s.end for s in drop_empty(segments))
    assert [s.id for s in segments] == list(range(len(segments)))
    assert all(s.logprobs == s.tokens for s in segments)  # each token has kept its own


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
