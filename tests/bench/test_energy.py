"""Energy by made folders of Linux: which source is taken, wrapping, and joules above idle."""

from __future__ import annotations

from pathlib import Path

import pytest

from whisper_npu_cli.bench import energy
from whisper_npu_cli.bench.energy import find_meter, measure_energy


def write(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def make_socket(root: Path, number: int, microjoules: int, limit: int = 1_000_000) -> Path:
    folder = root / "class" / "powercap" / f"intel-rapl:{number}"
    write(folder / "name", f"package-{number}")
    write(folder / "max_energy_range_uj", limit)
    write(folder / "energy_uj", microjoules)
    return folder / "energy_uj"


def make_amdgpu(root: Path, microwatts: int) -> Path:
    write(root / "class/hwmon/hwmon3/name", "amdgpu")
    write(root / "class/hwmon/hwmon3/power1_input", microwatts)
    return root / "class/hwmon/hwmon3/power1_input"


def test_without_a_source_there_is_no_meter(tmp_path: Path) -> None:
    write(tmp_path / "class/hwmon/hwmon0/name", "k10temp")
    write(tmp_path / "class/power_supply/BAT0/status", "Charging")
    write(tmp_path / "class/power_supply/BAT0/power_now", 5_000_000)
    assert find_meter(tmp_path) is None


def test_counters_of_all_sockets_add_up_and_wrap(tmp_path: Path) -> None:
    first, second = make_socket(tmp_path, 0, 900_000), make_socket(tmp_path, 1, 0)
    write(tmp_path / "class/powercap/intel-rapl:0:0/name", "core")  # a part of the package
    meter = find_meter(tmp_path)
    assert meter is not None
    assert meter.name == "powercap"

    def work() -> None:
        write(first, 99_999)  # 100,001 to the end of its range and 99,999 from there
        write(second, 300_000)

    assert meter.measure(work) == pytest.approx(0.5)


def test_a_counter_that_only_root_reads_gives_way(tmp_path: Path) -> None:
    counter = make_socket(tmp_path, 0, 0)
    counter.unlink()
    counter.mkdir()  # any error of reading; the tests may run as root
    make_amdgpu(tmp_path, 7_000_000)
    meter = find_meter(tmp_path)
    assert meter is not None
    assert meter.name == "hwmon amdgpu power1_input"


def test_a_battery_counts_while_it_discharges(tmp_path: Path) -> None:
    write(tmp_path / "class/power_supply/BAT1/status", "Discharging")
    write(tmp_path / "class/power_supply/BAT1/power_now", 9_000_000)
    meter = find_meter(tmp_path)
    assert meter is not None
    assert meter.name == "battery BAT1"


def test_idle_power_is_taken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only sleeping and working move: 2 W idle, 10 W while half as long as audio."""
    counter, now = make_socket(tmp_path, 0, 0, limit=10**12), 0.0

    def spend(seconds: float, watts: float) -> None:
        nonlocal now
        now += seconds
        write(counter, int(counter.read_text()) + int(watts * seconds * 1e6))

    monkeypatch.setattr(energy.time, "perf_counter", lambda: now)
    monkeypatch.setattr(energy.time, "sleep", lambda seconds: spend(seconds, 2.0))
    meter = find_meter(tmp_path)
    assert meter is not None
    found = measure_energy(meter, lambda: spend(0.5, 10.0), audio_s=1.0)
    assert found["idle_w"] == pytest.approx(2.0)
    assert found["joules_per_hour_of_audio"] == pytest.approx((10.0 - 2.0) * 0.5 * 3600)
