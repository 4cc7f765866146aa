"""Whisper's published vocabularies as `tokenizer.json`, and the smallest possible one."""

from __future__ import annotations

from whisper_npu_cli.checkpoints.tokenizer import Tokenizer, special_tokens
from whisper_npu_cli.checkpoints.vocabularies import (
    byte_alphabet,
    openai_tokenizer_json,
    tokenizer_json,
)

# A token for each byte, no merges, and every special token of the multilingual models.
BYTES = Tokenizer(
    tokenizer_json(byte_alphabet(), [], special_tokens(99)), is_multilingual=True, source="test"
)
N_VOCAB = {"english": 51864, "multilingual": 51865, "large-v3": 51866}


def published_tokenizer_json(vocabulary: str) -> bytes:
    """Return the file of whisper-base ("multilingual"), base.en ("english") or "large-v3"."""
    found = openai_tokenizer_json(N_VOCAB[vocabulary])
    assert found
    return found
