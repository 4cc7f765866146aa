"""Speech detection: blocks of samples in, spans of speech out.

Spans are decided while the samples stream by; memory is bounded by the longest speech.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.dims import HOP_LENGTH, SAMPLE_RATE
from whisper_npu_cli.options import VadOptions
from whisper_npu_cli.spans import Span, cut_spans
from whisper_npu_cli.speech.silero import BATCH, CHUNK, Silero

# Speech at -60 to -30 dBFS, raised to this, has the same decision as at -20 dBFS in 97 % of chunks,
# and music, chords, hum and noise at -80 to -20 dBFS have none; from 0.15 on music has.
_NORMAL_LEVEL = 0.1  # RMS of loud chunks
_SILENCE = 1e-4  # level, at least: no gain makes more than 60 dB of nothing
_LOUD_SHARE = 0.95  # quantile of a batch's chunks: a click of less than 0.2 s is no level


class SpeechTracker:
    """Collect spans of speech, in chunks, from the probabilities of one chunk after another.

    Speech as long as a window is cut in its later half, where speech is least likely; the two
    spans touch.
    """

    def __init__(self, options: VadOptions) -> None:
        self.spans: list[tuple[int, int]] = []  # first chunk, and the one after the last
        self._options = options
        # It is a chunk less than fits, because frames do not begin where chunks do.
        frames = options.max_frames - 2 * options.pad_frames
        self._max_chunks = frames * HOP_LENGTH // CHUNK - 1
        self._min_silence = _count_chunks(options.min_silence_duration_ms)
        self._min_speech = _count_chunks(options.min_speech_duration_ms)
        self._n_chunks = 0
        self._speech: list[float] = []  # probabilities since the present speech began
        self._n_silent = 0  # chunks since the speech may have ended
        self._is_rest = False  # whether it is the rest of speech that was cut

    @property
    def start(self) -> int:
        """The chunk with which the present speech began, else the next one."""
        return self._n_chunks - len(self._speech)

    @property
    def n_known(self) -> int:
        """How many chunks it is known of whether they are speech."""
        return self._n_chunks - self._n_silent if self._is_long else self.start

    @property
    def present(self) -> list[tuple[int, int]]:
        """The present speech as far as it is known, if it is long enough to be any."""
        return [(self.start, self.n_known)] if self._is_long else []

    @property
    def settled(self) -> list[tuple[int, int]]:
        """That of it which is one span wherever it may be cut."""
        earliest_cut = self.start + self._max_chunks // 2
        return [(start, min(end, earliest_cut)) for start, end in self.present]

    @property
    def _is_long(self) -> bool:
        n_chunks = len(self._speech) - self._n_silent
        return n_chunks > 0 and (self._is_rest or n_chunks >= self._min_speech)

    def add(self, probabilities: Iterable[float]) -> None:
        """Take the probabilities of the next chunks."""
        for probability in probabilities:
            self._add(float(probability))

    def finish(self) -> None:
        """End speech that lasts to the end of the audio."""
        if self._speech:
            self._end()

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
            self._end()
        elif len(self._speech) == self._max_chunks:
            self._cut()

    def _end(self) -> None:
        self.spans += self.present
        self._speech, self._n_silent, self._is_rest = [], 0, False

    def _cut(self) -> None:
        half = len(self._speech) // 2
        at = half + int(np.argmin(self._speech[half:]))
        self.spans.append((self.start, self.start + at))
        self._speech = self._speech[at:]
        self._n_silent = min(self._n_silent, len(self._speech))
        self._is_rest = True


class _Level:
    """Raises quiet samples to a level at which the network hears speech.

    The gain is never below 1. It is that of the last 4 s, so that it does not depend on how blocks
    were cut. What is before does not count: speech 40 dB below the speaker before it is heard for
    22 to 24 of 30 s, pauses included; with a level that falls by 3 dB in 4 s, for 10 to 19 s. Room
    tone after loud speech is heard in neither case.
    """

    def __init__(self) -> None:
        self._powers: deque[np.float32] = deque(maxlen=BATCH)  # of chunks

    def lift(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the next samples (n_chunks * CHUNK,), louder if they are quiet."""
        self._powers.extend(np.square(batch.reshape(-1, CHUNK)).mean(axis=1))
        level = max(float(np.sqrt(np.quantile(self._powers, _LOUD_SHARE))), _SILENCE)
        return batch * np.float32(max(1.0, _NORMAL_LEVEL / level))


class SpeechFinder:
    """Find the spans of speech in one block of samples after another.

    It hears `n_chunks` of 32 ms at a time. A whole BATCH takes the least work; with a few the spans
    are known soon, and nearly the same: a level then follows the speech with no delay.
    """

    def __init__(self, options: VadOptions, n_chunks: int = BATCH) -> None:
        self._network = Silero(n_chunks)
        self._level = _Level()
        self._batch_samples = n_chunks * CHUNK
        self._tracker = SpeechTracker(options)
        # The witness of what was left out: what is half as likely to be speech.
        half = options.threshold / 2
        self._faint_tracker = SpeechTracker(replace(options, threshold=half, neg_threshold=None))
        self._rest = np.zeros(0, np.float32)  # samples that do not fill a batch yet
        self._n_samples = 0

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next samples (n,)."""
        self._n_samples += block.size
        samples = np.concatenate([self._rest, block])
        size = self._batch_samples
        n_complete = samples.size // size * size
        self._rest = samples[n_complete:]
        for batch in samples[:n_complete].reshape(-1, size):
            self._hear(batch, size // CHUNK)

    @property
    def n_known(self) -> int:
        """How many frames it is known of whether they are speech, or may be."""
        n_chunks = min(self._tracker.n_known, self._faint_tracker.n_known)
        return _to_frames((n_chunks, n_chunks)).start

    @property
    def speech(self) -> list[Span]:
        """The spans of speech so far, with the one that goes on."""
        return self._cut(self._tracker.spans + self._tracker.present)

    @property
    def faint(self) -> list[Span]:
        """The spans so far of what is speech at half of the threshold."""
        return self._cut(self._faint_tracker.spans + self._faint_tracker.present)

    @property
    def settled(self) -> list[Span]:
        """The spans of speech so far which change no more, but that the last may grow."""
        return self._cut(self._tracker.spans + self._tracker.settled)

    @property
    def is_speaking(self) -> bool:
        """Whether the last of the settled spans may grow."""
        return bool(self._tracker.settled)

    @property
    def next_start(self) -> int:
        """The frame before which no other speech will be found to begin."""
        return _to_frames((self._tracker.start, self._tracker.start)).start

    def forget(self, frame: int) -> None:
        """Give up the spans that end at `frame` or before."""
        for tracker in (self._tracker, self._faint_tracker):
            tracker.spans = [span for span in tracker.spans if _to_frames(span).end > frame]

    def finish(self) -> list[Span]:
        """Return the spans of speech that were not forgotten, in order."""
        padded = np.pad(self._rest, (0, self._batch_samples - self._rest.size))
        n_chunks = -(-self._rest.size // CHUNK)
        self._hear(padded, n_chunks)
        self._tracker.finish()
        self._faint_tracker.finish()
        return self.speech

    def _cut(self, chunks: Sequence[tuple[int, int]]) -> list[Span]:
        return cut_spans(map(_to_frames, chunks), (0, self._n_samples // HOP_LENGTH))

    def _hear(self, batch: NDArray[np.float32], n_chunks: int) -> None:
        probabilities = self._network.infer(self._level.lift(batch))[:n_chunks]
        self._tracker.add(probabilities)
        self._faint_tracker.add(probabilities)


def _count_chunks(milliseconds: int) -> int:
    """Return the number of chunks in a duration, rounded up."""
    return -(-milliseconds * SAMPLE_RATE // (1000 * CHUNK))


def _to_frames(chunks: tuple[int, int]) -> Span:
    """Convert a span of chunks to mel frames; spans that touch still touch."""
    start, end = (round(chunk * CHUNK / HOP_LENGTH) for chunk in chunks)
    return Span(start, end)
