"""Reading directories in Hugging Face's layout: every storage form, every kind of damage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.bad_checkpoints import (
    BAD_CHECKPOINTS,
    FC1,
    SMALL_DIMS,
    BadCheckpoint,
    edit_json,
    write_good_checkpoint,
)
from whisper_npu_cli.checkpoints import huggingface
from whisper_npu_cli.checkpoints.checkpoint import default_alignment_heads, expected_shapes
from whisper_npu_cli.checkpoints.huggingface import INDEX_FILE
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.checkpoints.safetensors import write_tensors
from whisper_npu_cli.errors import CheckpointError


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("good")
    write_good_checkpoint(directory)
    return directory


@pytest.mark.parametrize(
    ("dtype", "relative"),
    # half a unit in the last place: 2^-11 for a 10-bit fraction, 2^-8 for a 7-bit one; the
    # absolute part is for values where fp16 has no full precision left (below 2^-14)
    [("F32", 0.0), ("F16", 2**-11), ("BF16", 2**-8)],
)
def test_every_dtype_reads_as_fp32(tmp_path: Path, dtype: str, relative: float) -> None:
    write_good_checkpoint(tmp_path, dtype)
    checkpoint = huggingface.load(tmp_path)
    source = random_checkpoint(SMALL_DIMS)
    assert checkpoint.dims == SMALL_DIMS
    assert set(checkpoint.tensors) == set(expected_shapes(SMALL_DIMS))
    for name, shape in expected_shapes(SMALL_DIMS).items():
        array = checkpoint.array(name)
        assert array.dtype == np.float32
        assert array.shape == shape
        atol = 0 if dtype == "F32" else 2**-24
        np.testing.assert_allclose(array, source.array(name), rtol=relative, atol=atol)


def test_fp32_is_a_view_of_the_file_and_writing_does_not_reach_it(good: Path) -> None:
    checkpoint = huggingface.load(good)
    array = checkpoint.array(FC1)
    assert not array.flags.owndata
    array += 1
    np.testing.assert_array_equal(checkpoint.array(FC1) + 1, array)


def test_sharded_directory_reads_as_one(good: Path, tmp_path: Path) -> None:
    whole = huggingface.load(good)
    names = sorted(whole.tensors)
    weight_map = {}
    for shard, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{shard}-of-00002.safetensors"
        write_tensors(tmp_path / file, {name: whole.array(name) for name in part}, "F32")
        weight_map |= dict.fromkeys(part, file)
    (tmp_path / INDEX_FILE).write_text(json.dumps({"weight_map": weight_map}))
    for file in ("config.json", "tokenizer.json"):
        (tmp_path / file).write_bytes((good / file).read_bytes())
    sharded = huggingface.load(tmp_path)
    for name in names:
        np.testing.assert_array_equal(sharded.array(name), whole.array(name))


@pytest.mark.parametrize("case", BAD_CHECKPOINTS, ids=lambda case: case.id)
def test_damage_is_one_clear_error(case: BadCheckpoint, tmp_path: Path) -> None:
    case.build(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        huggingface.load(tmp_path).tokenizer()
    assert case.phrase in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_is_called_as_asked_for_or_as_its_directory(good: Path) -> None:
    assert huggingface.load(good, "base").name == "base"
    assert huggingface.load(good).name == good.name


class TestGenerationSettings:
    def test_come_from_generation_config(self, tmp_path: Path) -> None:
        write_good_checkpoint(tmp_path)
        edit_json(
            tmp_path / "generation_config.json",
            is_multilingual=True,
            alignment_heads=[[0, 0]],
        )
        found = huggingface.load(tmp_path).generation
        assert found.is_multilingual
        assert found.alignment_heads == ((0, 0),)

    def test_have_defaults(self, tmp_path: Path) -> None:
        write_good_checkpoint(tmp_path)
        (tmp_path / "generation_config.json").unlink()
        found = huggingface.load(tmp_path).generation
        assert not found.is_multilingual  # 1900 ids
        assert found.alignment_heads == default_alignment_heads(SMALL_DIMS)

    def test_heads_of_layers_that_a_distilled_model_lacks_are_ignored(self, tmp_path: Path) -> None:
        write_good_checkpoint(tmp_path)
        edit_json(tmp_path / "generation_config.json", alignment_heads=[[7, 0], [25, 6]])
        found = huggingface.load(tmp_path).generation
        assert found.alignment_heads == default_alignment_heads(SMALL_DIMS)
