"""A bar in the last line of a terminal: the share of the work that is done, and the time left.

Lines that are printed meanwhile go above it, whole: the terminal folds them, so that copied text
has no line breaks of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from whisper_npu_cli.cli.tables import SHORTEST, shorten
from whisper_npu_cli.writers.remarks import format_length

_NUMBERS_WIDTH = 20  # characters of `100 % 1:23:45 left` and a space on either side
_NAME_WIDTH = 24  # what a bar leaves to the name at least
_BAR_WIDTHS = range(10, 41)


class Bar(Progress):
    """A context manager that shows the bar until its end.

    `describe` gives the text before it, `read` the share, 0 to 1.
    """

    def __init__(self, describe: Callable[[], str], read: Callable[[], float]) -> None:
        self._describe, self._read = describe, read
        console = Console(stderr=True, soft_wrap=True)
        bar_width = min(_BAR_WIDTHS[-1], console.width - _NUMBERS_WIDTH - _NAME_WIDTH)
        has_bar = bar_width in _BAR_WIDTHS
        self._name_width = console.width - _NUMBERS_WIDTH - (bar_width + 1 if has_bar else 0)
        super().__init__(
            TextColumn("{task.description}", markup=False),
            *([BarColumn(bar_width)] if has_bar else []),
            TextColumn("{task.percentage:3.0f} %"),
            *([_TimeLeft()] if self._name_width >= SHORTEST else []),
            console=console,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # lines on the same terminal go above the bar
        )
        self.add_task("", total=1.0)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return what is drawn, several times a second."""
        for task in self.tasks:
            task.description = shorten(self._describe(), self._name_width)
            task.completed = max(task.completed, self._read())  # an estimate may fall
        return super().get_renderables()


class _TimeLeft(ProgressColumn):
    """The time that the rest takes at the mean speed so far, which never is without a value.

    Rich's own looks at the last 30 s, in which a large model may decide nothing.
    """

    def render(self, task: Task) -> Text:
        if not task.completed or task.elapsed is None:
            return Text("")
        left_s = task.elapsed * (1 - task.completed) / task.completed
        return Text(f"{format_length(left_s)} left")
