"""Windows in memory that the NPU's worker process and its parent share.

Each window has an anonymous file of its own, so nothing is left behind however the processes
end. A window goes back to the pool when the last array that looks into it is gone.
"""

from __future__ import annotations

import mmap
import os
import weakref
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.dims import N_FRAMES, ModelDims
from whisper_npu_cli.engines.base import EncodedWindow
from whisper_npu_cli.engines.npu.layout import round_up
from whisper_npu_cli.engines.npu.plan import MEL_FRAMES, MEL_SAMPLES

ALIGNMENT = 64


@dataclass(frozen=True)
class SharedWindow:
    """What a worker is given, and the arrays that it writes.

    Of samples (MEL_SAMPLES,) it makes mel power (n_mels, MEL_FRAMES), a mel window
    (n_mels, N_FRAMES) it encodes.
    """

    samples: NDArray[np.float32]
    power: NDArray[np.float32]
    mel: NDArray[np.float32]
    encoded: EncodedWindow


def map_window(fd: int, dims: ModelDims) -> SharedWindow:
    """Map the window in file `fd`, making the file as large as `dims` needs."""
    cross = dims.n_text_layer, dims.n_audio_ctx, dims.n_text_state
    shapes: tuple[tuple[int, ...], ...] = (
        (MEL_SAMPLES,),
        (dims.n_mels, MEL_FRAMES),
        (dims.n_mels, N_FRAMES),
        (dims.n_audio_ctx, dims.n_audio_state),
    )
    f32, u16 = np.dtype(np.float32), np.dtype(np.uint16)
    kinds: list[tuple[tuple[int, ...], np.dtype[Any]]] = [
        *((shape, f32) for shape in shapes),
        (cross, u16),
        (cross, u16),
    ]
    sizes = [round_up(prod(shape) * dtype.itemsize, ALIGNMENT) for shape, dtype in kinds]
    os.ftruncate(fd, sum(sizes))
    memory = np.frombuffer(mmap.mmap(fd, sum(sizes)), np.uint8)
    arrays: list[NDArray[Any]] = []
    for (shape, dtype), size, end in zip(kinds, sizes, np.cumsum(sizes), strict=True):
        part: NDArray[Any] = memory[end - size : end - size + prod(shape) * dtype.itemsize]
        arrays.append(part.view(dtype).reshape(shape))
    samples, power, mel, states, keys, values = arrays
    return SharedWindow(samples, power, mel, EncodedWindow(states, keys, values))


class WindowPool:
    """The parent's windows: files by number, some of them lent to whoever holds the arrays."""

    def __init__(self, dims: ModelDims) -> None:
        self._dims = dims
        self._files: list[int] = []
        self._free: list[int] = []

    def lend(self) -> tuple[int, int, SharedWindow]:
        """Return number, file and mapping of a window that nobody holds."""
        if not self._free:
            self._free.append(len(self._files))
            self._files.append(os.memfd_create("whisper-npu", os.MFD_CLOEXEC))
        number = self._free.pop()
        window = map_window(self._files[number], self._dims)
        weakref.finalize(_find_owner(window), self._free.append, number).atexit = False  # type: ignore[misc]
        return number, self._files[number], window

    def close(self) -> None:
        """Close the files; arrays that are still held stay valid."""
        while self._files:
            os.close(self._files.pop())
        self._free.clear()


def _find_owner(window: SharedWindow) -> NDArray[np.generic]:
    """Return the array over the whole mapping, which all of the window's arrays refer to."""
    owner = window.mel.base
    assert isinstance(owner, np.ndarray)
    return owner
