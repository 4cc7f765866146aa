"""The safetensors format: rounding, every kind of damage, and shards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_npu_cli.checkpoints.safetensors import (
    list_shards,
    read_header,
    write_tensors,
)
from whisper_npu_cli.errors import CheckpointError


def test_bf16_rounds_to_nearest_even(tmp_path: Path) -> None:
    step = 2.0**-7  # between 1 and 2
    values = np.array([1 + step / 2, 1 + 3 * step / 2, 1 + 0.4 * step, -3.0], np.float32)
    write_tensors(tmp_path / "x", {"x": values}, "BF16")
    read = read_header(tmp_path / "x")["x"].read()
    np.testing.assert_array_equal(read, np.array([1, 1 + 2 * step, 1, -3], np.float32))


def test_truncated_file_states_expected_and_found_bytes(tmp_path: Path) -> None:
    write_tensors(tmp_path / "whole", {"a": np.ones((2, 3), np.float32)}, "F32")
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(content[:-10])
    with pytest.raises(CheckpointError, match=f"expected {len(content)} bytes, found") as caught:
        read_header(tmp_path / "cut")
    assert str(caught.value).endswith(f"found {len(content) - 10}")


def test_file_that_cannot_be_read_is_a_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent: cannot be read: No such file"):
        read_header(tmp_path / "absent")


def test_index_that_cannot_be_read_is_a_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent: cannot be read: No such file"):
        list_shards(tmp_path / "absent")


def test_shards_are_listed_once(tmp_path: Path) -> None:
    weight_map = {"a": "two", "b": "one", "c": "two"}
    (tmp_path / "index").write_text(json.dumps({"weight_map": weight_map}))
    assert list_shards(tmp_path / "index") == ["one", "two"]


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
