"""The model of the speed benchmark: the same work for every program."""

from __future__ import annotations

import numpy as np
import pytest

from tools.peers.fixed_length import make_fixed_length_checkpoint
from whisper_npu_cli.decoding.prompt import PromptBuilder
from whisper_npu_cli.decoding.retry import PromptedWindow, WindowDecoder
from whisper_npu_cli.engines.base import CrossKV
from whisper_npu_cli.engines.reference import ReferenceDecoder
from whisper_npu_cli.options import DecodingOptions


@pytest.mark.parametrize("beam_size", [None, 5])
def test_texts_have_the_same_length_whatever_is_heard(beam_size: int | None) -> None:
    n_tokens = 7
    checkpoint = make_fixed_length_checkpoint("tiny", n_tokens)
    dims, tokenizer = checkpoint.dims, checkpoint.tokenizer()
    shape = (dims.n_text_layer, dims.n_audio_ctx, dims.n_text_state)
    rng = np.random.default_rng(0)
    windows = [CrossKV(*rng.standard_normal((2, *shape), np.float32)) for _ in range(2)]
    options = DecodingOptions(
        beam_size=beam_size, without_timestamps=True, temperature_increment_on_fallback=None
    )
    prompt = PromptBuilder(tokenizer, options, "transcribe", dims.n_text_ctx).build("en")
    decoder = WindowDecoder(ReferenceDecoder(checkpoint), tokenizer, options)
    for decoded in decoder.decode([PromptedWindow(window, "en", prompt) for window in windows]):
        assert len(decoded.tokens) == n_tokens
        assert max(decoded.tokens) < tokenizer.eot
        assert decoded.no_speech_prob < 0.01  # a silent window would be skipped
