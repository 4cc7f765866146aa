"""Recordings that are damaged, that lie, and that have no end, read as the command line does."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

import numpy as np

from tools.recordings.encode import Coding, write
from tools.recordings.mutants import make_sound, mutate
from tools.torture.campaign import MOST_TRIALS, N_WORKERS, Campaign, Row
from tools.torture.command import Home, start
from whisper_npu_cli.audio.find import find_audio
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.errors import AudioError

_N_MUTANTS = 20_000  # at most
_MOST_WAIT_S = 10.0
_MOST_MB = 500
_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB", re.MULTILINE)
_ENDS = ("its decoder crashed", "its decoder finds no end")
_BATCH, _BATCH_S = 20, 300.0  # recordings, and the seconds that all may take
_HOURS = 10
_MUTANTS, _BOMBS, _BATCHES, _ENDLESS = range(4)  # kinds of trials


def read_mutants(campaign: Campaign) -> list[Row]:
    """Read mutants, small files of many hours, folders of mutants, and streams without an end."""
    (campaign.folder / "sound").mkdir()
    sound = [*make_sound(campaign.folder / "sound")]
    return [
        _read_bombs(campaign),
        _interrupt_endless(campaign),
        _read_batches(campaign.share(0.15), sound),
        read_many(campaign.rest(), sound),
    ]


@dataclass
class _Readings:
    """What several readings came to."""

    row: Row
    outcomes: Counter[str] = field(default_factory=Counter)
    longest_wait_s: float = 0.0
    longest_s: float = 0.0
    peak_mb: float = 0.0
    heard_s: float = 0.0

    def __iadd__(self, other: _Readings) -> _Readings:
        self.row += other.row
        self.outcomes += other.outcomes
        self.longest_wait_s = max(self.longest_wait_s, other.longest_wait_s)
        self.longest_s = max(self.longest_s, other.longest_s)
        self.peak_mb = max(self.peak_mb, other.peak_mb)
        self.heard_s += other.heard_s
        return self

    def describe(self) -> list[str]:
        """Return what is to be known of them."""
        return [
            f"{self.outcomes['damaged']} read with damage told",
            *(f"{reason}: {self.outcomes[reason]}" for reason in _ENDS),
            f"{self.heard_s / 3600:.0f} h of sound",
            f"longest wait {self.longest_wait_s:.1f} s, longest reading {self.longest_s:.1f} s",
            f"largest process {self.peak_mb:.0f} MB",
        ]

    def read(self, number: int, path: Path) -> None:
        """Read a recording, and count what came of it."""
        _reset_peaks()
        faults, told, n_samples = list[str](), "", 0
        began = waits_since = monotonic()
        wait_s = 0.0
        (source,) = find_audio([str(path)])
        with closing(source):
            try:
                source.check()
                for block in source.blocks():
                    now = monotonic()
                    wait_s, waits_since = max(wait_s, now - waits_since), now
                    n_samples += block.size
            except AudioError as error:
                told = str(error)
            except Exception as error:
                faults.append(f"{type(error).__name__}: {error!s:.300}")
        wait_s = max(wait_s, monotonic() - waits_since)
        peak_mb = _measure_peak()
        if "\n" in told:
            faults.append(f"more than a line: {told!r:.200}")
        if wait_s > _MOST_WAIT_S:
            faults.append(f"{path.suffix}: nothing for {wait_s:.1f} s")
        if peak_mb > _MOST_MB:
            faults.append(f"{path.suffix}: {peak_mb:.0f} MB")
        self.row.count(number, faults, refused=bool(told))
        reasons = " ".join([told, *(damage.reason for damage in source.damage)])
        self.outcomes["damaged"] += bool(source.damage)
        self.outcomes.update(reason for reason in _ENDS if reason in reasons)
        self.longest_wait_s = max(self.longest_wait_s, wait_s)
        self.longest_s = max(self.longest_s, monotonic() - began)
        self.peak_mb = max(self.peak_mb, peak_mb)
        self.heard_s += n_samples / SAMPLE_RATE


def _list_children() -> Iterator[Path]:
    for pid in Path("/proc/thread-self/children").read_text().split():
        yield Path("/proc", pid)


def _reset_peaks() -> None:
    """Let the processes that decode count their largest memory anew."""
    for child in _list_children():
        with suppress(OSError):
            (child / "clear_refs").write_text("5")


def _measure_peak() -> float:
    """Return the most memory in MB that a process which decodes has taken."""
    peaks_kb = [0]
    for child in _list_children():
        with suppress(OSError):
            if found := _PEAK.search((child / "status").read_text()):
                peaks_kb.append(int(found[1]))
    return max(peaks_kb) / 1024


def read_many(campaign: Campaign, sound: Sequence[tuple[str, bytes]]) -> Row:
    """Read mutants until the time is over."""
    readings = _Readings(Row(f"mutants of {len(sound)} recordings", aim=_N_MUTANTS))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(N_WORKERS, mp_context=context) as pool:
        for share in pool.map(partial(_read_share, campaign, sound), range(N_WORKERS)):
            readings += share
    readings.row.notes += readings.describe()
    return readings.row


def _read_share(campaign: Campaign, sound: Sequence[tuple[str, bytes]], worker: int) -> _Readings:
    readings = _Readings(Row(""))
    folder = campaign.make_folder(f"mutants{worker}")
    tempfile.tempdir = str(campaign.make_folder(f"temporary{worker}"))
    for number in campaign.numbers(_MUTANTS, worker, N_WORKERS, _N_MUTANTS):
        path = write_mutant(campaign, sound, number, folder)
        readings.read(number, path)
        path.unlink()
        if left := [path.name for path in Path(tempfile.tempdir).iterdir()]:
            readings.row.count(number, [f"left {', '.join(left)}"])
    return readings


def write_mutant(
    campaign: Campaign, sound: Sequence[tuple[str, bytes]], number: int, folder: Path
) -> Path:
    """Write the mutant with a number and return where it is."""
    suffix, data = sound[number % len(sound)]
    path = folder / f"{number}.{suffix}"
    path.write_bytes(mutate(data, sound, campaign.random(number)))
    return path


# Small files of many hours


def _write_one_hertz(path: Path) -> Path:
    """Write a wav of 36 kB that says 1 Hz."""
    data = b"\x80" * (_HOURS * 3600)
    head = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVEfmt ", 16, 1, 1, 1, 1, 1,
                       8, b"data", len(data))  # fmt: skip
    path.write_bytes(head + data)
    return path


def _write_silence(path: Path) -> Path:
    """Write silence, of which coders leave nothing."""
    return write(path, np.zeros(_HOURS * 3600 * SAMPLE_RATE, np.float32), Coding("flac"))


def _write_gap(path: Path, hours: float) -> Path:
    """Write a second of sound, and another some hours later."""
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, 2 * SAMPLE_RATE).astype(np.float32)
    return write(path, samples, Coding("libopus", 48_000, gap=(1.0, 3600 * hours)))


_MAKERS: tuple[tuple[str, Callable[[Path], Path]], ...] = (
    ("hertz.wav", _write_one_hertz),
    ("silence.flac", _write_silence),
    ("gap.mkv", partial(_write_gap, hours=_HOURS)),
    ("minutes.mkv", partial(_write_gap, hours=0.9)),
    ("gap.mp4", partial(_write_gap, hours=_HOURS)),
)


def _read_bombs(campaign: Campaign) -> Row:
    readings = _Readings(Row(f"small files of {_HOURS} h, by samples or by time stamps"))
    folder = campaign.make_folder("bombs")
    sizes = []
    for number in campaign.each(_BOMBS, len(_MAKERS)):
        name, make = _MAKERS[number % MOST_TRIALS]
        path = make(folder / name)
        sizes.append(path.stat().st_size)
        readings.read(number, path)
        path.unlink()
    readings.row.notes += [f"{min(sizes, default=0)} bytes and more", *readings.describe()]
    return readings.row


# Folders of mutants, by the command


def _read_batches(campaign: Campaign, sound: Sequence[tuple[str, bytes]]) -> Row:
    row = Row(f"folders of {_BATCH} mutants, transcribed by the command")
    for number in campaign.numbers(_BATCHES):
        home = Home(campaign.make_folder(f"batch{number}"))
        folder = home.folder / "recordings"
        folder.mkdir()
        for i in range(_BATCH):
            write_mutant(campaign, sound, number + i, folder)
        options = ("--model", "demo", "--language", "en", "--json", "-f", "txt", "-o", home.out)
        paths = sorted(folder.iterdir())
        ran = start(home, ["transcribe", *paths, *options]).finish(_BATCH_S)
        faults = [*ran.list_faults(), *home.list_leftovers()]
        if not faults:
            faults += _compare(ran.status, json.loads(ran.stdout)["results"], home, len(paths))
        row.count(number, faults)
    return row


def _compare(status: int, results: Sequence[dict[str, object]], home: Home, n: int) -> list[str]:
    """Return where results, files and the status do not tell the same."""
    failed = [result for result in results if result.get("error")]
    n_written = len(list(home.out.glob("*.txt")))
    faults = [] if len(results) == n else [f"{len(results)} results of {n} inputs"]
    if n_written != len(results) - len(failed):
        faults.append(f"{n_written} files, {len(results)} results, {len(failed)} failed")
    if failed and status != 1:
        faults.append(f"exit status {status}, {len(failed)} failed")
    return faults


# Streams without an end


def _interrupt_endless(campaign: Campaign) -> Row:
    row = Row("streams without an end on standard input, ended by Ctrl-C")
    share = campaign.share(0.05)
    for number in share.numbers(_ENDLESS):
        random = campaign.random(number)
        home = Home(campaign.make_folder(f"endless{number}"))
        reading, writing = os.pipe()
        options = ["-", "--model", "demo", "--language", "en", "-f", "txt", "-o", home.out]
        running = start(home, ["transcribe", *options], stdin=reading)
        os.close(reading)
        noise = (3000 * random.standard_normal(SAMPLE_RATE)).astype("<i2").tobytes()
        writer = Thread(target=_write_endlessly, args=[writing, noise])
        writer.start()
        running.wait_for_begin()
        sleep(random.uniform(1.0, 4.0))
        running.process.send_signal(signal.SIGINT)
        sleep(0.5)
        with suppress(ProcessLookupError):
            running.process.send_signal(signal.SIGINT)
        ran = running.finish()
        writer.join()
        # The second one ends Python itself where it comes while that ends: a shell says 130 too
        is_late = ran.status == -signal.SIGINT and "interrupted: " in ran.stderr
        faults = [] if is_late else [*ran.list_faults()]
        faults += [*running.list_survivors(), *home.list_leftovers()]
        if ran.status != 128 + signal.SIGINT and not is_late:
            faults.append(f"exit status {ran.status}")
        row.count(number, faults)
    return row


def _write_endlessly(descriptor: int, noise: bytes) -> None:
    """Write a wav of unknown length until nobody reads."""
    head = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 0xFFFFFFFF, b"WAVEfmt ", 16, 1, 1, SAMPLE_RATE,
                       2 * SAMPLE_RATE, 2, 16, b"data", 0xFFFFFFFF)  # fmt: skip
    with suppress(BrokenPipeError), os.fdopen(descriptor, "wb", 0) as pipe:
        pipe.write(head)
        while True:
            pipe.write(noise)
            sleep(0.01)  # a hundred times as fast as it is spoken
