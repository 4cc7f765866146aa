"""The transcript files of a run: their names, writing them, and which are complete."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from whisper_npu_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whisper_npu_cli.audio import AudioSource
    from whisper_npu_cli.transcript import Transcript

OutputFormat: TypeAlias = Literal["txt", "srt", "vtt", "tsv", "json", "all"]
_PARTIAL = ".partial"  # in the names of files of an input that was interrupted


class Outputs:
    """The transcript files to write, beside what goes to stdout."""

    def __init__(self, output_format: OutputFormat | None, folder: Path | None) -> None:
        from whisper_npu_cli.writers import WRITERS

        if folder is not None and output_format is None:
            output_format = "all"
        self._folder = folder or Path()
        self._suffixes: list[str] = []
        if output_format is not None:
            self._suffixes = list(WRITERS) if output_format == "all" else [output_format]

    def check_names(self, sources: Sequence[AudioSource]) -> None:
        """Refuse inputs that would overwrite each other's files: UsageError."""
        seen: dict[str, AudioSource] = {}
        for source in sources if self._suffixes else ():
            other = seen.setdefault(output_stem(source), source)
            if other is not source:
                raise UsageError(
                    f"{other.name} and {source.name} would be written to the same files",
                    hint="transcribe them in two runs with different --output-dir",
                )

    def check_resumable(self) -> None:
        """Refuse to resume without files that tell what is complete: UsageError."""
        if not self._suffixes:
            raise UsageError(
                "--resume finds out by the written files what is complete",
                hint="name them with --output-format or --output-dir, as in the first run",
            )

    def are_complete(self, source: AudioSource) -> bool:
        """Return whether all files of an input are there and none is older than the input.

        Files appear under their names only when they are whole. Standard input has no age: it
        is never complete.
        """
        try:
            changed = Path(source.path).stat().st_mtime
            return all(path.stat().st_mtime >= changed for path in self._paths(source))
        except OSError:
            return False

    def write(self, source: AudioSource, transcript: Transcript, *, complete: bool) -> None:
        """Write the files of one input, each replaced as a whole; raises OutputError.

        What is not complete goes to `NAME.partial.SUFFIX`, which complete files replace.
        """
        from whisper_npu_cli.writers import WRITERS, write_atomically

        partial = self._paths(source, _PARTIAL)
        for path in self._paths(source) if complete else partial:
            write_atomically(path, WRITERS[path.suffix[1:]](transcript))
        if complete:
            for path in partial:
                path.unlink(missing_ok=True)

    def _paths(self, source: AudioSource, mark: str = "") -> list[Path]:
        stem = output_stem(source)
        return [self._folder / f"{stem}{mark}.{suffix}" for suffix in self._suffixes]


def output_stem(source: AudioSource) -> str:
    """Return the name of an input's files, without suffix."""
    return "stdin" if source.path == "-" else Path(source.path).stem
