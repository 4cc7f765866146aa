"""Recordings in any format, in files or streams, to samples: mono float32 at 16 kHz in blocks.

What is wrong with one is raised when it is read. Who opened a stream closes it.
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.isolated import count_tracks, read_isolated
from whisper_npu_cli.audio.recording import More, Notice, Request, make_damage
from whisper_npu_cli.audio.streams import Arrival, stream_errors
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.errors import AudioError
from whisper_npu_cli.transcript import Damage

_NOTHING = np.zeros(0, np.float32)
_POLL_S, _REST_S = 0.5, 10.0  # players buffer as much; ffmpeg writes mp4 in pieces of 5 s


class EncodedSource(ABC):
    """A recording in any format, of which one audio track is read: all channels or some."""

    can_reread = True

    def __init__(self, name: str, track: int | str | None = None) -> None:
        self.name = name
        self.track = track  # number, from 1, or language; None: see `audio/tracks.py`
        self.remarks: dict[Damage | Notice, None] = {}  # each once, however often it is read
        self._was_heard = False  # while it arrived
        self._arrival: Arrival | None = None  # of what cannot be opened again
        self._is_ended = False

    @property
    def damage(self) -> tuple[Damage, ...]:
        """Where what has been read so far is not sound."""
        return tuple(remark for remark in self.remarks if isinstance(remark, Damage))

    @property
    def notices(self) -> tuple[str, ...]:
        """How what has been read so far was read, where a person may want to know."""
        return tuple(remark.text for remark in self.remarks if isinstance(remark, Notice))

    def blocks(self, channel: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Yield all channels mixed, or one of two, in blocks (n,) at 16 kHz.

        AudioError names the input; that two channels are one signal is known at the end.
        """
        if self._was_heard:  # what was to be said of it is said again
            self._was_heard = False
            self.remarks.clear()
        with named_errors(self.name):
            yield from self._read(Request(self._locate(), self.track, channel))

    def listen(self) -> Iterator[NDArray[np.float32]]:
        """Yield all channels mixed in blocks (n,) at 16 kHz while they arrive.

        An empty block comes before a wait for more, and one after it. What is no stream, and what
        fails before its first sample, ends without one; what fails later ends with damage.
        """
        self._was_heard = True
        n_samples = 0
        try:
            arrival = self._arrive()
            request = Request(arrival.copy.path, self.track, is_arriving=True)
            for block in self._read(request, arrival):
                n_samples += block.size
                yield block
        except (AudioError, OSError) as error:
            if n_samples:
                self.remarks[make_damage(n_samples / SAMPLE_RATE, None, str(error))] = None

    def _read(
        self, request: Request, arrival: Arrival | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the samples, keep what is said of them, and wait for more of an `arrival`."""
        with closing(read_isolated(request)) as pieces:
            for piece in pieces:
                if isinstance(piece, np.ndarray):
                    yield piece
                elif not isinstance(piece, More):
                    self.remarks[piece] = None
                elif arrival is not None:
                    waits = [] if arrival.has_more(piece.n_bytes) else [_NOTHING]
                    yield from waits
                    arrival.wait(piece.n_bytes)
                    yield from waits

    @property
    def is_arriving(self) -> bool:
        """Whether it comes through a pipe whose end was not seen yet."""
        return self._arrival.is_open if self._arrival is not None else self._is_pipe()

    def end(self) -> bool:
        """Take what has arrived of a pipe for all of it; return whether more was awaited."""
        self._is_ended = True
        if self._arrival is not None:
            self._arrival.end()
        return self.is_arriving

    def close(self) -> None:
        """Give up what the source holds. Calling it twice is allowed."""
        if self._arrival is not None:
            self._arrival.close()

    def _receive(self) -> str:
        """Return the path of a copy of a stream, once all is there; AudioError if it is empty."""
        arrival = self._arrive()
        arrival.wait()
        if not arrival.copy.size_bytes:
            raise _empty()
        return arrival.copy.path

    def _arrive(self) -> Arrival:
        """Return the copy of a stream, which is begun once."""
        if self._arrival is None:
            self._arrival = Arrival(self._open)
            if self._is_ended:
                self._arrival.end()
        return self._arrival

    @abstractmethod
    def _locate(self) -> str:
        """Return the path of a file with what is encoded, which has content."""

    @abstractmethod
    def _open(self) -> AbstractContextManager[BinaryIO]:
        """Return what is encoded, from its first byte on."""

    @abstractmethod
    def _is_pipe(self) -> bool:
        """Return whether it arrives, so that it can be read but once."""


class FileSource(EncodedSource):
    """A file, or a named pipe, which is copied when it is first read."""

    mark = ""  # in the names of what is written for it
    root: str | None = None  # the folder in which it was searched for, if it was

    def __init__(self, path: str | Path, track: int | str | None = None) -> None:
        self.path = os.fspath(path)
        super().__init__(self.path or '""', track)
        self.is_growing = False  # it is read once it has rested for _REST_S

    def split_tracks(self) -> list[FileSource]:
        """Return a source for each audio track; itself where there is one, or none can be read."""
        try:
            n_tracks = count_tracks(self._locate())
        except (AudioError, OSError):  # which is raised again when it is read
            n_tracks = 1
        self.track = None
        if n_tracks == 1:
            return [self]
        return [_TrackSource(self, number) for number in range(1, n_tracks + 1)]

    def check(self) -> None:
        """Raise AudioError where there is nothing to read."""
        with named_errors(self.name):
            self._check()

    def _locate(self) -> str:
        self._check()
        if self._is_pipe():
            return self._receive()
        if self.is_growing:
            self._wait()
        return self.path

    def _open(self) -> BinaryIO:
        return Path(self.path).open("rb")

    def _is_pipe(self) -> bool:
        with suppress(OSError):  # which is raised when it is read
            return Path(self.path).is_fifo()
        return False

    def _check(self) -> None:
        """Raise AudioError where it is neither a file with content nor a pipe."""
        if not self.path:  # Path("") is the present directory
            raise AudioError("the path is empty", hint="name a file")
        try:
            status = Path(self.path).stat()
        except FileNotFoundError as error:
            hint = "check the spelling of the path"
            if "://" in self.path:
                hint = f"for an address: curl -sL {self.path} | whisper-npu transcribe -"
            raise AudioError("no such file", hint=hint) from error
        if stat.S_ISDIR(status.st_mode):
            raise AudioError("a folder, not a file", hint="name a file in it")
        if stat.S_ISREG(status.st_mode) and status.st_size == 0:
            raise _empty()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISFIFO(status.st_mode):
            raise AudioError("neither a file nor a pipe", hint="name a file, or pipe it into -")
        if stat.S_ISREG(status.st_mode):
            self._open().close()

    def _wait(self) -> None:
        """Wait until the file rests."""
        size, rested_s = -1, 0.0
        while rested_s < _REST_S:
            now = Path(self.path).stat().st_size
            rested_s = rested_s + _POLL_S if now == size else 0.0
            size = now
            sleep(_POLL_S)
        self.is_growing = False


class _TrackSource(FileSource):
    """One of several tracks."""

    def __init__(self, file: FileSource, track: int) -> None:
        super().__init__(file.path, track)
        self.root = file.root
        self.name = f"{file.path} (track {track})"
        self.mark = f".track{track}"


class StreamSource(EncodedSource):
    """A binary file object from its present position on; it is not closed.

    It is copied to a file when it is first read: decoders run in another process, and seek.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        super().__init__(name)
        self._stream = stream
        with named_errors(name), stream_errors():
            self._can_seek = hasattr(stream, "seekable") and stream.seekable()
            self._start = stream.tell() if self._can_seek else 0

    def _locate(self) -> str:
        return self._receive()

    def _is_pipe(self) -> bool:
        return not self._can_seek

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        if self._can_seek:
            with stream_errors():
                self._stream.seek(self._start)
        yield self._stream


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Turn what goes wrong into an AudioError that names the input."""
    try:
        yield
    except AudioError as error:
        raise AudioError(f"{name}: {error}", hint=error.hint) from error
    except OSError as error:
        hint = "check its permissions and its disk"
        reason = error.strerror or str(error)
        raise AudioError(f"{name}: cannot be read: {reason}", hint=hint) from error


def _empty() -> AudioError:
    return AudioError("empty (0 bytes)", hint="copy or record it again")
