"""Measure all of it, and write docs/cluster-measured.md."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.cluster.faults import Fault, measure_faults
from tools.cluster.overhead import Run, measure_overhead
from tools.cluster.simulated import MEAN_AUDIO_S, Simulated, simulate
from whisper_npu_cli.environment import count_physical_cores, read_cpu_name

_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs" / "cluster-measured.md"


def main() -> None:
    """Run the parts, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tools.cluster", description=__doc__)
    parser.add_argument("--minutes", type=int, default=200, help="files of a minute")
    parser.add_argument("--rounds", type=int, default=1, help="of the files of a minute")
    parser.add_argument("--files", type=int, default=20_000, help="of the simulated archive")
    parser.add_argument("--rate", type=float, default=25.0, help="of these files a second")
    parser.add_argument("--fault-files", type=int, default=300, help="of each fault")
    args = parser.parse_args()
    samples = _ROOT / "samples"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulated = simulate(folder / "simulated", 64, args.files, args.files / args.rate)
        runs = measure_overhead(folder / "minutes", samples, args.minutes, args.rounds)
        faults = measure_faults(folder / "faults", samples, args.fault_files)
    lines = [*describe_overhead(runs, args.minutes), *describe(simulated), *list_faults(faults)]
    _PAGE.write_text("\n".join([*_HEAD, *lines]) + "\n", encoding="utf-8")


_HEAD = [
    "# A cluster, measured",
    "",
    f"`make bench-cluster`, on {read_cpu_name()}, {count_physical_cores()} cores. All of it is on "
    "one machine: processes stand for hosts.",
    "",
]


def describe_overhead(runs: Sequence[Sequence[Run]], n_files: int) -> Iterator[str]:
    """Yield the part about the cost."""
    alone, away = (min(run.working_s for run in one) for one in runs)
    share = away / alone - 1
    start_s = min(run.total_s - run.working_s for run in runs[1])
    alone_s = min(run.total_s - run.working_s for run in runs[0])
    yield from (
        "## What it costs",
        "",
        f"{n_files} files of a minute, model demo, the least of {len(runs[0])} runs: "
        f"{alone:.1f} s from the first text to the last without a cluster, {away:.1f} s with "
        f"`--cluster local`: **{share:+.1%}**. Before the first text and after the last come "
        f"{alone_s:.1f} s and {start_s:.1f} s, once for all files.",
        "",
    )


def describe(result: Simulated) -> Iterator[str]:
    """Yield the part about many workers."""
    scale = MEAN_AUDIO_S / result.mean_s
    yield from (
        "## Many workers",
        "",
        f"{result.n_workers} simulated workers, which sleep, and {result.n_files} files of "
        f"{result.mean_s:.2f} s on average (half as much to half more): files of half an hour "
        f"at {scale:.0f} times realtime, so the scheduler has many times the tasks a second of a "
        "real archive. The workers are threads of one process, the client is the command's own "
        f"code, which prints and writes each text. They were **{result.busy:.1%}** busy over "
        f"{result.wall_s:.0f} s, begin and end included. The client had {result.early_mb:.0f} MB "
        f"when a tenth was done, and {result.late_mb:.0f} MB at the end.",
        "",
    )


def list_faults(faults: Sequence[Fault]) -> Iterator[str]:
    """Yield the part about faults."""
    yield from (
        "## What it survives",
        "",
        "Two workers with their nannies. The second exit status is that of the same command, "
        "which has `--resume`, after the fault was repaired.",
        "",
        "| fault | texts that are there and right | exit status | told |",
        "|---|---|---|---|",
        *(fault.describe() for fault in faults),
    )


if __name__ == "__main__":
    main()
