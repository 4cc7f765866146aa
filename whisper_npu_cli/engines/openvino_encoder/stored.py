"""The compiled encoder, stored on disk: starts sooner, and keeps the weights in memory once.

OpenVINO packs the weights into arrays of its own and keeps the graph's constants beside them.
In a stored encoder the constants are pages of its file, which are dropped during the packing.
For whisper-small in fp32 on Zen 3, with 409 MB of weights: loading takes 0.6 s of CPU time, not
2.5 s, and 456 MB at its peak, not 876 MB.
"""

from __future__ import annotations

import io
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any

import numpy as np
import openvino as ov
from openvino._offline_transformations import compress_model_transformation  # to fp16

from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.engines.openvino_encoder import graph
from whisper_npu_cli.engines.stored import Shelf, check, mark_used, store, tell_damaged
from whisper_npu_cli.environment import find_core

SHELF = Shelf("openvino", ".blob")


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
    int8: graph.Int8 | None

    def compile(self, checkpoint: Checkpoint) -> ov.CompiledModel:
        """Compile the encoder; RuntimeError, as OpenVINO raises it, where the device cannot."""
        model = graph.build_encoder(checkpoint, self.int8)
        if self.config.get("INFERENCE_PRECISION_HINT") == "bf16":
            # Half the file, and half the time to load it, with the same states to the bit:
            # whisper-base 95 -> 49 MB, 0.38 -> 0.19 s. OpenVINO would store bf16 as fp32.
            compress_model_transformation(model)
        return find_core().compile_model(model, self.device, self.config)


def load_compiled(checkpoint: Checkpoint, target: Target) -> CompiledEncoder:
    """Return the encoder compiled for `target`, from disk where it is stored or can be.

    Raises RuntimeError, as OpenVINO does, where the device cannot take it.
    """
    path = _find_path(checkpoint, target)
    if path:
        mark_used(path)
    # Unlike Path.exists, this is no error in a folder that cannot be read.
    if path and not os.path.exists(path):  # noqa: PTH110
        compiled = target.compile(checkpoint)
        if not store(path, lambda file: compiled.export_model(_FileStream(file))):
            return CompiledEncoder(compiled)
        del compiled  # the stored one takes less memory
    if path:
        try:
            return _import(path, target)
        except (OSError, ValueError, RuntimeError) as error:  # it is stored again by the next run
            if isinstance(error, ValueError):  # else OpenVINO was cut short while it wrote
                tell_damaged(path)
            with suppress(OSError):
                path.unlink()
    return CompiledEncoder(target.compile(checkpoint))


def _find_path(checkpoint: Checkpoint, target: Target) -> Path | None:
    """Return where the encoder is or would be stored, or None where that is not possible.

    Its name changes with the processor, the precision, OpenVINO and the graph.
    """
    core, device = find_core(), target.device
    if device == "AUTO":  # several devices
        return None
    if "EXPORT_IMPORT" not in core.get_property(device, "OPTIMIZATION_CAPABILITIES"):
        return None
    return SHELF.find_path(
        checkpoint,
        Path(graph.__file__).read_text(encoding="utf-8"),
        ov.get_version(),
        device,
        core.get_property(device, "FULL_DEVICE_NAME"),
        core.get_property(device, "OPTIMIZATION_CAPABILITIES"),
        target.config.get("INFERENCE_PRECISION_HINT"),
        target.int8,
    )


class _FileStream(io.BytesIO):
    """Passes what is written to a file: OpenVINO exports to nothing but a BytesIO."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)


def _import(path: Path, target: Target) -> CompiledEncoder:
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # OpenVINO asks for writable
    with _release_pages(pages):
        # OpenVINO takes weights that are not those stored for good: 4 KiB of noise in them gave
        # another text.
        content = np.frombuffer(check(memoryview(pages)), np.uint8)
        tensor = ov.Tensor(content, shared_memory=True)
        model = find_core().import_model(tensor, target.device, target.config)
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
