"""Recordings that are damaged at random: the sound ones, and the accidents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tests.support.digits import compose_clips
from tests.support.places import SHARED
from tools.recordings.encode import write, write_sndfile
from tools.recordings.sound import CODINGS, SNDFILE
from whisper_npu_cli.dims import SAMPLE_RATE

_SECONDS = 2
_NO_SUFFIX = {"wavex": "wav"}  # of libsndfile's names of formats


def make_sound(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield small recordings by suffix: 2 s in each container and codec, and the odd ones."""
    speech = compose_clips(1)[0].samples[-_SECONDS * SAMPLE_RATE :]
    for name, subtypes in SNDFILE.items():
        suffix = _NO_SUFFIX.get(name, name)
        for subtype in subtypes.split():
            path = folder / f"sound.{suffix}"
            write_sndfile(path, speech, format=name.upper(), subtype=subtype)
            yield suffix, path.read_bytes()
    for suffix, coding in CODINGS.values():
        yield suffix, write(folder / f"sound.{suffix}", speech, coding).read_bytes()
    for path in sorted((SHARED / "audio" / "odd").glob("*")):  # none in a clone alone
        if path.suffix != ".md":
            yield path.suffix[1:], path.read_bytes()


def mutate(data: bytes, seeds: Sequence[tuple[str, bytes]], random: np.random.Generator) -> bytes:
    """Return the bytes of a recording after one to four accidents."""
    for _ in range(random.integers(1, 5)):
        accident = _ACCIDENTS[int(random.integers(len(_ACCIDENTS)))]
        other = seeds[int(random.integers(len(seeds)))][1]
        data = accident(data, other, random) or data
    return data


def _truncate(data: bytes, _: bytes, random: np.random.Generator) -> bytes:
    return data[: _place(data, random)]


def _flip_bits(data: bytes, _: bytes, random: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _flip in range(random.integers(1, 50)):
        changed[_place(data, random)] ^= 1 << random.integers(8)
    return bytes(changed)


def _damage_head(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """Flip bits where containers tell what they hold."""
    return _flip_bits(data[:512], other, random) + data[512:]


def _overwrite(data: bytes, _: bytes, random: np.random.Generator) -> bytes:
    at, n_bytes = _place(data, random), int(random.integers(1, 2000))
    return data[:at] + random.bytes(n_bytes) + data[at + n_bytes :]


def _remove(data: bytes, _: bytes, random: np.random.Generator) -> bytes:
    at = _place(data, random)
    return data[:at] + data[at + int(random.integers(1, 2000)) :]


def _swap(data: bytes, _: bytes, random: np.random.Generator) -> bytes:
    a, b, c = sorted(_place(data, random) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _repeat(data: bytes, _: bytes, random: np.random.Generator) -> bytes:
    a, b = sorted(_place(data, random) for _ in range(2))
    return data[:b] + data[a:b] * int(random.integers(1, 4)) + data[b:]


def _splice(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """Put a piece of another recording in."""
    a, b = sorted(_place(other, random) for _ in range(2))
    at = _place(data, random)
    return data[:at] + other[a:b] + data[at:]


def _lie(data: bytes, _: bytes, random: np.random.Generator) -> bytes:
    """Overwrite four bytes, most often in the head, with what a length must not be."""
    at = _place(data[: 512 if random.random() < 0.7 else len(data)], random)
    sizes = (0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, int(random.integers(1 << 32)))
    size = sizes[random.integers(len(sizes))].to_bytes(4, "little")
    return data[:at] + (size if random.random() < 0.5 else size[::-1]) + data[at + 4 :]


def _place(data: bytes, random: np.random.Generator) -> int:
    return int(random.integers(max(1, len(data))))


_Accident = Callable[[bytes, bytes, np.random.Generator], bytes]
_ACCIDENTS: tuple[_Accident, ...] = (
    *(_truncate, _flip_bits, _damage_head, _overwrite, _remove),
    *(_swap, _repeat, _splice, _lie, _lie),
)
