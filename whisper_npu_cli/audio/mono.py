"""A recording to mono samples at 16 kHz: its channels mixed, or one of them, and resampled."""

from __future__ import annotations

from collections.abc import Iterator
from io import FileIO

import numpy as np
import soxr
from numpy.typing import NDArray

from whisper_npu_cli.audio.channels import Channel
from whisper_npu_cli.audio.mixing import Mixer
from whisper_npu_cli.audio.readers import list_tracks, read_arriving, read_recording
from whisper_npu_cli.audio.recording import ALL_TRACKS, Frames, Heard, Notice, Request
from whisper_npu_cli.audio.samples import check_samples, without_samples
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.errors import AudioError

_RATES = range(1_000, 1_000_001)  # Hz; another rate is damage, and 1 Hz would fill the memory


def read_mono(file: FileIO, request: Request) -> Iterator[Heard]:
    """Yield what an open file holds, and what is to be said of it.

    For `ALL_TRACKS`, yield a notice for each track that describes it.

    AudioError if nothing can be decoded, or samples are not sound.
    """
    if request.track == ALL_TRACKS:
        yield from map(Notice, list_tracks(file))
        return
    mixer = Mixer() if request.channel is None else Channel(request.channel)
    resampler, now_s = _Resampler(), 0.0
    read = read_arriving if request.is_arriving else read_recording
    for piece in read(file, request.track):
        if not isinstance(piece, Frames):
            yield piece
            continue
        if piece.rate not in _RATES:
            raise AudioError(f"has a sample rate of {piece.rate} Hz", hint="convert it to 16000 Hz")
        mono = mixer.mix(piece)
        check_samples(mono, now_s)
        now_s += mono.size / piece.rate
        yield from resampler.add(piece.rate, mono)
    yield from resampler.finish()
    yield from mixer.finish()
    if not now_s:
        raise without_samples()


class _Resampler:
    """Bring blocks to 16 kHz; their rate may change."""

    def __init__(self) -> None:
        self._rate = SAMPLE_RATE
        self._stream: soxr.ResampleStream | None = None

    def add(self, rate: int, block: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Take a block (n,) at `rate` Hz; yield what is complete."""
        if rate != self._rate:
            yield from self.finish()
            self._rate = rate
            if rate != SAMPLE_RATE:
                self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32", "HQ")
        resampled = block if self._stream is None else self._stream.resample_chunk(block)
        if resampled.size:  # an empty block would say that more is waited for
            yield resampled

    def finish(self) -> Iterator[NDArray[np.float32]]:
        """Yield the rest of what was taken."""
        if self._stream is not None:
            yield self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
            self._stream = None
