"""Binary streams as files that decoders can seek in, and copies of what is read only once.

Knows nothing of sound, nor of the names shown to users.
"""

from __future__ import annotations

import errno
import io
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from whisper_npu_cli.errors import AudioError

# An hour of mp3 at 128 kbit/s has 58 MB, and so have 15 minutes of samples. The smallest model
# takes more memory than this.
IN_MEMORY_BYTES = 64_000_000
_CHUNK_BYTES = 1 << 20


class Section:
    """The bytes of a seekable stream from offset `start` to its end, as a file of its own.

    It is a context manager. Its position is its own, so that several can read one stream in
    turn. Libraries in C call it: they would print an exception or take it for damage, so they
    are told that the stream ends, and the exception is raised where the context ends.
    """

    def __init__(self, stream: IO[bytes], start: int) -> None:
        self._stream = stream
        self._start = start
        self._position = 0
        self._error: BaseException | None = None
        with stream_errors():
            stream.seek(0, io.SEEK_END)
            self.size_bytes = max(0, stream.tell() - start)

    def __enter__(self) -> Section:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._error is not None and kind is not GeneratorExit:
            with stream_errors():
                raise self._error

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end: libsndfile does not ask for the rest."""
        parts: list[bytes] = []
        try:
            while size and self._error is None:
                self._stream.seek(self._start + self._position)
                part = _read(self._stream, size)[:size]  # PyAV copies whatever it is given
                if not part:
                    break
                parts.append(part)
                self._position += len(part)
                size -= len(part)
        except BaseException as error:  # an interrupt too is lost in a library in C
            self._error = error
        return b"".join(parts)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, and return the position; one before the beginning is ignored."""
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}
        target = bases[whence] + offset
        if target >= 0:
            self._position = target
        return self._position

    def tell(self) -> int:
        """Return the position, in bytes from the section's beginning."""
        return self._position


class Copy:
    """Bytes in memory, and beyond IN_MEMORY_BYTES in a temporary file without a name.

    They are given up by `close`, or with the last reference.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115
        self._close = weakref.finalize(self, self._file.close)

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`; AudioError where the temporary folder cannot take it."""
        try:
            self._file.write(data)
            self._file.flush()  # so that a full folder is noticed here
        except OSError as error:
            folder = tempfile.tempdir or "a temporary folder"
            raise AudioError(
                f"cannot be copied to {folder}: {error.strerror}",
                hint="set TMPDIR to a folder with more space",
            ) from error

    def fill(self, stream: IO[bytes]) -> None:
        """Append what `stream` still has, or close the copy: half of it is of no use."""
        try:
            while True:
                with stream_errors():
                    chunk = _read(stream, _CHUNK_BYTES)
                if not chunk:
                    return
                self.write(chunk)
        except BaseException:
            self.close()
            raise

    def open(self) -> Section:
        """Return all bytes as a file."""
        return Section(self._file, 0)

    def close(self) -> None:
        """Give up the bytes. Calling it twice is allowed."""
        with suppress(OSError):  # closing tries once more to write what the folder had no space for
            self._close()


@contextmanager
def stream_errors() -> Iterator[None]:
    """Turn what a stream raises into an AudioError without a name."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: it is closed
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise AudioError(
            f"cannot be read: {reason}", hint="open it again, or copy it to a file first"
        ) from error


def _read(stream: IO[bytes], size: int) -> bytes:
    data: bytes | None = stream.read(size)
    if data is None:  # which is not the end
        raise BlockingIOError(errno.EAGAIN, "it does not wait for data (non-blocking)")
    return data
