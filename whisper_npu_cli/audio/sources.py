"""Whatever holds audio to samples: mono float32 at 16 kHz in blocks, so that memory stays small.

Knows nothing of mel or models. What is wrong with an input is raised when it is read, so that
one bad input never costs the others. Who opened a stream or a live source closes it.
"""

from __future__ import annotations

import io
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, runtime_checkable

import numpy as np
import soxr
from numpy.typing import NDArray

from whisper_npu_cli.audio.isolated import read_isolated
from whisper_npu_cli.audio.mixing import Mixer
from whisper_npu_cli.audio.recording import Frames, Notice, Piece
from whisper_npu_cli.audio.streams import Copy, stream_errors
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.errors import AudioError, UsageError
from whisper_npu_cli.transcript import Damage

Block: TypeAlias = tuple[int, NDArray[np.float32]]  # sample rate in Hz, mono samples (n,)

_BLOCK_SAMPLES = 65_536  # 4 s, the size of a decoder's blocks
_RATES = range(1_000, 1_000_001)  # Hz; another rate is damage, and 1 Hz would fill the memory
_LOUDEST = 1e12  # full scale is 1; the power of samples beyond 1e16 overflows fp32


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

    @property
    def damage(self) -> tuple[Damage, ...]:
        """Where what has been read so far is not sound."""
        return tuple(remark for remark in self._remarks if isinstance(remark, Damage))

    @property
    def notices(self) -> tuple[str, ...]:
        """How what has been read so far was read, where a person may want to know."""
        return tuple(remark.text for remark in self._remarks if isinstance(remark, Notice))

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield all channels as one in blocks (n,) at 16 kHz; AudioError names the input."""
        return self.read(self._mix)

    def read(
        self, to_mono: Callable[[Iterator[Frames]], Iterator[Block]]
    ) -> Iterator[NDArray[np.float32]]:
        """Yield what `to_mono` makes of the channels, as `blocks` does."""
        with (
            _named_errors(self.name),
            closing(read_isolated(self._locate(), self.track)) as pieces,
        ):
            yield from _resampled(_checked(to_mono(self._take_frames(pieces))))

    @abstractmethod
    def close(self) -> None:
        """Give up what the source holds. Calling it twice is allowed."""

    @abstractmethod
    def _locate(self) -> str:
        """Return the path of a file with what is encoded, which has content."""

    def _mix(self, frames: Iterable[Frames]) -> Iterator[Block]:
        mixer = Mixer()
        for piece in frames:
            yield piece.rate, mixer.mix(piece)
        for notice in mixer.finish():
            self._note(notice)

    def _take_frames(self, pieces: Iterable[Piece]) -> Iterator[Frames]:
        """Yield the samples, and note what is said of them."""
        for piece in pieces:
            if isinstance(piece, Frames):
                yield piece
            else:
                self._note(piece)

    def _note(self, remark: Damage | Notice) -> None:
        self._remarks[remark] = None


class FileSource(EncodedSource):
    """A file, or a named pipe, which is copied when it is first read."""

    def __init__(self, path: str | Path, track: int | str | None = None) -> None:
        self.path = os.fspath(path)
        super().__init__(self.path or '""', track)
        self._copy: Copy | None = None

    def check(self) -> None:
        """Raise AudioError where there is nothing to read."""
        with _named_errors(self.name):
            if not self._is_pipe():
                self._open().close()

    def close(self) -> None:
        """Give up the copy of a pipe. Calling it twice is allowed."""
        if self._copy is not None:
            self._copy.close()

    def _locate(self) -> str:
        if not self._is_pipe():
            self._open().close()
            return self.path
        if self._copy is None:
            self._copy = Copy()
            with self._open() as pipe:
                self._copy.fill(pipe)
        return _check_content(self._copy)

    def _open(self) -> io.FileIO:
        return Path(self.path).open("rb", buffering=0)

    def _is_pipe(self) -> bool:
        """Return whether it is a pipe; AudioError where it is neither that nor a file."""
        if not self.path:  # Path("") is the present directory
            raise AudioError("the path is empty", hint="name a file")
        try:
            status = Path(self.path).stat()
        except FileNotFoundError as error:
            raise AudioError("no such file", hint="check the spelling of the path") from error
        if stat.S_ISDIR(status.st_mode):
            raise AudioError("a folder, not a file", hint="name a file in it")
        if stat.S_ISREG(status.st_mode) and status.st_size == 0:
            raise _empty()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISFIFO(status.st_mode):
            raise AudioError("neither a file nor a pipe", hint="name a file, or pipe it into -")
        return stat.S_ISFIFO(status.st_mode)


class StreamSource(EncodedSource):
    """A binary file object from its present position on; it is not closed.

    It is copied to a file when it is first read: decoders run in another process, and seek.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        super().__init__(name)
        self._stream = stream
        self._copy: Copy | None = None
        with _named_errors(name), stream_errors():
            self._can_seek = hasattr(stream, "seekable") and stream.seekable()
            self._start = stream.tell() if self._can_seek else 0

    def close(self) -> None:
        """Give up the copy. Calling it twice is allowed."""
        if self._copy is not None:
            self._copy.close()

    def _locate(self) -> str:
        if self._copy is None:
            self._copy = Copy()
            if self._can_seek:
                with stream_errors():
                    self._stream.seek(self._start)
            self._copy.fill(self._stream)
        return _check_content(self._copy)


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
            for _, block in _checked(self._converted()):
                yield block

    def close(self) -> None:
        """Do nothing: the samples are the caller's."""

    def _converted(self) -> Iterator[Block]:
        for start in range(0, self._samples.size, _BLOCK_SAMPLES):
            with np.errstate(over="ignore"):  # beyond fp32: infinity, which is refused
                block = self._samples[start : start + _BLOCK_SAMPLES].astype(np.float32)
            yield SAMPLE_RATE, block


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
                _check(block, n_samples / SAMPLE_RATE)
                self._copy.write(block.tobytes())
            n_samples += block.size
            yield block
        if not n_samples:
            with _named_errors(self.name):
                raise _silent()


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


def _check_content(copy: Copy) -> str:
    """Return the path of a copy; AudioError where it is empty."""
    if not copy.size_bytes:
        raise _empty()
    return copy.path


def _empty() -> AudioError:
    return AudioError("empty (0 bytes)", hint="copy or record it again")


def _silent() -> AudioError:
    return AudioError("has no samples", hint="record it again, or leave it out")


def _checked(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield the blocks; AudioError for samples or rates that are not sound, or none at all."""
    now_s = 0.0
    for rate, block in blocks:
        if rate not in _RATES:
            raise AudioError(f"has a sample rate of {rate} Hz", hint="convert it to 16000 Hz")
        _check(block, now_s)
        now_s += block.size / rate
        yield rate, block
    if not now_s:
        raise _silent()


def _check(block: NDArray[np.float32], start_s: float) -> None:
    """Raise AudioError where a sample of the block that begins at `start_s` is not sound."""
    peak = np.abs(block).max(initial=0)
    if not peak < _LOUDEST:  # also true of NaN
        raise AudioError(
            f"has a sample of {peak:g}, where full scale is 1, after {start_s:.1f} s",
            hint="export it again, for example as 16-bit wav",
        )


def _resampled(blocks: Iterable[Block]) -> Iterator[NDArray[np.float32]]:
    """Bring blocks to 16 kHz; their rate may change."""
    for rate, same_rate in groupby(blocks, key=itemgetter(0)):
        if rate == SAMPLE_RATE:
            yield from (block for _, block in same_rate)
            continue
        stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32", "HQ")
        for _, block in same_rate:
            yield stream.resample_chunk(block)
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
