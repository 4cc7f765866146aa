"""openai-whisper with this program's arrays and vocabulary.

openai-whisper and torch are imported when they are needed, because the program's own environment
has neither.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np

from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.checkpoints.openai import openai_name
from whisper_npu_cli.checkpoints.vocabularies import text_bytes


def load_original(checkpoint: Checkpoint) -> Any:
    """Return openai-whisper's model with arrays and alignment heads of `checkpoint`, in fp32."""
    import torch
    from whisper.model import ModelDimensions, Whisper

    model = Whisper(ModelDimensions(**vars(checkpoint.dims)))
    state = {
        openai_name(name): torch.from_numpy(np.array(checkpoint.array(name)))
        for name in checkpoint.tensors
    }
    model.load_state_dict(state, strict=True)
    set_alignment_heads(model, checkpoint)
    return model.eval()


def set_alignment_heads(model: Any, checkpoint: Checkpoint) -> None:
    """Make openai-whisper's model find word times with the alignment heads of `checkpoint`."""
    import torch

    mask = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head, dtype=torch.bool)
    for head in checkpoint.generation.alignment_heads:
        mask[head] = True
    model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)


def make_original_tokenizer(checkpoint: Checkpoint, language: str | None, task: str) -> Any:
    """Return openai-whisper's tokenizer over the vocabulary of `checkpoint`."""
    import tiktoken
    from whisper.tokenizer import Tokenizer, get_encoding

    fields = json.loads(checkpoint.tokenizer_json)
    ranks = {text_bytes(text): id_ for text, id_ in fields["model"]["vocab"].items()}
    special = {token["content"]: token["id"] for token in fields["added_tokens"]}
    if "<|nocaptions|>" in special:  # its name since large-v3
        special["<|nospeech|>"] = special.pop("<|nocaptions|>")
    encoding = tiktoken.Encoding(
        name="golden",
        pat_str=get_encoding("gpt2")._pat_str,
        mergeable_ranks=ranks,
        special_tokens=special,
    )
    n_languages = sum(bool(re.fullmatch(r"<\|[a-z]{2,3}\|>", name)) for name in special)
    if not checkpoint.generation.is_multilingual:
        return Tokenizer(encoding, n_languages, language=None, task=None)
    return Tokenizer(encoding, n_languages, language=language, task=task)


@contextmanager
def patch_vocabulary(checkpoint: Checkpoint) -> Iterator[None]:
    """Give openai-whisper the vocabulary, and let it take the likeliest token instead of drawing.

    Random draws cannot be the same in two programs.
    """

    class Likeliest:
        def __init__(self, logits: Any) -> None:
            self._logits = logits

        def sample(self) -> Any:
            return self._logits.argmax(dim=-1)

    def tokenizer(*_: Any, language: str | None = None, task: str | None = None, **__: Any) -> Any:
        return make_original_tokenizer(checkpoint, language or "en", task or "transcribe")

    with (
        mock.patch("whisper.decoding.get_tokenizer", tokenizer),
        mock.patch("whisper.transcribe.get_tokenizer", tokenizer),
        mock.patch("whisper.decoding.Categorical", Likeliest),
    ):
        yield
