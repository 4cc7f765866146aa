"""Write docs/recordings.md: every container, codec and oddity that is tried, made and read."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import soundfile

from tests.support.places import ROOT
from tools.recordings import odd
from tools.recordings.case import (
    Case,
    Deviation,
    Reading,
    find_faults,
    find_first_sound,
    measure,
    read,
)
from tools.recordings.costs import measure_costs
from tools.recordings.sound import list_sound
from whisper_npu_cli.dims import SAMPLE_RATE

_GROUPS: dict[str, Callable[[], Iterable[Case]]] = {
    "Containers and codecs": list_sound,
    "Streams that change": odd.list_changes,
    "Damage": odd.list_damage,
    "Names and headers that lie": odd.list_lies,
    "The container's clock": odd.list_clocks,
    "Channels": odd.list_channels,
    "Tracks": odd.list_tracks,
    "Recordings of bug reports": odd.list_kept,
}
# Why what is not right is not, where that is known, by the beginning of the name
_LIMITS = {
    "ts: codec": "FFmpeg sees no change of the codec where the version of the program is the same",
    "amr: the same": "the head of the second file is taken for a frame",
    "mp3 without a Xing header: 2000 bytes gone": "frames take bits of those before",
    "m4a, index first: 2000 bytes gone": "the index tells where bytes were before",
    "mp4, fragments": "FFmpeg does not look for the next fragment",
    "3gp, amr: last byte missing": "it is one of the index",
    "ts, mp2: cut at 60 %": "it is cut between two packets",
    "wma: 300 random bytes": "the decoder conceals them and logs nothing",
}
_EXPLANATION = """
They are three people one after the other, 25.9 s, if nothing else is said. *Late* is by how much
the sound that is furthest from its place is late: padding of a coder that the container does not
tell, or what is missing where nothing has a time stamp. *Status* is the exit status of a
transcription: 1 where speech may be missing. What is read right has the right length and lies
where it should, to 0.15 s (1.5 s where streams without time stamps are damaged or joined), and at
most 0.3 s of it differ from the original in level, outside of what is told.
"""
_HEAD = (
    "| recording | right | length, s | sound at, s | late by, s | status | told |\n"
    "|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Row:
    """A case, what reading it gave, and what is wrong with that."""

    case: Case
    reading: Reading
    deviation: Deviation
    faults: tuple[str, ...]

    def format(self) -> str:
        """Return the row of the table."""
        right = f"**no**: {'; '.join(self.faults)}{self._explain()}" if self.faults else "yes"
        length = f"{self.reading.samples.size / SAMPLE_RATE:.2f}"
        first = _format_second(find_first_sound(self.reading.samples))
        if self.case.right is not None:
            length += f" of {self.case.right.size / SAMPLE_RATE:.2f}"
            first += f" of {_format_second(find_first_sound(self.case.right))}"
        late = f"{self.deviation.late_s:.2f}"
        cells = [self.case.name, right, length, first, late, str(self.reading.status)]
        told = "<br>".join(self.reading.told).replace("|", "\\|")
        return f"| {' | '.join(cells)} | {told} |"

    def _explain(self) -> str:
        known = (why for name, why in _LIMITS.items() if self.case.name.startswith(name))
        return "".join(f" ({why})" for why in known)


def main() -> None:
    """Make and read all recordings and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "recordings.md")
    parser.add_argument(
        "--only", default="", help="rows with this in their name; nothing is written"
    )
    options = parser.parse_args()
    tables = {
        group: list(_try(list_cases(), options.only)) for group, list_cases in _GROUPS.items()
    }
    for row in (row for rows in tables.values() for row in rows if row.faults or options.only):
        print(row.format())
    if not options.only:
        costs = measure_costs()
        options.out.write_text("\n".join(_compose(tables, costs)))


def _try(cases: Iterable[Case], only: str) -> Iterator[Row]:
    for case in cases:
        if only not in case.name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            reading = read(case.make(Path(folder, "recording")), case.track)
        deviation = measure(case, reading)
        yield Row(case, reading, deviation, tuple(find_faults(case, reading, deviation)))


def _compose(tables: dict[str, list[Row]], costs: dict[str, str]) -> Iterator[str]:
    """Yield the lines of the page."""
    rows = [row for group in tables.values() for row in group]
    n_right = sum(not row.faults for row in rows)
    libraries = ", ".join(f"{name} {version}" for name, version in _list_versions().items())
    yield "# Recordings that are read\n"
    yield "Written by `make recordings`, which makes each and reads it as a transcription does."
    yield f"{n_right} of {len(rows)} are read right, with {libraries}."
    yield _EXPLANATION
    for group, rows in tables.items():
        yield f"## {group}\n\n{_HEAD}"
        yield from (row.format() for row in rows)
        yield ""
    yield "## The process that decodes\n\n| | |\n|---|---|"
    yield from (f"| {name} | {value} |" for name, value in costs.items())
    yield ""
    yield "Recordings that are damaged at random are in [reliability.md](reliability.md).\n"


def _list_versions() -> dict[str, str]:
    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    return {
        "PyAV": av.__version__,
        "libavcodec": codec,
        "libsndfile": soundfile.__libsndfile_version__,
    }


def _format_second(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
