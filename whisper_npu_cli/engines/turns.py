"""Taking turns at an engine: a lock that is given in the order in which it was asked for.

With `threading.Lock` a thread that asks again at once may get it again and again: a long file
would starve the short ones.
"""

from __future__ import annotations

from collections import deque
from threading import Lock


class Turns:
    """A fair lock; a context manager. Not reentrant."""

    def __init__(self) -> None:
        self._guard = Lock()  # of the two below
        self._is_taken = False
        self._waiting: deque[Lock] = deque()  # each is released when its turn comes

    def __enter__(self) -> None:
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return
            mine = Lock()
            mine.acquire()
            self._waiting.append(mine)
        try:
            mine.acquire()
        except BaseException:  # Ctrl-C while waiting
            self._leave(mine)
            raise

    def __exit__(self, *_: object) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False

    def _leave(self, mine: Lock) -> None:
        """Give up a place in the queue, or the turn that has come meanwhile."""
        with self._guard:
            if mine in self._waiting:
                self._waiting.remove(mine)
                return
        self.__exit__()
