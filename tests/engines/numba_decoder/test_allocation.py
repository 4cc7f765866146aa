"""A decoding step allocates nothing of the size of the vocabulary, the model or its caches."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support.tiny_model import TINY_DIMS, TINY_SEED
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.decoding.beam import BeamPolicy
from whisper_npu_cli.decoding.rules import SuppressTokens, TimestampRules
from whisper_npu_cli.decoding.sampling import SamplingPolicy
from whisper_npu_cli.decoding.search import Policy, Prompts, search
from whisper_npu_cli.engines.base import EncodedWindow
from whisper_npu_cli.engines.numba_decoder.decoder import NumbaDecoder, NumbaSession

DIMS = replace(TINY_DIMS, n_vocab=50_000)  # a row of logits is 200 KB
EOT = DIMS.n_vocab - 1600
RULES = [
    SuppressTokens(np.array([1, 2, EOT])),  # so that no search ends early
    TimestampRules(DIMS.n_vocab - 1501, EOT, DIMS.n_vocab - 1502, 50),
]
MAX_BYTES = 80_000  # lists of tokens and small arrays: up to 37 KB were seen for ten rows


@pytest.mark.parametrize(
    "policy",
    [SamplingPolicy(EOT, 0.0, 1, np.random.default_rng()), BeamPolicy(EOT, 5, 1.0)],
    ids=["greedy", "beams"],
)
def test_a_step_allocates_nothing_large(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    peaks: list[int] = []
    step = NumbaSession.step

    def measured(self: NumbaSession, tokens: Any) -> Any:
        if tracemalloc.is_tracing():
            before, peak = tracemalloc.get_traced_memory()
            peaks.append(peak - steady[-1])
            steady.append(before)
        else:
            tracemalloc.start()
            steady.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.reset_peak()
        return step(self, tokens)

    steady: list[int] = []
    monkeypatch.setattr(NumbaSession, "step", measured)
    checkpoint = random_checkpoint(DIMS, TINY_SEED)
    decoder = NumbaDecoder(checkpoint)
    shape = (DIMS.n_text_layer, DIMS.n_audio_ctx, DIMS.n_text_state)
    window = EncodedWindow(np.zeros(shape[1:], np.float32), *np.ones((2, *shape), np.float32))
    prompts = Prompts(np.full((2, 3), 7), 0, 3)
    try:
        search(decoder, [decoder.cross_kv(window)] * 2, prompts, policy, RULES)
    finally:
        tracemalloc.stop()
    assert len(peaks) > 20
    assert max(peaks) < MAX_BYTES
