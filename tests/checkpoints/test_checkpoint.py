"""Reading checkpoint directories: every storage form, every kind of damage, little memory."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from tests.support.bad_checkpoints import (
    BAD_CHECKPOINTS,
    FC1,
    SMALL_DIMS,
    BadCheckpoint,
    edit_json,
    write_good_checkpoint,
)
from whisper_npu_cli.checkpoints.checkpoint import (
    INDEX_FILE,
    WEIGHTS_FILE,
    default_alignment_heads,
    expected_shapes,
    load_checkpoint,
)
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.checkpoints.safetensors import read_header, write_tensors
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
    checkpoint = load_checkpoint(tmp_path)
    source = random_checkpoint(SMALL_DIMS)
    assert checkpoint.dims == SMALL_DIMS
    assert set(checkpoint.tensors) == set(expected_shapes(SMALL_DIMS))
    for name, shape in expected_shapes(SMALL_DIMS).items():
        array = checkpoint.array(name)
        assert array.dtype == np.float32
        assert array.shape == shape
        atol = 0 if dtype == "F32" else 2**-24
        np.testing.assert_allclose(array, source.array(name), rtol=relative, atol=atol)


@pytest.mark.parametrize("dtype", ["F32", "F16"])
def test_files_are_what_the_safetensors_library_reads(tmp_path: Path, dtype: str) -> None:
    write_good_checkpoint(tmp_path, dtype)
    ours = load_checkpoint(tmp_path)
    theirs = load_file(tmp_path / WEIGHTS_FILE)
    assert set(theirs) == set(ours.tensors)
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours.array(name), values.astype(np.float32))


def test_bf16_rounds_to_nearest_even(tmp_path: Path) -> None:
    step = 2.0**-7  # between 1 and 2
    values = np.array([1 + step / 2, 1 + 3 * step / 2, 1 + 0.4 * step, -3.0], np.float32)
    write_tensors(tmp_path / "x", {"x": values}, "BF16")
    read = read_header(tmp_path / "x")["x"].read()
    np.testing.assert_array_equal(read, np.array([1, 1 + 2 * step, 1, -3], np.float32))


def test_fp32_is_a_view_of_the_file_and_writing_does_not_reach_it(good: Path) -> None:
    checkpoint = load_checkpoint(good)
    array = checkpoint.array(FC1)
    assert not array.flags.owndata
    array += 1
    np.testing.assert_array_equal(checkpoint.array(FC1) + 1, array)


def test_sharded_directory_reads_as_one(good: Path, tmp_path: Path) -> None:
    whole = load_checkpoint(good)
    names = sorted(whole.tensors)
    weight_map = {}
    for shard, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{shard}-of-00002.safetensors"
        write_tensors(tmp_path / file, {name: whole.array(name) for name in part}, "F32")
        weight_map |= dict.fromkeys(part, file)
    (tmp_path / INDEX_FILE).write_text(json.dumps({"weight_map": weight_map}))
    for file in ("config.json", "tokenizer.json"):
        (tmp_path / file).write_bytes((good / file).read_bytes())
    sharded = load_checkpoint(tmp_path)
    for name in names:
        np.testing.assert_array_equal(sharded.array(name), whole.array(name))


@pytest.mark.parametrize("case", BAD_CHECKPOINTS, ids=lambda case: case.id)
def test_damage_is_one_clear_error(case: BadCheckpoint, tmp_path: Path) -> None:
    case.build(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path).tokenizer()
    assert case.phrase in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_file_states_expected_and_found_bytes(good: Path, tmp_path: Path) -> None:
    content = (good / WEIGHTS_FILE).read_bytes()
    (tmp_path / "cut").write_bytes(content[:-10])
    with pytest.raises(CheckpointError, match=f"expected {len(content)} bytes, found") as caught:
        read_header(tmp_path / "cut")
    assert str(caught.value).endswith(f"found {len(content) - 10}")


def test_file_that_cannot_be_read_is_a_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent: cannot be read: No such file"):
        read_header(tmp_path / "absent")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_damage_to_a_header_is_a_checkpoint_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    write_tensors(path, {"a": np.ones((2, 3), np.float32), "b": np.ones(4, np.float32)}, "F16")
    content = bytearray(path.read_bytes())
    n_header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, n_header - 1))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        tensors = read_header(path)
    except CheckpointError:
        return
    for tensor in tensors.values():
        if tensor.dtype == "F16":
            tensor.read()


class TestGenerationSettings:
    def test_come_from_generation_config(self, tmp_path: Path) -> None:
        write_good_checkpoint(tmp_path)
        edit_json(
            tmp_path / "generation_config.json",
            is_multilingual=True,
            alignment_heads=[[0, 0]],
        )
        found = load_checkpoint(tmp_path).generation
        assert found.is_multilingual
        assert found.alignment_heads == ((0, 0),)

    def test_have_defaults(self, tmp_path: Path) -> None:
        write_good_checkpoint(tmp_path)
        (tmp_path / "generation_config.json").unlink()
        found = load_checkpoint(tmp_path).generation
        assert not found.is_multilingual  # 1900 ids
        assert found.alignment_heads == default_alignment_heads(SMALL_DIMS)

    def test_heads_of_layers_that_a_distilled_model_lacks_are_ignored(self, tmp_path: Path) -> None:
        write_good_checkpoint(tmp_path)
        edit_json(tmp_path / "generation_config.json", alignment_heads=[[7, 0], [25, 6]])
        found = load_checkpoint(tmp_path).generation
        assert found.alignment_heads == default_alignment_heads(SMALL_DIMS)

    def test_default_alignment_heads_are_the_upper_half(self) -> None:
        dims = replace(SMALL_DIMS, n_text_layer=4, n_text_head=2)
        assert default_alignment_heads(dims) == ((2, 0), (2, 1), (3, 0), (3, 1))


def test_reading_tensor_by_tensor_keeps_little_in_memory(tmp_path: Path) -> None:
    tensors = {f"t{i}": np.zeros((256, 1024), np.float32) for i in range(64)}  # 1 MiB each
    write_tensors(tmp_path / "large", tensors, "F32")
    del tensors
    stored = read_header(tmp_path / "large")
    before = _resident_bytes()
    peak = 0
    for tensor in stored.values():
        array = tensor.read()
        assert array.sum() == 0  # touches every page
        peak = max(peak, _resident_bytes())
    # two tensors live at a time; 16 MiB is far above them and the allocator, far below the 64
    assert peak - before < 16 * 2**20


def _resident_bytes() -> int:
    resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return resident_pages * os.sysconf("SC_PAGE_SIZE")
