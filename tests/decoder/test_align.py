"""Dynamic time warping, the median along time, and the words that come of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from decoding_model import lively_checkpoint, windows
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from words_model import N_FRAMES, TEXTS

from whisper_npu_cli.decoder.align import (
    Spoken,
    align_words,
    alignment_cost,
    median_filter,
    token_starts,
    warp,
)
from whisper_npu_cli.decoder.cpu import NumbaDecoder
from whisper_npu_cli.dims import TIME_PRECISION_S
from whisper_npu_cli.encoder.base import EncodedWindow
from whisper_npu_cli.reference import ReferenceDecoder, ReferenceEncoder
from whisper_npu_cli.weights import Checkpoint
from whisper_npu_cli.words import TimedWord

COSTS = arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.floats(-4, 4, width=16),  # sums of 24 are exact in fp32
)


def cheapest(cost: Any) -> float:
    """The cost of the cheapest path, by the definition."""
    best = np.full((cost.shape[0] + 1, cost.shape[1] + 1), np.inf)
    best[0, 0] = 0
    for i, j in np.ndindex(cost.shape):
        best[i + 1, j + 1] = cost[i, j] + min(best[i, j], best[i, j + 1], best[i + 1, j])
    return float(best[-1, -1])


@given(COSTS)
def test_path_is_the_cheapest_monotonic_one(cost: Any) -> None:
    path = warp(cost)
    assert path[:, 0].tolist() == [0, 0]
    assert path[:, -1].tolist() == [cost.shape[0] - 1, cost.shape[1] - 1]
    steps = {tuple(step) for step in np.diff(path).T.tolist()}
    assert steps <= {(0, 1), (1, 0), (1, 1)}
    assert float(cost[tuple(path)].astype(np.float64).sum()) == cheapest(cost)


@pytest.mark.parametrize(("n_rows", "n_columns"), [(10, 20), (32, 16), (123, 1500), (224, 40)])
def test_a_cheap_path_is_found_again(n_rows: int, n_columns: int) -> None:
    # As in openai-whisper's tests: a random path is free, all else costs.
    rng = np.random.default_rng(n_rows)
    steps = rng.permutation(np.array([1] * (n_rows - 1) + [0] * (n_columns - 1)))
    rows = np.r_[0, np.cumsum(steps)]
    columns = np.r_[0, np.cumsum(1 - steps)]
    cost = rng.random((n_rows, n_columns), np.float32) + np.float32(1)
    cost[rows, columns] = 0
    path = warp(cost)
    # A corner of the free path may be cut at no cost.
    on_path = set(zip(rows.tolist(), columns.tolist(), strict=True))
    assert set(map(tuple, path.T.tolist())) <= on_path


@given(COSTS)
def test_every_row_begins_once_and_in_order(cost: Any) -> None:
    starts = token_starts(cost)
    assert len(starts) == len(cost)
    assert starts[0] == 0
    assert (np.diff(starts) >= 0).all()


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 20)),
        elements=st.floats(-9, 9, width=32),
    ),
    st.sampled_from([1, 3, 5, 7]),
)
def test_median_is_that_of_the_mirrored_axis(x: Any, width: int) -> None:
    margin = width // 2
    filtered = median_filter(x, width)
    if x.shape[-1] <= margin:  # nothing to mirror
        assert np.array_equal(filtered, x)
        return
    mirrored = np.pad(x, ((0, 0), (0, 0), (margin, margin)), mode="reflect")
    for t in range(x.shape[-1]):
        expected = np.median(mirrored[..., t : t + width], axis=-1)
        assert np.array_equal(filtered[..., t], expected)


def test_heads_that_tell_nothing_give_a_cost_all_the_same() -> None:
    cost = alignment_cost(np.full((2, 5, 40), 1 / 40, np.float32))
    assert np.array_equal(cost, np.zeros((5, 40)))


@pytest.fixture(scope="module")
def golden() -> Any:
    return json.loads((GOLDEN / "words.json").read_text())["alignments"]


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return lively_checkpoint()


@pytest.fixture(scope="module")
def encoded(checkpoint: Checkpoint) -> list[EncodedWindow]:
    encoder = ReferenceEncoder(checkpoint)
    return [encoder.encode(mel) for mel in windows()]


@pytest.mark.parametrize("index", range(len(TEXTS)))
def test_words_are_openai_whispers(
    index: int, golden: Any, checkpoint: Checkpoint, encoded: list[EncodedWindow]
) -> None:
    tokenizer, expected = checkpoint.tokenizer(), golden[index]
    assert tokenizer.encode(TEXTS[index]) == expected["tokens"]
    spoken = Spoken(expected["tokens"], "en", "transcribe", N_FRAMES[index])
    words = align_words(ReferenceDecoder(checkpoint), encoded[index], tokenizer, spoken)
    assert [(w.word, w.start, w.end) for w in words] == [
        (text, start, end) for text, start, end, _ in expected["words"]
    ]
    # One softmax of fp32 logits of size 10.
    assert [w.probability for w in words] == pytest.approx(
        [probability for *_, probability in expected["words"]], rel=1e-4
    )


@pytest.mark.parametrize("index", range(len(TEXTS)))
def test_compiled_decoder_looks_where_the_reference_does(
    index: int, checkpoint: Checkpoint, encoded: list[EncodedWindow], compiled: NumbaDecoder
) -> None:
    tokenizer = checkpoint.tokenizer()
    text = tokenizer.encode(TEXTS[index])
    tokens = np.array([*tokenizer.sot_sequence("en"), tokenizer.no_timestamps, *text])
    logits, weights = compiled.align(encoded[index], tokens)
    expected_logits, expected = ReferenceDecoder(checkpoint).align(encoded[index], tokens)
    assert weights.shape == expected.shape
    # int8 weights and cross-attention keys; a random model's weights are of size 1 / 1500.
    cosines = (weights * expected).sum(-1) / np.sqrt(
        np.square(weights).sum(-1) * np.square(expected).sum(-1)
    )
    assert cosines.min() > 0.99
    assert np.corrcoef(logits.ravel(), expected_logits.ravel())[0, 1] > 0.999


@pytest.fixture(scope="module")
def compiled(checkpoint: Checkpoint) -> NumbaDecoder:
    return NumbaDecoder(checkpoint)


def test_no_text_has_no_words(checkpoint: Checkpoint, encoded: list[EncodedWindow]) -> None:
    tokenizer, decoder = checkpoint.tokenizer(), ReferenceDecoder(checkpoint)
    none = Spoken((), "en", "transcribe", 3000)
    assert align_words(decoder, encoded[0], tokenizer, none) == []
    no_content = Spoken(tokenizer.encode(" a"), "en", "transcribe", 1)
    assert align_words(decoder, encoded[0], tokenizer, no_content) == []


@settings(max_examples=20)
@given(st.integers(2, 3000), st.lists(st.integers(0, 255), min_size=1, max_size=30))
def test_words_cover_the_tokens_and_stay_in_the_content(
    checkpoint: Checkpoint, encoded: list[EncodedWindow], n_frames: int, tokens: list[int]
) -> None:
    words: list[TimedWord] = align_words(
        ReferenceDecoder(checkpoint),
        encoded[0],
        checkpoint.tokenizer(),
        Spoken(tokens, "en", "transcribe", n_frames),
    )
    assert [token for word in words for token in word.tokens] == tokens
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= n_frames // 2 * TIME_PRECISION_S
