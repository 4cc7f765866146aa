"""One odd recording, what is right, and what reading it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, sosfilt

from tools.recordings.encode import Samples
from whisper_npu_cli.audio.sources import FileSource
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.errors import AudioError
from whisper_npu_cli.transcript import Damage

# What is compared are levels of 20 ms in the band of a telephone, over 100 ms: coders keep them
_BAND_HZ = (300, 3400)
_FRAME = SAMPLE_RATE // 50
_SMOOTHED_FRAMES = 5
_WRONG_DB = 10.0  # 32 kbit/s and 4 bits a sample cost at most 6 dB in 0.1 s of speech
_FLOOR = 0.01  # of the loudest: 40 dB, below which coders write what they like

# Coders' padding that a container does not tell: 1105 samples of mp3, here at 8 kHz at least
_MAX_SHIFT_S = 0.15
_MAX_WRONG_S = 0.2  # the frame before a damaged one, and edges of silence
_SEARCHED_S = 0.5


@dataclass(frozen=True)
class Case:
    """A recording that is made, and what is right."""

    name: str
    make: Callable[[Path], Path]  # writes it at a path without a suffix of its own
    right: Samples | None  # what is heard, (n,) at 16 kHz; None: an error is right
    status: int | None = 0  # None: 0 or 1, by what is told
    tells: str = ""  # in what is told
    most_lost_s: float = np.inf  # of which is told that it is missing or unsure
    max_length_error_s: float = 0.15
    track: int | str | None = None


@dataclass(frozen=True)
class Reading:
    """What reading a recording gave."""

    samples: Samples
    damage: tuple[Damage, ...]
    notices: tuple[str, ...]
    error: str = ""

    @property
    def status(self) -> int:
        """The exit status of a transcription."""
        return int(bool(self.error) or any(damage.is_loss for damage in self.damage))

    @property
    def told(self) -> Iterator[str]:
        """What is said of it, line by line."""
        if self.error:
            yield f"error: {self.error}"
        for damage in self.damage:
            end = "?" if damage.end is None else f"{damage.end:.2f}"
            kind = "missing" if damage.missing else "unsure"
            yield f"{damage.start:.2f}-{end} s {kind}: {damage.reason}"
        yield from self.notices


def read(path: Path, track: int | str | None = None) -> Reading:
    """Read a recording as a transcription does."""
    source, blocks, error = FileSource(path, track), [np.zeros(0, np.float32)], ""
    try:
        blocks.extend(source.blocks())
    except AudioError as failure:
        error = str(failure).removeprefix(f"{path}: ")
        error += f" ({failure.hint})" if track is not None else ""
    samples = np.concatenate(blocks)
    return Reading(samples, source.damage, source.notices, error)


@dataclass(frozen=True)
class Deviation:
    """How far a reading is from what is right, in seconds."""

    length_s: float = 0.0
    shift_s: float = 0.0  # of all sound
    wrong_s: float = 0.0  # sound that differs where no damage is told
    lost_s: float = 0.0  # told to be missing or unsure


def measure(case: Case, reading: Reading) -> Deviation:
    """Hold a reading to what is right; nothing where either is an error."""
    if case.right is None or reading.error:
        return Deviation()
    length_s = case.right.size / SAMPLE_RATE
    shift = _find_shift(case.right, reading.samples)
    ends = [length_s if damage.end is None else damage.end for damage in reading.damage]
    return Deviation(
        length_s=max([reading.samples.size / SAMPLE_RATE, *ends]) - length_s,
        shift_s=shift / SAMPLE_RATE,
        wrong_s=_measure_wrong(case.right, reading, shift),
        lost_s=sum(end - d.start for end, d in zip(ends, reading.damage, strict=True)),
    )


def find_faults(case: Case, reading: Reading, deviation: Deviation) -> Iterator[str]:
    """Yield what is wrong with a reading."""
    if (case.right is None) != bool(reading.error):
        yield "refused" if reading.error else "not refused"
    if case.tells not in "\n".join(reading.told):
        yield f"does not tell {case.tells!r}"
    if case.status not in (None, reading.status):
        yield f"exit status {reading.status}, not {case.status}"
    if abs(deviation.length_s) > case.max_length_error_s:
        yield f"{deviation.length_s:+.2f} s long"
    if abs(deviation.shift_s) > _MAX_SHIFT_S:
        yield f"shifted by {deviation.shift_s:+.2f} s"
    if deviation.wrong_s > _MAX_WRONG_S:
        yield f"{deviation.wrong_s:.2f} s are wrong without a word"
    if deviation.lost_s > case.most_lost_s:
        yield f"{deviation.lost_s:.2f} s are lost, more than {case.most_lost_s:g} s"


def find_first_sound(samples: Samples) -> float | None:
    """Return the second at which sound begins, None where there is none."""
    levels = _measure_levels(samples)
    loud = np.flatnonzero(levels > max(_FLOOR * levels.max(initial=0), 1e-4))
    return float(loud[0] + _SMOOTHED_FRAMES // 2) * _FRAME / SAMPLE_RATE if loud.size else None


def _find_shift(right: Samples, samples: Samples) -> int:
    """Return by how many samples the sound comes late."""
    n = min(right.size, samples.size)
    if not n or not np.abs(right).max():
        return 0
    reach = round(_SEARCHED_S * SAMPLE_RATE)
    products = fftconvolve(samples, right[::-1], mode="full")[right.size - 1 - reach :]
    return int(np.abs(products[: 2 * reach + 1]).argmax()) - reach


def _measure_wrong(right: Samples, reading: Reading, shift: int) -> float:
    """Return the seconds that differ outside of what is told."""
    n = max(right.size, reading.samples.size)
    moved = np.roll(np.pad(reading.samples, (0, n - reading.samples.size)), -shift)
    expected, found = (_measure_levels(x) for x in (np.pad(right, (0, n - right.size)), moved))
    floor = max(_FLOOR * expected.max(initial=0), 1e-4)
    ratio = np.maximum(expected, floor) / np.maximum(found, floor)
    is_wrong = np.abs(20 * np.log10(ratio)) > _WRONG_DB
    margin_s = _SMOOTHED_FRAMES * _FRAME / SAMPLE_RATE
    for damage in reading.damage:
        end_s = n / SAMPLE_RATE if damage.end is None else damage.end + margin_s
        start, end = (
            round(s * SAMPLE_RATE / _FRAME) for s in (max(0, damage.start - margin_s), end_s)
        )
        is_wrong[start:end] = False
    return float(is_wrong.sum()) * _FRAME / SAMPLE_RATE


def _measure_levels(samples: Samples) -> NDArray[np.float64]:
    """Return the level of each frame."""
    if samples.size < _FRAME:
        return np.zeros(0)
    band = butter(4, _BAND_HZ, "bandpass", fs=SAMPLE_RATE, output="sos")
    sound = sosfilt(band, samples)[: samples.size // _FRAME * _FRAME].reshape(-1, _FRAME)
    weights = np.ones(_SMOOTHED_FRAMES) / _SMOOTHED_FRAMES
    power = np.convolve(np.mean(sound**2, axis=1), weights, mode="same")
    level: NDArray[np.float64] = np.sqrt(np.maximum(power, 0))
    return level
