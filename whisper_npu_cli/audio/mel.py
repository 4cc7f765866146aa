"""Samples to Whisper's log-mel windows. No I/O; memory does not grow with the audio.

The values are those of openai-whisper's `log_mel_spectrogram` over the whole audio followed by
30 s of silence, as its `transcribe` computes them. They depend on the loudest moment of the
audio, so the samples are read twice: `scan` finds that peak, `MelStream` delivers windows.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import scipy.fft
import scipy.sparse
from numpy.typing import NDArray

from whisper_npu_cli.dims import HOP_LENGTH, N_FFT, N_FRAMES, SAMPLE_RATE

_PAD = N_FFT // 2  # frame t is centred on sample t * HOP_LENGTH, so it begins 200 samples earlier
_FLOOR = 1e-10  # smallest mel power, as in openai-whisper
_RANGE = 8.0  # log10 units kept below the peak of the whole audio, as in openai-whisper
HANN = np.hanning(N_FFT + 1)[:-1].astype(np.float32)  # periodic


@lru_cache
def mel_filters(n_mels: int) -> NDArray[np.float32]:
    """Return Slaney's triangular filters of equal area, (n_mels, N_FFT // 2 + 1), read-only.

    The scale is linear below 1000 Hz (200/3 Hz a mel) and logarithmic above (27 mels for a
    factor of 6.4): M. Slaney, Auditory Toolbox, 1998. It equals `librosa.filters.mel`, whose
    import alone takes 1.3 s.
    """
    log_step = math.log(6.4) / 27
    top = 15 + math.log(SAMPLE_RATE / 2 / 1000) / log_step
    mels = np.linspace(0.0, top, n_mels + 2)
    hertz = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(log_step * (mels - 15)))
    lower, centre, upper = hertz[:-2, None], hertz[1:-1, None], hertz[2:, None]
    bins = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    filters: NDArray[np.float32] = (triangles * 2 / (upper - lower)).astype(np.float32)
    filters.setflags(write=False)
    return filters


class MelEngine(Protocol):
    """Computes mel power, which is nearly all of the work."""

    n_mels: int
    n_frames: int  # frames it takes at a time

    @property
    def name(self) -> str:
        """What the timings call it; empty for the host, where everything else is computed too."""
        ...

    def compute_power(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mel power (n_mels, k) of the k whole frames, at most n_frames, of (n,)."""
        ...


class HostMel:
    """Mel power by this processor, in one thread."""

    name = ""
    n_frames = 500  # its arrays stay in the cache; 3000 frames at once took twice as long

    def __init__(self, n_mels: int) -> None:
        self.n_mels = n_mels
        # Sparse, because a bin is in two filters at most: 0.6 ms per 30 s, where the dense product
        # takes 1.1 (128 mels: 1.7) and, in two threads on a busy machine, 30
        self._filters = scipy.sparse.csr_array(mel_filters(n_mels))

    def compute_power(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mel power (n_mels, k) of the k whole frames of samples (n,)."""
        return self.measure_frames(cut_frames(samples))

    def measure_frames(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mel power (n_mels, k) of frames (k, N_FFT)."""
        # scipy's transform handles several frames in one SIMD register: 1.8 ms per 30 s where
        # NumPy's takes 2.9
        parts = scipy.fft.rfft(frames * HANN).view(np.float32)  # (k, 2 * (N_FFT // 2 + 1))
        parts *= parts
        power: NDArray[np.float32] = self._filters @ (parts[:, 0::2] + parts[:, 1::2]).T
        return power


def cut_frames(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the whole frames (k, N_FFT) of samples (n,), as a view."""
    return np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::HOP_LENGTH]


@dataclass(frozen=True)
class MelStats:
    """What must be known of the whole audio before its first window can be computed."""

    n_samples: int
    peak: float  # log10 of the largest mel power

    @property
    def n_frames(self) -> int:
        """Mel frames of content."""
        return self.n_samples // HOP_LENGTH

    @property
    def duration_s(self) -> float:
        """Length of the audio in seconds."""
        return self.n_samples / SAMPLE_RATE


def scan(blocks: Iterable[NDArray[np.float32]], engine: MelEngine) -> MelStats:
    """Read all `blocks` of samples (n,) once, for their number and their peak."""
    n_samples = 0

    def counted() -> Iterator[NDArray[np.float32]]:
        nonlocal n_samples
        for block in blocks:
            n_samples += block.size
            yield block

    peak = max(float(power.max()) for power in _mel_power(counted(), engine))
    return MelStats(n_samples, math.log10(max(peak, _FLOOR)))


class MelStream:
    """Windows of the log-mel of `blocks`, the same samples (n,) that `stats` was scanned from.

    It holds the frames since the last window's start and one chunk more, never the whole audio.
    """

    def __init__(
        self, blocks: Iterable[NDArray[np.float32]], stats: MelStats, engine: MelEngine
    ) -> None:
        self.n_frames = stats.n_frames
        self._n_mels = engine.n_mels
        self._source = _log_mel_chunks(blocks, stats, engine)
        self._held: deque[tuple[int, NDArray[np.float32]]] = deque()  # first frame, (n_mels, k)
        self._start = 0
        self._end = 0  # frames computed so far

    def window(self, start: int, end: int) -> NDArray[np.float32]:
        """Return (n_mels, N_FRAMES): frames from `start` on and before `end`, then zeros.

        `start` must not decrease from call to call: ValueError, because those frames are gone.
        """
        if start < self._start:
            raise ValueError(f"window at frame {start} after one at {self._start}")
        self._start = start
        end = min(start + N_FRAMES, end, self.n_frames)
        self._drop()
        while self._end < end:
            self._pull()
        window = np.zeros((self._n_mels, N_FRAMES), np.float32)
        for first, chunk in self._held:
            a, b = max(first, start), min(first + chunk.shape[1], end)
            if a < b:
                window[:, a - start : b - start] = chunk[:, a - first : b - first]
        return window

    def _pull(self) -> None:
        """Compute the next chunk and keep what later windows can need."""
        chunk = next(self._source, None)
        if chunk is None:
            raise ValueError(f"samples ended at mel frame {self._end} of {self.n_frames}")
        self._held.append((self._end, chunk))
        self._end += chunk.shape[1]
        self._drop()

    def _drop(self) -> None:
        """Forget chunks that end before the present window."""
        while self._held and self._held[0][0] + self._held[0][1].shape[1] <= self._start:
            self._held.popleft()


def log_mel(samples: NDArray[np.float32], engine: MelEngine) -> NDArray[np.float32]:
    """Return the log-mel (n_mels, n // HOP_LENGTH) of samples (n,), the content frames only."""
    stats = scan([samples], engine)
    chunks = list(_log_mel_chunks([samples], stats, engine))
    return np.concatenate(chunks, axis=1)[:, : stats.n_frames]


def _log_mel_chunks(
    blocks: Iterable[NDArray[np.float32]], stats: MelStats, engine: MelEngine
) -> Iterator[NDArray[np.float32]]:
    """Yield the log-mel in chunks (n_mels, k), scaled as Whisper was trained on it."""
    floor = np.float32(max(_FLOOR, 10 ** (stats.peak - _RANGE)))
    for power in _mel_power(blocks, engine):
        # (log10(power) + 4) / 4, in place. NumPy's log is vectorised and its log10 is not: 0.5
        # and 1.6 ms per 30 s
        mel = np.maximum(power, floor, out=power)
        np.log(mel, out=mel)
        np.multiply(mel, np.float32(0.25 / math.log(10)), out=mel)
        yield np.add(mel, np.float32(1), out=mel)


def _mel_power(
    blocks: Iterable[NDArray[np.float32]], engine: MelEngine
) -> Iterator[NDArray[np.float32]]:
    """Yield the mel power in chunks (n_mels, k), up to the last frame that touches the audio."""
    for samples in _chunks(_padded(blocks), engine.n_frames):
        yield engine.compute_power(samples)


def _padded(blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Yield the samples after a reflection of their beginning and before silence."""
    source = iter(blocks)
    head = np.zeros(0, np.float32)
    while head.size <= _PAD and (block := next(source, None)) is not None:
        head = np.concatenate([head, block])
    reflected = np.zeros(_PAD, np.float32)
    mirror = head[1 : _PAD + 1]
    reflected[_PAD - mirror.size :] = mirror[::-1]
    yield reflected
    yield head
    yield from source
    yield np.zeros(N_FFT, np.float32)  # completes every frame that touches the audio


def _chunks(blocks: Iterable[NDArray[np.float32]], n_frames: int) -> Iterator[NDArray[np.float32]]:
    """Cut samples into the overlapping stretches of `n_frames` frames; the last is shorter.

    The cuts are independent of the blocks, so the results are the same bit by bit. A stretch is
    valid until the next one is asked for.
    """
    step = n_frames * HOP_LENGTH
    overlap = N_FFT - HOP_LENGTH
    stretch = np.empty(step + overlap, np.float32)
    filled = 0
    for block in blocks:
        rest = block
        while rest.size:
            taken = min(rest.size, stretch.size - filled)
            stretch[filled : filled + taken] = rest[:taken]
            filled, rest = filled + taken, rest[taken:]
            if filled == stretch.size:
                yield stretch
                stretch[:overlap] = stretch[step:]
                filled = overlap
    if filled >= N_FFT:
        yield stretch[:filled]
