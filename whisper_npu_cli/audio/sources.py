"""Whatever holds audio to samples: mono float32 at 16 kHz in blocks, so that memory stays small.

Knows nothing of mel or models. What is wrong with an input is raised when it is read, so that
one bad input never costs the others. Who opened a stream or a live source closes it.
"""

from __future__ import annotations

import io
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from time import sleep
from typing import Any, BinaryIO, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.channels import HINT
from whisper_npu_cli.audio.isolated import count_tracks, read_isolated
from whisper_npu_cli.audio.recording import Notice, Request
from whisper_npu_cli.audio.samples import check_samples, without_samples
from whisper_npu_cli.audio.streams import Copy, stream_errors
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.errors import AudioError, UsageError
from whisper_npu_cli.transcript import Damage

_BLOCK_SAMPLES = 65_536  # 4 s, the size of a decoder's blocks
_POLL_S, _REST_S = 0.5, 10.0  # players buffer as much; ffmpeg writes mp4 in pieces of 5 s


@runtime_checkable
class Source(Protocol):
    """One input. Anything of this shape can be transcribed, for example a microphone."""

    name: str  # in messages

    @property
    def can_reread(self) -> bool:
        """Whether `blocks` may be called again."""

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield all samples in blocks (n,), mono at 16 kHz; AudioError names the input."""

    def close(self) -> None:
        """Give up what the source holds. Calling it twice is allowed."""


Audio: TypeAlias = "str | Path | bytes | BinaryIO | NDArray[Any] | Source"


def open_source(audio: Audio) -> Source:
    """Return the source of a path, encoded bytes, a binary file object or samples (n,).

    A file object is read from its present position on. Samples are floats, mono at 16 kHz, full
    scale 1. A source is returned as it is. UsageError for anything else.
    """
    if isinstance(audio, Source):
        return audio
    if isinstance(audio, str | Path):
        return FileSource(audio)
    if isinstance(audio, bytes):
        return StreamSource(io.BytesIO(audio), "bytes")
    if isinstance(audio, np.ndarray):
        return SamplesSource(audio)
    if isinstance(audio, io.TextIOBase) or hasattr(audio, "encoding"):
        raise UsageError("a text file is no audio", hint='open it in binary, with mode "rb"')
    if hasattr(audio, "read"):
        name = getattr(audio, "name", None)  # a number where it was opened by descriptor
        return StreamSource(audio, name if isinstance(name, str) else "stream")
    raise UsageError(
        f"{type(audio).__name__} is no audio",
        hint="give a path, bytes, a binary file object, an array of samples, or a Source",
    )


def make_rereadable(source: Source) -> Source:
    """Return `source` where it can be read again, else a source that keeps its samples."""
    return source if source.can_reread else KeptSource(source)


class EncodedSource(ABC):
    """A recording in any format, of which one audio track is read: all channels or some."""

    can_reread = True

    def __init__(self, name: str, track: int | str | None = None) -> None:
        self.name = name
        self.track = track  # number, from 1, or language; None: see `audio/tracks.py`
        self._remarks: dict[Damage | Notice, None] = {}  # each once, however often it is read
        self._copy: Copy | None = None  # of what cannot be opened again
        self._is_arriving = False  # through a pipe whose end was not seen yet
        self._is_ended = False

    @property
    def damage(self) -> tuple[Damage, ...]:
        """Where what has been read so far is not sound."""
        return tuple(remark for remark in self._remarks if isinstance(remark, Damage))

    @property
    def notices(self) -> tuple[str, ...]:
        """How what has been read so far was read, where a person may want to know."""
        return tuple(remark.text for remark in self._remarks if isinstance(remark, Notice))

    def blocks(self, channel: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Yield all channels mixed, or one of two, in blocks (n,) at 16 kHz.

        AudioError names the input; that two channels are one signal is known at the end.
        """
        with _named_errors(self.name):
            request = Request(self._locate(), self.track, channel)
            with closing(read_isolated(request)) as pieces:
                for piece in pieces:
                    if isinstance(piece, np.ndarray):
                        yield piece
                    else:
                        self._remarks[piece] = None

    def end(self) -> bool:
        """Take what has arrived of a pipe for all of it; return whether more was awaited."""
        self._is_ended = True
        return self._is_arriving

    def close(self) -> None:
        """Give up what the source holds. Calling it twice is allowed."""
        if self._copy is not None:
            self._copy.close()

    def _receive(self, open_stream: Callable[[], AbstractContextManager[BinaryIO]]) -> str:
        """Return the path of a copy of a stream, which is made once; AudioError if it is empty."""
        if self._copy is None:
            self._copy = Copy()
            self._is_arriving = True
            with open_stream() as stream:
                self._copy.fill(stream, lambda: self._is_ended)
            self._is_arriving = False
        if not self._copy.size_bytes:
            raise _empty()
        return self._copy.path

    @abstractmethod
    def _locate(self) -> str:
        """Return the path of a file with what is encoded, which has content."""


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
        with _named_errors(self.name):
            if not self._is_pipe():
                self._open().close()

    def _locate(self) -> str:
        if not self._is_pipe():
            self._open().close()
            if self.is_growing:
                self._wait()
            return self.path
        return self._receive(self._open)

    def _open(self) -> BinaryIO:
        return Path(self.path).open("rb")

    def _is_pipe(self) -> bool:
        """Return whether it is a pipe; AudioError where it is neither that nor a file."""
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
        return stat.S_ISFIFO(status.st_mode)

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
        with _named_errors(name), stream_errors():
            self._can_seek = hasattr(stream, "seekable") and stream.seekable()
            self._is_arriving = not self._can_seek
            self._start = stream.tell() if self._can_seek else 0

    def _locate(self) -> str:
        return self._receive(self._rewind)

    @contextmanager
    def _rewind(self) -> Iterator[BinaryIO]:
        if self._can_seek:
            with stream_errors():
                self._stream.seek(self._start)
        yield self._stream


class ChannelSource:
    """One channel of a two-channel recording, which who opened it closes."""

    can_reread = True

    def __init__(self, recording: EncodedSource, index: int) -> None:
        self.name = recording.name
        self._recording = recording
        self._index = index

    @property
    def damage(self) -> tuple[Damage, ...]:
        """Where what has been read so far is not sound."""
        return self._recording.damage

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the samples of the channel in blocks (n,) at 16 kHz.

        AudioError names the recording; that its channels are one signal is known at the end.
        """
        return self._recording.blocks(self._index)

    def close(self) -> None:
        """Do nothing: who opened the recording closes it."""


def split_channels(source: Source) -> tuple[Source, Source]:
    """Return a source for each channel of a recording.

    AudioError, now or when they are read, where the recording does not have two channels.
    """
    if not isinstance(source, EncodedSource):
        raise AudioError(f"{source.name}: one channel, where --speakers needs two", hint=HINT)
    return ChannelSource(source, 0), ChannelSource(source, 1)


class SamplesSource:
    """Samples in memory: floats (n,), mono at 16 kHz, full scale 1."""

    can_reread = True

    def __init__(self, samples: NDArray[np.floating[Any]], name: str = "samples") -> None:
        """Keep a reference to `samples`; UsageError for another type or shape."""
        self.name = name
        self._samples = samples
        if samples.dtype.kind != "f":
            is_integer = samples.dtype.kind == "i"
            scale = -np.iinfo(samples.dtype).min if is_integer else None  # type: ignore[type-var]
            hint = f"divide them by {scale}" if scale else "give floats between -1 and 1"
            raise UsageError(f"{name}: {samples.dtype}, not floating point", hint=hint)
        if samples.ndim != 1:
            raise UsageError(
                f"{name}: of shape {samples.shape}, not (n,)", hint="average the channels"
            )

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield all samples in blocks (n,), mono at 16 kHz; AudioError names them."""
        with _named_errors(self.name):
            for start in range(0, self._samples.size, _BLOCK_SAMPLES):
                with np.errstate(over="ignore"):  # beyond fp32: infinity, which is refused
                    block = self._samples[start : start + _BLOCK_SAMPLES].astype(np.float32)
                check_samples(block, start / SAMPLE_RATE)
                yield block
            if not self._samples.size:
                raise without_samples()

    def close(self) -> None:
        """Do nothing: the samples are the caller's."""


class KeptSource:
    """A source that can be read once, whose samples are kept as they pass, to be read again."""

    can_reread = True

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self._source = source
        self._copy = Copy()
        self._is_begun = self._is_complete = False

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield all samples in blocks (n,), mono at 16 kHz: as they come, then as they were kept.

        AudioError names the input. RuntimeError where the first reading did not reach the end.
        """
        if not self._is_begun:
            self._is_begun = True
            yield from self._pass_through()
            self._is_complete = True
            return
        if not self._is_complete:
            raise RuntimeError(f"{self.name} is read again before its end was reached")
        with _named_errors(self.name), Path(self._copy.path).open("rb") as kept:
            while data := kept.read(_BLOCK_SAMPLES * np.float32().itemsize):
                yield np.frombuffer(data, np.float32)

    def close(self) -> None:
        """Give up the samples. Calling it twice is allowed."""
        self._copy.close()

    def _pass_through(self) -> Iterator[NDArray[np.float32]]:
        n_samples = 0
        for block in self._source.blocks():
            with _named_errors(self.name):
                if block.dtype != np.float32 or block.ndim != 1:
                    raise AudioError(
                        f"gives blocks of {block.dtype} {block.shape}, not float32 (n,)",
                        hint="give mono samples at 16000 Hz, full scale 1",
                    )
                check_samples(block, n_samples / SAMPLE_RATE)
                self._copy.write(block.tobytes())
            n_samples += block.size
            yield block
        if not n_samples:
            with _named_errors(self.name):
                raise without_samples()


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
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
