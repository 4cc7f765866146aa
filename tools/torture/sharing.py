"""Many processes at once with nothing stored, and folders for caches that fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.support.hub_server import serve
from tests.support.places import DEMO, SAMPLES
from tools.torture.campaign import MOST_TRIALS, Campaign, Row
from tools.torture.command import Home, Ran, run, start
from tools.torture.shim import NO_COMPILER, build_shim
from whisper_npu_cli.engines.numba_decoder.code import list_stored
from whisper_npu_cli.engines.numba_decoder.decoder import list_kernels
from whisper_npu_cli.options import EngineOptions

_N_PROCESSES = 12
_TIMEOUT_S = 600.0  # of all: cold, each may compile the decoder
_SAMPLE = SAMPLES / "lucas-1-6-1-8-0.wav"
_COMMAND = ("transcribe", _SAMPLE, "--language", "en", "--text", "--model")
_REPOSITORY = "someone/whisper-demo"
_NO_USER = 54_321  # a number without a name
_COMPILED, _STORED, _DOWNLOADS, _FOLDERS, _POOR = range(5)  # kinds of trials
_COMPILES_S = 100.0  # of a part that has time for a decoder that is compiled


def share(campaign: Campaign) -> list[Row]:
    """Start many processes at once, and give a process folders that fail."""
    text = run(Home(campaign.make_folder("reference")), [*_COMMAND, "demo"]).stdout
    compiles = campaign.seconds >= _COMPILES_S or campaign.only is not None
    rows = [_try_folders(campaign, text), _use_poor(campaign, text)]
    rows += [_start_many(campaign.share(0.2), _STORED, text)]
    if compiles:
        rows += [_start_many(campaign.share(0), _COMPILED, text)]
    return [*rows, _download_once(campaign.share(0.1), text)]


def _start_many(campaign: Campaign, kind: int, text: str) -> Row:
    """Start processes that find no stored engine, or not even compiled code."""
    what = "encoder or decoder stored" + " nor code compiled" * (kind == _COMPILED)
    row = Row(f"{_N_PROCESSES} processes at once, no {what}")
    for number in campaign.numbers(kind):
        folder = campaign.make_folder(f"many{number}")
        shared = {"XDG_CACHE_HOME": str(folder / "cache")}
        if kind == _COMPILED:
            shared["NUMBA_CACHE_DIR"] = str(folder / "code")
        row.count(number, _run_together(folder, [*_COMMAND, "demo"], shared, text))
    return row


def _run_together(
    folder: Path, command: Sequence[object], shared: Mapping[str, str], text: str
) -> list[str]:
    """Return what is wrong with processes that run a command at once, or with what they leave."""
    homes = [Home(folder / str(i)) for i in range(_N_PROCESSES)]
    running = [start(home, command, more=shared) for home in homes]
    faults = list[str]()
    for one in running:
        faults += _judge(one.finish(_TIMEOUT_S), text)
        faults += [*one.list_survivors(), *one.home.list_leftovers()]
    faults += [f"left {path.name}" for path in folder.rglob("*.part")]
    return faults + [
        f"then: {fault}" for fault in _judge(run(homes[0], command, more=shared), text)
    ]


def _judge(ran: Ran, text: str) -> Iterator[str]:
    yield from ran.list_faults()
    if ran.status:
        yield f"exit status {ran.status}: {' '.join(ran.errors)}"
    elif ran.stdout != text:
        yield f"another text: {ran.stdout[:100]!r}"
    if "damaged" in ran.stderr:
        yield "something stored was damaged"


def _download_once(campaign: Campaign, text: str) -> Row:
    row = Row(f"{_N_PROCESSES} processes that need one model, which no cache has")
    for number in campaign.numbers(_DOWNLOADS):
        folder = campaign.make_folder(f"downloads{number}")
        with serve({_REPOSITORY: DEMO}) as hub:
            shared = _reach(hub.url, folder / "hub")
            faults = _run_together(folder, [*_COMMAND, _REPOSITORY], shared, text)
            fetched = Counter(one for one in hub.requests if one.startswith("GET /someone/"))
        faults += [f"{one}: {n} times" for one, n in fetched.items() if n > 1]
        row.count(number, faults)
    return row


def _use_poor(campaign: Campaign, text: str) -> Row:
    """Fetch a model, store engines and use both, where files cannot be mapped nor locked."""
    row = Row("caches on a file system without memory mapping and locks (by the shim)")
    shim = build_shim(campaign.folder)
    if shim is None:
        row.notes.append(NO_COMPILER)
        return row
    for number in campaign.each(_POOR, 1):
        home = Home(campaign.make_folder("poor"))
        with serve({_REPOSITORY: DEMO}) as hub:
            more = _reach(hub.url, home.cache / "hub")
            more |= {"LD_PRELOAD": str(shim), "TORTURE_POOR": str(home.cache)}
            more["NUMBA_CACHE_DIR"] = str(home.cache / "code")
            _copy_code(home.cache / "code")
            min((home.cache / "code").iterdir()).unlink()  # which is compiled
            faults = list[str]()
            for _ in range(2):
                running = start(home, [*_COMMAND, _REPOSITORY], more=more)
                faults += [*_judge(running.finish(_TIMEOUT_S), text), *running.list_survivors()]
                faults += home.list_leftovers()
        row.count(number, faults)
    return row


def _copy_code(folder: Path) -> None:
    """Copy the compiled code, which takes a quarter of a minute."""
    folder.mkdir()
    for file in list_stored(list_kernels(EngineOptions())):
        if file.suffix == ".code":
            shutil.copy(file, folder)


def _reach(url: str, cache: Path) -> dict[str, str]:
    """Return the variables by which models are fetched from a server of this machine."""
    return {
        **{"HF_ENDPOINT": url, "HF_HOME": str(cache), "HF_HUB_OFFLINE": ""},
        "NO_PROXY": "127.0.0.1",
    }


# Folders for caches


@dataclass(frozen=True)
class _State:
    """A state of a folder: how it is brought about, and what is then asked of a run."""

    name: str
    prepare: Callable[[Home, np.random.Generator], None]
    more: Mapping[str, str] = field(default_factory=dict)
    mount: tuple[str, str] | None = None  # where, and options of a tmpfs
    user: int | None = None
    may_fail: bool = False  # in one line; else it works without the folder

    @property
    def needs_root(self) -> bool:
        """Whether only root can bring it about."""
        return self.user is not None or self.mount is not None


def _leave(_home: Home, _random: np.random.Generator) -> None:
    """Leave it empty."""


def _fill(home: Home) -> list[Path]:
    """Let a run store what it stores, and return the files."""
    run(home, [*_COMMAND, "demo"])
    return [path for path in sorted(home.cache.rglob("*")) if path.is_file()]


def _flip_bits(home: Home, random: np.random.Generator) -> None:
    for path in _fill(home):
        data = bytearray(path.read_bytes())
        for at in random.integers(len(data), size=20):
            data[at] ^= 1 << int(random.integers(8))
        path.write_bytes(data)


def _cut(home: Home, random: np.random.Generator) -> None:
    for path in _fill(home):
        os.truncate(path, int(random.integers(path.stat().st_size)))


def _put_folders(home: Home, _: np.random.Generator) -> None:
    """Put folders where files are."""
    for path in _fill(home):
        path.unlink()
        path.mkdir()


def _put_file(home: Home, _: np.random.Generator) -> None:
    """Put a file where the folder is."""
    shutil.rmtree(home.cache)
    home.cache.write_bytes(b"")


def _lock(home: Home, _: np.random.Generator) -> None:
    _fill(home)
    for path in [*home.cache.rglob("*"), home.cache]:
        path.chmod(0)
    _give_away(home, _)


def _own(home: Home, _: np.random.Generator) -> None:
    """Let root own what is stored."""
    _fill(home)
    _give_away(home, _)


def _give_away(home: Home, _: np.random.Generator) -> None:
    """Let another user own all but the cache, and have compiled code."""
    _copy_code(home.folder / _CODE)
    for path in [home.folder, home.temporary, home.out, home.flag, home.folder / _CODE]:
        os.chown(path, _NO_USER, _NO_USER)


_CODE = "code"
_CODED = {"NUMBA_CACHE_DIR": _CODE}
_HOMELESS = {"HOME": "", "XDG_CACHE_HOME": ""}
_STATES = (
    _State("cache with bits flipped", _flip_bits),
    _State("cache with files cut", _cut),
    _State("cache with folders in place of files", _put_folders),
    _State("a file in place of the cache", _put_file),
    _State("no HOME, and no user", _give_away, _HOMELESS | _CODED, user=_NO_USER),
    _State("no HOME, no user, no code", _give_away, _HOMELESS, user=_NO_USER, may_fail=True),
    _State("cache of another user, locked", _lock, _CODED, user=_NO_USER),
    _State("cache of another user", _own, _CODED, user=_NO_USER),
    _State("cache of another user, no code", _own, user=_NO_USER, may_fail=True),
    _State("cache on a full disk", _leave, mount=("cache", "size=32k")),
    _State("cache that cannot be written", _leave, mount=("cache", "ro")),
    _State("TMPDIR on a full disk", _leave, mount=("tmp", "size=8k,nr_inodes=2"), may_fail=True),
    _State("TMPDIR that cannot be written", _leave, mount=("tmp", "ro"), may_fail=True),
    _State("outputs on a full disk", _leave, mount=("out", "size=8k,nr_inodes=2"), may_fail=True),
    _State("outputs that cannot be written", _leave, mount=("out", "ro"), may_fail=True),
)


def _try_folders(campaign: Campaign, text: str) -> Row:
    row = Row(f"{len(_STATES)} states of the folders of caches, temporary files and outputs")
    skipped = set[str]()
    for number in campaign.each(_FOLDERS, len(_STATES)):
        state = _STATES[number % MOST_TRIALS]
        if state.needs_root and os.geteuid():
            skipped.add(state.name)
            continue
        home = Home(campaign.make_folder(f"state{number}"))
        with _mount(home, state):
            state.prepare(home, campaign.random(number))
            faults, was_refused = _run_in(home, state, text)
        row.count(number, [state.name, *faults] if faults else [], refused=was_refused)
    row.notes += [f"not tried here: {', '.join(sorted(skipped))}"] * bool(skipped)
    return row


def _run_in(home: Home, state: _State, text: str) -> tuple[list[str], bool]:
    command = [*_COMMAND, "demo", "-f", "txt", "-o", home.out]
    running = start(home, command, more=state.more, user=state.user)
    ran = running.finish()
    faults = [*ran.list_faults(), *running.list_survivors(), *home.list_leftovers()]
    if ran.status and not (state.may_fail and ran.status in (1, 3) and ran.errors):
        faults.append(f"exit status {ran.status}: {ran.stderr[-300:]!r}")
    if ran.status == 0 and ran.stdout != text:
        faults.append(f"another text: {ran.stdout[:100]!r}")
    return faults, ran.status != 0


@contextmanager
def _mount(home: Home, state: _State) -> Iterator[None]:
    """Put a file system of its own at a folder of `home`."""
    if state.mount is None:
        yield
        return
    name, options = state.mount
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", home.folder / name], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", home.folder / name], check=True)
