"""Forms in which a source takes an encoded recording, and the reading of all its samples."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.sources import Audio, open_source


class Pipe(io.RawIOBase):
    """A stream that can be read only once, in pieces of any size, like a socket."""

    def __init__(self, data: bytes, most_bytes: int = 1 << 20) -> None:
        self._data = io.BytesIO(data)
        self._most_bytes = most_bytes

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, self._most_bytes) if size >= 0 else self._most_bytes)


class ShortReads(io.BytesIO):
    """A stream that can seek, and gives fewer bytes than requested."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 100))


class Breaking(io.BytesIO):
    """A stream that fails once it is read beyond `n_bytes`."""

    def __init__(self, data: bytes, n_bytes: int, error: BaseException) -> None:
        super().__init__(data)
        self._n_bytes = n_bytes
        self._error = error

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() + (size or 0) > self._n_bytes:
            raise self._error
        return super().read(size)


def at_offset(data: bytes) -> IO[bytes]:
    """Return a stream whose data begins after other bytes."""
    stream = io.BytesIO(b"RIFF, which is not of it" + data)
    stream.seek(len(stream.getvalue()) - len(data))
    return stream


FORMS: dict[str, Callable[[bytes], Audio]] = {
    "bytes": lambda data: data,
    "stream": io.BytesIO,
    "stream at an offset": lambda data: cast(BinaryIO, at_offset(data)),
    "stream of short reads": ShortReads,
    "pipe": lambda data: cast(BinaryIO, Pipe(data)),
}


def read_samples(audio: Audio) -> NDArray[np.float32]:
    """Return all samples (n,) at 16 kHz of anything that `open_source` takes."""
    source = open_source(audio)
    try:
        return np.concatenate(list(source.blocks()))
    finally:
        source.close()
