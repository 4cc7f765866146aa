"""A run: inputs transcribed one after another with one loaded model, until Ctrl-C."""

from __future__ import annotations

import signal
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisper_npu_cli.cli.console import (
    describe_input,
    describe_run,
    print_device_times,
    print_error,
    print_notice,
    print_timings,
    show_progress,
    stdout_errors,
)
from whisper_npu_cli.cli.outputs import print_segment, print_words
from whisper_npu_cli.environment import find_cache_folder
from whisper_npu_cli.errors import AudioError, DeviceError, OutputError, WhisperNpuError
from whisper_npu_cli.timings import add_timings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from whisper_npu_cli.audio.find import Input
    from whisper_npu_cli.audio.live import LiveSource
    from whisper_npu_cli.cli.outputs import Outputs
    from whisper_npu_cli.longform.channels import Job
    from whisper_npu_cli.longform.live import Live
    from whisper_npu_cli.options import TranscribeOptions
    from whisper_npu_cli.pipeline import Transcriber
    from whisper_npu_cli.timings import Timings
    from whisper_npu_cli.transcript import Progress, Segment
    from whisper_npu_cli.writers.document import Entry, Transcribed


_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Interrupt:
    """Take the first Ctrl-C, SIGTERM or SIGHUP as a request to end soon.

    What arrives through a pipe then ends, and what has arrived is transcribed; the next one ends
    that too. One more Ctrl-C raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
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
        if self._job is not None:
            self._job.stop()
        print_notice("interrupted: finishing the present window; Ctrl-C again to quit at once")


def was_told(text: str) -> bool:
    """Return whether this was the last text that was told on this machine, and remember it."""
    folder = find_cache_folder()
    if folder is None:
        return False
    path = folder / "whisper-npu" / "told"
    try:
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return True
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # then it is told again
        pass
    return False


class Run:
    """Inputs transcribed one after another with one loaded model."""

    def __init__(
        self,
        sources: Sequence[Input],
        model: str,
        options: TranscribeOptions,
        outputs: Outputs,
    ) -> None:
        self.results: list[Entry] = []
        self.failed: list[str] = []
        self.has_losses = False  # of sound, in inputs that were transcribed
        self.signal: int | None = None  # that interrupted it
        self.stdout_error: OutputError | None = None
        self._timings: list[Timings] = []  # of the inputs that have a transcript
        self._sources = sources
        self._model = model
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
                if interrupt.signal is not None:
                    break
                if self._is_done(source):
                    self._skip(source)
                else:
                    self.add(transcriber, source, interrupt)
        self.signal = interrupt.signal

    def _is_done(self, source: Input) -> bool:
        return self.outputs.options.resume and self.outputs.are_complete(source)

    def _skip(self, source: Input) -> None:
        from whisper_npu_cli.writers.document import Skipped

        self.note(f"{source.name}: complete, skipped")
        self.results.append(Skipped(source.path))

    def print_summary(self) -> None:
        """Print what was transcribed of several inputs, what failed, and what is not begun."""
        if len(self._sources) > 1 and self._timings:
            timings = add_timings(self._timings)
            self._print_timings(timings)
            self.note(describe_run(timings, len(self._sources), len(self.failed)))
        if self.failed and len(self._sources) > 1:
            print_notice(f"failed: {len(self.failed)} of {len(self._sources)} inputs:")
            for name in self.failed:
                print_notice(f"  {name}")
        if self.signal is not None:
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
                progress = self._find_progress(source)
                job = transcriber.transcribe(source, self._options, progress)
                interrupt.watch(job, source)
                if self.outputs.options.detect_language:
                    self._print_language(source, job)
                    return
                self._print_text(source, job, progress)
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

    def _find_progress(self, source: Input) -> Progress | None:
        """Return what an interrupted run has left of an input, if --resume asks for it."""
        from whisper_npu_cli.cli.progress import read_progress

        path = self.outputs.progress_path(source)
        if not self.outputs.options.resume or not path.exists():
            return None
        progress = read_progress(path, source, self._model, self._options)
        if progress is None:
            print_notice(f"{source.name}: begins anew: the input, model or options have changed")
        return progress

    def _print_text(self, source: Input, job: Job, progress: Progress | None) -> None:
        """Transcribe, and print segments as they are decided."""
        quiet = self.outputs.options.quiet
        with show_progress(self._title(source), lambda: job.work_done, quiet=quiet):
            job.begin()  # in which an unreadable input fails, before its title is printed
            for notice in source.notices:
                self.note(f"{source.name}: {notice}")
            is_text = not (self.outputs.options.as_json or self.outputs.options.to_stdout)
            if is_text and not self.outputs.options.as_text and len(self._sources) > 1:
                self._say(lambda: print(f"==> {source.name} <==", flush=True))
            for segment in chain(progress.segments if progress else (), job):
                if is_text:
                    self._say(partial(self._print_segment, segment))

    def _print_language(self, source: Input, job: Job) -> None:
        """Find the language of an input, and print it with its probability."""
        from whisper_npu_cli.writers.remarks import describe_language

        with show_progress(self._title(source), lambda: 0.0, quiet=self.outputs.options.quiet):
            language = describe_language(job.begin())
        name = f"{source.name}: " if len(self._sources) > 1 else ""
        self._say(lambda: print(f"{name}{language or 'no speech'}", flush=True))

    def _title(self, source: Input) -> str:
        """Return the name of an input, after its number where there are several."""
        n_inputs = len(self._sources)
        number = f"[{self._sources.index(source) + 1}/{n_inputs}] " if n_inputs > 1 else ""
        return f"{number}{source.name}"

    def _print_segment(self, segment: Segment) -> None:
        if self.outputs.options.as_text:
            print_words(segment)
        else:
            print_segment(segment, colours=self.outputs.options.print_colors)

    def _say(self, say: Callable[[], None]) -> None:
        """Print on stdout; what cannot be printed does not stop the files that are written."""
        if self.stdout_error is None:
            try:
                with stdout_errors():
                    say()
            except OutputError as error:
                self.stdout_error = error
                print_error(error)

    def _write(self, source: Input, job: Job) -> None:
        """Write the files of a transcription, and print what it was and how long it took."""
        from whisper_npu_cli.writers.remarks import list_notes, list_warnings

        result, written = job.result, list[Path]()
        with job.stopwatch.measure("write"):
            if self.outputs.options.to_stdout:
                self._say(lambda: self.outputs.print(result.transcript))
            elif result.is_complete:
                written = self.outputs.write(source, result.transcript)
            elif job.progress:
                self._write_partial(source, job)
        for warning in list_warnings(result):
            print_notice(f"warning: {source.name}: {warning}")
        for note in list_notes(result):
            self.note(f"{source.name}: {note}")
        self.has_losses |= result.has_losses
        timings = job.stopwatch.read()
        self._timings.append(timings)
        self.note(describe_input(source.name, result.transcript, timings, written))
        if len(self._sources) == 1 or self.outputs.options.timings:
            self._print_timings(timings)
        if not self.outputs.options.quiet:
            print_device_times([window.proof for window in result.windows])

    def notice(self, text: str) -> None:
        """Print a line of the engines; why the CPU computes is told once on a machine."""
        from whisper_npu_cli.engines.loading import USING_CPU

        options = self.outputs.options
        is_once = text.startswith(USING_CPU) and not (options.verbose or options.quiet)
        if not (is_once and was_told(text)):
            self.note(text)

    def note(self, text: str) -> None:
        """Print a line that neither warns nor fails, unless it is to be quiet."""
        if not self.outputs.options.quiet:
            print_notice(text)

    def _print_timings(self, timings: Timings) -> None:
        if not self.outputs.options.quiet:
            print_timings(timings)

    def _write_partial(self, source: Input, job: Job) -> None:
        """Write what is decided of an interrupted input, and say how to go on."""
        from whisper_npu_cli.audio.find import STDIN
        from whisper_npu_cli.cli.progress import describe_progress
        from whisper_npu_cli.writers import format_timestamp

        checkpoint, transcript, progress = job.checkpoint, job.result.transcript, ""
        can_go_on = checkpoint is not None and source.path != STDIN
        if checkpoint is not None and can_go_on:
            progress = describe_progress(source, self._model, self._options, checkpoint)
        written = self.outputs.write_partial(source, transcript, progress)
        if written:
            decided_s = job.progress * transcript.duration_s
            position, end = (
                format_timestamp(seconds, hours=False, decimal_marker=".")
                for seconds in (decided_s, transcript.duration_s)
            )
            names = ", ".join(map(str, written))
            how = "; the same command with --resume goes on" if can_go_on else ""
            print_notice(f"{names}: up to {position} of {end}{how}")
