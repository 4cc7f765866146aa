"""What is printed of inputs that end in any order, in the order of the inputs."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[], None]


class Ordered:
    """Says at once what is about the input whose turn it is, and keeps the rest until theirs."""

    def __init__(self) -> None:
        self._turn = 0
        self._kept: dict[int, list[Say]] = {}
        self._ended: set[int] = set()

    def say(self, index: int, say: Say) -> None:
        """Say something of the input at `index`."""
        if index == self._turn:
            say()
        else:
            self._kept.setdefault(index, []).append(say)

    def end(self, index: int) -> None:
        """Take it that nothing more is said of the input at `index`."""
        self._ended.add(index)
        while self._turn in self._ended:
            self._ended.remove(self._turn)
            self._turn += 1
            self._say_kept(self._turn)

    def flush(self) -> None:
        """Say what is kept: no other input ends any more."""
        for index in sorted(self._kept):
            self._say_kept(index)

    def _say_kept(self, index: int) -> None:
        for say in self._kept.pop(index, ()):
            say()
