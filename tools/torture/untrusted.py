"""Models and files of strangers: what they execute, read and take."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from tests.support.places import ROOT
from tools.torture.campaign import MOST_TRIALS, N_WORKERS, Campaign, Row
from tools.torture.hostile import HOSTILE, MARKER, SECRET
from tools.torture.parsers import PARSERS, damage
from tools.torture.touches import trace

_MOST_S, _MOST_MB = 20.0, 500
_LIBRARIES = (sys.prefix, sys.base_prefix, str(ROOT), "/proc/", "/sys/", "/usr/", "/etc/ld.so")
_HOSTILE, _FUZZED, _DAMAGED = 0, 2, 10  # kinds of trials, the last for each parser


def distrust(campaign: Campaign) -> list[Row]:
    """Open hostile checkpoints, damage what is parsed, and see what commands touch."""
    rows = [_open_hostile(campaign), *trace(campaign)]
    share = campaign.rest()
    if find_spec("atheris") is None:
        note = "coverage-guided fuzzing is not tried: atheris is not installed"
        return [*rows, *damage_all(share, [note])]
    return [*rows, *damage_all(share.share(0.5), []), _fuzz_all(share.share(0.5))]


def _open_hostile(campaign: Campaign) -> Row:
    row = Row("hostile checkpoints")

    def open_one(number: int) -> tuple[int, list[str], bool]:
        name = list(HOSTILE)[number % MOST_TRIALS]
        folder = campaign.make_folder(f"hostile{number}")
        faults, was_refused = open_watched(HOSTILE[name](folder), folder)
        shutil.rmtree(folder)
        return number, [name, *faults] if faults else [], was_refused

    numbers = campaign.each(_HOSTILE, len(HOSTILE))
    with ThreadPoolExecutor(N_WORKERS) as pool:
        for number, faults, was_refused in pool.map(open_one, numbers):
            row.count(number, faults, refused=was_refused)
    return row


def open_watched(path: Path, folder: Path) -> tuple[list[str], bool]:
    """Open a checkpoint in a folder; return what it must not do, and whether it is refused."""
    command = [sys.executable, "-m", "tools.torture.opening", str(path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    try:
        opened = subprocess.run(
            command, capture_output=True, text=True, timeout=_MOST_S, env=environment, check=False,
            cwd=ROOT,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [f"not done in {_MOST_S:g} s"], False
    if opened.returncode:
        return [f"status {opened.returncode}: {opened.stderr[-200:]!r}"], False
    seen = json.loads(opened.stdout)
    faults = list(seen["done"])
    if (folder / MARKER).exists():
        faults.append("its code was run")
    outside = [one for one in seen["opened"] if _is_outside(one, path, folder)]
    if outside:
        faults.append(f"it read {', '.join(outside)}")
    if seen["mb"] > _MOST_MB:
        faults.append(f"{seen['mb']:.0f} MB")
    if "\n" in seen["told"] or len(seen["told"]) > 1000:
        faults.append(f"not a line: {seen['told'][:200]!r}")
    return faults, bool(seen["told"])


def _is_outside(opened: str, path: Path, folder: Path) -> bool:
    """Return whether a file is none of the model's; the hub's cache is made of links, which are."""
    inside = path if path.is_dir() else path.parent
    if Path(opened).name == SECRET:
        return True
    targets = {os.path.realpath(link) for link in inside.iterdir() if link.is_symlink()}
    if opened in targets:  # links are followed, as the cache of Hugging Face asks: nothing is told
        return False
    is_own = opened.startswith(str(inside.resolve()))
    return not is_own and (opened.startswith(str(folder)) or not opened.startswith(_LIBRARIES))


# Parsers


def damage_all(campaign: Campaign, notes: list[str]) -> Iterator[Row]:
    """Read damaged files with each parser, and yield what came of it."""
    for i, name in enumerate(PARSERS):
        parser = PARSERS[name]
        share = campaign.rest(1 / (len(PARSERS) - i))
        folder = campaign.make_folder(f"parser{i}")
        path = folder / parser.name
        parser.write(path)
        sound = path.read_bytes()
        row = Row(f"{name} of {len(sound)} bytes, damaged", notes=notes if i == 0 else [])
        for number in share.numbers(_DAMAGED + i):
            path.write_bytes(damage(sound, campaign.random(number)))
            faults, was_refused = list[str](), False
            try:
                was_refused = parser.is_refused(path)
            except (Exception, MemoryError) as error:
                faults.append(f"{type(error).__name__}: {error!s:.200}")
            row.count(number, faults, refused=was_refused)
        yield row


def _fuzz_all(campaign: Campaign) -> Row:
    """Fuzz each parser by what it covers, several at a time."""
    row = Row("parsers, by what they cover (atheris)")
    seconds = max(5, round(campaign.seconds * N_WORKERS / len(PARSERS)))

    def fuzz(number: int) -> tuple[int, int, list[str]]:
        name = list(PARSERS)[number % MOST_TRIALS]
        folder = campaign.make_folder(f"fuzz{number}")
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            path = Path(scratch, PARSERS[name].name)
            PARSERS[name].write(path)
            (folder / "corpus").mkdir()
            shutil.copy(path, folder / "corpus" / "sound")
        command = [
            *(sys.executable, "-m", "tools.torture.coverage", name, str(folder / "corpus")),
            *(f"-max_total_time={seconds}", f"-seed={campaign.seed + 1}", "-timeout=10"),
            *("-rss_limit_mb=2048", f"-artifact_prefix={folder}/", "-max_len=200000"),
        ]
        ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        found = re.findall(r"^#(\d+)", ran.stderr, re.MULTILINE)
        last = re.findall(r"^\S*(?:Error|Exception): .*|^==.*ERROR: .*", ran.stderr, re.MULTILINE)
        fault = [f"{name}: {(last or [ran.stderr[-300:]])[-1]}"] if ran.returncode else []
        return number, int(found[-1]) if found else 0, fault

    numbers = campaign.each(_FUZZED, len(PARSERS))
    with ThreadPoolExecutor(N_WORKERS) as pool:
        for number, n_tried, faults in pool.map(fuzz, numbers):
            row.count(number, faults)
            row.tried += max(0, n_tried - 1)
            row.right += max(0, n_tried - 1)
    row.notes.append("read or refused, which are counted together")
    return row
