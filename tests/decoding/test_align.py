"""Dynamic time warping, the median along time, and the words found with them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.support.decoding_model import lively_checkpoint, windows
from tests.support.places import GOLDEN
from tests.support.words_model import N_FRAMES, TEXTS
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.decoding.align import (
    Spoken,
    align_words,
    compute_cost,
    find_token_starts,
    median_filter,
    warp,
)
from whisper_npu_cli.dims import TIME_PRECISION_S
from whisper_npu_cli.engines.base import EncodedWindow
from whisper_npu_cli.engines.numba_decoder.decoder import NumbaDecoder
from whisper_npu_cli.engines.reference import ReferenceDecoder, ReferenceEncoder


@st.composite
def costs(draw: st.DrawFn) -> Any:
    """Costs without ties; on ties the original does not always choose the cheapest path."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.standard_normal(shape).astype(np.float32)


def cheapest(cost: Any) -> float:
    """The cost of the cheapest path, by the definition."""
    best = np.full((cost.shape[0] + 1, cost.shape[1] + 1), np.inf)
    best[0, 0] = 0
    for i, j in np.ndindex(cost.shape):
        best[i + 1, j + 1] = cost[i, j] + min(best[i, j], best[i, j + 1], best[i + 1, j])
    return float(best[-1, -1])


@given(costs())
def test_path_is_the_cheapest_monotonic_one(cost: Any) -> None:
    path = warp(cost)
    assert path[:, 0].tolist() == [0, 0]
    assert path[:, -1].tolist() == [cost.shape[0] - 1, cost.shape[1] - 1]
    steps = {tuple(step) for step in np.diff(path).T.tolist()}
    assert steps <= {(0, 1), (1, 0), (1, 1)}
    # The tolerance is that of fp32 sums of up to 23 numbers of size 1.
    assert cost[tuple(path)].sum(dtype=np.float64) == pytest.approx(cheapest(cost), abs=1e-5)


@pytest.mark.parametrize(("n_rows", "n_columns"), [(10, 20), (32, 16), (123, 1500), (224, 40)])
def test_a_cheap_path_is_found_again(n_rows: int, n_columns: int) -> None:
    # As in openai-whisper's tests: all cells of a random path are cheaper than any other cell.
    rng = np.random.default_rng(n_rows)
    steps = rng.permutation(np.array([1] * (n_rows - 1) + [0] * (n_columns - 1))).tolist()
    free = [(0, 0)]
    while steps:
        (i, j), down = free[-1], steps.pop()
        if steps and steps[-1] != down:  # a corner is cut
            steps.pop()
            free.append((i + 1, j + 1))
        else:
            free.append((i + down, j + 1 - down))
    cost = rng.random((n_rows, n_columns), np.float32)
    cost[tuple(np.array(free).T)] -= 1
    assert [tuple(cell) for cell in warp(cost).T.tolist()] == free


@given(costs())
def test_every_row_begins_once_and_in_order(cost: Any) -> None:
    starts = find_token_starts(cost)
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
    cost = compute_cost(np.full((2, 5, 40), 1 / 40, np.float32))
    assert np.array_equal(cost, np.zeros((5, 40)))


@pytest.fixture(scope="module")
def golden() -> Any:
    return json.loads((GOLDEN / "alignments.json").read_text())["alignments"]


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
    decoder = ReferenceDecoder(checkpoint)
    words = align_words(decoder, decoder.cross_kv(encoded[index]), tokenizer, spoken)
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
    reference = ReferenceDecoder(checkpoint)
    logits, weights = compiled.align(compiled.cross_kv(encoded[index]), tokens)
    expected_logits, expected = reference.align(reference.cross_kv(encoded[index]), tokens)
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
    window = decoder.cross_kv(encoded[0])
    none = Spoken((), "en", "transcribe", 3000)
    assert align_words(decoder, window, tokenizer, none) == []
    no_content = Spoken(tokenizer.encode(" a"), "en", "transcribe", 1)
    assert align_words(decoder, window, tokenizer, no_content) == []


def test_words_cover_the_tokens_and_stay_in_the_content(
    checkpoint: Checkpoint, encoded: list[EncodedWindow]
) -> None:
    tokenizer, decoder = checkpoint.tokenizer(), ReferenceDecoder(checkpoint)
    window = decoder.cross_kv(encoded[0])

    @settings(max_examples=20)
    @given(st.integers(2, 3000), st.text(min_size=1, max_size=12))
    def check(n_frames: int, text: str) -> None:
        tokens = tokenizer.encode(text)  # whole characters; incomplete ones would be no word
        spoken = Spoken(tokens, "en", "transcribe", n_frames)
        words = align_words(decoder, window, tokenizer, spoken)
        assert [token for word in words for token in word.tokens] == tokens
        times = [time for word in words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert times[0] >= 0
        assert times[-1] <= n_frames // 2 * TIME_PRECISION_S

    check()
