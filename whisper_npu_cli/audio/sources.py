"""Whatever holds audio to samples: mono float32 at 16 kHz in blocks, so that memory stays small.

Knows nothing of mel or models. What is wrong with an input is raised when it is read, so that
one bad input never costs the others. Who opened a stream or a live source closes it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.channels import HINT
from whisper_npu_cli.audio.encoded import EncodedSource, FileSource, StreamSource, named_errors
from whisper_npu_cli.audio.samples import check_samples, without_samples
from whisper_npu_cli.audio.streams import Copy
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.errors import AudioError, UsageError
from whisper_npu_cli.transcript import Damage

_BLOCK_SAMPLES = 65_536  # 4 s, the size of a decoder's blocks


@runtime_checkable
class Source(Protocol):
    """One input. Anything of this shape can be transcribed, for example a microphone."""

    name: str  # in messages

    @property
    def can_reread(self) -> bool:
        """Whether `blocks` may be called again."""

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield all samples in blocks (n,), mono at 16 kHz; AudioError names the input.

        Before it waits, a source that can be read only once may yield an empty block: what was
        heard is then decided, and the wait is not taken for work.
        """

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


def listen(source: Source) -> Iterator[NDArray[np.float32]] | None:
    """Return the blocks of a source whose end is not known yet, as they arrive; None for others.

    An empty block says that the next one is not there yet: asking for it waits.
    """
    if isinstance(source, EncodedSource | KeptSource) and source.is_arriving:
        return source.listen()
    return None


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
        with named_errors(self.name):
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

    @property
    def is_arriving(self) -> bool:
        """Whether no reading was begun."""
        return not self._is_begun

    def listen(self) -> Iterator[NDArray[np.float32]]:
        """Yield the samples as they come."""
        return self.blocks()

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
        with named_errors(self.name), Path(self._copy.path).open("rb") as kept:
            while data := kept.read(_BLOCK_SAMPLES * np.float32().itemsize):
                yield np.frombuffer(data, np.float32)

    def close(self) -> None:
        """Give up the samples. Calling it twice is allowed."""
        self._copy.close()

    def _pass_through(self) -> Iterator[NDArray[np.float32]]:
        n_samples = 0
        for block in self._source.blocks():
            with named_errors(self.name):
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
            with named_errors(self.name):
                raise without_samples()
