"""What this machine's processor can do, by the names that Linux gives it."""

from __future__ import annotations

from pathlib import Path


def cpu_features() -> frozenset[str]:
    """Return the words of /proc/cpuinfo, "avx2" and "asimd" among them; none without Linux."""
    cpuinfo = Path("/proc/cpuinfo")
    return frozenset(cpuinfo.read_text(encoding="utf-8").split() if cpuinfo.exists() else ())
