"""What every part of the campaign is given, and the figures that it returns."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Protocol

import numpy as np

N_WORKERS = 2  # what is tried at a time: the campaign is for two cores
MOST_TRIALS = 1_000_000  # of a kind: numbers tell the kind too


@dataclass(frozen=True)
class Campaign:
    """How long a part may take, what its accidents are made of, and where it may write."""

    seconds: float
    seed: int
    folder: Path
    only: int | None = None  # the number of the trial that is to be repeated, alone
    began: float = field(default_factory=monotonic)

    def numbers(
        self, kind: int = 0, worker: int = 0, n_workers: int = 1, aim: int | None = None
    ) -> Iterator[int]:
        """Yield the numbers of the trials of a kind until the time is over, or the only one.

        Each of several workers has every n-th of them, and one at least; all have `aim` at most.
        """
        if self.only is not None:
            yield from [self.only] if self.only // MOST_TRIALS == kind and worker == 0 else []
            return
        for i in range(worker, aim or MOST_TRIALS, n_workers):
            if i >= n_workers and self.left_s <= 0:
                return
            yield kind * MOST_TRIALS + i

    def each(self, kind: int, n: int) -> Iterator[int]:
        """Yield the numbers of `n` trials that are each tried once, or the only one."""
        for number in range(kind * MOST_TRIALS, kind * MOST_TRIALS + n):
            if self.only in (None, number):
                yield number

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return self.seconds - (monotonic() - self.began)

    def share(self, part: float) -> Campaign:
        """Return a campaign that begins now and has a part of the time."""
        return replace(self, seconds=part * self.seconds, began=monotonic())

    def rest(self, part: float = 1.0) -> Campaign:
        """Return a campaign that begins now and has a part of the time that is left."""
        return replace(self, seconds=part * max(0.0, self.left_s), began=monotonic())

    def random(self, number: int) -> np.random.Generator:
        """Return what decides the accidents of a trial."""
        return np.random.default_rng([self.seed, number])

    def make_folder(self, name: str) -> Path:
        """Return an empty folder."""
        path = self.folder / name
        path.mkdir(parents=True)
        return path


@dataclass(frozen=True)
class Loss:
    """What must not happen, and the number of the trial in which it did."""

    number: int
    what: str


@dataclass
class Row:
    """What came of the trials of one kind."""

    name: str
    aim: int | None = None  # the number of trials after which it ends, whatever time is left
    tried: int = 0
    right: int = 0
    refused: int = 0  # in one line
    losses: list[Loss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, number: int, faults: Sequence[str], *, refused: bool = False) -> None:
        """Add a trial, which is a loss where it has faults."""
        self.tried += 1
        if faults:
            self.losses.append(Loss(number, "; ".join(faults)))
        elif refused:
            self.refused += 1
        else:
            self.right += 1

    def __iadd__(self, other: Row) -> Row:
        """Add the trials of another worker, and none of its notes."""
        self.tried += other.tried
        self.right += other.right
        self.refused += other.refused
        self.losses = sorted([*self.losses, *other.losses], key=lambda loss: loss.number)
        return self


class Part(Protocol):
    """The function of a part."""

    def __call__(self, campaign: Campaign) -> list[Row]:
        """Try until the time is over."""


def describe_machine() -> str:
    """Return what limits a campaign."""
    from whisper_npu_cli.environment import read_cpu_name

    return f"{read_cpu_name()}, {len(os.sched_getaffinity(0))} threads"
