"""Audio in the time in which it is spoken: clocks, a recording that is played, PCM from a stream.

Live sources are read once. A block is there once its last sample was spoken; an empty one comes
before a wait. Nothing that was spoken is dropped: what is not read yet is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from queue import Queue
from threading import Thread
from time import monotonic, sleep
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.encoded import named_errors
from whisper_npu_cli.audio.samples import without_samples
from whisper_npu_cli.audio.sources import Source
from whisper_npu_cli.audio.streams import read_stream
from whisper_npu_cli.dims import SAMPLE_RATE

BLOCK_SAMPLES = SAMPLE_RATE // 10
_BLOCK_BYTES = 2 * BLOCK_SAMPLES
_KEPT_BLOCKS = 6_000  # 10 min in 19 MB; the writer of a stream that is further ahead has to wait
_NOTHING = np.zeros(0, np.float32)


class Clock(Protocol):
    """What tells the time, and lets it pass."""

    def now(self) -> float:
        """Return seconds since some moment."""

    def sleep(self, seconds: float) -> None:
        """Return once `seconds` have passed."""


class SystemClock:
    """The time of this machine."""

    def now(self) -> float:
        """Return seconds since the machine was started."""
        return monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        sleep(seconds)


class LeapingClock:
    """A clock on which nothing takes time but to wait, which takes none: it leaps ahead."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """Return the sum of all waits."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Leap."""
        self._now += seconds


class LiveSource(Protocol):
    """A `Source` that is spoken now, and ends when it is told to."""

    name: str
    can_reread: bool

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield samples (n,) once they were spoken, and an empty block before each wait."""

    def end(self) -> bool:
        """Take what was spoken for all of it; return whether more was awaited."""

    def close(self) -> None:
        """Give up what the source holds. Calling it twice is allowed."""


class PlayedSource:
    """A recording that is spoken by a clock."""

    can_reread = False

    def __init__(self, recording: Source, clock: Clock | None = None) -> None:
        self.name = recording.name
        self._recording = recording
        self._clock = clock or SystemClock()
        self.is_ended = False

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks of 0.1 s in their time; AudioError where the recording cannot be read."""
        began_s, n_samples = self._clock.now(), 0
        for block in split_blocks(self._recording.blocks()):
            n_samples += block.size
            ahead_s = began_s + n_samples / SAMPLE_RATE - self._clock.now()
            if ahead_s > 0 and not self.is_ended:
                yield _NOTHING
                self._clock.sleep(ahead_s)
            if self.is_ended:
                return
            yield block

    def end(self) -> bool:
        """End it where it is."""
        was_ended, self.is_ended = self.is_ended, True
        return not was_ended

    def close(self) -> None:
        """Close the recording."""
        self._recording.close()


class PcmSource:
    """Raw PCM of a stream: 16 bits, little-endian, mono, 16 kHz.

    A thread takes what arrives, so that whoever records need not wait for what is decoded.
    """

    can_reread = False

    def __init__(
        self, name: str, open_stream: Callable[[], AbstractContextManager[IO[bytes]]]
    ) -> None:
        self.name = name
        self._open_stream = open_stream
        self._arrived: Queue[bytes | BaseException | None] = Queue(_KEPT_BLOCKS)
        self.is_ended = False

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield what arrives; AudioError where nothing can be read, or nothing was."""
        Thread(target=self._receive, daemon=True).start()
        n_samples = 0
        with named_errors(self.name):
            while True:
                if self._arrived.empty():
                    yield _NOTHING
                piece = self._arrived.get()
                if isinstance(piece, BaseException):
                    raise piece
                if piece is None:
                    break
                n_samples += len(piece) // 2
                yield np.frombuffer(piece, "<i2").astype(np.float32) / np.float32(32768)
            if not n_samples:
                raise without_samples()

    def end(self) -> bool:
        """Take what has arrived for all of it."""
        was_ended, self.is_ended = self.is_ended, True
        return not was_ended

    def close(self) -> None:
        """Stop reading."""
        self.is_ended = True

    def _receive(self) -> None:
        try:
            with self._open_stream() as stream:
                held = b""
                for chunk in read_stream(stream, lambda: self.is_ended):
                    held += chunk
                    n_whole = len(held) // _BLOCK_BYTES * _BLOCK_BYTES
                    for start in range(0, n_whole, _BLOCK_BYTES):
                        self._arrived.put(held[start : start + _BLOCK_BYTES])
                    held = held[n_whole:]
                if len(held) > 1:
                    self._arrived.put(held[: len(held) // 2 * 2])
            self._arrived.put(None)
        except BaseException as error:  # raised again where it is waited for
            self._arrived.put(error)


def split_blocks(blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Yield the same samples (n,) in blocks of at most 0.1 s; empty ones as they are."""
    for block in blocks:
        yield from np.split(block, range(BLOCK_SAMPLES, block.size, BLOCK_SAMPLES))
