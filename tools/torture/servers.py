"""Servers and a cluster whose calls fail, whose clients vanish, and whose processes are killed."""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import monotonic, sleep

import numpy as np

from tests.support.places import SAMPLES
from tools.torture import clients
from tools.torture.campaign import N_WORKERS, Campaign, Row
from tools.torture.clients import ASKS, Answer, Served, Sound, compose_sound
from tools.torture.command import Home, Ran, list_processes, read_outputs
from tools.torture.forking import Nursery
from tools.torture.shim import CALLS, NO_COMPILER, Fault, build_shim, disarm, read_counts

_CALLS, _GONE, _SIGNALS, _KILLS, _CLUSTER = range(5)  # kinds of trials
_TRIALS = 20  # with one server, which then has to end well
_LASTING = 0.3  # of the faults
_ENDS_S = 0.1  # in which a process that decodes has ended where it could not write
_SETTLES_S = 20.0  # in which a server has given up what nobody waits for
_MORE_FILES = 8  # than after its first answer: connections kept, a second process that decodes
_ASKERS = 3  # at a time, of whom two are worked for
_CLUSTERED = (
    *("--model", "demo", "--device", "cpu", "--language", "en", "--cluster", "local"),
    *("-f", "txt,srt,json"),
)


def disturb_servers(campaign: Campaign) -> list[Row]:
    """Disturb servers by faults, clients and signals, and workers of a cluster."""
    bench = _Bench(campaign, build_shim(campaign.folder))
    return [
        bench.try_all(campaign.share(0.35), _CALLS, "calls of a server fail", _fail),
        bench.try_all(campaign.share(0.2), _GONE, "clients of a server vanish", _vanish),
        bench.end_all(campaign.share(0.15), signal.SIGTERM, "servers get SIGTERM within work"),
        bench.end_all(campaign.share(0.15), signal.SIGKILL, "servers are killed, and start again"),
        _kill_workers(campaign.rest()),
    ]


@dataclass(frozen=True)
class _Given:
    """What servers answer that nothing disturbs, by how they are asked."""

    sound: Sound
    texts: dict[str, str]
    counts: dict[str, dict[str, int]]  # of the calls of a request
    took_s: float  # of the last request

    def judge(self, way: str, answer: Answer) -> list[str]:
        """Return what is wrong with an answer; that there is none is no fault of this."""
        if answer.status == 200 and answer.text != self.texts[way]:
            return [f"{way}: another text: {answer.text[:200]!r}"]
        return []

    def ask_again(self, way: str, served: Served) -> list[str]:
        """Return what is wrong with the next answer, which nothing disturbs."""
        answer = ASKS[way](served, self.sound)
        faults = self.judge(way, answer)
        if answer.status != 200:
            faults = [f"{way}: {answer.status}, {answer.text[:200]}"]
        return [f"next: {fault}" for fault in faults]


_Try = Callable[[_Given, Served, np.random.Generator], tuple[list[str], bool]]


def _fail(given: _Given, served: Served, random: np.random.Generator) -> tuple[list[str], bool]:
    """Let a call fail within a request."""
    flag = served.running.home.flag
    way = str(random.choice([*ASKS]))
    counts = {call: n for call, n in given.counts[way].items() if n}
    call = str(random.choice([*counts]))
    number = int(random.choice(CALLS[call]))
    is_lasting = bool(random.random() < _LASTING) and number != errno.EINTR  # for ever
    nth = read_counts(flag)[call] + 1 + int(random.integers(counts[call]))
    fault = Fault(call, nth, number, is_lasting)
    fault.arm(flag)
    answer = ASKS[way](served, given.sound)
    disarm(flag)
    sleep(_ENDS_S)
    faults = given.judge(way, answer)
    if answer.status != 200 and not (answer.is_refused and answer.status >= 500):
        faults.append(f"status {answer.status}: {answer.text[:200]}")
    faults += given.ask_again(way, served)
    if call == "unlink":  # then a file is left, of course
        served.running.home.clear_outputs()
    return [f"{fault}, {way}", *faults] if faults else [], answer.status != 200


def _vanish(given: _Given, served: Served, random: np.random.Generator) -> tuple[list[str], bool]:
    """Let a client vanish."""
    clients.vanish(served, given.sound, random)
    return given.ask_again(str(random.choice([*ASKS])), served), False


class _Bench:
    """Where servers are started, and what they give that nothing disturbs."""

    def __init__(self, campaign: Campaign, shim: Path | None) -> None:
        self._campaign = campaign
        self._shim = shim
        with self._make_nursery("servers") as nursery:
            served = _start(nursery)
            self._short, self._long = (
                _ask_each(served, compose_sound(campaign.folder, n)) for n in (2, 12)
            )
            assert not _end(served), served.running.home.logs[1].read_text()

    @contextmanager
    def _make_nursery(self, name: str) -> Iterator[Nursery]:
        more = {"LD_PRELOAD": str(self._shim)} if self._shim else {}
        with Nursery(Home(self._campaign.make_folder(name)), more) as nursery:
            yield nursery

    def try_all(self, campaign: Campaign, kind: int, name: str, try_one: _Try) -> Row:
        """Try until the time is over, several at a time; each server ends after some trials."""
        row = Row(name)
        if self._shim is None and try_one is _fail:
            row.notes.append(NO_COMPILER)
            return row

        def work(worker: int) -> Row:
            own, numbers = Row(""), campaign.numbers(kind, worker, N_WORKERS)
            with self._make_nursery(f"{kind}-{worker}") as nursery:
                while batch := [*islice(numbers, _TRIALS)]:
                    self._try_batch(campaign, batch, _start(nursery), try_one, own)
            return own

        with ThreadPoolExecutor(N_WORKERS) as pool:
            for part in pool.map(work, range(N_WORKERS)):
                row += part
        return row

    def _try_batch(
        self, campaign: Campaign, batch: list[int], served: Served, try_one: _Try, row: Row
    ) -> None:
        self._short.ask_again("text", served)
        n_files = served.count_files()
        for number in batch:
            is_last = number == batch[-1]
            faults, was_refused = try_one(self._short, served, campaign.random(number))
            if served.running.process.poll() is not None:
                faults.append("the server ended")
            elif is_last:
                faults += [*_settle(served, n_files), *_end(served)]
            row.count(number, faults, refused=was_refused)
            if faults:  # what comes after would only tell it again
                served.running.end()
                served.running.finish()
                return

    def end_all(self, campaign: Campaign, number: signal.Signals, name: str) -> Row:
        """Send a signal while requests are answered, and start again, until the time is over."""
        row, kind = Row(name), _SIGNALS if number == signal.SIGTERM else _KILLS
        left = Counter[str]()
        with self._make_nursery(f"{kind}") as nursery:
            for trial in campaign.numbers(kind):
                faults, outcomes = self._end_one(nursery, campaign.random(trial), number)
                left += outcomes
                row.count(trial, faults)
        row.notes += [f"{n} {what}" for what, n in sorted(left.items()) if n]
        return row

    def _end_one(
        self, nursery: Nursery, random: np.random.Generator, number: signal.Signals
    ) -> tuple[list[str], Counter[str]]:
        """Return what is wrong with an end and the next start, and what came of the requests."""
        served, ways = _start(nursery), [str(way) for way in random.choice([*ASKS], _ASKERS)]
        with ThreadPoolExecutor(_ASKERS) as pool:
            asked = [pool.submit(ASKS[way], served, self._long.sound) for way in ways]
            sleep(random.uniform(0, self._long.took_s))
            faults = _end(served, number)
            nursery.home.clear_outputs()  # of a killed process, temporary files may be left
            answers = [one.result() for one in asked]
        outcomes = Counter[str]()
        for way, answer in zip(ways, answers, strict=True):
            faults += self._long.judge(way, answer)
            outcomes[answer.describe()] += 1
            if answer.is_cut and number == signal.SIGTERM:
                faults.append(f"{way}: {answer.text}")
        again = Served(nursery.start([*clients.OPTIONS, "--port", served.port]))
        faults += [*self._short.ask_again(ways[0], again), *_end(again)]
        return [f"{', '.join(ways)}", *faults] if faults else [], outcomes


def _start(nursery: Nursery) -> Served:
    served = Served(nursery.start([*clients.OPTIONS, "--port", 0]))
    assert served.port, served.running.home.logs[1].read_text()
    return served


def _ask_each(served: Served, sound: Sound) -> _Given:
    """Return what is answered, and how many calls each request makes once the first is over."""
    texts, counts, flag = {}, {}, served.running.home.flag
    for way, ask in [*ASKS.items(), *ASKS.items()]:
        before = read_counts(flag)
        began = monotonic()
        texts[way] = ask(served, sound).text
        took_s = monotonic() - began
        counts[way] = {call: n - before[call] for call, n in read_counts(flag).items()}
    assert len({" ".join(text.split()) for text in texts.values()}) == 1, texts
    return _Given(sound, texts, counts, took_s)


def _settle(served: Served, n_files: int) -> list[str]:
    """Wait until nothing is worked on; return what the server then has more than before."""
    deadline = monotonic() + _SETTLES_S
    while monotonic() < deadline:
        if served.is_idle() and served.count_files() <= n_files + _MORE_FILES:
            return []
        sleep(0.05)
    return [f"idle: {served.is_idle()}, from {n_files} to {served.count_files()} descriptors"]


def _end(served: Served, number: signal.Signals = signal.SIGTERM) -> list[str]:
    """End a server; return what is wrong with its end, or is left of it."""
    running = served.running
    running.process.send_signal(number)
    ran = running.finish()
    faults = [*running.list_survivors()]
    if number == signal.SIGKILL:
        return faults
    if ran.status:
        faults.append(f"exit status {ran.status}: {ran.stderr[-300:]!r}")
    return [*faults, *running.home.list_leftovers()]


# A cluster of this machine


def _kill_workers(campaign: Campaign) -> Row:
    """Kill processes of a cluster at any moment; then run again."""
    row, notes = Row("processes of `transcribe --cluster local` are killed"), Counter[str]()
    home = Home(campaign.make_folder("cluster"))
    sounds = sorted(SAMPLES.glob("*.wav"))
    command = ["transcribe", *sounds, *_CLUSTERED, "-o", home.out]
    with Nursery(home) as nursery:
        nursery.start(command).finish()  # which fills the caches
        began = monotonic()
        given = nursery.start(command).finish()
        took_s, whole = monotonic() - began, read_outputs(home)
        assert given.status == 0, given.stderr
        for number in campaign.numbers(_CLUSTER):
            random = campaign.random(number)
            home.clear_outputs()
            running = nursery.start(command)
            for _ in range(random.integers(1, 4)):
                sleep(random.uniform(0, took_s / 2))
                notes["killed"] += _kill_any(running.process.pid, random)
            ran = running.finish()
            faults = [*_judge_cluster(ran, home, whole), *running.list_survivors()]
            notes["runs that failed"] += ran.status != 0
            again = nursery.start([*command, "--resume"]).finish()
            faults += [f"next run: {fault}" for fault in again.list_faults()]
            if again.status or read_outputs(home) != whole:
                faults.append(f"next run: exit status {again.status}, {again.errors}")
            row.count(number, [*faults, *home.list_leftovers()], refused=ran.status != 0)
    row.notes += [f"{n} {what}" for what, n in sorted(notes.items()) if n]
    return row


def _kill_any(pid: int, random: np.random.Generator) -> bool:
    """Kill a process that a run has started; return whether there was one."""
    pids = [one for one in [*list_processes(pid)][1:] if not _is_pythons(one)]
    if pids:
        with suppress(ProcessLookupError):
            os.kill(int(random.choice(pids)), signal.SIGKILL)
    return bool(pids)


def _is_pythons(pid: int) -> bool:
    """Return whether a process is `multiprocessing`'s own, which tells its end by a traceback."""
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True  # it has just ended


def _judge_cluster(ran: Ran, home: Home, whole: dict[str, bytes]) -> Iterator[str]:
    yield from ran.list_faults()
    outputs = read_outputs(home)
    if wrong := [name for name, content in outputs.items() if content != whole.get(name)]:
        yield f"{', '.join(wrong)} wrong"
    if ran.status == 0 and outputs != whole:
        yield "exit status 0, but not all is there"
    if ran.status not in (0, 1, 3) or (ran.status and not ran.errors):
        yield f"exit status {ran.status}: {ran.stderr[-300:]!r}"
