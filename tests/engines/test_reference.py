"""The oracle against transformers, on a small random checkpoint and recorded speech.

Tolerance: 1e-4 of the golden values' standard deviation (all are near 1). Both sides compute in
fp32, whose rounding through these layers was measured at 1e-5; a wrong constant costs over 1e-3.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.places import GOLDEN
from tests.support.tiny_model import TINY_DIMS, TINY_SEED, unpack_mel
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.engines.base import EncodedWindow
from whisper_npu_cli.engines.reference import ReferenceDecoder, ReferenceEncoder, ReferenceSession

MODEL = GOLDEN / "model.npz"
TOLERANCE = 1e-4
CHECKPOINT = random_checkpoint(TINY_DIMS, TINY_SEED)
DECODER = ReferenceDecoder(CHECKPOINT)

Arrays = Mapping[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def golden() -> Arrays:
    with np.load(MODEL) as file:
        return dict(file)


@pytest.fixture(scope="module")
def windows(golden: Arrays) -> list[EncodedWindow]:
    encoder = ReferenceEncoder(CHECKPOINT)
    return [encoder.encode(mel) for mel in unpack_mel(golden["mels"])]


def assert_close(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * expected.std())


def test_encoder_states_are_those_of_transformers(
    golden: Arrays, windows: list[EncodedWindow]
) -> None:
    states = np.stack([window.states for window in windows])
    assert states.shape == (2, TINY_DIMS.n_audio_ctx, TINY_DIMS.n_audio_state)
    assert_close(states[:, golden["positions"]], golden["states"])


def test_cross_attention_inputs_are_those_of_transformers(
    golden: Arrays, windows: list[EncodedWindow]
) -> None:
    for name in ("cross_keys", "cross_values"):
        last_layer = np.stack([getattr(window, name)[-1] for window in windows])
        assert_close(last_layer[:, golden["positions"]], golden[name])


def start(windows: list[EncodedWindow], max_rows: int | None = None) -> ReferenceSession:
    return DECODER.start([DECODER.cross_kv(window) for window in windows], max_rows)


def test_logits_of_a_whole_prompt(golden: Arrays, windows: list[EncodedWindow]) -> None:
    prompts = golden["prompts"]
    logits = start(windows).prefill(prompts, range(prompts.shape[1]))
    assert_close(logits[..., ::8], golden["logits"])


def test_logits_token_by_token_from_the_cache(golden: Arrays, windows: list[EncodedWindow]) -> None:
    session = start(windows)
    logits = np.stack([session.step(tokens) for tokens in golden["prompts"].T], axis=1)
    assert_close(logits[..., ::8], golden["logits_cached"])


def test_greedy_tokens_are_identical(golden: Arrays, windows: list[EncodedWindow]) -> None:
    """Greedy among the tokens that a row has not had: a random model repeats itself."""
    prompts, expected = golden["prompts"], golden["greedy"]
    session = start(windows)
    tokens = prompts
    logits = session.prefill(prompts, [prompts.shape[1] - 1])[:, 0]
    while tokens.shape[1] < expected.shape[1]:
        np.put_along_axis(logits, tokens, -np.inf, axis=1)
        best = logits.argmax(-1)
        tokens = np.concatenate([tokens, best[:, None]], axis=1)
        logits = session.step(best)
    np.testing.assert_array_equal(tokens, expected)


def history(windows: list[EncodedWindow], rows: list[tuple[int, list[int]]]) -> NDArray[np.float32]:
    """Return the last logits of each row (window, tokens), computed from scratch."""
    session = start([windows[window] for window, _ in rows])
    tokens = np.array([tokens for _, tokens in rows])
    return session.prefill(tokens, [tokens.shape[1] - 1])[:, 0]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_gathered_rows_go_on_as_if_decoded_alone(
    data: st.DataObject, windows: list[EncodedWindow]
) -> None:
    """Rows keep their tokens and window through any reordering, repetition and dropping."""
    token = st.integers(0, TINY_DIMS.n_vocab - 1)
    rows = [(i, [data.draw(token)]) for i in range(len(windows))]
    session: ReferenceSession = start(windows, max_rows=4)
    session.prefill(np.array([tokens for _, tokens in rows]), [0])
    for _ in range(data.draw(st.integers(1, 3))):
        source = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=4))
        session.gather(np.array(source))
        rows = [(rows[row][0], [*rows[row][1], data.draw(token)]) for row in source]
        logits = session.step(np.array([tokens[-1] for _, tokens in rows]))
    assert_close(logits, history(windows, rows))


def test_gather_beyond_max_rows_is_refused(windows: list[EncodedWindow]) -> None:
    with pytest.raises(ValueError, match="3 rows"):
        start(windows).gather(np.array([0, 1, 0]))


def test_full_context_is_refused(windows: list[EncodedWindow]) -> None:
    session = start(windows[:1])
    session.prefill(np.zeros((1, TINY_DIMS.n_text_ctx), np.int64), [0])
    with pytest.raises(ValueError, match="context of 64 tokens is full"):
        session.step(np.zeros(1, np.int64))
