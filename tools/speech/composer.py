"""Passages of spoken digits with known times, for training the demo checkpoint.

A passage is composed word by word on a time line, so that the place of each word is known
exactly. Noise, reverberation, gain and speed changes are added. Times are seconds, waveforms fp32
at SAMPLE_RATE.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tools.speech.voices import Voices, Word
from whisper_npu_cli.dims import CHUNK_S, SAMPLE_RATE

ALL_DIGITS = np.arange(10)
HUMAN_SHARE = 0.62  # of the voices drawn


@dataclass
class Passage:
    """A composed waveform of at most 30 s, and the words in it."""

    samples: np.ndarray
    length: int  # samples before only zeros follow
    words: list[tuple[int, float, float]] = field(default_factory=list)  # digit, start, end
    cut_start: float | None = None  # start of a word that the passage's end cuts off


def resample(samples: np.ndarray, count: int) -> np.ndarray:
    """Stretch `samples` to `count` samples through the spectrum (band-limited)."""
    spectrum = np.fft.rfft(samples)
    kept = np.zeros(count // 2 + 1, spectrum.dtype)
    size = min(len(kept), len(spectrum))
    kept[:size] = spectrum[:size]
    stretched = np.fft.irfft(kept, count) * (count / len(samples))
    return np.asarray(stretched, np.float32)


class Composer:
    """Draw passages from a pool of voices with one random generator."""

    def __init__(self, humans: Voices, synthetic: Voices, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.humans = list(humans.values())
        # Programs have fixed shares: espeak-ng has far more voices, but they sound less human.
        self.synthetic = [
            [voice for name, voice in synthetic.items() if name.startswith(program)]
            for program in ("espeak", "espeak", "flite", "flite", "festival")
        ]
        self.noises = [self._make_noise(color) for color in (0.0, 0.5, 1.0, 1.5, 2.0)]

    def _make_noise(self, color: float) -> np.ndarray:
        """Return 60 s of noise with power falling as 1/f**color, at root mean square 1."""
        count = 60 * SAMPLE_RATE
        spectrum = np.fft.rfft(self.rng.standard_normal(count))
        spectrum /= np.maximum(np.arange(len(spectrum)), 50 * 60) ** (color / 2)
        noise = np.fft.irfft(spectrum, count)
        return np.asarray(noise / noise.std(), np.float32)

    def _draw_voice(self) -> list[list[Word]]:
        pool = self.humans
        if self.rng.random() > HUMAN_SHARE:
            pool = self.synthetic[self.rng.integers(len(self.synthetic))]
        return pool[self.rng.integers(len(pool))]

    def _draw_word(
        self, voice: list[list[Word]], speed: float, digits: np.ndarray = ALL_DIGITS
    ) -> tuple[np.ndarray, Word]:
        """Draw a word of a voice at 16 kHz, `speed` times as fast and as high."""
        takes = voice[self.rng.choice(digits)]
        word = takes[self.rng.integers(len(takes))]
        speed *= self.rng.uniform(0.96, 1.04)
        ratio = SAMPLE_RATE / word.rate / speed
        samples = resample(word.samples, max(64, round(len(word.samples) * ratio)))
        return samples, Word(word.digit, samples, SAMPLE_RATE, word.start / speed, word.end / speed)

    def _draw_background(self, count: int) -> np.ndarray:
        """Draw a noise of `count` samples at root mean square about 1.

        It is coloured noise, mains hum, chords, clicks, or babble: words at once, reversed in time.
        """
        rng = self.rng
        kind = rng.choice(5, p=(0.45, 0.1, 0.25, 0.05, 0.15))
        time = np.arange(count, dtype=np.float32) / SAMPLE_RATE
        if kind == 0:
            start = rng.integers(60 * SAMPLE_RATE - count)
            noise = self.noises[rng.integers(len(self.noises))][start : start + count].copy()
            if rng.random() < 0.3:  # slow swell
                noise *= 1 + 0.8 * np.sin(
                    2 * np.pi * rng.uniform(0.1, 3) * time + rng.uniform(0, 6)
                )
        elif kind == 1:
            base = rng.choice((50.0, 60.0)) * rng.choice((1, 2))
            noise = sum(
                np.sin(2 * np.pi * base * h * time) / h ** rng.uniform(0, 2) for h in range(1, 6)
            )
        elif kind == 2:
            length = rng.uniform(0.15, 1.0)
            noise = np.zeros(count, np.float32)
            for begin in np.arange(0, count / SAMPLE_RATE, length):
                part = slice(int(begin * SAMPLE_RATE), int((begin + length) * SAMPLE_RATE))
                for note in rng.integers(36, 90, rng.integers(1, 4)):
                    frequency = 440 * 2 ** ((note - 69) / 12)
                    noise[part] += np.sin(2 * np.pi * frequency * time[part])
            if rng.random() < 0.7:  # struck, not held
                noise *= np.exp(-rng.uniform(1, 8) * (time % length))
        elif kind == 3:
            noise = np.zeros(count, np.float32)
            hits = rng.integers(count, size=1 + count // rng.integers(2000, 20000))
            noise[hits] = rng.standard_normal(len(hits))
            noise = np.convolve(noise, np.exp(-np.arange(200) / rng.uniform(2, 40)), "same")
        else:
            noise = np.zeros(count, np.float32)
            for _ in range(int(count / SAMPLE_RATE * rng.integers(5, 15))):
                samples, _word = self._draw_word(self._draw_voice(), rng.uniform(0.8, 1.25))
                begin = rng.integers(count)
                reversed_word = samples[::-1][: count - begin]
                noise[begin : begin + len(reversed_word)] += reversed_word
        return (noise / max(float(np.sqrt(np.mean(noise**2))), 1e-4)).astype(np.float32)

    def _reverberate(self, samples: np.ndarray) -> np.ndarray:
        """Convolve with a direct sound and an exponentially decaying random tail."""
        decay = self.rng.uniform(0.08, 0.6)
        count = int(decay * SAMPLE_RATE)
        tail = self.rng.standard_normal(count) * np.exp(-6.9 * np.arange(count) / count)
        tail *= 10 ** (-self.rng.uniform(0, 15) / 20) / np.sqrt(np.sum(tail**2))
        tail[0] = 1.0
        size = 1 << (len(samples) + count).bit_length()
        wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)
        return wet[: len(samples)].astype(np.float32)

    def draw_quiet_passage(self, seconds: float) -> Passage:
        """Draw a passage without speech: silence, or noise at any level, to its end or not."""
        count = int(seconds * SAMPLE_RATE)
        samples = np.zeros(count, np.float32)
        length = int(self.rng.integers(count))
        if self.rng.random() < 0.85:
            length = count if self.rng.random() < 0.5 else int(self.rng.uniform(0.2, 1) * count)
            level = 10 ** (self.rng.uniform(-80, -6) / 20)
            samples[:length] = level * self._draw_background(length)
        return Passage(np.clip(samples, -1, 1), length)

    # It stays in one piece: each draw depends on the state of the drawing so far.
    def draw_passage(self, seconds: float, most_words: int) -> Passage:
        """Draw a passage of 1 to `most_words` spoken digits.

        Only passages of 30 s may lie inside longer audio, where they begin and end in mid-speech.
        A word is not among `words` if its end, or most of its beginning, is cut off there.
        """
        rng = self.rng
        count = int(seconds * SAMPLE_RATE)
        inside = seconds == CHUNK_S and rng.random() < 0.3
        # How often another voice comes after a word, and the longest pause before it: one voice
        # alone, a new one for each word, or voices that take turns.
        change, pause = ((0.0, 0.0), (1.0, 0.0), (0.15, seconds / 6))[
            rng.choice(3, p=(0.4, 0.2, 0.4))
        ]
        # Often a few digits repeat, among which it is easy to lose the place.
        few = rng.random() < 0.35
        digits = rng.choice(10, size=rng.integers(1, 5)) if few else ALL_DIGITS
        voice, speed = self._draw_voice(), rng.uniform(0.8, 1.25)
        gap_low, gap_high = ((0.1, 0.8), (0.0, 0.25), (0.1, 0.5), (0.3, 2.5))[
            rng.choice(4, p=(0.45, 0.2, 0.2, 0.15))
        ]
        limit = int(rng.integers(1, most_words + 1)) if not inside else 100
        result = Passage(np.zeros(count, np.float32), count)
        cursor = -rng.uniform(0, 0.6) if inside else rng.uniform(0, min(1.0, 0.25 * seconds))
        if not inside and seconds > 3 and rng.random() < 0.3:
            cursor = rng.uniform(0, 0.6 * seconds)
        while len(result.words) < limit:
            samples, word = self._draw_word(voice, speed, digits)
            start, end = cursor + word.start, cursor + word.end
            if not inside and cursor + len(samples) / SAMPLE_RATE > seconds:
                break
            first = int(cursor * SAMPLE_RATE)
            skipped = max(0, -first)
            part = samples[skipped : count - first] * rng.uniform(0.5, 1.0)
            result.samples[first + skipped : first + skipped + len(part)] += part
            if end > seconds:
                result.cut_start = start if start < seconds else None
                break
            # A passage that begins a little late, at a timestamp, must not lose its first word.
            if start + 0.4 * (end - start) >= 0:
                result.words.append((word.digit, max(0.0, start), end))
            cursor = end + rng.uniform(gap_low, gap_high) - word.start
            if rng.random() < change:
                voice, speed = self._draw_voice(), rng.uniform(0.8, 1.25)
                cursor += pause * rng.random()
            if rng.random() < 0.04:
                cursor += rng.uniform(0.2, 0.2 + 0.2 * seconds)
            if cursor >= seconds:
                break
        if not inside and result.words and rng.random() < 0.7:  # the audio ends, zeros follow
            end = result.words[-1][2] + rng.uniform(0.05, 1.0)
            result.length = min(count, int(end * SAMPLE_RATE))
        self._disturb(result.samples, result.length)
        return result

    def _disturb(self, samples: np.ndarray, length: int) -> None:
        """Add reverberation, noise, gain and, rarely, clipping to `samples[:length]` in place."""
        rng = self.rng
        speech = samples[:length]
        if rng.random() < 0.25:
            speech[:] = self._reverberate(speech)
        power = np.mean(speech**2) + 1e-8
        kind = rng.random()
        if kind < 0.7:  # else as clean as the recordings
            ratio = rng.uniform(5, 25) if kind < 0.45 else rng.uniform(25, 55)
            speech += np.sqrt(power) * 10 ** (-ratio / 20) * self._draw_background(length)
        if rng.random() < 0.03:
            np.clip(speech, -0.15, 0.15, out=speech)
        speech *= 10 ** (rng.uniform(-25, 6) / 20)
        np.clip(speech, -1, 1, out=speech)
        samples[length:] = 0
