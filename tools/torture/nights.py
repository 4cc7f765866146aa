"""Work of hours, as long as the time allows: memory, descriptors, threads and speed stay flat."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import soundfile

from tests.support.long_files import compose_long_file
from tests.support.places import SAMPLES
from tools.torture.campaign import N_WORKERS, Campaign, Row
from tools.torture.command import Home, list_processes, start

_PERIOD_S = 0.25
_MOST_HOURS, _MOST_FILES, _MOST_LIVE_HOURS = 10.0, 5000, 24.0
_TRIED_MINUTES, _TRIED_FILES = 10.0, 20  # by which it is judged what there is time for
# From the second to the last quarter: a transcript of 10 h, and what the allocator keeps
_MOST_GROWTH, _MOST_GROWTH_MB = 0.1, 40.0
_MOST_MORE = 2  # descriptors or threads
_LEAST_POSITIONS = 24
_LEAST_SPEED = 0.6  # of that in the second quarter: others work on this machine too
_MODEL = ("--model", "demo", "--language", "en", "--threads", "1")
_LONG, _MANY, _LIVE = range(3)  # kinds of trials
_TIME = re.compile(r"--> (?:(\d+):)?(\d+):(\d+)\.\d+\]")


@dataclass(frozen=True)
class _Sample:
    """What a command had at a moment."""

    now_s: float
    position: float  # seconds of audio, or files
    mb: float
    n_descriptors: int
    n_threads: int


def work_long(campaign: Campaign) -> list[Row]:
    """Transcribe a file of hours, thousands of files, and a day of live audio, two at a time."""
    with ThreadPoolExecutor(N_WORKERS) as pool:
        many = pool.submit(_transcribe_many, campaign.rest())
        hours = pool.submit(
            lambda: [_transcribe_long(campaign.rest(0.5)), _listen_long(campaign.rest())]
        )
        return [*hours.result(), many.result()]


def _transcribe_long(campaign: Campaign) -> Row:
    row = Row("one file")
    for number in _take_one(campaign, _LONG):
        row.count(number, _work(campaign, row, "long", _MOST_HOURS, _read_last_time))
    return row


def _listen_long(campaign: Campaign) -> Row:
    row = Row("live audio, by a clock that leaps")
    for number in _take_one(campaign, _LIVE):
        row.count(number, _work(campaign, row, "live", _MOST_LIVE_HOURS, _read_last_event))
    return row


def _take_one(campaign: Campaign, kind: int) -> Iterator[int]:
    for number in campaign.numbers(kind):
        yield number
        return


_Position = Callable[[Path], float]


def _work(
    campaign: Campaign, row: Row, kind: str, most_hours: float, read_position: _Position
) -> list[str]:
    """Work on audio of as many hours as there is time for; return what is wrong."""
    home = Home(campaign.make_folder(kind))
    short, long = home.folder / "short.wav", home.folder / "long.wav"
    compose = compose_long_file if kind == "long" else _compose_day
    commands = {
        "long": lambda path: ["transcribe", path, *_MODEL, "-f", "json", "-o", home.out],
        "live": lambda path: ["listen", "--input", path, "--fast", "--json", *_MODEL],
    }
    compose(short, _TRIED_MINUTES, campaign.seed)
    start(home, commands[kind](short)).finish()  # which fills the caches
    began = monotonic()
    start(home, commands[kind](short)).finish()
    speed = _TRIED_MINUTES * 60 / (monotonic() - began)
    hours = min(most_hours, 0.9 * max(campaign.left_s, 5.0) * speed / 3600)
    compose(long, 60 * hours, campaign.seed)
    samples, faults = _watch(home, commands[kind](long), read_position)
    long.unlink()
    row.notes.append(f"{hours:.1f} of {most_hours:g} h")
    return faults + _judge(samples, row, "x realtime")


def _compose_day(path: Path, minutes: float, seed: int) -> None:
    """Write what a microphone in a room hears: a tenth of the time somebody speaks."""
    said = path.with_suffix(".said.wav")
    compose_long_file(said, 1.0, seed)
    speech, rate = soundfile.read(said, dtype="float32")
    silence = np.zeros(9 * speech.size, np.float32)
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        for _ in range(max(1, round(minutes / 10))):
            file.write(speech)
            file.write(silence)


def _transcribe_many(campaign: Campaign) -> Row:
    row = Row("one run of many files")
    for number in _take_one(campaign, _MANY):
        home = Home(campaign.make_folder("many"))
        options = [*_MODEL, "-f", "txt", "--quiet", "-o", home.out]
        began, few = monotonic(), _link_samples(home.folder / "few", _TRIED_FILES)
        start(home, ["transcribe", few, *options]).finish()
        per_s = _TRIED_FILES / (monotonic() - began)
        n = int(min(_MOST_FILES, 0.9 * max(campaign.left_s, 5.0) * per_s))
        many = _link_samples(home.folder / "many", n)

        def count_files(_: Path, out: Path = home.out) -> float:
            return sum(1 for _ in out.iterdir()) - _TRIED_FILES

        samples, faults = _watch(home, ["transcribe", many, *options], count_files)
        n_written = int(count_files(many))
        row.notes.append(f"{n} of {_MOST_FILES} files")
        faults += [] if n_written == n else [f"{n_written} of {n} files written"]
        row.count(number, faults + _judge(samples, row, "files/s"))
    return row


def _link_samples(folder: Path, n: int) -> Path:
    folder.mkdir()
    sounds = sorted(SAMPLES.glob("*.wav"))
    for i in range(n):
        (folder / f"{folder.name}{i}.wav").symlink_to(sounds[i % len(sounds)])
    return folder


def _watch(
    home: Home, arguments: Sequence[object], read_position: _Position
) -> tuple[list[_Sample], list[str]]:
    """Run a command, and see what it has, again and again."""
    running, samples = start(home, arguments), list[_Sample]()
    while running.process.poll() is None:
        with suppress(OSError, ValueError):  # a process has just ended
            position = read_position(home.folder / "stdout")
            samples.append(_Sample(monotonic(), position, *_measure(running.process.pid)))
        sleep(_PERIOD_S)
    ran = running.finish()
    faults = [*ran.list_faults(), *running.list_survivors(), *home.list_leftovers()]
    if ran.status:
        faults.append(f"exit status {ran.status}: {' '.join(ran.errors)}")
    return samples, faults


def _measure(pid: int) -> tuple[float, int, int]:
    """Return memory in MB, descriptors and threads of a process and its children."""
    mb, n_descriptors, n_threads = 0.0, 0, 0
    for one in list_processes(pid):
        folder = Path("/proc", str(one))
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        mb += int(status["VmRSS"].split()[0]) / 1024
        n_threads += int(status["Threads"])
        n_descriptors += len(list((folder / "fd").iterdir()))
    return mb, n_descriptors, n_threads


def _judge(samples: Sequence[_Sample], row: Row, unit: str) -> list[str]:
    """Compare the last quarter with the second; note the figures and return what is not flat."""
    working = [sample for sample in samples if sample.position > 0]
    # Live audio tells its position where somebody speaks: once in ten minutes, for one
    if len({sample.position for sample in working}) < _LEAST_POSITIONS:
        row.notes.append("too short to be compared")
        return []
    n = len(working) // 4
    before, after = working[n : 2 * n], working[-n:]
    mb, speeds = [[f(part) for part in (before, after)] for f in (_median_mb, _measure_speed)]
    row.notes.append(
        f"from the second to the last quarter: {mb[0]:.0f} to {mb[1]:.0f} MB, "
        f"{speeds[0]:.1f} to {speeds[1]:.1f} {unit}, "
        f"{_median(before, 'n_descriptors')} to {_median(after, 'n_descriptors')} descriptors, "
        f"{_median(before, 'n_threads')} to {_median(after, 'n_threads')} threads"
    )
    faults = []
    if mb[1] - mb[0] > max(_MOST_GROWTH_MB, _MOST_GROWTH * mb[0]):
        faults.append(f"memory grows from {mb[0]:.0f} to {mb[1]:.0f} MB")
    for name in ("n_descriptors", "n_threads"):
        least, most = (
            f(getattr(s, name) for s in part) for f, part in ((max, before), (min, after))
        )
        if most > least + _MOST_MORE:
            faults.append(f"{name} grows from {least} to {most}")
    if speeds[1] < _LEAST_SPEED * speeds[0]:
        faults.append(f"it slows from {speeds[0]:.1f} to {speeds[1]:.1f} {unit}")
    return faults


def _median(part: Sequence[_Sample], name: str) -> int:
    return int(statistics.median(getattr(sample, name) for sample in part))


def _median_mb(part: Sequence[_Sample]) -> float:
    return statistics.median(sample.mb for sample in part)


def _measure_speed(part: Sequence[_Sample]) -> float:
    return (part[-1].position - part[0].position) / max(part[-1].now_s - part[0].now_s, 1e-9)


def _read_last_time(stdout: Path) -> float:
    """Return the end of the last segment that was printed, in seconds."""
    found = _TIME.findall(_read_tail(stdout))
    hours, minutes, seconds = found[-1] if found else ("", 0, 0)
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)


def _read_last_event(stdout: Path) -> float:
    """Return how much was heard at the last event that was printed."""
    lines = _read_tail(stdout).splitlines()
    whole = [line for line in lines if line.startswith("{") and line.endswith("}")]
    return float(json.loads(whole[-1])["audio_s"]) if whole else 0.0


def _read_tail(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 4096))
        return file.read().decode(errors="replace")
