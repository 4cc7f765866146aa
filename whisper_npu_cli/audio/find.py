"""What a command line names to sources: files, folders that are searched, and standard input."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from whisper_npu_cli.audio.encoded import FileSource, StreamSource
from whisper_npu_cli.errors import AudioError, UsageError
from whisper_npu_cli.options import InputOptions

# What a directory is searched for; a file that is named is read whatever its suffix
AUDIO_SUFFIXES = (
    *(".3gp", ".aac", ".ac3", ".aif", ".aiff", ".amr", ".au", ".avi", ".caf", ".flac", ".flv"),
    *(".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".oga", ".ogg"),
    *(".ogv", ".opus", ".ts", ".w64", ".wav", ".webm", ".wma", ".wmv"),
)
STDIN = "-"
ALL_TRACKS = "all"


class StandardInput(StreamSource):
    """Standard input, a source that a command line names by `path`."""

    path, mark, root = STDIN, "", None
    is_growing = False  # it is read to its end

    def __init__(self) -> None:
        # None where the program was started with it closed
        super().__init__(sys.stdin.buffer if sys.stdin else io.BytesIO(), "standard input")

    def check(self) -> None:
        """Do nothing: what it has is known only once it is read."""

    def split_tracks(self) -> list[StandardInput]:
        """Raise UsageError: what it has is known only once it is read."""
        raise UsageError("--track all is for files", hint="name a track, or save it to a file")


class _Folder(FileSource):
    """A folder without audio files, or one that cannot be listed."""

    def _check(self) -> None:
        next(Path(self.path).iterdir(), None)  # PermissionError where that is why
        raise AudioError(
            "no audio files in this directory",
            hint=f"it is searched for {' '.join(AUDIO_SUFFIXES)}",
        )


Input: TypeAlias = FileSource | StandardInput


def find_audio(paths: Sequence[str], options: InputOptions | None = None) -> list[Input]:
    """Return one source for each file, for each audio file below a directory, and for `-`.

    Files of a directory are in order of their paths; hidden ones are left out. A path that
    cannot be used remains as a source that raises AudioError when it is read. An input that is
    named twice is there once, and once for each audio track if all are wanted.
    """
    options = options or InputOptions()
    found: dict[Path, Input] = {}
    for source in _find(paths):
        found.setdefault(locate(source.path), source)
    for source in found.values():
        source.track, source.is_growing = options.chosen_track, options.follow
    if options.track != ALL_TRACKS:
        return list(found.values())
    return [track for source in found.values() for track in source.split_tracks()]


def pick_shard(sources: Sequence[Input], k: int, n: int) -> list[Input]:
    """Return the inputs of part `k` of `n`: by a hash of the path as it was found, not its place.

    All tracks of a file are in one part.
    """
    return [source for source in sources if _hash_path(source.path) % n == k - 1]


def _hash_path(path: str) -> int:
    return int.from_bytes(hashlib.sha256(os.fsencode(path)).digest()[:8], "big")


def locate(path: str) -> Path:
    """Return the place of an input, the same for all spellings; a link is not its target."""
    return Path(os.path.realpath(Path(path).parent), Path(path).name)


def _find(paths: Sequence[str]) -> list[Input]:
    found: list[Input] = []
    for path in paths:
        if path == STDIN:
            found.append(StandardInput())
        elif _is_folder(path):
            found.extend(_search(path) or [_Folder(path)])
        else:
            found.append(FileSource(path))
    return found


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112, Path.is_dir raises where a parent is locked


def _search(directory: str) -> list[FileSource]:
    """Return the audio files below `directory`, and the directories that cannot be listed."""
    found: list[FileSource] = []
    walk = os.walk(directory, onerror=lambda error: found.append(_Folder(error.filename)))
    for folder, folders, files in walk:
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.extend(
            FileSource(Path(folder, name))
            for name in files
            if Path(name).suffix.lower() in AUDIO_SUFFIXES and not name.startswith(".")
        )
    for source in found:
        source.root = directory
    return sorted(found, key=lambda source: source.path)
