"""The compiled encoder, stored on disk: starts sooner, and keeps the weights in memory once.

OpenVINO packs the weights into arrays of its own and keeps the graph's constants beside them.
In a stored encoder the constants are pages of its file, which are dropped during the packing.
For whisper-small in fp32 on Zen 3, with 409 MB of weights: loading takes 0.6 s of CPU time, not
2.5 s, and 456 MB at its peak, not 876 MB.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from time import time
from typing import IO, Any

import numpy as np
import openvino as ov

from whisper_npu_cli import __version__
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.engines.openvino_encoder import graph
from whisper_npu_cli.environment import find_cache_folder

_CHECKSUM_BYTES = 4  # of a CRC-32 at the end of the file
_SUFFIX = ".blob"
_MAX_NAME = 50  # characters of a model's name in the file's, of at most 4 bytes each
UNUSED_DAYS = 30  # a stored encoder unused for so long is deleted; it is as large as fp32 weights


@dataclass(frozen=True)
class CompiledEncoder:
    """A compiled encoder, and the mapped file that holds its constants: keep both together."""

    model: ov.CompiledModel
    pages: mmap.mmap | None = None  # None where it is not stored


@dataclass(frozen=True)
class Target:
    """What an encoder is compiled for."""

    device: str
    config: dict[str, str | int]  # OpenVINO's properties
    int8_steps: int | None  # see `build_encoder`

    def compile(self, core: ov.Core, checkpoint: Checkpoint) -> ov.CompiledModel:
        """Compile the encoder; RuntimeError, as OpenVINO raises it, where the device cannot."""
        model = graph.build_encoder(checkpoint, self.int8_steps)
        return core.compile_model(model, self.device, self.config)


def load_compiled(core: ov.Core, checkpoint: Checkpoint, target: Target) -> CompiledEncoder:
    """Return the encoder compiled for `target`, from disk where it is stored or can be.

    Raises RuntimeError, as OpenVINO does, where the device cannot take it.
    """
    path = _find_path(core, checkpoint, target)
    if path:
        _delete_unused(path)
    # Unlike Path.exists, this is no error in a folder that cannot be read.
    if path and not os.path.exists(path):  # noqa: PTH110
        compiled = target.compile(core, checkpoint)
        if not _store(compiled, path):
            return CompiledEncoder(compiled)
        del compiled  # the stored one takes less memory
    if path:
        try:
            return _import(core, path, target)
        except (OSError, ValueError, RuntimeError):  # damaged: stored again by the next run
            with suppress(OSError):
                path.unlink()
    return CompiledEncoder(target.compile(core, checkpoint))


def find_folder() -> Path | None:
    """Return where encoders are stored; None for a user who has no home."""
    folder = find_cache_folder()
    return folder and folder / "whisper-npu" / "openvino"


def list_stored() -> list[tuple[str, Path]]:
    """Return the stored encoders: what their model was called, and the file.

    Its time of modification is that of the last use. A program that has it open keeps it when it is
    deleted.
    """
    paths = _list_files(find_folder())
    return [(path.name.rpartition("-")[0], path) for path in paths if path.suffix == _SUFFIX]


def _list_files(folder: Path | None) -> list[Path]:
    with suppress(OSError):  # no folder yet, or one that cannot be read
        return sorted(folder.iterdir()) if folder else []
    return []


def _find_path(core: ov.Core, checkpoint: Checkpoint, target: Target) -> Path | None:
    """Return where the encoder is or would be stored, or None where that is not possible.

    The name, but for the model's at its beginning, changes when anything changes that the
    compiled encoder depends on: the weights, the processor, the precision, OpenVINO, the graph or
    the version of this package.
    """
    identity, device, folder = checkpoint.identity, target.device, find_folder()
    if identity is None or folder is None or device == "AUTO":  # AUTO is several devices
        return None
    if "EXPORT_IMPORT" not in core.get_property(device, "OPTIMIZATION_CAPABILITIES"):
        return None
    parts = (
        __version__,
        Path(graph.__file__).read_text(encoding="utf-8"),
        ov.get_version(),
        device,
        core.get_property(device, "FULL_DEVICE_NAME"),
        core.get_property(device, "OPTIMIZATION_CAPABILITIES"),
        target.config.get("INFERENCE_PRECISION_HINT"),
        target.int8_steps,
        identity,
    )
    name = f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}{_SUFFIX}"
    # The model's name is for people, and equal weights may have several.
    stored = (path for path in _list_files(folder) if path.name.endswith(f"-{name}"))
    return next(stored, None) or folder / f"{Path(checkpoint.name).name[:_MAX_NAME]}-{name}"


class _FileStream(io.BytesIO):
    """Passes what is written to a file: OpenVINO exports to nothing but a BytesIO."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)


def _store(compiled: ov.CompiledModel, path: Path) -> bool:
    """Write `compiled` to `path` as a whole or not at all; return whether that worked."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            try:
                compiled.export_model(_FileStream(file))
                file.flush()
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
                    checksum = zlib.crc32(pages)
                file.seek(0, os.SEEK_END)
                file.write(checksum.to_bytes(_CHECKSUM_BYTES, "little"))
                file.flush()
                os.fsync(file.fileno())  # before it is named: a power cut must not empty it
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink()
                raise
    except (OSError, RuntimeError):  # a full disk, a folder that cannot be written
        return False
    return True


def _delete_unused(wanted: Path) -> None:
    """Delete what lies beside `wanted` and was not used for long."""
    for path in _list_files(wanted.parent):
        with suppress(OSError):  # another process was first, or it is another user's
            if path != wanted and time() - path.stat().st_mtime > UNUSED_DAYS * 24 * 3600:
                path.unlink()


def _import(core: ov.Core, path: Path, target: Target) -> CompiledEncoder:
    with suppress(OSError):
        os.utime(path)  # marks it as used
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # OpenVINO asks for writable
    content = np.frombuffer(pages, np.uint8, len(pages) - _CHECKSUM_BYTES)
    tensor = ov.Tensor(content, shared_memory=True)
    with _release_pages(pages):
        # OpenVINO takes weights that are not those stored for good: 4 KiB of noise in them gave
        # another text. This takes 0.4 s for 1 GB.
        if zlib.crc32(content.data) != int.from_bytes(pages[-_CHECKSUM_BYTES:], "little"):
            raise ValueError("damaged")
        model = core.import_model(tensor, target.device, target.config)
    return CompiledEncoder(model, pages)


@contextmanager
def _release_pages(pages: mmap.mmap) -> Iterator[None]:
    """Drop `pages` from memory every 10 ms and at the end; the file gives them again when read."""
    is_done = Event()

    def release() -> None:
        while not is_done.wait(0.01):
            pages.madvise(mmap.MADV_DONTNEED)

    thread = Thread(target=release)
    thread.start()
    try:
        yield
    finally:
        is_done.set()
        thread.join()
        pages.madvise(mmap.MADV_DONTNEED)
