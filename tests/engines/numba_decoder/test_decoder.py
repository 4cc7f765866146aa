"""The compiled decoder against the NumPy one, and its bookkeeping of rows against itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.tiny_model import TINY_DIMS, TINY_SEED
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.engines.base import CrossKV, EncodedWindow
from whisper_npu_cli.engines.npu.layout import to_bf16
from whisper_npu_cli.engines.numba_decoder.decoder import FEW_POSITIONS, NumbaDecoder
from whisper_npu_cli.engines.numba_decoder.threads import threads
from whisper_npu_cli.engines.reference import ReferenceDecoder
from whisper_npu_cli.errors import CheckpointError

# Sizes that differ from each other, so that no two axes can be exchanged.
DIMS = replace(TINY_DIMS, n_audio_head=1, n_text_ctx=80)

# Prompts and steps sum attention in another order (fp32 reassociation), and what is then rounded
# to 16 bits may become the next code, 3e-5 of the row's largest: 2.4e-4 of logits of standard
# deviation 1 were seen, over 2 layers.
SAME = {"atol": 1e-3, "rtol": 0}
# int8 rows are off by a uniform 1/254 of their largest weight: about 0.7 % of a random row's
# standard deviation, 0.8 % of the logits' after all layers; 6 standard deviations of that.
INT8_MEAN, INT8_MAX = 0.015, 0.06


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return random_checkpoint(DIMS, TINY_SEED)


@pytest.fixture(scope="module")
def decoder(checkpoint: Checkpoint) -> NumbaDecoder:
    return NumbaDecoder(checkpoint)


@pytest.fixture(scope="module")
def windows() -> list[EncodedWindow]:
    rng = np.random.default_rng(0)
    shape = (DIMS.n_text_layer, DIMS.n_audio_ctx, DIMS.n_text_state)
    states = np.zeros(shape[1:], np.float32)
    return [EncodedWindow(states, *rng.standard_normal((2, *shape), np.float32)) for _ in range(3)]


def random_tokens(*shape: int, seed: int = 1) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, DIMS.n_vocab, shape)


def start(decoder: Any, windows: Sequence[EncodedWindow], max_rows: int | None = None) -> Any:
    return decoder.start([decoder.cross_kv(window) for window in windows], max_rows)


def run_alone(
    decoder: NumbaDecoder, window: EncodedWindow, tokens: Sequence[int]
) -> NDArray[np.float32]:
    """Logits after `tokens`, one step each, of a session with this row only."""
    session = start(decoder, [window])
    logits = [session.step(np.array([token])) for token in tokens]
    return np.array(logits[-1][0])


def assert_near_reference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    error = np.abs(found - expected) / expected.std()
    assert error.mean() < INT8_MEAN
    assert error.max() < INT8_MAX


@pytest.mark.parametrize("cross_kv", ["int8", "f32"])
def test_logits_are_near_the_reference(
    checkpoint: Checkpoint, windows: list[EncodedWindow], cross_kv: str
) -> None:
    decoder = NumbaDecoder(checkpoint, cross_kv=cross_kv)  # type: ignore[arg-type]
    sessions = [start(decoder, windows, 5), start(ReferenceDecoder(checkpoint), windows, 5)]
    prompts = random_tokens(3, 7)
    assert_near_reference(*(session.prefill(prompts, [0, 3, 6]) for session in sessions))
    for rows in ([2, 0, 0, 1, 2], [4, 3, 3], [1, 0, 2, 2]):
        for session in sessions:
            session.gather(np.array(rows))
        tokens = random_tokens(len(rows))
        assert_near_reference(*(session.step(tokens) for session in sessions))


@pytest.mark.parametrize("cross_kv", ["int8", "f32"])
def test_bf16_keys_and_values_are_kept_as_their_numbers_in_f32_are(
    checkpoint: Checkpoint, windows: list[EncodedWindow], cross_kv: Any
) -> None:
    """As the NPU gives them: the kernels that quantise either agree to the bit."""
    decoder = NumbaDecoder(checkpoint, cross_kv=cross_kv)
    keys, values = (to_bf16(x) for x in (windows[0].cross_keys, windows[0].cross_values))
    window = replace(windows[0], cross_keys=keys, cross_values=values)
    found, expected = map(decoder.cross_kv, (window, window.widen()))
    for field in ("keys", "values", "key_scale", "value_scale"):
        assert np.array_equal(getattr(found, field), getattr(expected, field)), field


def test_rounding_to_bf16_costs_less_than_int8_does(
    checkpoint: Checkpoint, windows: list[EncodedWindow]
) -> None:
    """bf16 is off by a 512th of a number, int8 by a 254th of its channel's largest."""
    decoder = NumbaDecoder(checkpoint)
    wide = windows[0]
    keys, values = (to_bf16(x) for x in (wide.cross_keys, wide.cross_values))
    narrow = replace(wide, cross_keys=keys, cross_values=values)
    errors = []
    for window in (wide, narrow):
        kept = decoder.cross_kv(window)
        assert kept.key_scale is not None
        heads = (DIMS.n_text_layer, DIMS.n_audio_ctx, DIMS.n_text_head, -1)
        codes = kept.keys.reshape(*kept.keys.shape[:4], -1, 2).transpose(0, 1, 2, 4, 3, 5)
        codes = codes.reshape(*codes.shape[:2], -1, DIMS.text_head_size)[:, :, : DIMS.n_audio_ctx]
        back = codes * kept.key_scale[:, :, None]
        errors.append(np.square(back - wide.cross_keys.reshape(heads).swapaxes(1, 2)).mean() ** 0.5)
    # both errors are evenly spread and independent: deviations add up as squares, 1.03 measured
    assert errors[0] < errors[1] < 1.1 * errors[0]


def test_a_large_column_of_the_vocabulary_costs_the_others_no_precision(
    checkpoint: Checkpoint, windows: list[EncodedWindow]
) -> None:
    tensors = {name: checkpoint.array(name) for name in checkpoint.tensors}
    tensors["model.decoder.embed_tokens.weight"][:, 3] *= 8  # as in tiny.en
    for name in ("weight", "bias"):
        tensors[f"model.decoder.layer_norm.{name}"][3] /= 8
    outlier = replace(checkpoint, tensors=tensors)
    decoders = NumbaDecoder(outlier), ReferenceDecoder(outlier)
    prompts = random_tokens(3, 7)
    assert_near_reference(*(start(d, windows).prefill(prompts, [0, 3, 6]) for d in decoders))


def test_prefill_equals_steps(decoder: NumbaDecoder, windows: list[EncodedWindow]) -> None:
    tokens = random_tokens(2, 50)  # 100 positions: more than one pass of a prefill
    session = start(decoder, windows[:2])
    steps = np.stack([session.step(column).copy() for column in tokens.T], axis=1)
    at = [0, 1, 30, 32, 49]
    found = start(decoder, windows[:2]).prefill(tokens, at)
    np.testing.assert_allclose(found, steps[:, at], **SAME)


def test_prefill_continues_where_the_rows_are(
    decoder: NumbaDecoder, windows: list[EncodedWindow]
) -> None:
    tokens = random_tokens(1, 9)
    whole = start(decoder, windows[:1]).prefill(tokens, [8])
    session = start(decoder, windows[:1])
    session.prefill(tokens[:, :4], [])
    np.testing.assert_allclose(session.prefill(tokens[:, 4:], [4]), whole, **SAME)


def test_caches_grow_with_the_text(checkpoint: Checkpoint, windows: list[EncodedWindow]) -> None:
    """A step that finds them full copies what they hold."""
    tokens = random_tokens(2, FEW_POSITIONS + 3)
    growing = start(NumbaDecoder(checkpoint), windows[:2])
    found = [growing.step(fed).copy() for fed in tokens.T][-1]
    whole = start(NumbaDecoder(checkpoint), windows[:2]).prefill(tokens, [tokens.shape[1] - 1])
    np.testing.assert_allclose(found, whole[:, 0], **SAME)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 5, 8, 9])
def test_a_row_does_not_depend_on_the_others(
    decoder: NumbaDecoder, windows: list[EncodedWindow], n_rows: int
) -> None:
    tokens = random_tokens(6, n_rows)
    of_row = [windows[row % 3] for row in range(n_rows)]
    session = start(decoder, of_row)
    batched = [session.step(row).copy() for row in tokens][-1]
    for row in range(n_rows):
        alone = run_alone(decoder, of_row[row], tokens[:, row].tolist())
        np.testing.assert_allclose(batched[row], alone, **SAME)


def test_gathered_rows_keep_their_history(
    decoder: NumbaDecoder, windows: list[EncodedWindow]
) -> None:
    """Random reorders, repeats and drops; each row against its history decoded alone."""
    rng = np.random.default_rng(3)
    session = start(decoder, windows, max_rows=6)
    history: list[tuple[int, list[int]]] = [(row, []) for row in range(3)]
    for _ in range(12):
        tokens = rng.integers(0, DIMS.n_vocab, len(history))
        logits = session.step(tokens).copy()
        history = [(w, [*past, int(t)]) for (w, past), t in zip(history, tokens, strict=True)]
        rows = rng.integers(0, len(history), rng.integers(1, 7))
        session.gather(rows)
        history = [history[row] for row in rows]
        logits = logits[rows]
    for (window, tokens_of_row), found in zip(history, logits, strict=True):
        expected = run_alone(decoder, windows[window], tokens_of_row)
        np.testing.assert_allclose(found, expected, **SAME)


def test_a_later_session_starts_afresh(decoder: NumbaDecoder, windows: list[EncodedWindow]) -> None:
    fresh = run_alone(decoder, windows[0], [5, 6])
    start(decoder, windows, max_rows=7).prefill(random_tokens(3, 20), [])
    np.testing.assert_array_equal(run_alone(decoder, windows[0], [5, 6]), fresh)


def test_a_full_context_is_refused(decoder: NumbaDecoder, windows: list[EncodedWindow]) -> None:
    session = start(decoder, windows[:1])
    session.prefill(random_tokens(1, DIMS.n_text_ctx - 1), [])
    session.step(np.array([1]))
    with pytest.raises(ValueError, match="context of 80 tokens is full"):
        session.step(np.array([1]))


def test_heads_of_an_odd_size_are_refused() -> None:
    dims = replace(DIMS, n_text_head=8, n_text_state=96, n_audio_head=8, n_audio_state=96)
    with pytest.raises(CheckpointError, match="heads of 12 channels"):
        NumbaDecoder(random_checkpoint(dims, TINY_SEED))


def test_misuse_is_refused(
    checkpoint: Checkpoint, decoder: NumbaDecoder, windows: list[EncodedWindow]
) -> None:
    earlier = start(decoder, windows[:2])
    with pytest.raises(ValueError, match="tokens for 1 rows, the session has 2"):
        earlier.step(np.array([1]))
    with pytest.raises(ValueError, match="3 rows gathered, the session holds 2"):
        earlier.gather(np.array([0, 0, 1]))
    start(decoder, windows[:1])
    with pytest.raises(ValueError, match="later session"):
        earlier.step(np.array([1, 1]))
    wrong = EncodedWindow(windows[0].states, windows[0].cross_keys[:1], windows[0].cross_values)
    with pytest.raises(ValueError, match=r"expected \(2, 1500, 128\)"):
        start(decoder, [wrong])
    others = CrossKV(windows[0].cross_keys, windows[0].cross_values)  # as the reference keeps them
    with pytest.raises(ValueError, match=r"not of this decoder's cross_kv\(\)"):
        decoder.start([others])
    of_f32 = NumbaDecoder(checkpoint, cross_kv="f32").cross_kv(windows[0])
    with pytest.raises(ValueError, match=r"not of this decoder's cross_kv\(\)"):
        decoder.start([of_f32])


def test_logits_are_the_same_with_any_number_of_threads(
    decoder: NumbaDecoder, windows: list[EncodedWindow]
) -> None:
    tokens = random_tokens(5, len(windows))
    logits = []
    for n in (1, 2):
        with threads(n):
            session = start(decoder, windows)
            prefilled = session.prefill(tokens[:3].T, (2,))[:, 0]
            logits.append([prefilled, *(session.step(row).copy() for row in tokens[3:])])
    np.testing.assert_array_equal(*logits)
