"""OpenAI's vocabularies are the published ones, to the byte."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from whisper_npu_cli.checkpoints.vocabularies import (
    byte_alphabet,
    openai_texts,
    openai_tokenizer_json,
    text_bytes,
)

# SHA-256 of openai/whisper `whisper/assets/*.tiktoken` at c0d2f62 (release 20250625)
PUBLISHED = {
    51864: "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
    51865: "b34b360dbb493e781e479794586d661700670d65564001f23024971d1f2fa126",
    51866: "b34b360dbb493e781e479794586d661700670d65564001f23024971d1f2fa126",
}


@pytest.mark.parametrize("n_vocab", PUBLISHED)
def test_texts_are_those_of_the_published_file(n_vocab: int) -> None:
    lines = (
        base64.b64encode(text_bytes(text)).decode() or "="  # so the empty text is written there
        for text in openai_texts(n_vocab)
    )
    file = "".join(f"{line} {rank}\n" for rank, line in enumerate(lines))
    assert hashlib.sha256(file.encode()).hexdigest() == PUBLISHED[n_vocab]


@pytest.mark.parametrize("n_vocab", PUBLISHED)
def test_every_id_of_the_embeddings_has_a_token(n_vocab: int) -> None:
    fields = json.loads(openai_tokenizer_json(n_vocab) or b"")
    assert len(fields["model"]["vocab"]) + len(fields["added_tokens"]) == n_vocab


def test_other_sizes_have_no_vocabulary() -> None:
    assert openai_tokenizer_json(51867) is None
    assert openai_texts(51867) == []


def test_every_byte_has_a_character() -> None:
    assert sorted(text_bytes("".join(byte_alphabet()))) == list(range(256))
