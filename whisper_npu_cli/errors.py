"""Everything that can go wrong for a user, as one tree.

    WhisperNpuError            1  some input could not be transcribed
    ├── AudioError             1  a file that cannot be read as speech audio
    ├── CheckpointError        1  a model that is absent, damaged or not Whisper
    ├── OutputError            1  an output file that cannot be written
    ├── ClusterError           1  machines that cannot be reached, differ, or were lost
    ├── UsageError             2  options that contradict each other or the model
    └── DeviceError            3  an engine that cannot be used here
        └── OverlayError       3  an NPU overlay that is missing, stale or not trusted

The number is the exit status of the command line. A message is one line that says what is
wrong and with which input; `hint` says what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_MOST_CHARACTERS = 350  # at the beginning of an error, and at its end, where the reason is


def suggest(word: str, known: Iterable[str]) -> str:
    """Return `did you mean X?; ` with the most alike of the known words, or nothing."""
    by_lower = {one.lower(): one for one in known}
    close = get_close_matches(word.lower(), by_lower, n=1)
    return f"did you mean {by_lower[close[0]]}?; " if close else ""


class WhisperNpuError(Exception):
    """Base of all errors that the command line reports without a traceback."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        line = " ".join(message.splitlines())  # names in files may hold any, and be of any length
        if len(line) > 2 * _MOST_CHARACTERS:
            line = f"{line[:_MOST_CHARACTERS]}…{line[-_MOST_CHARACTERS:]}"
        super().__init__(line)
        self.hint = hint


class AudioError(WhisperNpuError):
    """A path that is missing, unreadable, damaged or holds no usable sound."""


class CheckpointError(WhisperNpuError):
    """A model that is absent, damaged, or not a Whisper checkpoint."""


class OutputError(WhisperNpuError):
    """An output that cannot be written."""


class ClusterError(WhisperNpuError):
    """A cluster that cannot be reached, whose workers compute otherwise, or that has ended."""


class UsageError(WhisperNpuError):
    """Options that contradict each other, or ask for what the model does not have."""

    exit_code = 2


class DeviceError(WhisperNpuError):
    """A compute engine that was asked for and cannot be used on this machine."""

    exit_code = 3


class OverlayError(DeviceError):
    """An NPU overlay that is missing, stale, damaged or failed its known-answer test."""
