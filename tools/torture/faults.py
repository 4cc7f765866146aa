"""Runs whose calls fail, and runs that are killed, interrupted or stopped; then the next run."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic, sleep

import numpy as np

from tests.support.long_files import compose_long_file
from tests.support.places import SAMPLES
from tools.torture.campaign import MOST_TRIALS, N_WORKERS, Campaign, Row
from tools.torture.command import HANG_S, Home, Ran, Running, read_outputs, start
from tools.torture.forking import Nursery
from tools.torture.shim import CALLS, NO_COMPILER, Fault, build_shim, read_counts

_OPTIONS = ("--model", "demo", "--language", "en", "--long-form", "sequential")
_FORMATS = ("-f", "txt,srt,json")
_TWO = [SAMPLES / "lucas-1-6-1-8-0.wav", SAMPLES / "george-3-1-4-1-5-9.wav"]
# LLVM ends the process where its memory is refused, which nothing that llvmlite has can change
_LLVM = "LLVM ERROR: Unable to allocate"
_LONG_MINUTES = 1.0
_N_KILLS = 300  # at most
_LASTING = 0.3  # of the faults
# Where no stream can be written: Python ends with 120
_UNTELLABLE = ("nothing is told", "exit status 120")
_ANY, _KILLS, _INTERRUPTS, _STOPS = range(4)  # kinds of trials; 10 and more: each call


def inject_faults(campaign: Campaign) -> list[Row]:
    """Let calls fail, kill, interrupt and stop; each time see what is there, and run again."""
    long = campaign.folder / "long.wav"
    compose_long_file(long, _LONG_MINUTES, campaign.seed)
    ended = replace(campaign, folder=campaign.make_folder("ended"))
    with _Work(ended, [SAMPLES / "lucas-1-6-1-8-0.wav", long]) as work:
        rows = [
            work.try_all(campaign.rest(0.5), _KILLS, "kill -9 at any moment", work.kill, _N_KILLS),
            work.try_all(campaign.rest(0.2), _INTERRUPTS, "Ctrl-C, twice, SIGTERM", work.interrupt),
            work.try_all(campaign.rest(0.1), _STOPS, "stopped and continued", work.stop),
        ]
    return [*_fail_calls(campaign.rest()), *rows]


@dataclass(frozen=True)
class _Given:
    """What a run gave that nothing disturbed."""

    stdout: str
    files: dict[str, bytes]
    took_s: float
    counts: dict[str, int]


@dataclass(frozen=True)
class _Place:
    """A home in which runs are disturbed, and what starts them."""

    home: Home
    nursery: Nursery


_Try = Callable[[_Place, int], tuple[list[str], bool]]  # with the number of the trial


class _Work:
    """A command, what it gives undisturbed, and homes in which it is disturbed.

    Runs are forked, so that what is disturbed is work and not the beginning of an interpreter;
    unless they are `fresh`: then imports may fail too.
    """

    def __init__(
        self,
        campaign: Campaign,
        inputs: Sequence[Path],
        shim: Path | None = None,
        *,
        fresh: bool = False,
    ) -> None:
        self._campaign = campaign
        self._arguments = ["transcribe", *inputs, *_OPTIONS, *_FORMATS]
        self._preload = {"LD_PRELOAD": str(shim)} if shim else {}
        self._is_fresh = fresh
        self._stack = ExitStack()
        self._places = [self._make_place(f"place{i}") for i in range(N_WORKERS)]
        for place in self._places:
            self._run_undisturbed(place)  # which fills the caches
        self.warm = self._run_undisturbed(place)
        self.cold = self._run_undisturbed(place, cold=True)
        assert self.warm.files == self.cold.files
        self.notes = Counter[str]()

    def __enter__(self) -> _Work:
        return self

    def __exit__(self, *_: object) -> None:
        """End what starts runs."""
        self._stack.close()

    def _make_place(self, name: str) -> _Place:
        home = Home(self._campaign.make_folder(name))
        return _Place(home, self._stack.enter_context(Nursery(home, self._preload)))

    def _start(self, place: _Place, *more: str, fault: Fault | None = None) -> Running:
        arguments = [*self._arguments, "-o", place.home.out, *more]
        if not self._is_fresh:
            return place.nursery.start(arguments, fault)
        running = start(place.home, arguments, more=self._preload)
        if fault is not None:
            fault.arm(place.home.flag)  # long before it begins
        return running

    def _run_undisturbed(self, place: _Place, *, cold: bool = False) -> _Given:
        home = place.home
        _clear(home, cold=cold)
        began = monotonic()
        none = Fault("open", 1 << 62, 0, is_lasting=False)  # so that calls are counted
        ran = self._start(place, fault=none).finish()
        assert ran.status == 0, ran.stderr
        return _Given(ran.stdout, read_outputs(home), monotonic() - began, read_counts(home.flag))

    def try_all(
        self, campaign: Campaign, kind: int, name: str, try_one: _Try, aim: int | None = None
    ) -> Row:
        """Try until the time is over or the aim is reached, with several workers."""
        self.notes.clear()
        row = Row(name, aim=aim)

        def work(worker: int) -> Row:
            own, place = Row(""), self._places[worker]
            for number in campaign.numbers(kind, worker, N_WORKERS, aim):
                faults, was_refused = try_one(place, number)
                own.count(number, faults, refused=was_refused)
            return own

        with ThreadPoolExecutor(N_WORKERS) as pool:
            for part in pool.map(work, range(N_WORKERS)):
                row += part
        row.notes += [f"{n} {what}" for what, n in sorted(self.notes.items()) if n]
        return row

    def fail_each(self, call: str, place: _Place, number: int) -> tuple[list[str], bool]:
        """Let each call of a kind fail once, in an order that leaves no part for the end."""
        order = self._campaign.random(number // MOST_TRIALS).permutation(self.warm.counts[call])
        nth = int(order[number % MOST_TRIALS]) + 1
        return self._fail(call, nth, place, self._campaign.random(number), cold=False)

    def fail_any(self, place: _Place, number: int) -> tuple[list[str], bool]:
        """Let any call fail, also where the caches are empty."""
        random = self._campaign.random(number)
        is_cold = bool(random.random() < 0.3)
        counts = self.cold.counts if is_cold else self.warm.counts
        call = str(random.choice([call for call, n in counts.items() if n]))
        nth = int(random.integers(counts[call])) + 1
        return self._fail(call, nth, place, random, cold=is_cold)

    def _fail(
        self, call: str, nth: int, place: _Place, random: np.random.Generator, *, cold: bool
    ) -> tuple[list[str], bool]:
        home, number = place.home, int(random.choice(CALLS[call]))
        is_lasting = bool(random.random() < _LASTING) and number != errno.EINTR  # for ever
        fault = Fault(call, nth, number, is_lasting)
        _clear(home, cold=cold)
        running = self._start(place, fault=fault)
        ran = running.finish()
        self.notes["not reached"] += read_counts(home.flag)[call] < fault.nth
        if call == "mmap" and ran.status == -signal.SIGABRT and _LLVM in ran.stderr:
            self.notes["ended by LLVM, which says so"] += 1
            faults = [*self._check_files(home)]
        else:
            faults = [*ran.list_faults(), *self._check(ran, home)]
        faults += running.list_survivors()
        if call == "write" and is_lasting:  # then nothing can be told
            faults = [fault for fault in faults if fault not in _UNTELLABLE]
        if call != "unlink":  # else nothing can be removed
            faults += home.list_leftovers()
        faults += self._run_again(place)
        return ([f"{fault}{', cold' * cold}", *faults] if faults else []), ran.status != 0

    def kill(self, place: _Place, number: int) -> tuple[list[str], bool]:
        """Kill the first process at any moment."""
        home = place.home
        running = self._begin(place, self._campaign.random(number))
        running.process.kill()
        running.process.wait()
        faults = [*running.list_survivors(), *self._check_files(home)]
        left = [path for path in home.out.iterdir() if path.name.startswith(".whisper-npu-")]
        self.notes["temporary files left beside outputs"] += len(left)
        for path in left:
            os.utime(path, (0, 0))  # as if it had been long ago
        _clear_temporary(home)
        faults += self._run_again(place)
        self.notes["unfinished files left in caches"] += len(list(home.cache.rglob("*.part")))
        faults += [f"{path.name} is still there" for path in left if path.exists()]
        return faults, False

    def interrupt(self, place: _Place, number: int) -> tuple[list[str], bool]:
        """Send a signal at any moment, or two."""
        home, random = place.home, self._campaign.random(number)
        name = ("SIGINT", "SIGTERM", "twice")[random.integers(3)]
        sent = signal.SIGTERM if name == "SIGTERM" else signal.SIGINT
        running = self._begin(place, random)
        running.process.send_signal(sent)
        if name == "twice":
            sleep(random.uniform(0, 0.3))
            with suppress(ProcessLookupError):
                running.process.send_signal(sent)
        ran = running.finish()
        is_early = ran.status == -sent  # it was still loading, and had nothing to keep
        faults = [] if is_early else list(ran.list_faults())
        faults += [*running.list_survivors(), *self._check_files(home), *home.list_leftovers()]
        if ran.status not in (0, 128 + sent, -sent):
            faults.append(f"exit status {ran.status}")
        if ran.status == 0 and not self._is_whole(home):
            faults.append("exit status 0, but not all is there")
        self.notes["ended before"] += ran.status == 0
        faults += self._run_again(place)
        return ([name, *faults] if faults else []), False

    def stop(self, place: _Place, number: int) -> tuple[list[str], bool]:
        """Stop all processes for some time."""
        home, random = place.home, self._campaign.random(number)
        running = self._begin(place, random)
        for sent in (signal.SIGSTOP, signal.SIGCONT):
            with suppress(ProcessLookupError):
                os.killpg(running.process.pid, sent)
            sleep(random.uniform(0.1, 1.0))
        ran = running.finish()
        faults = [*ran.list_faults(), *self._check(ran, home), *running.list_survivors()]
        if ran.status:
            faults.append(f"exit status {ran.status}")
        return [*faults, *home.list_leftovers()], False

    def _begin(self, place: _Place, random: np.random.Generator) -> Running:
        """Start a run and return at any moment of it."""
        is_cold = bool(random.random() < 0.3)
        given = self.cold if is_cold else self.warm
        _clear(place.home, cold=is_cold)
        running = self._start(place)
        running.wait_for_begin()
        sleep(random.uniform(0, given.took_s))
        return running

    def _check(self, ran: Ran, home: Home) -> Iterator[str]:
        """Yield where outputs, status and what is told do not fit."""
        yield from self._check_files(home)
        if ran.status == 0:
            if not self._is_whole(home):
                yield "exit status 0, but not all is there"
            if ran.stdout != self.warm.stdout:
                yield "exit status 0, but other text on stdout"
        elif ran.status not in (1, 3):
            yield f"exit status {ran.status}"
        elif not ran.errors:
            yield "nothing is told"

    def _check_files(self, home: Home) -> Iterator[str]:
        """Yield which outputs are wrong."""
        for name, content in read_outputs(home).items():
            if ".partial" not in name and content != self.warm.files.get(name):
                yield f"{name} is wrong"

    def _is_whole(self, home: Home) -> bool:
        return read_outputs(home) == self.warm.files

    def _run_again(self, place: _Place) -> list[str]:
        """Return what is wrong with the next run, which nothing disturbs."""
        ran = self._start(place, "--resume").finish(HANG_S)
        faults = list(ran.list_faults())
        if ran.status:
            faults.append(f"exit status {ran.status}: {' '.join(ran.errors)}")
        elif not self._is_whole(place.home):
            faults.append("other outputs")
        return [f"next run: {fault}" for fault in faults]


def _fail_calls(campaign: Campaign) -> list[Row]:
    shim = build_shim(campaign.folder)
    if shim is None:
        return [Row("calls that fail", notes=[NO_COMPILER])]
    fresh = replace(campaign, folder=campaign.make_folder("fresh"))
    with _Work(fresh, _TWO, shim, fresh=True) as work:
        row = work.try_all(
            campaign.rest(0.3), _ANY, "any call fails, of imports too", work.fail_any
        )
    return [row, *fail_each(campaign.rest(), shim, CALLS)]


def fail_each(campaign: Campaign, shim: Path, calls: Collection[str]) -> list[Row]:
    """Let each call of some kinds fail that a run makes."""
    rows = []
    with _Work(replace(campaign, folder=campaign.make_folder("each")), _TWO, shim) as work:
        counts = {call: n for call, n in work.warm.counts.items() if call in calls and n}
        for i, call in enumerate(sorted(counts, key=lambda call: counts[call])):
            kind, fail = 10 + list(CALLS).index(call), partial(work.fail_each, call)
            name, share = f"each {call} of a run fails", campaign.rest(1 / (len(counts) - i))
            rows.append(work.try_all(share, kind, name, fail, counts[call]))
    return rows


def _clear(home: Home, *, cold: bool) -> None:
    home.clear_outputs()
    if cold:
        shutil.rmtree(home.cache)
        home.cache.mkdir()


def _clear_temporary(home: Home) -> None:
    shutil.rmtree(home.temporary)
    home.temporary.mkdir()
