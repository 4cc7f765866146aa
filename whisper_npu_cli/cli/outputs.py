"""Outputs of a transcription: segments and JSON on stdout, and files."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from whisper_npu_cli.cli.completion import ALL, FORMATS
from whisper_npu_cli.cli.fields import find_changed
from whisper_npu_cli.errors import OutputError, UsageError, suggest
from whisper_npu_cli.fields import Options, option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from whisper_npu_cli.options import SubtitleLayout
    from whisper_npu_cli.transcript import Segment, Transcript

_MAX_STEM_BYTES = 220  # file systems take 255, of which ".track12.partial.progress" has 25
_PARTIAL = ".partial"  # part of the name of a file whose input was interrupted
_HINT = "name a folder that you can write to with --output-dir"
_CUED = {"srt", "vtt", "lrc"}  # formats with cues
_COLOURS = ((0.8, "green"), (0.5, "yellow"), (0.0, "red"))  # lowest probability of each


@dataclass(frozen=True)
class OutputOptions(Options):
    """Options of what is printed, and of the files that are written."""

    as_json: bool = option(False, "Print one JSON document instead of text", flags=("--json",))
    as_text: bool = option(False, "Print the words alone, without times", flags=("--text",))
    detect_language: bool = option(False, "Tell the language of each input, and no more")
    output_format: str | None = option(
        None,
        "Also write a file for each input; several with commas",
        flags=("--output-format", "-f"),
        metavar=f"{'|'.join(FORMATS)}|{ALL}",
    )
    output_dir: Path | None = option(
        None,
        "Folder of the written files (default: here), or of one the name, or -: on stdout in place "
        "of the segments",
        flags=("--output-dir", "-o"),
        metavar="FOLDER|FILE|-",
    )
    beside: bool = option(False, "Write the files beside each input")
    quiet: bool = option(
        False, "Print the text, warnings and errors alone", flags=("--quiet", "-q")
    )
    verbose: bool = option(
        False,
        "Tell why the CPU computes, also where it was told on this machine before",
        flags=("--verbose", "-v"),
    )
    timings: bool = option(False, "Print the times of each stage for every input, not once for all")
    stdin_name: str = option("stdin", "Name of the files written for standard input")
    resume: bool = option(
        False,
        "Skip inputs whose files are all there and newer than the input, and go on in the one "
        "that was interrupted",
        group="Batch work",
    )
    print_colors: bool = option(
        False,
        "Colour words, or else segments, by confidence: green, yellow, red (on a terminal)",
        group="Words and subtitles",
    )

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats of the written files."""
        if self.output_format is None:
            if self.to_stdout:
                return (FORMATS[0],)
            if self.output_file:
                return (self.output_file.suffix[1:],)
            return FORMATS if self.output_dir or self.beside else ()
        named = tuple(name.strip() for name in self.output_format.split(","))
        return FORMATS if ALL in named else tuple(dict.fromkeys(named))

    @property
    def to_stdout(self) -> bool:
        """Whether what would be a file is printed."""
        return self.output_dir == Path("-")

    @property
    def output_file(self) -> Path | None:
        """The only file, where `output_dir` is the name of one rather than of a folder."""
        path = self.output_dir
        return path if path and path.suffix[1:] in FORMATS and not path.is_dir() else None

    def _refuse_contradictions(self) -> None:
        for name in self.formats:
            if name not in FORMATS:
                raise UsageError(
                    f"unknown output format {name!r}",
                    hint=f"{suggest(name, FORMATS)}there are {', '.join(FORMATS)} and {ALL}",
                )
        if self.as_text and self.as_json:
            raise UsageError("--text and --json exclude each other", hint="leave one out")
        if self.detect_language and (self.as_json or self.as_text or self.formats):
            raise UsageError("--detect-language writes no transcript", hint="leave the rest out")
        if self.beside and self.output_dir is not None:
            raise UsageError("--beside and --output-dir exclude each other", hint="leave one out")
        file = self.output_file
        if (self.to_stdout or file) and len(self.formats) > 1:
            raise UsageError(
                f"{self.output_dir} can be in one format alone, not in {', '.join(self.formats)}",
                hint="name a folder with --output-dir",
            )
        if file and self.formats != (file.suffix[1:],):
            raise UsageError(
                f"{file} is to be written as {self.formats[0]}",
                hint="leave out --output-format, or name a folder with --output-dir",
            )
        if self.to_stdout and (self.as_json or self.as_text):
            raise UsageError(
                "--json and --text print on stdout, and so does --output-dir -",
                hint="leave one out",
            )
        if self.resume and (self.to_stdout or not self.formats):
            raise UsageError(
                "--resume finds out by the written files what is complete",
                hint="name them with --output-format or --output-dir, as in the first run",
            )


class Place(Protocol):
    """What files are named after: an input, by its path."""

    @property
    def path(self) -> str:
        """Where the input is."""

    @property
    def mark(self) -> str:
        """What comes after the name."""

    @property
    def root(self) -> str | None:
        """The folder in which it was searched for, if it was."""


class Outputs:
    """The files to write for each input."""

    def __init__(
        self, sources: Sequence[Place], options: OutputOptions, layout: SubtitleLayout
    ) -> None:
        from whisper_npu_cli.writers import make_writers

        self.options = options
        self._folder = options.output_dir or Path()
        stems = _choose_stems({s.path: s for s in sources}, options.stdin_name)
        if file := options.output_file:
            if len(sources) > 1:
                raise UsageError(
                    f"{file} cannot be written for {len(sources)} inputs",
                    hint="name a folder with --output-dir",
                )
            self._folder, stems = file.parent, dict.fromkeys(stems, file.stem)
        self._stems = {path: _shorten(stem) for path, stem in stems.items()}
        self._writers = make_writers(layout)
        self._suffixes = options.formats
        self._folders = {self._locate(source, "").parent for source in sources}
        changed = find_changed(layout)
        if changed and not _CUED & set(self._suffixes):
            raise UsageError(
                f"{changed.flag} is for files with cues: srt, vtt and lrc",
                hint="add --output-format srt",
            )

    def prepare_folders(self) -> None:
        """Make the folder of the files, if any; OutputError where no file can be written there.

        What a run that was killed has left where files are to be written goes.
        """
        from whisper_npu_cli.writers import remove_forgotten

        if not self._suffixes or self.options.to_stdout:
            return
        if not self.options.beside:
            self._make_folder()
        for folder in self._folders:
            remove_forgotten(folder)

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder):
                pass
        except OSError as error:
            is_file = isinstance(error, FileExistsError)
            reason = (
                "is a file, not a folder" if is_file else f"cannot be written: {error.strerror}"
            )
            raise OutputError(f"{self._folder}: {reason}", hint=_HINT) from error

    def are_complete(self, source: Place) -> bool:
        """Return whether all files of an input are there and none is older than the input.

        Files appear under their names only when they are whole. Standard input has no age, so
        it is never complete.
        """
        try:
            changed = Path(source.path).stat().st_mtime
            return all(path.stat().st_mtime >= changed for path in self._paths(source))
        except OSError:
            return False

    def write(self, source: Place, transcript: Transcript) -> list[Path]:
        """Write the files of one input, each as a whole, and return them.

        They replace those of an interrupted run. OutputError where one cannot be written.
        """
        written = self._write(self._paths(source), transcript)
        for path in [*self._paths(source, _PARTIAL), self.progress_path(source)]:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                reason = f"{path}: cannot be removed: {error.strerror}"
                raise OutputError(reason, hint="remove it") from error
        return written

    def print(self, transcript: Transcript) -> None:
        """Print what would be the file, in place of the segments."""
        print(self._writers[self._suffixes[0]](transcript), end="", flush=True)

    def write_partial(self, source: Place, transcript: Transcript, progress: str) -> list[Path]:
        """Write what an interrupted run has, to `NAME.partial.SUFFIX`, and its progress if any."""
        from whisper_npu_cli.writers import write_atomically

        written = self._write(self._paths(source, _PARTIAL), transcript)
        if written and progress:
            write_atomically(self.progress_path(source), progress, hint=_HINT)
        return written

    def progress_path(self, source: Place) -> Path:
        """Return where the progress of an input is kept."""
        return self._locate(source, f"{_PARTIAL}.progress")

    def _write(self, paths: Sequence[Path], transcript: Transcript) -> list[Path]:
        from whisper_npu_cli.writers import write_atomically

        for path in paths:
            write_atomically(path, self._writers[path.suffix[1:]](transcript), hint=_HINT)
        return list(paths)

    def _paths(self, source: Place, mark: str = "") -> list[Path]:
        if self.options.to_stdout:
            return []
        return [self._locate(source, f"{mark}.{suffix}") for suffix in self._suffixes]

    def _locate(self, source: Place, ending: str) -> Path:
        stem = self._stems[source.path]
        if self.options.beside:
            return Path(source.path).with_name(f"{stem.rpartition('/')[2]}{source.mark}{ending}")
        return self._folder / f"{stem}{source.mark}{ending}"


def _choose_stems(sources: Mapping[str, Place], stdin_name: str) -> dict[str, str]:
    """Return for each input, by its path, the name of its files, without the suffix.

    The name is that of the input without its suffix, after the folders in which it lies below a
    folder that was searched: what is written then mirrors that, whatever else comes into it. Where
    another input could have that name too, it is the input's whole name, after as many more of its
    folders as are needed. Standard input always has `stdin_name`.
    """
    from whisper_npu_cli.audio.find import STDIN

    candidates = {
        path: [stdin_name] if path == STDIN else _list_names(path, source.root)
        for path, source in sources.items()
    }
    uses = Counter(name for names in candidates.values() for name in set(names))
    return {
        path: next((name for name in names if uses[name] == 1), names[-1])
        for path, names in candidates.items()
    }


def _shorten(stem: str) -> str:
    """Return a name that leaves room for every suffix: its end goes if it is too long."""
    folder, _, name = stem.rpartition("/")
    encoded = os.fsencode(name)
    if len(encoded) > _MAX_STEM_BYTES:
        digest = hashlib.sha256(encoded).hexdigest()[:8]
        name = encoded[: _MAX_STEM_BYTES - 9].decode(errors="ignore") + f"-{digest}"
    return f"{folder}/{name}" if folder else name


def _list_names(path: str, root: str | None) -> list[str]:
    """Return the stem of an input, its name, and its name after one folder, two folders, ...

    All have the folders between `root` and the input.
    """
    from whisper_npu_cli.audio.find import locate

    place = locate(path)
    parts = place.parts[1:]  # without the file system's root
    n_kept = len(Path(path).relative_to(root).parts) if root is not None else 1
    stem = "/".join([*parts[-n_kept:-1], place.stem])
    return [stem, *("/".join(parts[-n:]) for n in range(n_kept, len(parts) + 1))]


def print_json(content: Any) -> None:
    """Print JSON on stdout, with all non-ASCII characters escaped unless stdout is in UTF-8.

    Even then the bytes of a file's name that are not UTF-8 are escaped, in JSON's way.
    """
    is_utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
    print(json.dumps(content, ensure_ascii=not is_utf8))


def print_words(segment: Segment) -> None:
    """Print the words of a segment alone on stdout."""
    print(segment.text.strip(), flush=True)


def print_segment(segment: Segment, *, colours: bool) -> None:
    """Print a segment on stdout as openai/whisper does: `[00:00.000 --> 00:02.400] text`.

    A speaker comes between: `[00:00.000 --> 00:02.400] [left]: text`.
    """
    from whisper_npu_cli.writers import format_timestamp, label_speaker

    start, end = (
        format_timestamp(seconds, hours=False, decimal_marker=".")
        for seconds in (segment.start, segment.end)
    )
    head = f"[{start} --> {end}] {label_speaker(segment.speaker)}"
    if colours and sys.stdout.isatty():
        _print_coloured(head, segment)
    else:
        print(head + segment.text, flush=True)


def _print_coloured(head: str, segment: Segment) -> None:
    from math import exp

    from rich.console import Console
    from rich.text import Text

    parts = [(word.word, word.probability) for word in segment.words or ()]
    parts = parts or [(segment.text, exp(segment.avg_logprob))]
    line = Text.assemble(head, *((text, choose_colour(probability)) for text, probability in parts))
    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(line, soft_wrap=True)
    print(captured.get(), end="", flush=True)  # above the bar, which rich itself would write into


def choose_colour(probability: float) -> str:
    """Return the colour for a probability."""
    return next(name for floor, name in _COLOURS if probability >= floor)
