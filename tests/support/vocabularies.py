"""Whisper's published vocabularies as `tokenizer.json`, and the smallest one that there is."""

from __future__ import annotations

import lzma
from functools import cache

import numpy as np

from tests.support.places import GOLDEN
from whisper_npu_cli.checkpoints.tokenizer import Tokenizer, special_tokens
from whisper_npu_cli.checkpoints.vocabularies import byte_alphabet, tokenizer_json

# A token a byte, no merges, and every special token of the multilingual models
BYTES = Tokenizer(
    tokenizer_json(byte_alphabet(), [], special_tokens(99)), is_multilingual=True, source="test"
)


@cache
def published_tokenizer_json(vocabulary: str) -> bytes:
    """Return that of openai/whisper-base ("multilingual"), base.en ("english") or "large-v3"."""
    # The merges are in `golden/`.
    file = "gpt2" if vocabulary == "english" else "multilingual"
    packed = (GOLDEN / f"{file}.merges.xz").read_bytes()
    pairs = np.frombuffer(lzma.decompress(packed), "<u2").reshape(-1, 2).tolist()
    texts = byte_alphabet()
    merges = []
    for left, right in pairs:
        merges.append(f"{texts[left]} {texts[right]}")
        texts.append(texts[left] + texts[right])
    if vocabulary != "english":
        texts.append("")  # the multilingual vocabularies have one empty token
    return tokenizer_json(texts, merges, special_tokens(100 if vocabulary == "large-v3" else 99))
