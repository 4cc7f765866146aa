"""A run: inputs transcribed one after another with one loaded model, until Ctrl-C."""

from __future__ import annotations

import signal
from contextlib import closing
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from whisper_npu_cli.cli.console import (
    print_device_times,
    print_error,
    print_notice,
    print_timings,
    show_progress,
)
from whisper_npu_cli.cli.outputs import print_segment
from whisper_npu_cli.errors import AudioError, DeviceError, OutputError, WhisperNpuError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from whisper_npu_cli.audio.find import Input
    from whisper_npu_cli.cli.outputs import Outputs
    from whisper_npu_cli.longform.channels import Job
    from whisper_npu_cli.options import TranscribeOptions
    from whisper_npu_cli.pipeline import Transcriber
    from whisper_npu_cli.writers.document import Entry, Transcribed


class Interrupt:
    """Take the first Ctrl-C as a request to end soon; the second raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.requested = False
        self._job: Job | None = None
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def watch(self, job: Job) -> None:
        """Stop `job` on Ctrl-C, or at once if it has come already."""
        self._job = job
        if self.requested:
            job.stop()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, self._before)
        self.requested = True
        if self._job is not None:
            self._job.stop()
        print_notice("interrupted: finishing the present windows; Ctrl-C again to quit at once")


class Run:
    """Inputs transcribed one after another with one loaded model."""

    def __init__(
        self,
        sources: Sequence[Input],
        options: TranscribeOptions,
        outputs: Outputs,
    ) -> None:
        self.results: list[Entry] = []
        self.failed: list[str] = []
        self.has_losses = False  # of sound, in inputs that were transcribed
        self.is_interrupted = False
        self._sources = sources
        self._options = options
        self.outputs = outputs

    def has_input(self) -> bool:
        """Return whether there is anything to transcribe; if not, report every input."""
        reasons: list[AudioError | None] = []
        for source in self._sources:
            try:
                if not self._is_done(source):
                    source.check()
                    return True
                reasons.append(None)
            except AudioError as error:
                reasons.append(error)
        for source, reason in zip(self._sources, reasons, strict=True):
            if reason:
                print_error(reason)
                self._remember(source, reason)
            else:
                self._skip(source)
        return False

    def add_all(self, transcriber: Transcriber) -> None:
        """Transcribe inputs until the last or until Ctrl-C."""
        with Interrupt() as interrupt:
            for source in self._sources:
                if interrupt.requested:
                    break
                if self._is_done(source):
                    self._skip(source)
                else:
                    self.add(transcriber, source, interrupt)
        self.is_interrupted = interrupt.requested

    def _is_done(self, source: Input) -> bool:
        return self.outputs.options.resume and self.outputs.are_complete(source)

    def _skip(self, source: Input) -> None:
        from whisper_npu_cli.writers.document import Skipped

        print_notice(f"{source.name}: complete, skipped")
        self.results.append(Skipped(source.path))

    def print_summary(self) -> None:
        """Print the inputs that failed, and how many an interrupted run has completed."""
        if self.failed and len(self._sources) > 1:
            print_notice(f"failed: {len(self.failed)} of {len(self._sources)} inputs:")
            for name in self.failed:
                print_notice(f"  {name}")
        if self.is_interrupted:
            from whisper_npu_cli.writers.document import is_complete

            n_complete = sum(is_complete(result) for result in self.results)
            print_notice(f"interrupted: {n_complete} of {len(self._sources)} inputs are complete")

    def add(self, transcriber: Transcriber, source: Input, interrupt: Interrupt) -> None:
        """Transcribe one input; keep a failure in the results, beside the text if there is any.

        A failure of the input is reported and not raised. A failure of a device ends the run.
        """
        from whisper_npu_cli.writers.document import describe_result

        transcribed: Transcribed | None = None
        try:
            with closing(source):
                job = transcriber.transcribe(source, self._options)
                interrupt.watch(job)
                self._print_text(source, job)
            try:
                self._write(source, job)
            finally:
                transcribed = describe_result(source.path, job.result)
        except (AudioError, OutputError) as error:
            print_error(error)
            self._remember(source, error, transcribed)
        except DeviceError as error:
            self._remember(source, error, transcribed)
            raise
        else:
            self.results.append(transcribed)

    def _remember(
        self, source: Input, error: WhisperNpuError, transcribed: Transcribed | None = None
    ) -> None:
        from whisper_npu_cli.writers.document import Failed

        self.failed.append(source.name)
        if transcribed is None:
            self.results.append(Failed(source.path, str(error), error.hint))
        else:
            self.results.append(replace(transcribed, error=str(error), hint=error.hint))

    def _print_text(self, source: Input, job: Job) -> None:
        """Transcribe, and print segments as they are decided."""
        with show_progress(source.name) as show:
            segments = iter(job)
            # An unreadable input fails here, before its title is printed.
            first = next(segments, None)
            for notice in source.notices:
                print_notice(f"{source.name}: {notice}")
            is_text = not self.outputs.options.as_json
            if is_text and len(self._sources) > 1:
                print(f"==> {source.name} <==", flush=True)
            for segment in chain([first] if first else [], segments):
                if is_text:
                    print_segment(segment, colours=self.outputs.options.print_colors)
                show(job.progress)

    def _write(self, source: Input, job: Job) -> None:
        """Write the files of a transcription, and print how long it took."""
        from whisper_npu_cli.writers.remarks import list_remarks

        result = job.result
        with job.stopwatch.measure("write"):
            if result.is_complete or job.progress:
                self.outputs.write(source, result.transcript, complete=result.is_complete)
        for remark in list_remarks(source.name, result):
            print_notice(remark)
        self.has_losses |= result.has_losses
        print_timings(job.stopwatch.read())
        print_device_times([window.proof for window in result.windows])
