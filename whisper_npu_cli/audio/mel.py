"""Samples to Whisper's log-mel windows. No I/O; memory does not grow with the audio.

The values are those of openai-whisper's `log_mel_spectrogram` over the whole audio followed by
30 s of silence, as its `transcribe` computes them. They depend on the loudest moment of the
audio, so the samples are read twice: `scan` finds that peak, `MelStream` delivers windows. Of audio
that arrives nobody knows that moment: `ArrivingMel` takes the loudest so far.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.dims import HOP_LENGTH, N_FFT, N_FRAMES, SAMPLE_RATE

_OVERLAP = N_FFT - HOP_LENGTH  # samples that a frame shares with the next
_PAD = N_FFT // 2  # frame t is centred on sample t * HOP_LENGTH, so it begins 200 samples earlier
_FLOOR = 1e-10  # smallest mel power, as in openai-whisper
_RANGE = 8.0  # log10 units kept below the peak of the whole audio, as in openai-whisper
_FILTERS_AT_ONCE = 4  # neighbours: most of their bins are the same
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

    def __init__(self, n_mels: int, n_frames: int = 500) -> None:
        self.n_mels = n_mels
        # The arrays of 500 stay in the cache; 3000 frames at once took twice as long
        self.n_frames = n_frames
        # A bin is in two filters at most. One dense product would be so large that it is computed
        # in two threads, and takes 30 ms per 30 s on a busy machine.
        self._filters = list(_split_filters(mel_filters(n_mels)))

    def compute_power(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mel power (n_mels, k) of the k whole frames of samples (n,)."""
        return self.measure_frames(cut_frames(samples))

    def measure_frames(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mel power (n_mels, k) of frames (k, N_FFT)."""
        # scipy's transform handles several frames in one SIMD register: 1.8 ms per 30 s where
        # NumPy's takes 2.6. But importing scipy's takes 200 ms.
        parts = np.fft.rfft(frames * HANN).view(np.float32)  # (k, 2 * (N_FFT // 2 + 1))
        parts *= parts
        spectra = parts[:, 0::2] + parts[:, 1::2]
        power = np.empty((self.n_mels, len(frames)), np.float32)
        for rows, bins, weights in self._filters:
            np.matmul(weights, spectra[:, bins].T, out=power[rows])
        return power


def _split_filters(
    filters: NDArray[np.float32],
) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
    """Yield the filters, some neighbours at a time: their rows, their bins, and their weights."""
    for first in range(0, len(filters), _FILTERS_AT_ONCE):
        rows = slice(first, first + _FILTERS_AT_ONCE)
        used = np.flatnonzero(filters[rows].any(axis=0))
        bins = slice(used[0], used[-1] + 1)
        yield rows, bins, np.ascontiguousarray(filters[rows, bins])


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
    Frames before a window that no other needed are not computed: a part of a long recording passes
    what is before it in a third of the time.
    """

    def __init__(
        self, blocks: Iterable[NDArray[np.float32]], stats: MelStats, engine: MelEngine
    ) -> None:
        self.stats = stats
        self.engine = engine
        self._stretches = _cut_stretches(blocks, engine.n_frames)
        self._held: deque[tuple[int, NDArray[np.float32]]] = deque()  # first frame, (n_mels, k)
        self.first_frame = 0  # before which all was given up
        self._end = 0  # frames that were passed so far

    def window(self, start: int, end: int) -> NDArray[np.float32]:
        """Return (n_mels, N_FRAMES): frames from `start` on and before `end`, then zeros.

        `start` must not decrease from call to call: ValueError, because those frames are gone.
        """
        self.forget(start)
        end = min(start + N_FRAMES, end, self.stats.n_frames)
        while self._end < end:
            self._pull()
        window = np.zeros((self.engine.n_mels, N_FRAMES), np.float32)
        for first, chunk in self._held:
            a, b = max(first, start), min(first + chunk.shape[1], end)
            if a < b:
                part = _scale(chunk[:, a - first : b - first], self.stats.peak)
                window[:, a - start : b - start] = part
        return window

    def forget(self, start: int) -> None:
        """Give up what comes before frame `start`; ValueError where that is gone already."""
        if start < self.first_frame:
            raise ValueError(f"window at frame {start} after one at {self.first_frame}")
        self.first_frame = start
        while self._held and self._held[0][0] + self._held[0][1].shape[1] <= start:
            self._held.popleft()

    def _pull(self) -> None:
        """Compute the next chunk and keep it, if later windows can need it."""
        stretch = next(self._stretches, None)
        if stretch is None:
            raise ValueError(f"samples ended at mel frame {self._end} of {self.stats.n_frames}")
        end = self._end + len(cut_frames(stretch))
        if end > self.first_frame:
            self._keep(self.engine.compute_power(stretch))
        self._end = end

    def _keep(self, power: NDArray[np.float32]) -> None:
        """Keep a chunk of mel power (n_mels, k), if it ends after the last window's start."""
        self._held.append((self._end, power))
        self._end += power.shape[1]
        self.forget(self.first_frame)


class ArrivingMel(MelStream):
    """Windows of the log-mel of samples that are added one block after another.

    Its `stats` are those of what was added: a window is clamped against the peak so far.
    """

    def __init__(self, engine: MelEngine) -> None:
        super().__init__((), MelStats(0, math.log10(_FLOOR)), engine)
        self._framer = _Framer(engine.n_frames)

    @property
    def n_frames(self) -> int:
        """Mel frames that windows can have."""
        return min(self._end, self.stats.n_frames)

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next samples (n,)."""
        self._add(block.size, self._framer.add(block))

    def finish(self) -> None:
        """Compute the last frames: no sample follows."""
        self._add(0, self._framer.finish())

    def _add(self, n_samples: int, stretches: Iterable[NDArray[np.float32]]) -> None:
        peak = self.stats.peak
        for stretch in stretches:
            power = self.engine.compute_power(stretch)
            peak = max(peak, math.log10(max(float(power.max()), _FLOOR)))
            self._keep(power)
        self.stats = replace(self.stats, n_samples=self.stats.n_samples + n_samples, peak=peak)


def log_mel(samples: NDArray[np.float32], engine: MelEngine) -> NDArray[np.float32]:
    """Return the log-mel (n_mels, n // HOP_LENGTH) of samples (n,), the content frames only."""
    stats = scan([samples], engine)
    power = np.concatenate(list(_mel_power([samples], engine)), axis=1)
    return _scale(power[:, : stats.n_frames], stats.peak)


def _scale(power: NDArray[np.float32], peak: float) -> NDArray[np.float32]:
    """Return the log-mel of mel power (n_mels, k), scaled as Whisper was trained on it."""
    # (log10(power) + 4) / 4, in place. NumPy's log is vectorised and its log10 is not: 0.5 and
    # 1.6 ms per 30 s
    mel = np.maximum(power, np.float32(max(_FLOOR, 10 ** (peak - _RANGE))))
    np.log(mel, out=mel)
    np.multiply(mel, np.float32(0.25 / math.log(10)), out=mel)
    return np.add(mel, np.float32(1), out=mel)


def _mel_power(
    blocks: Iterable[NDArray[np.float32]], engine: MelEngine
) -> Iterator[NDArray[np.float32]]:
    """Yield the mel power in chunks (n_mels, k), up to the last frame that touches the audio."""
    return map(engine.compute_power, _cut_stretches(blocks, engine.n_frames))


def _cut_stretches(
    blocks: Iterable[NDArray[np.float32]], n_frames: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the stretches of samples (n,) of which chunks are computed, as `_Framer` does."""
    framer = _Framer(n_frames)
    for block in blocks:
        yield from framer.add(block)
    yield from framer.finish()


class _Framer:
    """Cut samples into overlapping stretches of `n_frames` frames; the last is shorter.

    A reflection of their beginning comes before them, and silence after them. The cuts are
    independent of the blocks, so the results are the same bit by bit. A stretch is valid until the
    next one is asked for.
    """

    def __init__(self, n_frames: int) -> None:
        self._head: NDArray[np.float32] | None = np.zeros(0, np.float32)  # until it is reflected
        self._stretch = np.empty(n_frames * HOP_LENGTH + _OVERLAP, np.float32)
        self._filled = 0

    def add(self, samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Take the next samples (n,); yield the stretches that they complete."""
        if self._head is None:
            yield from self._cut(samples)
            return
        self._head = np.concatenate([self._head, samples])
        if self._head.size > _PAD:
            yield from self._begin(self._head)

    def finish(self) -> Iterator[NDArray[np.float32]]:
        """Yield the rest."""
        if self._head is not None:
            yield from self._begin(self._head)
        yield from self._cut(np.zeros(N_FFT, np.float32))  # for every frame that touches the audio
        if self._filled >= N_FFT:
            yield self._stretch[: self._filled]

    def _begin(self, head: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        self._head = None
        mirror = head[1 : _PAD + 1][::-1]
        yield from self._cut(np.concatenate([np.zeros(_PAD - mirror.size, np.float32), mirror]))
        yield from self._cut(head)

    def _cut(self, rest: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        while rest.size:
            taken = min(rest.size, self._stretch.size - self._filled)
            self._stretch[self._filled : self._filled + taken] = rest[:taken]
            self._filled, rest = self._filled + taken, rest[taken:]
            if self._filled == self._stretch.size:
                yield self._stretch
                self._stretch[:_OVERLAP] = self._stretch[-_OVERLAP:]
                self._filled = _OVERLAP
