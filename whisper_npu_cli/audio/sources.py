"""Paths to samples: mono float32 at 16 kHz in blocks, so that memory does not grow with length.

Knows nothing of mel or models. What is wrong with an input is raised when it is read, so that
one bad input never costs the others.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import soxr
from numpy.typing import NDArray

from whisper_npu_cli.audio.readers import Block, read_blocks
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.errors import AudioError

# What a directory is searched for; a file that is named is read whatever its suffix
AUDIO_SUFFIXES = (
    *(".3gp", ".aac", ".ac3", ".aif", ".aiff", ".amr", ".au", ".avi", ".caf", ".flac", ".flv"),
    *(".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".oga", ".ogg"),
    *(".ogv", ".opus", ".ts", ".w64", ".wav", ".webm", ".wma", ".wmv"),
)
STDIN = "-"
_RATES = range(1_000, 1_000_001)  # Hz; another rate is damage, and 1 Hz would fill the memory
_LOUDEST = 1e12  # full scale is 1; the power of samples beyond 1e16 overflows fp32


def find_audio(paths: Sequence[str]) -> list[AudioSource]:
    """Return one source for each file, for each audio file below a directory, and for `-`.

    Files of a directory are in order of their paths; hidden ones are left out. A path that
    cannot be used remains as a source that raises AudioError when it is read.
    """
    found: list[AudioSource] = []
    for path in paths:
        # not Path.is_dir, which raises where a parent is locked
        is_directory = path != STDIN and os.path.isdir(path)  # noqa: PTH112
        names = (_search(path) or [path]) if is_directory else [path]
        found.extend(AudioSource(name) for name in names)
    return found


def _search(directory: str) -> list[str]:
    """Return the audio files below `directory`, and the directories that cannot be listed."""
    found: list[str] = []
    for folder, folders, files in os.walk(directory, onerror=lambda e: found.append(e.filename)):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.extend(
            str(Path(folder, name))
            for name in files
            if Path(name).suffix.lower() in AUDIO_SUFFIXES and not name.startswith(".")
        )
    return sorted(found)


class AudioSource:
    """One input that can be read any number of times; a context manager.

    Standard input is copied to a file without a name, on disk, which is gone once closed.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = "standard input" if path == STDIN else path or '""'
        self._spool: IO[bytes] | None = None

    def check(self) -> None:
        """Raise AudioError where there is nothing to read; standard input is not looked at."""
        with self._named_errors():
            if self.path != STDIN:
                self._regular_file().open("rb").close()

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield all samples in blocks (n,), mono at 16 kHz; AudioError names the input."""
        with self._named_errors():
            path = self._regular_file()
            yield from _resampled(_checked(read_blocks(path)))

    def close(self) -> None:
        """Give up the copy of standard input. Calling it twice is allowed."""
        if self._spool is not None:
            self._spool.close()

    def __enter__(self) -> AudioSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Turn what goes wrong into an AudioError that names the input."""
        try:
            yield
        except AudioError as error:
            raise AudioError(f"{self.name}: {error}", hint=error.hint) from error
        except OSError as error:
            hint = "check its permissions and its disk"
            reason = error.strerror or str(error)
            raise AudioError(f"{self.name}: cannot be read: {reason}", hint=hint) from error

    def _regular_file(self) -> Path:
        """Return a file with content that can be opened again and again."""
        if not self.path:  # Path("") is the present directory
            raise AudioError("the path is empty", hint="name a file, a folder, or -")
        path = self._spooled() if self.path == STDIN else Path(self.path)
        try:
            status = path.stat()
        except FileNotFoundError as error:
            raise AudioError("no such file", hint="check the spelling of the path") from error
        if stat.S_ISDIR(status.st_mode):
            next(path.iterdir(), None)  # PermissionError where that is why nothing was found
            raise AudioError(
                "no audio files in this directory",
                hint=f"it is searched for {' '.join(AUDIO_SUFFIXES)}",
            )
        if not stat.S_ISREG(status.st_mode):
            raise AudioError("not a regular file", hint="pipe it into standard input, named -")
        if status.st_size == 0:
            raise AudioError("empty (0 bytes)", hint="copy or record it again")
        return path

    def _spooled(self) -> Path:
        """Copy standard input to disk once; return the copy."""
        if self._spool is None:
            self._spool = tempfile.TemporaryFile()  # noqa: SIM115, closed by close()
            shutil.copyfileobj(sys.stdin.buffer, self._spool)
            self._spool.flush()
        return Path(f"/proc/self/fd/{self._spool.fileno()}")


def _checked(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield the blocks; AudioError for samples or rates that are not sound, or none at all."""
    n_samples = 0
    for rate, block in blocks:
        if rate not in _RATES:
            raise AudioError(f"has a sample rate of {rate} Hz", hint="convert it to 16000 Hz")
        peak = np.abs(block).max(initial=0)
        if not peak < _LOUDEST:  # also true of NaN
            raise AudioError(
                f"has a sample of {peak:g}, where full scale is 1, after {n_samples / rate:.1f} s",
                hint="export it again, for example as 16-bit wav",
            )
        n_samples += block.size
        yield rate, block
    if not n_samples:
        raise AudioError("has no samples", hint="record it again, or leave it out")


def _resampled(blocks: Iterable[Block]) -> Iterator[NDArray[np.float32]]:
    """Bring blocks of one rate to 16 kHz."""
    stream = None
    for rate, block in blocks:
        if rate == SAMPLE_RATE:
            yield block
        else:
            stream = stream or soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32", "HQ")
            yield stream.resample_chunk(block)
    if stream is not None:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
