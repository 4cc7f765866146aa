"""Random checkpoints: exact architectures, reproducible weights, activations near one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.support.bad_checkpoints import SMALL_DIMS
from whisper_npu_cli.checkpoints.checkpoint import expected_shapes
from whisper_npu_cli.checkpoints.random import RANDOM_SIZES, random_checkpoint, random_dims

# Parameters of transformers' WhisperForConditionalGeneration with the published dimensions
# (transformers 5.23, output and token embeddings counted once).
N_PARAMETERS = {
    "tiny": 37760640,
    "tiny.en": 37760256,
    "base": 72593920,
    "base.en": 72593408,
    "small": 241734912,
    "small.en": 241734144,
    "medium": 763857920,
    "medium.en": 763856896,
    "large-v3": 1543490560,
    "large-v3-turbo": 808878080,
}


@pytest.mark.parametrize("size", RANDOM_SIZES)
def test_architecture_is_the_published_one(size: str) -> None:
    shapes = expected_shapes(random_dims(size))
    assert sum(math.prod(shape) for shape in shapes.values()) == N_PARAMETERS[size]


@pytest.mark.parametrize(
    ("size", "n_languages", "is_multilingual"),
    [("tiny", 99, True), ("tiny.en", 99, False), ("large-v3", 100, True)],
)
def test_tokenizer_fits(size: str, n_languages: int, is_multilingual: bool) -> None:
    checkpoint = random_checkpoint(random_dims(size))
    tokenizer = checkpoint.tokenizer()
    assert tokenizer.n_vocab == checkpoint.dims.n_vocab
    assert len(tokenizer.language_ids) == n_languages
    assert tokenizer.is_multilingual == is_multilingual
    assert tokenizer.decode(tokenizer.encode(" Grüße")) == " Grüße"
    assert tokenizer.decode([300]) == " w44"


def test_vocabulary_too_small_for_special_tokens_has_no_tokenizer() -> None:
    dims = replace(SMALL_DIMS, n_vocab=300)
    assert random_checkpoint(dims).tokenizer_json == b""


def test_tensors_depend_on_seed_and_name_alone() -> None:
    one, two = random_checkpoint(SMALL_DIMS, seed=1), random_checkpoint(SMALL_DIMS, seed=1)
    other = random_checkpoint(SMALL_DIMS, seed=2)
    names = list(one.tensors)
    assert names == list(expected_shapes(SMALL_DIMS))
    for name in reversed(names):
        np.testing.assert_array_equal(one.array(name), two.array(name))
        assert not np.array_equal(one.array(name), other.array(name))
    conv = "model.encoder.conv{}.bias"
    assert not np.array_equal(one.array(conv.format(1)), one.array(conv.format(2)))


def test_scale_keeps_activations_near_one() -> None:
    checkpoint = random_checkpoint(SMALL_DIMS)
    for name, shape in expected_shapes(SMALL_DIMS).items():
        array = checkpoint.array(name)
        assert array.dtype == np.float32
        assert array.shape == shape
        if len(shape) > 1:
            fan_in = math.prod(shape[1:])
            # the smallest has 32 x 64 values: its standard deviation is known to 1 %
            assert array.std() * math.sqrt(fan_in) == pytest.approx(1, rel=0.05)
        elif name.endswith("norm.weight"):
            assert np.abs(array - 1).max() <= 0.1
        else:
            assert np.abs(array).max() <= 0.1


def test_first_values_stay_the_same() -> None:
    """Benchmarks of different versions must compute the same."""
    first = random_checkpoint(random_dims("tiny")).array("model.encoder.conv1.weight").ravel()
    assert first[:3] == pytest.approx([-0.09071192, -0.10639252, -0.00325451], abs=1e-8)
