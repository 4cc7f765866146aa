"""Where inputs are transcribed: in this process one after another, or wherever else (a cluster)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Protocol

from whisper_npu_cli.writers.document import Device

if TYPE_CHECKING:
    from whisper_npu_cli.audio.find import Input
    from whisper_npu_cli.longform.channels import Job
    from whisper_npu_cli.options import TranscribeOptions
    from whisper_npu_cli.pipeline import Transcriber
    from whisper_npu_cli.transcript import Progress


class Site(Protocol):
    """What transcribes inputs."""

    finishing: str  # what goes on after Ctrl-C

    @property
    def device(self) -> Device | None:
        """What computed; None where nothing did."""

    @property
    def load_s(self) -> float | None:
        """Seconds to load the model and the engines; None where none was loaded."""

    def transcribe_each(
        self,
        wanted: Iterable[tuple[Input, Progress | None]],
        options: TranscribeOptions,
        *,
        only_language: bool = False,
    ) -> Iterator[tuple[Input, Callable[[], Job]]]:
        """Yield each input, in any order, with what begins its transcription.

        Each goes on from what an earlier run has left of it.
        """

    def stop(self) -> None:
        """Begin no more. May be called by a handler of a signal."""


class Here:
    """This process."""

    finishing = "the present window"

    def __init__(self, transcriber: Transcriber) -> None:
        self.load_s = transcriber.load_s
        self._transcriber = transcriber

    @property
    def device(self) -> Device:
        """The device, why it was chosen, and its failures so far."""
        engines = self._transcriber.engines
        return Device(engines.device, engines.reason, engines.incidents)

    def transcribe_each(
        self,
        wanted: Iterable[tuple[Input, Progress | None]],
        options: TranscribeOptions,
        *,
        only_language: bool = False,  # noqa: ARG002, who asks for no more than that begins no more
    ) -> Iterator[tuple[Input, Callable[[], Job]]]:
        """Yield each input in its turn."""
        for source, progress in wanted:
            yield source, partial(self._transcriber.transcribe, source, options, progress)

    def stop(self) -> None:
        """Do nothing: the next input is asked for when it is begun."""
