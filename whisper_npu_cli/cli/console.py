"""Output for people on stderr: errors, notices, the timing table and the progress bar."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from whisper_npu_cli.errors import OutputError, WhisperNpuError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rich.console import JustifyMethod

    from whisper_npu_cli.cluster.fleet import Tally
    from whisper_npu_cli.timings import Timings
    from whisper_npu_cli.transcript import DeviceProof, Transcript

_HEADINGS = ("stage", "engine", "seconds", "share", "calls", "rtf", "speed", "tokens", "ms/token")
_NARROW_HEADINGS = ("stage", "seconds")
_TABLE_WIDTH = 79  # characters of a table with all columns
# Of what opens or maps files, or takes memory, and never of a write
_OF_NO_STREAM = (None, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENODEV)


def print_error(error: WhisperNpuError) -> None:
    """Print a line that says what is wrong and, if there is a hint, one that says what to do."""
    print(f"error: {error}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)


def print_notice(text: str) -> None:
    """Print a line that is neither a result nor an error."""
    print(text, file=sys.stderr)


def print_step(text: str) -> None:
    """Print what is being done, if somebody may be waiting: stderr is a terminal."""
    if sys.stderr.isatty():
        print_notice(text)


@contextmanager
def stdout_errors() -> Iterator[None]:
    """Turn what a full disk or the like does to standard output into an OutputError.

    What is printed later goes nowhere. That nobody reads any more is no error: Typer ends then.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        is_of_stdout = error.errno not in _OF_NO_STREAM and error.filename is None
        if isinstance(error, BrokenPipeError) or not is_of_stdout:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else it fails again when Python ends
        raise OutputError(
            f"standard output: cannot be written: {error.strerror}",
            hint="make space, or redirect it elsewhere",
        ) from error


def print_timings(timings: Timings) -> None:
    """Print the table of stages with their realtime factors, or what a narrow terminal holds."""
    from rich.console import Console
    from rich.table import Table

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    is_wide = console.width >= _TABLE_WIDTH
    table = Table(box=None, pad_edge=is_wide)
    for heading in _HEADINGS if is_wide else _NARROW_HEADINGS:
        justify: JustifyMethod = "left" if heading in ("stage", "engine") else "right"
        table.add_column(heading, justify=justify, no_wrap=True)
    for cells, style in _list_cells(timings):
        shown = (cells.get(str(column.header), "") for column in table.columns)
        table.add_row(*shown, style=style)
    console.print(f"{timings.audio_s:.1f} s of audio", style="italic")
    console.print(table)


def _list_cells(timings: Timings) -> Iterator[tuple[dict[str, str], str]]:
    """Yield the cells of each row by their headings, and its style."""
    total_s = timings.total_s
    for row in timings.rows:
        cells = {"stage": row.stage, "engine": row.engine, "calls": str(row.calls)}
        cells["seconds"] = f"{row.seconds:.3f}"
        if total_s:
            cells["share"] = f"{row.seconds / total_s:.0%}"
        if row.rtf is not None and row.speed is not None:
            cells |= {"rtf": f"{row.rtf:.4f}", "speed": _format_factor(row.speed)}
        if row.tokens:
            cells["tokens"] = str(row.tokens)
            cells["ms/token"] = f"{1000 * row.seconds / row.tokens:.2f}"
        yield cells, ""
    total = {"stage": "total", "seconds": f"{total_s:.3f}"}
    total["speed"] = _format_factor(timings.audio_s / total_s if total_s else 0.0)
    if timings.audio_s:
        total["rtf"] = f"{total_s / timings.audio_s:.4f}"
    yield total, "bold"


def _format_factor(speed: float) -> str:
    """Return a factor with its significant digits: 27.9x, 2377x, >9999x."""
    if speed > 9999:
        return ">9999x"
    return f"{speed:.1f}x" if speed < 1000 else f"{speed:.0f}x"


def print_device_times(proofs: Sequence[DeviceProof | None]) -> None:
    """Print how long a device worked; times predicted by the timing model are marked."""
    times = [(proof.device_ms, proof) for proof in proofs if proof]
    if times:
        total_ms, (_, proof) = sum(ms for ms, _ in times), times[0]
        origin = "predicted, not measured" if proof.predicted else "measured"
        single = proof.n_submissions == proof.n_commands
        how = "; commands one by one, for run lists do not work here" * single
        print_notice(
            f"{proof.device}: {len(times)} of {len(proofs)} windows, "
            f"{total_ms / len(times):.1f} ms each ({origin}){how}"
        )


def describe_input(
    name: str, transcript: Transcript, timings: Timings, written: Sequence[Path]
) -> str:
    """Return `talk.mp3: fr (0.98) · 2:57 in 11.2 s · 15.8x · wrote talk.srt`."""
    from whisper_npu_cli.writers.remarks import describe_language

    parts = [describe_language(transcript), *_describe_times(timings)]
    if written:
        parts.append(f"wrote {', '.join(map(str, written))}")
    return f"{name}: {' · '.join(part for part in parts if part)}"


def describe_run(timings: Timings, n_inputs: int, n_failed: int) -> str:
    """Return `15 of 16 inputs · 8:04 in 169.0 s · 2.9x · 1 failed`."""
    parts = [f"{n_inputs - n_failed} of {n_inputs} inputs", *_describe_times(timings)]
    return " · ".join([*parts, *([f"{n_failed} failed"] if n_failed else [])])


def describe_fleet(tally: Tally, n_failed: int) -> str:
    """Return `12.3 h in 18:20 · 40.3 h a minute · 8 workers · 2 failed`."""
    from whisper_npu_cli.writers.remarks import format_length

    hours, elapsed_s = tally.audio_s / 3600, tally.elapsed_s
    hours_a_minute = 60 * hours / elapsed_s if elapsed_s else 0.0
    parts = [
        f"{hours:.1f} h in {format_length(elapsed_s)}",
        f"{hours_a_minute:.2f} h a minute",
        tally.workers,
    ]
    return " · ".join([*parts, *([f"{n_failed} failed"] if n_failed else [])])


def _describe_times(timings: Timings) -> list[str]:
    from whisper_npu_cli.writers.remarks import format_length

    speed = timings.audio_s / timings.total_s if timings.total_s else 0.0
    return [
        f"{format_length(timings.audio_s)} in {timings.total_s:.1f} s",
        _format_factor(speed),
    ]


def show_progress(
    describe: Callable[[], str], read: Callable[[], float], *, quiet: bool
) -> AbstractContextManager[object]:
    """Show a bar with the time left, if stderr is a terminal.

    `describe` gives what is before it, `read` the share, 0 to 1.
    """
    if quiet or not sys.stderr.isatty():
        return nullcontext()
    from whisper_npu_cli.cli.bar import Bar

    return Bar(describe, read)


def show_status(text: str) -> AbstractContextManager[object]:
    """Show what is being done, if stderr is a terminal; it vanishes at the end."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(text)
