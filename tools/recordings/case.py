"""One odd recording, what is right, and what reading it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from tools.recordings.encode import Samples
from whisper_npu_cli.audio.encoded import FileSource
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.errors import AudioError
from whisper_npu_cli.transcript import Damage

# What is compared are levels of 20 ms in the band of a telephone, over 100 ms: coders keep them
_BAND_HZ = (300, 3400)
_FRAME_S = 0.02
_FRAME = round(_FRAME_S * SAMPLE_RATE)
_SMOOTHED_FRAMES = 5
_WRONG = 10 ** (
    10 / 20
)  # 10 dB: 32 kbit/s and 4 bits a sample cost at most 6 dB in 0.1 s of speech
_FLOOR = 0.01  # of the loudest: 40 dB, below which coders write what they like

_PIECE = 50  # frames: 1 s, in which speech has enough that is loud and soft to be found again
_SEARCHED_S = 2.0
_MOVE_COST = 4  # frames that must be more alike elsewhere

_MAX_WRONG_S = 0.3  # the frames before a damaged one, and edges of silence
# Coders' padding that a container does not tell: 1105 samples of mp3, here at 8 kHz at least
_MAX_LATE_S = 0.15


@dataclass(frozen=True)
class Case:
    """A recording that is made, and what is right."""

    name: str
    make: Callable[[Path], Path]  # writes it at a path without a suffix of its own
    right: Samples | None  # what is heard, (n,) at 16 kHz; None: an error is right
    status: int | None = 0  # None: 0 or 1, by what is told
    tells: str = ""  # in what is told
    most_lost_s: float = np.inf  # of which is told that it is missing or unsure
    max_late_s: float = _MAX_LATE_S
    is_open: bool = False  # nobody can know how much is missing at the end
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
    late_s: float = 0.0  # the sound that is displaced furthest
    wrong_s: float = 0.0  # sound that differs where no damage is told
    lost_s: float = 0.0  # told to be missing or unsure


def measure(case: Case, reading: Reading) -> Deviation:
    """Hold a reading to what is right; nothing where either is an error."""
    if case.right is None or reading.error:
        return Deviation()
    right = case.right[: reading.samples.size] if case.is_open else case.right
    length_s = right.size / SAMPLE_RATE
    ends = [length_s if damage.end is None else damage.end for damage in reading.damage]
    late_s, wrong_s = _compare(right, reading)
    read_s = reading.samples.size / SAMPLE_RATE
    return Deviation(
        length_s=(read_s if case.is_open else max(read_s, *ends, 0.0)) - length_s,
        late_s=late_s,
        wrong_s=wrong_s,
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
    if abs(deviation.length_s) > case.max_late_s:
        yield f"{deviation.length_s:+.2f} s long"
    if abs(deviation.late_s) > case.max_late_s:
        yield f"late by {deviation.late_s:+.2f} s"
    if deviation.wrong_s > _MAX_WRONG_S:
        yield f"{deviation.wrong_s:.2f} s are wrong without a word"
    if deviation.lost_s > case.most_lost_s:
        yield f"{deviation.lost_s:.2f} s are lost, more than {case.most_lost_s:g} s"


def find_first_sound(samples: Samples) -> float | None:
    """Return the second at which sound begins, None where there is none."""
    loud = np.flatnonzero(np.abs(samples) > _FLOOR * np.abs(samples).max(initial=_FLOOR))
    return float(loud[0]) / SAMPLE_RATE if loud.size else None


def _compare(right: Samples, reading: Reading) -> tuple[float, float]:
    """Return by how much sound is late at most, and how much of it differs, in seconds.

    Piece by piece, each is looked for where the one before was, and around it.
    """
    expected, found = _measure_levels(right), _measure_levels(reading.samples)
    n, reach = max(expected.size, found.size), round(_SEARCHED_S / _FRAME_S)
    expected = np.pad(expected, (0, n - expected.size))
    floor = max(_FLOOR * expected.max(initial=0), 1e-4)
    found = np.pad(found, (reach, n - found.size + reach + _PIECE))
    found = np.maximum(found, floor)
    # a level may be that of the frame before or behind: 20 ms late are no fault
    nearby = sliding_window_view(np.pad(np.maximum(expected, floor), 1, mode="edge"), 3)
    low, high = nearby.min(axis=1) / _WRONG, nearby.max(axis=1) * _WRONG
    is_told = _mark_damage(reading, n)
    late, latest, n_wrong = 0, 0, 0
    for at in range(0, n, _PIECE):
        size = min(_PIECE, n - at)
        windows = sliding_window_view(found[at : at + 2 * reach + size], size)
        is_wrong = (windows < low[at : at + _PIECE]) | (windows > high[at : at + _PIECE])
        is_wrong &= ~is_told[at : at + _PIECE]
        costs = is_wrong.sum(axis=1)
        best = int(np.argmin(costs + _MOVE_COST * (np.arange(costs.size) != late + reach)))
        if best == late + reach and abs(late) > abs(latest):  # twice in a row: no accident
            latest = late
        late = best - reach
        n_wrong += int(costs[best])
    return latest * _FRAME_S, n_wrong * _FRAME_S


def _mark_damage(reading: Reading, n_frames: int) -> NDArray[np.bool_]:
    """Return for each frame whether damage is told of it or of one beside it."""
    is_told = np.zeros(n_frames, bool)
    for damage in reading.damage:
        start = int(damage.start / _FRAME_S) - _SMOOTHED_FRAMES
        end = n_frames if damage.end is None else int(damage.end / _FRAME_S) + _SMOOTHED_FRAMES
        is_told[max(0, start) : end] = True
    return is_told


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
