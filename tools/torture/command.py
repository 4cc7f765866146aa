"""The command as users run it: in a process group and folders of its own, and what it leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Protocol

from tests.support.places import ROOT

HANG_S = 60.0  # of a command that works a second or two, beside another one
_LINGER_S = 5.0  # in which children notice that their parent has ended
FLAG = "TORTURE_FLAG"  # the variable that names the page
_MAIN = f"""
import os
from whisper_npu_cli.cli.app import main
with open(os.environ["{FLAG}"], "r+b") as flag:
    flag.write(b"\\1")
main()
"""


@dataclass(frozen=True)
class Home:
    """The folders of a user: caches, temporary files, outputs."""

    folder: Path

    def __post_init__(self) -> None:
        for path in (self.cache, self.temporary, self.out):
            path.mkdir(parents=True, exist_ok=True)
        if not self.flag.exists():
            self.reset_flag()

    @property
    def cache(self) -> Path:
        """Where stored engines are."""
        return self.folder / "cache"

    @property
    def temporary(self) -> Path:
        """TMPDIR."""
        return self.folder / "tmp"

    @property
    def out(self) -> Path:
        """Where outputs go."""
        return self.folder / "out"

    @property
    def flag(self) -> Path:
        """A page, whose first byte is 1 once the program has begun; the rest is for the shim."""
        return self.folder / "flag"

    @property
    def logs(self) -> tuple[Path, Path]:
        """What the last command gave on standard output and standard error."""
        return self.folder / "stdout", self.folder / "stderr"

    def reset_flag(self) -> None:
        """Let the program not have begun."""
        self.flag.touch()
        with self.flag.open("r+b") as file:  # as it is: a process may have it mapped
            file.write(bytes(4096))

    def clear_outputs(self) -> None:
        """Remove outputs and temporary files; a server may do so at the same time."""
        for folder in (self.out, self.temporary):
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    @property
    def has_begun(self) -> bool:
        """Whether the program has begun."""
        with self.flag.open("rb") as file:
            return file.read(1) == b"\1"

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the variables of a process."""
        kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        own = {
            "HOME": str(self.folder),
            "XDG_CACHE_HOME": str(self.cache),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(ROOT),
            "HF_HUB_OFFLINE": "1",
            "NO_COLOR": "1",
            FLAG: str(self.flag),
        }
        everything = kept | own | dict(more or {})
        return {key: value for key, value in everything.items() if value}  # an empty one is unset

    def list_leftovers(self) -> Iterator[str]:
        """Yield what a run that has ended must not leave."""
        yield from (f"left {path.name} in TMPDIR" for path in self.temporary.rglob("*"))
        for folder in (self.cache, self.out):
            for path in folder.rglob("*"):
                if path.suffix == ".part" or path.name.startswith(".whisper-npu-"):
                    yield f"left {path.relative_to(self.folder)}"


@dataclass(frozen=True)
class Ran:
    """What a command gave."""

    status: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """The lines that say what is wrong."""
        return [line for line in self.stderr.splitlines() if line.startswith("error: ")]

    def list_faults(self) -> Iterator[str]:
        """Yield what no command may give."""
        if "Traceback (most recent call last)" in self.stderr:
            yield f"a traceback: {self.stderr.strip().splitlines()[-1][:200]}"
        if self.status < 0:
            last = self.stderr.strip().splitlines()[-1:]
            yield f"ended by {signal.Signals(-self.status).name}: {''.join(last)[:200]}"
        if self.status == -signal.SIGKILL:
            yield f"it hung for {HANG_S:g} s"


class Process(Protocol):
    """What the campaign needs of `subprocess.Popen`."""

    @property
    def pid(self) -> int:
        """Its number, and that of its group."""

    def poll(self) -> int | None:
        """Return the exit status, or None."""

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status; TimeoutExpired after some seconds."""

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""

    def kill(self) -> None:
        """Kill it."""


class Running:
    """A command that was started."""

    def __init__(self, home: Home, process: Process) -> None:
        self.home = home
        self.process = process

    def wait_for_begin(self) -> None:
        """Return once the program has begun, or has ended."""
        while not self.home.has_begun and self.process.poll() is None:
            sleep(0.005)

    def finish(self, timeout_s: float = HANG_S) -> Ran:
        """Wait for the end, which is that of all its processes after `timeout_s`."""
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.end()
            status = self.process.wait()
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in self.home.logs]
        return Ran(status, texts[0], texts[1])

    def end(self) -> None:
        """Kill all processes of the command."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def list_survivors(self) -> Iterator[str]:
        """Yield what is left of its processes some time after its end, and kill it."""
        deadline = monotonic() + _LINGER_S
        while monotonic() < deadline:
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return
            sleep(0.01)
        self.end()
        yield "left processes"


def read_outputs(home: Home) -> dict[str, bytes]:
    """Return the outputs by their names, without what a killed process may leave."""
    return {
        path.name: path.read_bytes()
        for path in home.out.iterdir()
        if not path.name.startswith(".whisper-npu-")
    }


def list_processes(pid: int) -> Iterator[int]:
    """Yield a process and all that it has started."""
    pids = [pid]
    while pids:
        yield (pid := pids.pop())
        with suppress(OSError):  # it has just ended
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())


def start(
    home: Home,
    arguments: Sequence[object],
    *,
    stdin: int = subprocess.DEVNULL,
    more: Mapping[str, str] | None = None,
    user: int | None = None,
) -> Running:
    """Start a command, in an interpreter of its own."""
    home.reset_flag()
    with home.logs[0].open("wb") as stdout, home.logs[1].open("wb") as stderr:
        process = subprocess.Popen(
            [*_become(user), sys.executable, "-c", _MAIN, *map(str, arguments)],
            env=home.environment(more),
            cwd=home.folder,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    return Running(home, process)


# In this process' own view of the disk: each folder, also below one that only root may enter. The
# first arguments are the user, the closed folders, and the folders, with spaces between.
_SHOW = """
mount -t tmpfs none /mnt
for folder in $3; do mkdir -p "/mnt$folder"; mount --rbind "$folder" "/mnt$folder"; done
for folder in $2; do mount -t tmpfs -o mode=755 none "$folder"; done
for folder in $3; do mkdir -p "$folder"; mount --rbind "/mnt$folder" "$folder"; done
user=$1; shift 3
exec setpriv --reuid="$user" --regid="$user" --clear-groups "$@"
"""


def _become(user: int | None) -> list[str]:
    """Return the words before a command that make it another user's; only root may use them."""
    if user is None:
        return []
    needed = {Path(folder).resolve() for folder in (sys.base_prefix, sys.prefix, ROOT)}
    closed = {one for folder in needed for one in folder.parents if not one.stat().st_mode & 0o001}
    hidden = {folder for folder in needed if closed & {*folder.parents}}
    lists = [" ".join(map(str, sorted(folders))) for folders in (closed, hidden)]
    return ["unshare", "--mount", "sh", "-ec", _SHOW, "sh", str(user), *lists]


def run(home: Home, arguments: Sequence[object], *, more: Mapping[str, str] | None = None) -> Ran:
    """Run a command to its end."""
    return start(home, arguments, more=more).finish()
