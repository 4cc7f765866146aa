"""Energy that work takes, from the first source that this machine lets be read.

Sources: the package's counter (Linux powercap, `intel-rapl:N/energy_uj`, AMD's too, which root
alone may read since CVE-2020-8694), the power of an APU's socket (hwmon of amdgpu), and that of a
battery which discharges. None tells what an XDNA1 NPU takes by itself; it is part of the package.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from threading import Event, Thread
from typing import Any, Protocol

IDLE_S = 3.0
WORK_S = 10.0  # a battery tells its power every few seconds
SAMPLE_S = 0.1  # between two readings of a source that tells power
Work = Callable[[], object]


class Meter(Protocol):
    """A source of readings."""

    name: str

    def measure(self, work: Work) -> float:
        """Return the joules that the machine takes while `work` runs."""


class CounterMeter:
    """Counters of microjoules, one for each socket, which begin anew at their range."""

    name = "powercap"

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders
        self._ranges = [_read(folder / "max_energy_range_uj") for folder in folders]
        self._take()

    def measure(self, work: Work) -> float:
        """Return the joules of all sockets; no counter may wrap twice (20 min at 50 W)."""
        before = self._take()
        work()
        pairs = zip(before, self._take(), self._ranges, strict=True)
        return sum((after - start) % (size + 1) for start, after, size in pairs) / 1e6

    def _take(self) -> list[int]:
        return [_read(folder / "energy_uj") for folder in self._folders]


class PowerMeter:
    """A file of microwatts, sampled while the work runs."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path
        _read(path)

    def measure(self, work: Work) -> float:
        """Return the mean power times the seconds."""
        start = time.perf_counter()
        with self._sampling() as samples:
            work()
        return mean(samples) / 1e6 * (time.perf_counter() - start)

    @contextmanager
    def _sampling(self) -> Iterator[list[int]]:
        samples, done = [_read(self._path)], Event()

        def sample() -> None:
            while not done.wait(SAMPLE_S):
                samples.append(_read(self._path))

        thread = Thread(target=sample)
        thread.start()
        try:
            yield samples
        finally:
            done.set()
            thread.join()


def find_meter(sys: Path = Path("/sys")) -> Meter | None:
    """Return the first source that can be read, or None."""
    for find in (_find_counter, _find_socket, _find_battery):
        try:
            meter = find(sys / "class")
        except OSError:  # it is there, and root's alone
            continue
        if meter:
            return meter
    return None


def measure_idle_watts(meter: Meter) -> float:
    """Return the power of the machine while this process sleeps for `IDLE_S`."""
    return meter.measure(lambda: time.sleep(IDLE_S)) / IDLE_S


def measure_energy(meter: Meter, work: Work, audio_s: float) -> dict[str, Any]:
    """Return the joules above the idle machine for an hour of audio; `work` is `audio_s` of it."""
    idle_w = measure_idle_watts(meter)
    n_times = 0

    def repeat() -> None:
        nonlocal n_times
        end = time.perf_counter() + WORK_S
        while time.perf_counter() < end:
            work()
            n_times += 1

    start = time.perf_counter()
    joules = meter.measure(repeat) - idle_w * (time.perf_counter() - start)
    hours = n_times * audio_s / 3600
    return {"source": meter.name, "idle_w": idle_w, "joules_per_hour_of_audio": joules / hours}


def _find_counter(root: Path) -> Meter | None:
    names = sorted(root.glob("powercap/intel-rapl:*/name"))
    sockets = [path.parent for path in names if path.read_text().startswith("package")]
    return CounterMeter(sockets) if sockets else None


def _find_socket(root: Path) -> Meter | None:
    for name in sorted(root.glob("hwmon/*/name")):
        if name.read_text().strip() == "amdgpu":
            for reading in ("power1_average", "power1_input"):
                if (name.parent / reading).exists():
                    return PowerMeter(f"hwmon amdgpu {reading}", name.parent / reading)
    return None


def _find_battery(root: Path) -> Meter | None:
    for battery in sorted(root.glob("power_supply/BAT*")):
        discharges = (battery / "status").read_text().strip() == "Discharging"
        if discharges and (battery / "power_now").exists():
            return PowerMeter(f"battery {battery.name}", battery / "power_now")
    return None


def _read(path: Path) -> int:
    return int(path.read_text())
