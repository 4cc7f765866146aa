"""Tell whether this checkout is slower than another commit: ratios of interleaved runs.

    python -m tools.peers.regression --against v0.1.0

Absolute times say little on a shared machine, so none is compared with a stored time. The other
commit is checked out beside this one, `whisper-npu bench` runs in both in turn, and the ratio of
each round is taken. The median ratio of every stage is printed. The exit status is 1 if one is
above `--tolerance`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.support.places import ROOT
from tools.peers.workers import WHISPER_NPU


def run_bench(checkout: Path, model: str, runs: int) -> dict[str, float]:
    """Return the milliseconds of each stage of `whisper-npu bench` in a checkout."""
    command = [*WHISPER_NPU, "bench", "--model", model, "--runs", str(runs), "--json"]
    env = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(command, cwd=checkout, env=env, stdout=subprocess.PIPE, check=True)
    (device,) = json.loads(done.stdout)["devices"]
    stages = {name: device[name]["ms_per_window"] for name in ("mel", "encode")}
    for row in device["decode"]:
        stages[f"step, {row['batch']} windows, {row['beam']} beams"] = row["ms_per_step"]
    return stages


def compare(other: Path, model: str, rounds: int, runs: int) -> dict[str, float]:
    """Return for each stage the median over `rounds` of this checkout's time over the other's."""
    for checkout in (ROOT, other):  # a first run compiles
        run_bench(checkout, model, 1)
    ratios: dict[str, list[float]] = {}
    for _ in range(rounds):
        theirs, ours = run_bench(other, model, runs), run_bench(ROOT, model, runs)
        for stage in ours.keys() & theirs.keys():
            ratios.setdefault(stage, []).append(ours[stage] / theirs[stage])
    return {stage: median(values) for stage, values in ratios.items()}


def main() -> int:
    """Compare as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", required=True, help="commit, branch or tag")
    parser.add_argument("--model", default="random:base")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=5, help="of each stage in a round")
    parser.add_argument("--tolerance", type=float, default=1.1, help="largest ratio allowed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", folder, args.against], check=True)
        try:
            ratios = compare(Path(folder), args.model, args.rounds, args.runs)
        finally:
            subprocess.run([*git, "remove", "--force", folder], check=True)
    for stage, ratio in sorted(ratios.items()):
        print(f"{ratio:6.2f}  {stage}{'  SLOWER' if ratio > args.tolerance else ''}")
    return int(max(ratios.values()) > args.tolerance)


if __name__ == "__main__":
    sys.exit(main())
