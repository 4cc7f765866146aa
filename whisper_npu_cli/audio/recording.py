"""What a recording gives while it is read, piece by piece, in the order of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.transcript import Damage

BLOCK_FRAMES = 65_536  # 1.4 s at 48 kHz: large enough to hide the cost of a Python step


@dataclass(frozen=True)
class Request:
    """What of a file is to be read."""

    path: str
    track: int | str | None = None  # number, from 1, or language; None: see `choose_track`
    channel: int | None = None  # one of two, which must not be the same signal; None: all, mixed
    is_arriving: bool = False  # the file still grows: `More` is asked for at its end


@dataclass(frozen=True)
class Frames:
    """Samples (n, n_channels) at `rate` Hz. The rate and the channels may change in between."""

    rate: int
    samples: NDArray[np.float32]


def make_damage(start: float, end: float | None, reason: str, *, missing: bool = True) -> Damage:
    """Return damage with times in whole milliseconds."""
    return Damage(round(start, 3), None if end is None else round(end, 3), missing, reason)


@dataclass(frozen=True)
class Notice:
    """A sentence on how a recording is read, for whoever asked for it."""

    text: str


@dataclass(frozen=True)
class More:
    """That more than `n_bytes` of a file that still grows are needed, or that these are all."""

    n_bytes: int


Piece: TypeAlias = Frames | Damage | Notice
Heard: TypeAlias = "NDArray[np.float32] | Damage | Notice | More"  # mono samples (n,) at 16 kHz

# What is asked of the process that decodes: the next piece, or to leave the recording
NEXT, CLOSE = b"next", b"close"
ALL_TRACKS = "all"  # as the track of a request: how many there are
