"""The alignment heads of OpenAI's models, by dimensions and by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.formats import DIMS
from whisper_npu_cli.checkpoints.alignment import ALIGNMENT_HEADS, find_alignment_heads
from whisper_npu_cli.checkpoints.checkpoint import default_alignment_heads
from whisper_npu_cli.checkpoints.random import RANDOM_SIZES, random_dims

LARGE = replace(random_dims("large-v3"), n_mels=80, n_vocab=51865)


def pairs(name: str) -> tuple[tuple[int, int], ...]:
    heads = ALIGNMENT_HEADS[name]
    return tuple((layer, head) for layer in heads for head in heads[layer])


@pytest.mark.parametrize("size", RANDOM_SIZES)
def test_dimensions_tell_the_heads(size: str) -> None:
    dims = random_dims(size)
    found = find_alignment_heads(dims, Path("model.pt"))
    assert found == pairs(size)  # all of them exist
    assert max(layer for layer, _ in found) < dims.n_text_layer


def test_the_two_large_ones_are_told_by_the_name_of_their_file() -> None:
    assert find_alignment_heads(LARGE, Path("large-v1.pt")) == pairs("large-v1")
    assert find_alignment_heads(LARGE, Path("ggml-large-v2-q5_0.bin")) == pairs("large-v2")
    assert find_alignment_heads(LARGE, Path("mine.pt")) == default_alignment_heads(LARGE)


def test_other_models_have_the_heads_of_the_upper_half() -> None:
    assert find_alignment_heads(DIMS, Path("large-v1.pt")) == default_alignment_heads(DIMS)
