"""Files of torch.save: what is read of them, and that nothing in them is ever run."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.support.formats import call, dict_of, tensor, text, tuple_of, whole, write_archive
from whisper_npu_cli.checkpoints.stored import StoredTensor
from whisper_npu_cli.checkpoints.torch_file import find_tensors, read_torch_file
from whisper_npu_cli.errors import CheckpointError

VALUES = np.arange(6, dtype=np.float32)
GOOD = tensor("0", "F32", (2, 3))


def read(path: Path, value: bytes) -> object:
    write_archive(path, value, {"0": VALUES.tobytes()})
    return read_torch_file(path)


def test_a_tensor_is_a_place_in_the_file(tmp_path: Path) -> None:
    saved = read(tmp_path / "x", dict_of({"a": GOOD, "b": text("word"), "c": whole(-7)}))
    assert isinstance(saved, dict)
    assert (saved["b"], saved["c"]) == ("word", -7)
    assert isinstance(saved["a"], StoredTensor)
    np.testing.assert_array_equal(saved["a"].read(), VALUES.reshape(2, 3))
    assert set(find_tensors(saved, tmp_path / "x")) == {"a"}


def test_a_state_dictionary_may_have_attributes(tmp_path: Path) -> None:
    ordered = call("collections", "OrderedDict", b")")
    items = b"(" + text("a") + GOOD + b"u"
    attributes = dict_of({"_metadata": dict_of({})}) + b"b"
    saved = read(tmp_path / "x", ordered + items + attributes)
    assert isinstance(saved, dict)
    assert list(saved) == ["a"]


class Hostile:
    """Runs a program where a pickle of it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_run(protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    hostile = pickle.dumps({"dims": {}, "model_state_dict": Hostile(marker)}, protocol)
    pickle.loads(hostile)
    assert marker.exists()  # so the pickle is hostile
    marker.unlink()
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("archive/data.pkl", hostile)
    with pytest.raises(CheckpointError, match=r"x\.pt: "):
        read_torch_file(tmp_path / "x.pt")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("value", "phrase"),
    [
        (call("os", "system", tuple_of(text("true"))), "'os system' in it"),
        (call("builtins", "eval", tuple_of(text("1"))), "'builtins eval' in it"),
        (call("torch._utils", "_rebuild_tensor_v2", b")"), "damaged file of torch.save"),
        (call("collections", "OrderedDict", tuple_of(b"]")), "EMPTY_LIST"),
        (call("collections", "OrderedDict", tuple_of(text("a"))), "'collections OrderedDict'"),
        (GOOD.replace(b"FloatStorage", b"DoubleStorage"), "'torch DoubleStorage' in it"),
        (b"cos\nsystem\n" + tuple_of(text("true")) + b"\x81", "instruction NEWOBJ"),
        (b"(" + text("true") + b"ios\nsystem\n", "instruction INST"),
        (b"(cos\nsystem\n" + text("true") + b"o", "instruction OBJ"),
        (text("os") + text("system") + b"\x93", "instruction STACK_GLOBAL"),
        (b"}(" + b")" + whole(1) + b"u", "a key that is a tuple"),
        (tensor("0", "F32", (2, 4)), r"shape \(2, 4\) in 6 numbers"),
        (tensor("0", "F32", (2, 1 << 29)), "in 6 numbers"),
        (tensor("0", "F32", (-2, 3)), "a tensor without a shape"),
        (tensor("1", "F32", (2, 3)), "archive/data/1"),
        (GOOD.replace(tuple_of(whole(3), whole(1)), tuple_of(whole(1), whole(2))), "transposed"),
        (b"u", "damaged file"),
        (b"R", "damaged file"),
        (b"", "damaged file"),
    ],
)
def test_what_no_checkpoint_needs_is_refused(value: bytes, phrase: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=phrase) as caught:
        read(tmp_path / "x", value)
    assert str(tmp_path / "x") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_compressed_and_truncated_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_archive(path, GOOD, {"0": bytes(24)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="is compressed"):
        read_torch_file(path)
    read(path, GOOD)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CheckpointError, match=r"damaged file of torch.save: BadZipFile"):
        read_torch_file(path)
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        read_torch_file(tmp_path / "absent")


def test_state_that_is_no_dictionary(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected tensors by name, found int"):
        find_tensors(read(tmp_path / "x", whole(1)), tmp_path / "x")
