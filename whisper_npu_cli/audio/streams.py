"""Copies of binary streams, in files that others can open and seek in.

Knows nothing of sound, nor of the names shown to users.
"""

from __future__ import annotations

import errno
import io
import select
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from math import inf
from threading import Condition, Thread
from time import monotonic
from typing import IO

from whisper_npu_cli.errors import AudioError

_CHUNK_BYTES = 1 << 20
_POLL_S = 0.2
_PIPE_BYTES = 1 << 20  # the most that a pipe of Linux holds (/proc/sys/fs/pipe-max-size)
# Who writes may finish what was begun: FFmpeg ends an mp4 with its index. A microphone never does.
_LINGER_S = 1.0


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

    def close(self) -> None:
        """Give up the bytes. Calling it twice is allowed."""
        with suppress(OSError):  # closing tries once more to write what the folder had no space for
            self._file.close()


class Arrival:
    """A stream that a thread copies while it arrives, so that its writer never has to wait.

    The copy grows until the stream ends, fails, or is ended.
    """

    def __init__(self, open_stream: Callable[[], AbstractContextManager[IO[bytes]]]) -> None:
        """Begin to copy; AudioError where the temporary folder does not take it."""
        self.copy = Copy()
        self._is_ended = self._is_complete = False
        self._error: BaseException | None = None
        self._changed = Condition()
        Thread(target=self._receive, args=[open_stream], daemon=True).start()

    @property
    def is_open(self) -> bool:
        """Whether more may arrive."""
        return not self._is_complete

    def has_more(self, n_bytes: float) -> bool:
        """Return whether more than `n_bytes` are there, or all that will be."""
        return self._is_complete or self.copy.size_bytes > n_bytes

    def wait(self, n_bytes: float = inf) -> None:
        """Wait until more than `n_bytes` are there, or all.

        AudioError, and whatever else the stream raised, where it failed before.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.has_more(n_bytes))
        if self._error is not None and self.copy.size_bytes <= n_bytes:
            raise self._error

    def end(self) -> None:
        """Take what has arrived for all of it."""
        self._is_ended = True

    def close(self) -> None:
        """Give up the copy. Calling it twice is allowed."""
        self.end()
        self.copy.close()

    def _receive(self, open_stream: Callable[[], AbstractContextManager[IO[bytes]]]) -> None:
        try:
            with open_stream() as stream:
                self._fill(stream)
        except BaseException as error:  # raised again where it is waited for
            self._error = error
            self.copy.close()  # half of it is of use only to who reads it already
        with self._changed:
            self._is_complete = True
            self._changed.notify_all()

    def _fill(self, stream: IO[bytes]) -> None:
        for chunk in read_stream(stream, lambda: self._is_ended):
            self.copy.write(chunk)
            with self._changed:
                self._changed.notify_all()


def read_stream(stream: IO[bytes], is_ended: Callable[[], bool]) -> Iterator[bytes]:
    """Yield what arrives, to the end; once it `is_ended`, what is there, and comes within a second.

    AudioError where the stream fails.
    """
    n_left = deadline = inf
    while n_left > 0:
        if deadline == inf and is_ended():
            n_left, deadline = _PIPE_BYTES, monotonic() + _LINGER_S
        with stream_errors():
            if not _has_data(stream):
                if deadline < inf:
                    return
                continue
            chunk = _read(stream, _CHUNK_BYTES)
        if not chunk:
            return
        yield chunk
        n_left -= len(chunk)
        if monotonic() > deadline:
            return


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
