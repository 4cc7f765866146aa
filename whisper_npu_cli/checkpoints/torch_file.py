"""Files of `torch.save`, read without torch and without running the pickle in them.

A file is a zip archive whose members are stored uncompressed: `NAME/data.pkl`, a pickle of
protocol 2 that says how tensors lie in storages, and `NAME/data/KEY`, the bytes of each storage
(pytorch `torch/serialization.py`, `_save`; `torch/_utils.py`, `_rebuild_tensor_v2`).

A pickle is a program that may call anything. Here `pickletools` takes it apart, and a machine that
knows dictionaries, tuples, text, numbers and tensors goes through its instructions: it has no way
to import or to call, and whatever else a pickle asks for is an error. Knows nothing of Whisper.
"""

from __future__ import annotations

import math
import pickletools
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from whisper_npu_cli.checkpoints.stored import DTYPES, GET_AGAIN, StoredTensor
from whisper_npu_cli.errors import CheckpointError

_DICT, _TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
_STORAGES = {
    "torch FloatStorage": "F32",
    "torch HalfStorage": "F16",
    "torch BFloat16Storage": "BF16",
}
_LITERALS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_ARGUMENTS = {"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}


@dataclass(frozen=True)
class _Global:
    """A name that a pickle would import: module and attribute with a space between them."""

    name: str


@dataclass(frozen=True)
class _Storage:
    """Where numbers lie in the file: `offset` in bytes."""

    dtype: str
    offset: int
    n_values: int


def read_torch_file(path: Path) -> Any:
    """Return what `torch.save` wrote to `path`, with a StoredTensor for each tensor.

    Raises CheckpointError where the file is damaged, or has in it what no checkpoint needs.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            return _read_archive(path, file, archive)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zipfile and pickletools raise a dozen types for damage
        reason = repr(error)[:200]
        raise CheckpointError(
            f"{path}: damaged file of torch.save: {reason}", hint=GET_AGAIN
        ) from error


def find_tensors(saved: Any, path: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a state dictionary by name; CheckpointError where `saved` is none."""
    if not isinstance(saved, dict):
        raise CheckpointError(f"{path}: expected tensors by name, found {type(saved).__name__}")
    return {name: value for name, value in saved.items() if isinstance(value, StoredTensor)}


def _read_archive(path: Path, file: IO[bytes], archive: zipfile.ZipFile) -> Any:
    pickles = [name for name in archive.namelist() if name.count("/") == 1]
    prefix = next(name for name in pickles if name.endswith("/data.pkl")).split("/")[0]
    if f"{prefix}/byteorder" in archive.namelist():
        _check_stored(archive.getinfo(f"{prefix}/byteorder"))
        if archive.read(f"{prefix}/byteorder") != b"little":
            raise ValueError("big endian")

    def find_storage(dtype: str, key: str) -> _Storage:
        info = archive.getinfo(f"{prefix}/data/{key}")
        _check_stored(info)
        offset = _find_data(file, info)
        if offset + info.file_size > path.stat().st_size:
            raise ValueError(f"{info.filename!r} reaches beyond the end of the file")
        return _Storage(dtype, offset, info.file_size // DTYPES[dtype].item.itemsize)

    _check_stored(archive.getinfo(f"{prefix}/data.pkl"))
    return _Reader(path, find_storage).read(archive.read(f"{prefix}/data.pkl"))


def _check_stored(info: zipfile.ZipInfo) -> None:
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ValueError(f"{info.filename!r} is compressed")


def _find_data(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Return the offset of a member's bytes: behind its header, its name and its padding."""
    file.seek(info.header_offset)
    signature, n_name, n_extra = struct.unpack("<4s22xHH", file.read(30))
    if signature != b"PK\3\4":
        raise ValueError(f"{info.filename!r} has no header")
    return info.header_offset + 30 + int(n_name) + int(n_extra)


class _Reader:
    """The machine: a stack of values, marks on it, and values by number."""

    def __init__(self, path: Path, find_storage: Callable[[str, str], _Storage]) -> None:
        self._path = path
        self._find_storage = find_storage
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        """Return the value that the pickle `data` describes."""
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                return self._stack.pop()
            self._step(opcode.name, argument)
        raise ValueError("no end")

    def _step(self, name: str, argument: Any) -> None:  # noqa: PLR0912  # a line an instruction
        match name:
            case "PROTO":
                pass
            case "MARK":
                self._marks.append(len(self._stack))
            case "EMPTY_DICT":
                self._stack.append({})
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._stack[-1]
            case "BINGET" | "LONG_BINGET":
                self._stack.append(self._memo[argument])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self._stack.append(tuple(self._pop(int(name[-1]))))
            case "TUPLE":
                self._stack.append(tuple(self._pop_to_mark()))
            case "SETITEM":
                self._set_items(self._pop(2))
            case "SETITEMS":
                self._set_items(self._pop_to_mark())
            case "GLOBAL":
                self._stack.append(_Global(argument))
            case "BINPERSID":
                self._stack.append(self._make_storage(*self._stack.pop()))
            case "REDUCE":
                self._stack.append(self._make(*self._pop(2)))
            case "BUILD":  # attributes of a state dictionary (_metadata), which nobody needs
                self._pop(1)
            case _ if name in _LITERALS:
                self._stack.append(_LITERALS[name])
            case _ if name in _ARGUMENTS:
                self._stack.append(argument)
            case _:
                raise self._refuse(f"the pickle instruction {name}")

    def _pop(self, n: int) -> list[Any]:
        if len(self._stack) < n:
            raise ValueError("the pickle takes what it has not put")
        values = self._stack[-n:]
        del self._stack[-n:]
        return values

    def _pop_to_mark(self) -> list[Any]:
        begin = self._marks.pop()
        values = self._stack[begin:]
        del self._stack[begin:]
        return values

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict:
            raise ValueError(f"items of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str:  # hashing nested tuples can take forever
                raise ValueError(f"a key that is a {type(key).__name__}")
            target[key] = value

    def _make_storage(self, kind: str, type_: _Global, key: str, *_: Any) -> _Storage:
        """Return the storage of a persistent id: ("storage", type, key, device, count)."""
        if kind != "storage" or type(type_) is not _Global or type(key) is not str:
            raise ValueError("a persistent id that is no storage")
        if type_.name not in _STORAGES:
            raise self._refuse(type_.name)
        return self._find_storage(_STORAGES[type_.name], key)

    def _make(self, function: Any, arguments: Any) -> Any:
        """Return what a call would return of the two functions that checkpoints are made with."""
        name = function.name if type(function) is _Global else type(function).__name__
        if name == _DICT and arguments == ():
            return {}
        if name == _TENSOR:
            return self._make_tensor(*arguments)
        raise self._refuse(name)

    def _make_tensor(
        self, storage: _Storage, begin: int, shape: tuple[int, ...], strides: Any, *_: Any
    ) -> StoredTensor:
        if any(type(n) is not int or n < 0 for n in (begin, *shape)) or len(shape) > 8:
            raise ValueError("a tensor without a shape")
        row_major = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
        if any(n > 1 and s != r for n, s, r in zip(shape, strides, row_major, strict=True)):
            raise self._refuse("a transposed tensor")
        if begin + math.prod(shape) > storage.n_values:
            raise ValueError(f"a tensor of shape {shape} in {storage.n_values} numbers")
        offset = storage.offset + begin * DTYPES[storage.dtype].item.itemsize
        return StoredTensor(self._path, storage.dtype, shape, offset)

    def _refuse(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self._path}: has {what[:100]!r} in it, which no checkpoint of Whisper needs",
            hint="a file can run programs where others load it: get it from a source you trust",
        )
