"""OpenAI's vocabularies, for checkpoints that come without a `tokenizer.json`.

They are those of openai/whisper `whisper/assets/` (MIT), gpt2.tiktoken and multilingual.tiktoken,
as the pairs of ids that each merge joins (u2, little endian, xz), in `merges/`: tiktoken's files
have the tokens in the order of their ranks, and the merges follow from that.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from whisper_npu_cli.checkpoints.tokenizer import special_tokens

MERGES = Path(__file__).parent / "merges"
# By the size of the embeddings: the file of merges, and the languages (openai/whisper `model.py`,
# `is_multilingual` and `num_languages`). The last is that of large-v3.
_VOCABULARIES = {51864: ("gpt2", 99), 51865: ("multilingual", 99), 51866: ("multilingual", 100)}


def byte_alphabet() -> list[str]:
    """Return the characters that stand for bytes in byte-level BPE, in the order of GPT-2's ids.

    Printable bytes come first and stand for themselves; the others are U+0100 and up.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    n_others = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(0x100 + i) for i in range(n_others)]


def tokenizer_json(texts: Sequence[str], merges: Sequence[str], specials: Sequence[str]) -> bytes:
    """Return a `tokenizer.json` like those of Whisper at Hugging Face: ids of `texts` come first.

    `texts` are written in `byte_alphabet()`. A merge is two texts with a space between them.
    """
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    added = [
        {"id": len(texts) + i, "content": name, "special": not name[2].isdigit()}
        | {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        for i, name in enumerate(specials)
    ]
    fields = {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": byte_level | {"use_regex": True},
        "decoder": byte_level | {"use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {text: i for i, text in enumerate(texts)},
            "merges": list(merges),
        },
    }
    return json.dumps(fields, ensure_ascii=False).encode()


@cache
def openai_tokenizer_json(n_vocab: int) -> bytes | None:
    """Return the `tokenizer.json` of OpenAI's models with `n_vocab` ids, or None for no model's."""
    if n_vocab not in _VOCABULARIES:
        return None
    name, n_languages = _VOCABULARIES[n_vocab]
    texts, merges = _load_texts(name)
    return tokenizer_json(texts, merges, special_tokens(n_languages))


def openai_texts(n_vocab: int) -> list[str]:
    """Return the texts of the ids from 0 on in `byte_alphabet()`; none for no model's `n_vocab`."""
    return _load_texts(_VOCABULARIES[n_vocab][0])[0] if n_vocab in _VOCABULARIES else []


@cache
def _load_texts(name: str) -> tuple[list[str], list[str]]:
    """Return texts by id, and merges."""
    packed = (MERGES / f"{name}.xz").read_bytes()
    pairs = np.frombuffer(lzma.decompress(packed), "<u2").reshape(-1, 2).tolist()
    texts = byte_alphabet()
    merges = []
    for left, right in pairs:
        merges.append(f"{texts[left]} {texts[right]}")
        texts.append(texts[left] + texts[right])
    if name == "multilingual":
        texts.append("")  # it has one empty token
    return texts, merges


def text_bytes(text: str) -> bytes:
    """Return the bytes that a text in `byte_alphabet()` stands for."""
    return bytes(map(_byte_of().__getitem__, text))


@cache
def _byte_of() -> dict[str, int]:
    alphabet = byte_alphabet()
    others = (byte for byte in range(256) if chr(byte) not in alphabet)
    return {char: ord(char) if ord(char) < 256 else next(others) for char in alphabet}
