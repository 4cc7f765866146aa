"""What commands touch: each is traced where there is no network but the machine's own.

python -m tools.torture.touches FOLDER    # a server and its clients, which is what is traced
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.places import ROOT, SAMPLES
from tools.torture.campaign import MOST_TRIALS, Campaign, Row
from tools.torture.clients import ASKS, OPTIONS, Served, compose_sound
from tools.torture.command import Home, start

_SAMPLE = SAMPLES / "lucas-1-6-1-8-0.wav"
_TOUCHES = 1  # the kind of the trials, beside those of `untrusted`
_COMMAND = ("-c", "from whisper_npu_cli.cli.app import main; main()")
_TRANSCRIBE = (*_COMMAND, "transcribe", _SAMPLE, "--model", "demo")
_RUNS: dict[str, Sequence[object]] = {  # of Python
    "transcribe": (*_TRANSCRIBE, "-f", "txt"),
    "doctor": (*_COMMAND, "doctor", "--model", "demo"),
    "models list": (*_COMMAND, "models", "list"),
    "transcribe --cluster local": (*_TRANSCRIBE, "--cluster", "local"),
    "serve": ("-m", "tools.torture.touches", "server"),
}
_LOCAL = {"transcribe --cluster local", "serve"}  # which talk to this machine
# A name space of its own has only "lo", which is down: SIOCSIFFLAGS, IFF_UP and IFF_RUNNING
_RAISE_LO = """
import fcntl, os, socket, struct, sys
with socket.socket() as lo:
    fcntl.ioctl(lo, 0x8914, struct.pack("16sH14s", b"lo", 0x41, b""))
os.execv(sys.argv[1], sys.argv[1:])
"""
_WRITES = re.compile(r'^\S+ +(?:openat|open|creat)\((?:AT_FDCWD, )?"([^"]+)", \S*O_(?:WRONLY|RDWR)')
_EXECUTES = re.compile(r'^\S+ +execve\("([^"]+)".* = 0$')
_CONNECTS = re.compile(r"^\S+ +(?:connect|sendto|sendmsg|bind)\(.*AF_INET")
_LOOPBACK = re.compile(r'inet_addr\("127\.')
# The last is the clock of libuuid, for the names that Dask makes.
_HARMLESS = (
    *("/dev/null", "/dev/tty", "/proc/self/", "/dev/shm/", "/dev/accel", "/dev/dri"),
    *(str(ROOT / "whisper_npu_cli"), "/var/lib/libuuid/"),
)


def trace(campaign: Campaign) -> Iterator[Row]:
    """Trace commands without a network, and yield what each has touched."""
    strace, unshare = shutil.which("strace"), shutil.which("unshare")
    if strace is None:
        yield Row("what commands touch", notes=["not tried: there is no strace"])
        return
    may_unshare = unshare and not os.geteuid()
    alone = [unshare, "--net", sys.executable, "-c", _RAISE_LO] if may_unshare else []
    for number in campaign.each(_TOUCHES, len(_RUNS)):
        name = list(_RUNS)[number % MOST_TRIALS]
        home = Home(campaign.make_folder(f"trace{number}"))
        log = home.folder / "trace"
        command = [
            *alone,
            *(strace, "-f", "-qq", "-s", "300", "-o", log, "-e", "trace=%file,%network,%process"),
            *(sys.executable, *_RUNS[name]),
        ]
        ran = subprocess.run(
            [str(one) for one in command], capture_output=True, text=True, cwd=home.out,
            env=home.environment(), check=False,
        )  # fmt: skip
        row = Row(f"`whisper-npu {name}` without a network")
        lines = log.read_text(errors="replace").splitlines()
        faults = [f"status {ran.returncode}: {ran.stderr[-200:]!r}"] if ran.returncode else []
        talks = [line for line in lines if _CONNECTS.match(line)]
        if name in _LOCAL:
            talks = [line for line in talks if not _LOOPBACK.search(line)]
        faults += [f"it connects: {line[:200]}" for line in talks[:3]]
        written = sorted({found[1] for line in lines if (found := _WRITES.match(line))})
        own = (str(home.folder), *_HARMLESS)
        foreign = [one for one in written if one.startswith("/") and not one.startswith(own)]
        faults += [f"it writes {one}" for one in foreign if "/__pycache__/" not in one]
        programs = {Path(found[1]).name for line in lines if (found := _EXECUTES.match(line))}
        row.count(number, faults)
        row.notes.append(f"programs: {', '.join(sorted(programs))}; {len(written)} files written")
        yield row


def _serve(folder: Path) -> None:
    """Start a server, be each of its clients, and end it."""
    home = Home(folder)
    sound = compose_sound(folder, 1)
    served = Served(start(home, [*OPTIONS, "--port", 0]))
    for way, ask in ASKS.items():
        answer = ask(served, sound)
        if answer.status != 200:
            sys.exit(f"{way}: {answer}")
    served.running.process.send_signal(signal.SIGTERM)
    ended = served.running.finish()
    sys.exit(f"status {ended.status}: {ended.stderr}" if ended.status else None)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]).resolve())
