"""What every engine holds of a model: a tokenizer that fits, a key of its weights, its heads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.bad_checkpoints import SMALL_DIMS
from whisper_npu_cli.checkpoints.checkpoint import default_alignment_heads
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.errors import CheckpointError


def test_tokenizer_may_have_fewer_ids_than_the_embeddings_but_not_more() -> None:
    checkpoint = random_checkpoint(SMALL_DIMS)
    padded = replace(checkpoint, dims=replace(SMALL_DIMS, n_vocab=SMALL_DIMS.n_vocab + 1))
    assert padded.tokenizer().n_vocab == SMALL_DIMS.n_vocab
    cut = replace(checkpoint, dims=replace(SMALL_DIMS, n_vocab=SMALL_DIMS.n_vocab - 1))
    with pytest.raises(CheckpointError, match=r"random: .* at most 1899 ids, .* found 1900"):
        cut.tokenizer()


def test_identity_is_that_of_the_tensors() -> None:
    checkpoint = random_checkpoint(SMALL_DIMS, seed=1)
    assert checkpoint.identity == random_checkpoint(SMALL_DIMS, seed=1).identity
    assert checkpoint.identity != random_checkpoint(SMALL_DIMS, seed=2).identity
    assert replace(checkpoint, tensors=dict(checkpoint.tensors)).identity is None


def test_default_alignment_heads_are_the_upper_half() -> None:
    dims = replace(SMALL_DIMS, n_text_layer=4, n_text_head=2)
    assert default_alignment_heads(dims) == ((2, 0), (2, 1), (3, 0), (3, 1))
