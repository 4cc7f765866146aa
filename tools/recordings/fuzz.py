"""Read recordings that are damaged at random, and count what comes of it."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np

from tests.support.places import SHARED
from tools.recordings.encode import read_speech, write, write_sndfile
from tools.recordings.sound import CODINGS
from whisper_npu_cli.audio.isolated import read_isolated
from whisper_npu_cli.audio.recording import Request
from whisper_npu_cli.errors import AudioError
from whisper_npu_cli.transcript import Damage

_SLOW_S = 10.0
_SNDFILE = {  # by suffix: what libsndfile writes of it
    "wav": ("PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM", "MS_ADPCM", "GSM610"),
    "rf64": ("PCM_16",),
    "w64": ("PCM_16",),
    "aiff": ("PCM_16", "IMA_ADPCM"),
    "au": ("PCM_16", "G721_32"),
    "caf": ("PCM_16", "ALAC_16"),
    "ogg": ("VORBIS",),
}
_LARGE_MB = 300
_CRASH, _STUCK = "a decoder crashed", "a decoder found no end"
_BUG = "an exception in Python"
_SLOW, _LARGE = f"slower than {_SLOW_S:g} s", f"larger than {_LARGE_MB} MB, and than those before"
_BAD = (_CRASH, _STUCK, _BUG, _SLOW, _LARGE)
_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB", re.MULTILINE)


def main() -> None:
    """Read mutants until the time is over and write what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, default=Path("build/fuzz"), help="of what is bad")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz.json"))
    options = parser.parse_args()
    options.kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        seeds = [*_make_seeds(Path(folder))]
        figures = _fuzz(seeds, Path(folder), options)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")
    print(options.out.read_text())


def _make_seeds(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield small recordings by suffix: 2 s in each container and codec, and the odd ones."""
    speech = read_speech("jfk.wav")[: 2 * 16_000]
    for suffix, subtypes in _SNDFILE.items():
        for subtype in subtypes:
            path = folder / f"seed.{suffix}"
            write_sndfile(path, speech, format=suffix.upper(), subtype=subtype)
            yield suffix, path.read_bytes()
    for suffix, coding in CODINGS.values():
        yield suffix, write(folder / f"seed.{suffix}", speech, coding).read_bytes()
    for path in sorted((SHARED / "audio" / "odd").iterdir()):
        if path.suffix != ".md":
            yield path.suffix[1:], path.read_bytes()


def _fuzz(
    seeds: Sequence[tuple[str, bytes]], folder: Path, options: argparse.Namespace
) -> dict[str, str]:
    counts, longest_s, peak_mb = Counter[str](), 0.0, 0.0
    start, n_read = perf_counter(), 0
    while (elapsed_s := perf_counter() - start) < 60 * options.minutes:
        number = options.seed + n_read
        suffix, data = seeds[number % len(seeds)]
        path = folder / f"{number}.{suffix}"
        path.write_bytes(mutate(data, seeds, np.random.default_rng(number)))
        began = perf_counter()
        outcome, report = _read(path)
        took_s, mutant_mb = perf_counter() - began, _measure_peak()
        is_large = mutant_mb > max(_LARGE_MB, peak_mb)
        outcomes = [outcome, *[_SLOW] * (took_s > _SLOW_S), *[_LARGE] * is_large]
        if bad := [outcome for outcome in outcomes if outcome in _BAD]:
            print(f"{path.name}: {', '.join(bad)}: {took_s:.1f} s, {mutant_mb:.0f} MB", report)
            shutil.copy(path, options.kept)
        counts.update(outcomes)
        longest_s, peak_mb, n_read = max(longest_s, took_s), max(peak_mb, mutant_mb), n_read + 1
        path.unlink()
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "duration": f"{elapsed_s / 60:.0f} min",
        "recordings": f"{n_read}, made of {len(seeds)} that are sound or of bug reports",
        **{kind: str(counts.pop(kind, 0)) for kind in _BAD},
        **{kind: str(count) for kind, count in sorted(counts.items())},
        "longest reading": f"{longest_s:.1f} s",
        "peak memory of a process that decodes": f"{peak_mb:.0f} MB",
    }


def _read(path: Path) -> tuple[str, str]:
    """Return what came of a recording, and what is to be known of it."""
    damage = []
    try:
        with closing(read_isolated(Request(str(path)))) as pieces:
            damage = [piece for piece in pieces if isinstance(piece, Damage)]
    except AudioError as error:
        return _find_end_of_decoder(str(error)) or "refused", ""
    except RuntimeError as error:
        return _BUG, str(error)
    reasons = "; ".join(piece.reason for piece in damage)
    told = "read, damage told" if damage else "read, nothing told"
    return _find_end_of_decoder(reasons) or told, ""


def _find_end_of_decoder(reason: str) -> str | None:
    words = {"its decoder crashed": _CRASH, "its decoder finds no end": _STUCK}
    return next((kind for words, kind in words.items() if words in reason), None)


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


def _measure_peak() -> float:
    """Return the most memory in MB that a process which decodes has taken so far."""
    children = Path("/proc/thread-self/children").read_text().split()
    statuses = [Path("/proc", child, "status").read_text() for child in children]
    peaks_kb = [int(found[1]) for text in statuses if (found := _PEAK.search(text))]
    return max(peaks_kb, default=0) / 1024


if __name__ == "__main__":
    main()
