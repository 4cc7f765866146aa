"""Output for people on stderr: errors, notices, the timing table and the progress bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from whisper_npu_cli.errors import OutputError, WhisperNpuError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from whisper_npu_cli.timings import Timings
    from whisper_npu_cli.transcript import DeviceProof, Transcript

_BAR_WIDTH = 56  # characters of a bar of 40, its percentage and the time left


def print_error(error: WhisperNpuError) -> None:
    """Print a line that says what is wrong and, if there is a hint, one that says what to do."""
    print(f"error: {error}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)


def print_notice(text: str) -> None:
    """Print a line that is neither a result nor an error."""
    print(text, file=sys.stderr)


@contextmanager
def stdout_errors() -> Iterator[None]:
    """Turn what a full disk or the like does to standard output into an OutputError.

    What is printed later goes nowhere. That nobody reads any more is no error: Typer ends then.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else it fails again when Python ends
        raise OutputError(
            f"standard output: cannot be written: {error.strerror}",
            hint="make space, or redirect it elsewhere",
        ) from error


def print_timings(timings: Timings) -> None:
    """Print the table of stages with their realtime factors."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{timings.audio_s:.1f} s of audio", title_justify="left", box=None)
    for heading in ("stage", "engine"):
        table.add_column(heading)
    for heading in ("seconds", "share", "calls", "rtf", "speed", "tokens", "ms/token"):
        table.add_column(heading, justify="right")
    total_s = timings.total_s
    for row in timings.rows:
        table.add_row(
            row.stage,
            row.engine,
            f"{row.seconds:.3f}",
            f"{row.seconds / total_s:.0%}" if total_s else "",
            str(row.calls),
            f"{row.rtf:.4f}" if row.rtf is not None else "",
            _format_factor(row.speed) if row.speed is not None else "",
            str(row.tokens or ""),
            f"{1000 * row.seconds / row.tokens:.2f}" if row.tokens else "",
        )
    speed = timings.audio_s / total_s if total_s else 0.0
    rtf_text = f"{total_s / timings.audio_s:.4f}" if timings.audio_s else ""
    table.add_row(
        "total", "", f"{total_s:.3f}", "", "", rtf_text, _format_factor(speed), style="bold"
    )
    Console(stderr=True, highlight=False).print(table)


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


def _describe_times(timings: Timings) -> list[str]:
    from whisper_npu_cli.writers.remarks import format_length

    speed = timings.audio_s / timings.total_s if timings.total_s else 0.0
    return [
        f"{format_length(timings.audio_s)} in {timings.total_s:.1f} s",
        _format_factor(speed),
    ]


@contextmanager
def show_progress(name: str, *, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Show a bar with the time left if stderr is a terminal; yield its setter (0 to 1)."""
    if quiet or not sys.stderr.isatty():
        yield lambda _share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # lines on the same terminal go above the bar
    ) as progress:
        task = progress.add_task(shorten(name, console.width - _BAR_WIDTH), total=1.0)
        yield lambda share: progress.update(task, completed=share)


def shorten(text: str, width: int) -> str:
    """Return a text of at most `width` characters, but of at least 8: its middle goes."""
    width = max(8, width)
    if len(text) <= width:
        return text
    n_before = (width - 1) // 3
    return f"{text[:n_before]}…{text[len(text) - (width - 1 - n_before) :]}"
