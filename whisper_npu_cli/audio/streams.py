"""Copies of binary streams, in files that others can open and seek in.

Knows nothing of sound, nor of the names shown to users.
"""

from __future__ import annotations

import errno
import io
import select
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

from whisper_npu_cli.errors import AudioError

_CHUNK_BYTES = 1 << 20
_POLL_S = 0.2
_PIPE_BYTES = 1 << 20  # the most that a pipe of Linux holds (/proc/sys/fs/pipe-max-size)


class Copy:
    """Bytes in a temporary file, which is removed by `close`, or with the last reference."""

    def __init__(self) -> None:
        """Make the file; AudioError where the temporary folder does not take it."""
        self.size_bytes = 0
        with _folder_errors():
            self._file = tempfile.NamedTemporaryFile(prefix="whisper-npu-")  # noqa: SIM115

    @property
    def path(self) -> str:
        """Where the bytes are."""
        return self._file.name

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`; AudioError where the temporary folder cannot take it."""
        with _folder_errors():
            self._file.write(data)
            self._file.flush()  # so that a full folder is noticed here
        self.size_bytes += len(data)

    def fill(self, stream: IO[bytes], is_ended: Callable[[], bool] = lambda: False) -> None:
        """Append what `stream` still has, and once it `is_ended`, what has arrived by then.

        Close the copy where that fails: half of it is of no use.
        """
        n_left = _PIPE_BYTES
        try:
            while n_left > 0:
                ended = is_ended()
                with stream_errors():
                    if not _has_data(stream):
                        if ended:
                            return
                        continue
                    chunk = _read(stream, _CHUNK_BYTES)
                if not chunk:
                    return
                self.write(chunk)
                n_left -= len(chunk) if ended else 0
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give up the bytes. Calling it twice is allowed."""
        with suppress(OSError):  # closing tries once more to write what the folder had no space for
            self._file.close()


@contextmanager
def _folder_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        folder = tempfile.tempdir or "a temporary folder"
        raise AudioError(
            f"cannot be copied to {folder}: {error.strerror}",
            hint="set TMPDIR to a folder with more space",
        ) from error


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


def _has_data(stream: IO[bytes]) -> bool:
    """Wait for data, but not for ever; true where that cannot be told."""
    try:
        return bool(select.select([stream], [], [], _POLL_S)[0])
    except (OSError, TypeError, ValueError):  # it has no descriptor, or none that can wait
        return True


def _read(stream: IO[bytes], size: int) -> bytes:
    """Return some bytes, at most `size`; none at the end."""
    # `read` of a buffer waits until it has all of them
    read = stream.read1 if isinstance(stream, io.BufferedReader) else stream.read
    data: bytes | None = read(size)
    if data is None:  # which is not the end
        raise BlockingIOError(errno.EAGAIN, "it does not wait for data (non-blocking)")
    return data
