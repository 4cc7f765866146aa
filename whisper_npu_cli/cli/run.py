"""Many inputs with one loaded model: one after another, until the last or until Ctrl-C."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whisper_npu_cli.cli.console import (
    print_device_times,
    print_error,
    print_notice,
    print_timings,
    progress_bar,
)
from whisper_npu_cli.cli.outputs import print_segment
from whisper_npu_cli.errors import AudioError, DeviceError, OutputError, WhisperNpuError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from whisper_npu_cli.audio import AudioSource
    from whisper_npu_cli.cli.outputs import Outputs
    from whisper_npu_cli.options import TranscribeOptions
    from whisper_npu_cli.pipeline import Transcriber, Transcription
    from whisper_npu_cli.transcript import Transcript


class Interrupt:
    """Ctrl-C as a request to end soon; the second one raises KeyboardInterrupt as ever."""

    def __init__(self) -> None:
        self.requested = False
        self._job: Transcription | None = None
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def watch(self, job: Transcription) -> None:
        """Stop `job` when asked."""
        self._job = job
        if self.requested:
            job.stop()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, self._before)
        self.requested = True
        if self._job is not None:
            self._job.stop()
        print_notice("interrupted: finishing the present windows; Ctrl-C again to quit at once")


@dataclass(frozen=True)
class Printing:
    """What goes to stdout while inputs are transcribed."""

    as_json: bool  # one document at the end, nothing before
    colours: bool
    has_titles: bool  # a line before each input


class Run:
    """Inputs transcribed one after another with one loaded model."""

    def __init__(
        self,
        transcriber: Transcriber,
        options: TranscribeOptions,
        outputs: Outputs,
        printing: Printing,
    ) -> None:
        self.results: list[dict[str, Any]] = []
        self.failed: list[str] = []
        self.is_interrupted = False
        self._n_inputs = 0
        self._transcriber = transcriber
        self._options = options
        self._outputs = outputs
        self._printing = printing

    def add_all(self, sources: Sequence[AudioSource], *, resume: bool) -> None:
        """Transcribe inputs until the last or until Ctrl-C; `resume` leaves out complete ones."""
        self._n_inputs = len(sources)
        with Interrupt() as interrupt:
            for source in sources:
                if interrupt.requested:
                    break
                if resume and self._outputs.are_complete(source):
                    print_notice(f"{source.name}: complete, skipped")
                    self.results.append({"path": source.path, "complete": True, "skipped": True})
                else:
                    self.add(source, interrupt)
        self.is_interrupted = interrupt.requested

    def print_summary(self) -> None:
        """Print what failed, and how far an interrupted run came."""
        if self.failed and self._n_inputs > 1:
            print_notice(f"failed: {len(self.failed)} of {self._n_inputs} inputs:")
            for name in self.failed:
                print_notice(f"  {name}")
        if self.is_interrupted:
            n_complete = sum(bool(result.get("complete")) for result in self.results)
            print_notice(f"interrupted: {n_complete} of {self._n_inputs} inputs are complete")

    def add(self, source: AudioSource, interrupt: Interrupt) -> None:
        """Transcribe one input; a failure is remembered.

        It is reported and not raised where it is the input's; a device's ends the run.
        """
        try:
            with source:
                self.results.append(self._transcribe(source, interrupt))
        except (AudioError, OutputError) as error:
            print_error(error)
            self._remember(source, error)
        except DeviceError as error:
            self._remember(source, error)
            raise

    def _remember(self, source: AudioSource, error: WhisperNpuError) -> None:
        self.failed.append(source.name)
        self.results.append({"path": source.path, "error": str(error), "hint": error.hint})

    def _transcribe(self, source: AudioSource, interrupt: Interrupt) -> dict[str, Any]:
        from whisper_npu_cli.report import result_fields

        if self._printing.has_titles and not self._printing.as_json:
            print(f"==> {source.name} <==", flush=True)
        job = self._transcriber.transcribe(source, self._options)
        interrupt.watch(job)
        with progress_bar(source.name) as show:
            for segment in job:
                if not self._printing.as_json:
                    print_segment(segment, colours=self._printing.colours)
                show(job.progress)
        with job.timings.measure("write"):
            if job.is_complete or job.progress:
                self._outputs.write(source, job.transcript, complete=job.is_complete)
        print_uncovered(source.name, job.transcript)
        print_timings(job.timings)
        print_device_times([window.proof for window in job.windows])
        return result_fields(source.path, job)


def print_uncovered(name: str, transcript: Transcript) -> None:
    """Tell where there is speech without text."""
    if transcript.uncovered:
        spans = ", ".join(
            f"{_clock(start)} to {_clock(end)}" for start, end in transcript.uncovered
        )
        print_notice(f"warning: {name}: speech without text: {spans}")


def _clock(seconds: float) -> str:
    from whisper_npu_cli.writers import format_timestamp

    return format_timestamp(seconds, hours=False, decimal_marker=".")
