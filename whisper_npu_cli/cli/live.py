"""What a person or a program sees of live transcription: lines, a tail, JSON, commands."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from whisper_npu_cli.cli.console import print_notice
from whisper_npu_cli.cli.outputs import print_json
from whisper_npu_cli.longform.events import Event, Settled, SpeechEnded, Tail

if TYPE_CHECKING:
    from collections.abc import Callable

_ERASE, _DIM, _PLAIN = "\r\x1b[K", "\x1b[2m", "\x1b[0m"


class View:
    """Shows notices alone."""

    def show(self, event: Event) -> None:
        """Show on stdout what an event adds."""

    def note(self, text: str) -> None:
        """Show a notice on stderr."""
        print_notice(text)


class EventLines(View):
    """Each event as a line of JSON."""

    def show(self, event: Event) -> None:
        """Print it."""
        from whisper_npu_cli.writers.document import to_plain

        print_json({"event": event.name, **to_plain(event)})


class TextLines(View):
    """Settled text, a line for what is said between two pauses."""

    def __init__(self) -> None:
        self._is_new = True  # line

    def show(self, event: Event) -> None:
        """Print what was settled."""
        if isinstance(event, Settled):
            text = event.segment.text
            print(text.lstrip() if self._is_new else text, end="")
            self._is_new = False
        elif isinstance(event, SpeechEnded) and not self._is_new:
            print()
            self._is_new = True


class Terminal(View):
    """Settled text, and after it what may change, dim, as far as the line has room for it."""

    def __init__(self) -> None:
        self._line = ""  # settled
        self._tail = ""
        self._dim, self._plain = ("", "") if os.environ.get("NO_COLOR") else (_DIM, _PLAIN)

    def show(self, event: Event) -> None:
        """Draw the line anew."""
        if isinstance(event, Settled):
            self._tail = ""
            self._append(event.segment.text)
        elif isinstance(event, Tail):
            self._tail = event.text
        elif isinstance(event, SpeechEnded) and self._line:
            self._end_line()
        self._draw()

    def note(self, text: str) -> None:
        """Show a notice above the line."""
        print(_ERASE, end="", flush=True)
        super().note(text)
        self._draw()

    def _append(self, text: str) -> None:
        from rich.cells import cell_len

        for i, word in enumerate(text.split(" ")):
            spaced = f" {word}" if i and self._line else word
            if self._line and cell_len(self._line + spaced) >= get_terminal_size().columns:
                self._end_line()
                spaced = word
            self._line += spaced

    def _end_line(self) -> None:
        print(f"{_ERASE}{self._line}")
        self._line = self._tail = ""

    def _draw(self) -> None:
        from rich.cells import cell_len, set_cell_size

        tail = self._tail if self._line else self._tail.lstrip()
        room = max(0, get_terminal_size().columns - 1 - cell_len(self._line))
        shown = tail if cell_len(tail) <= room else set_cell_size(tail, room)
        print(f"{_ERASE}{self._line}{self._dim}{shown}{self._plain}", end="", flush=True)


class Commands:
    """A shell command for each settled text, one after another, which nothing waits for."""

    def __init__(self, command: str, note: Callable[[str], None]) -> None:
        self._command = command
        self._note = note
        self._thread = ThreadPoolExecutor(1)
        self._is_first = True
        self._has_failed = False

    def __enter__(self) -> Commands:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()  # after the last one

    def add(self, text: str) -> None:
        """Give `text` to the command; the spaces between texts are at their beginnings."""
        self._thread.submit(self._run, text.lstrip() if self._is_first else text)
        self._is_first = False

    def _run(self, text: str) -> None:
        done = subprocess.run(
            self._command,
            shell=True,
            input=text.encode(),
            stdout=2,  # standard output is for the text
            check=False,
            start_new_session=True,  # Ctrl-C is for this program
        )
        if done.returncode and not self._has_failed:
            self._has_failed = True
            self._note(f"warning: --exec {self._command!r}: exit status {done.returncode}")
