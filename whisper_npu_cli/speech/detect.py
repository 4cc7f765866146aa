"""Where there is speech: samples to spans of speech.

Spans are decided while the samples stream by; what is held is bounded by the longest window.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.dims import HOP_LENGTH, SAMPLE_RATE
from whisper_npu_cli.options import VadOptions
from whisper_npu_cli.spans import Span, cut_spans
from whisper_npu_cli.speech.silero import BATCH, CHUNK, Silero

_BATCH_SAMPLES = BATCH * CHUNK


class SpeechTracker:
    """Probabilities of chunks in turn, to spans of speech in chunks.

    Speech as long as a window is cut where it is least likely to be speech, in the later half:
    `spans` then has two that touch.
    """

    def __init__(self, options: VadOptions) -> None:
        self.spans: list[tuple[int, int]] = []  # of chunks
        self._options = options
        # a chunk less, because frames do not begin where chunks do
        frames = options.max_frames - 2 * options.pad_frames
        self._max_chunks = frames * HOP_LENGTH // CHUNK - 1
        self._min_silence = _chunks(options.min_silence_duration_ms)
        self._min_speech = _chunks(options.min_speech_duration_ms)
        self._n_chunks = 0
        self._speech: list[float] = []  # the probabilities since the present speech began
        self._n_silent = 0  # chunks since it may have ended
        self._is_rest = False  # of speech that was cut

    def add(self, probabilities: Iterable[float]) -> None:
        """Go on with the next chunks."""
        for probability in probabilities:
            self._add(float(probability))

    def finish(self) -> None:
        """End speech that lasts to the end of the audio."""
        if self._speech:
            self._end(self._n_chunks - self._n_silent)

    def _add(self, probability: float) -> None:
        self._n_chunks += 1
        is_speech = probability >= self._options.threshold
        if not self._speech and not is_speech:
            return
        self._speech.append(probability)
        if is_speech:
            self._n_silent = 0
        elif self._n_silent or probability < self._options.silence_threshold:
            self._n_silent += 1
        if self._n_silent >= self._min_silence and self._n_silent:
            self._end(self._n_chunks - self._n_silent)
        elif len(self._speech) == self._max_chunks:
            self._cut()

    def _end(self, end: int) -> None:
        start = self._n_chunks - len(self._speech)
        if end > start and (self._is_rest or end - start >= self._min_speech):
            self.spans.append((start, end))
        self._speech, self._n_silent, self._is_rest = [], 0, False

    def _cut(self) -> None:
        half = len(self._speech) // 2
        at = half + int(np.argmin(self._speech[half:]))
        start = self._n_chunks - len(self._speech)
        self.spans.append((start, start + at))
        self._speech = self._speech[at:]
        self._n_silent = min(self._n_silent, len(self._speech))
        self._is_rest = True


class SpeechFinder:
    """Blocks of samples in turn, to the spans of speech in them."""

    def __init__(self, options: VadOptions) -> None:
        self._network = Silero()
        self._tracker = SpeechTracker(options)
        self._rest = np.zeros(0, np.float32)  # samples that do not fill a batch
        self._n_samples = 0

    def add(self, block: NDArray[np.float32]) -> None:
        """Go on with samples (n,)."""
        self._n_samples += block.size
        samples = np.concatenate([self._rest, block])
        n_complete = samples.size // _BATCH_SAMPLES * _BATCH_SAMPLES
        self._rest = samples[n_complete:]
        for batch in samples[:n_complete].reshape(-1, _BATCH_SAMPLES):
            self._tracker.add(self._network.probabilities(batch))

    def finish(self) -> list[Span]:
        """Return the spans of speech in the whole audio, in order."""
        padded = np.pad(self._rest, (0, _BATCH_SAMPLES - self._rest.size))
        n_chunks = -(-self._rest.size // CHUNK)
        self._tracker.add(self._network.probabilities(padded)[:n_chunks])
        self._tracker.finish()
        return cut_spans(map(_frames, self._tracker.spans), (0, self._n_samples // HOP_LENGTH))


def _chunks(milliseconds: int) -> int:
    """Return the number of chunks of a duration, rounded up."""
    return -(-milliseconds * SAMPLE_RATE // (1000 * CHUNK))


def _frames(chunks: tuple[int, int]) -> tuple[int, int]:
    """Return a span of chunks as one of mel frames; spans that touch go on touching."""
    start, end = (round(chunk * CHUNK / HOP_LENGTH) for chunk in chunks)
    return start, end
