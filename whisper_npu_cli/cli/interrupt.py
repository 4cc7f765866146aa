"""Ctrl-C, SIGTERM and SIGHUP as requests to end soon."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from whisper_npu_cli.cli.console import print_notice

if TYPE_CHECKING:
    from types import FrameType

    from whisper_npu_cli.audio.find import Input
    from whisper_npu_cli.audio.live import LiveSource
    from whisper_npu_cli.cli.sites import Site
    from whisper_npu_cli.longform.channels import Job
    from whisper_npu_cli.longform.live import Live

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Interrupt:
    """Take the first Ctrl-C, SIGTERM or SIGHUP as a request to end soon.

    What arrives through a pipe then ends, and what has arrived is transcribed; the next one ends
    that too. One more Ctrl-C raises KeyboardInterrupt.
    """

    def __init__(self, site: Site | None = None) -> None:
        self._site = site
        self.signal: int | None = None  # the first one that came
        self._job: Job | Live | None = None
        self._source: Input | LiveSource | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def watch(self, job: Job | Live, source: Input | LiveSource) -> None:
        """Stop `job` on a signal, or at once if it has come already."""
        self._job, self._source = job, source
        if self.signal is not None and not source.end():
            job.stop()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is None and self._source is not None and self._source.end():
            self.signal = number
            print_notice("interrupted: transcribing what has arrived; Ctrl-C again to end that")
            return
        self.__exit__()
        self.signal = self.signal or number
        for working in (self._site, self._job):
            if working is not None:
                working.stop()
        finishing = self._site.finishing if self._site is not None else "the present window"
        print_notice(f"interrupted: finishing {finishing}; Ctrl-C again to quit at once")
