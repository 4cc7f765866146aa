"""Language detection: the probability of each language in a window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.engines.base import CrossKV, Decoder
from whisper_npu_cli.engines.numba_decoder.logits import log_softmax


def detect_language(
    decoder: Decoder, windows: Sequence[CrossKV], tokenizer: Tokenizer
) -> list[dict[str, float]]:
    """Return for each window the probability of each language code, likeliest first.

    The model must be multilingual; others have no tokens for languages.
    """
    prompts = np.full((len(windows), 1), tokenizer.sot)
    logits = decoder.start(windows).prefill(prompts, (0,))[:, 0]
    among = np.ascontiguousarray(logits[:, list(tokenizer.language_ids.values())])
    return [_rank(tokenizer, row) for row in np.exp(log_softmax(among))]


def _rank(tokenizer: Tokenizer, probs: np.ndarray) -> dict[str, float]:
    ranked = sorted(zip(tokenizer.language_ids, probs, strict=True), key=lambda item: -item[1])
    return {code: float(prob) for code, prob in ranked}
