"""A run: inputs transcribed with one model, here or on a cluster, until Ctrl-C."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

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
from whisper_npu_cli.cli.interrupt import Interrupt
from whisper_npu_cli.cli.ordered import Ordered
from whisper_npu_cli.cli.outputs import print_segment, print_words
from whisper_npu_cli.environment import find_cache_folder
from whisper_npu_cli.errors import AudioError, DeviceError, OutputError, WhisperNpuError
from whisper_npu_cli.timings import add_timings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from whisper_npu_cli.audio.find import Input
    from whisper_npu_cli.cli.outputs import Outputs
    from whisper_npu_cli.cli.sites import Site
    from whisper_npu_cli.longform.channels import Job
    from whisper_npu_cli.options import TranscribeOptions
    from whisper_npu_cli.timings import Timings
    from whisper_npu_cli.transcript import Progress, Segment
    from whisper_npu_cli.writers.document import Entry, Transcribed


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
    """Inputs transcribed with one model: what is printed and written of them, and kept."""

    def __init__(
        self,
        sources: Sequence[Input],
        model: str,
        options: TranscribeOptions,
        outputs: Outputs,
    ) -> None:
        self._entries: dict[int, Entry] = {}  # by the number of the input
        self._failed: dict[int, str] = {}
        self.has_losses = False  # of sound, in inputs that were transcribed
        self.signal: int | None = None  # that interrupted it
        self.stdout_error: OutputError | None = None
        self._timings: Timings | None = None  # of the inputs that have a transcript, together
        self._sources = sources
        self._numbers = {id(source): i for i, source in enumerate(sources)}
        self._ordered = Ordered()  # on stdout
        self._model = model
        self._options = options
        self.outputs = outputs

    @property
    def results(self) -> list[Entry]:
        """What came of the inputs so far, in their order."""
        return [entry for _, entry in sorted(self._entries.items())]

    @property
    def failed(self) -> list[str]:
        """The names of the inputs that failed, in their order."""
        return [name for _, name in sorted(self._failed.items())]

    def estimate_done(self, n_partly: float) -> float:
        """Return the share of the inputs that is done, 0 to 1; `n_partly` are done elsewhere."""
        return (len(self._entries) + n_partly) / len(self._sources)

    @property
    def has_sources(self) -> bool:
        """Whether anything was found to transcribe."""
        return bool(self._sources)

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

    def add_all(self, site: Site) -> None:
        """Transcribe inputs until the last or until Ctrl-C."""
        only_language = self.outputs.options.detect_language
        with Interrupt(site) as interrupt:
            wanted = self._list_wanted(interrupt)
            each = site.transcribe_each(wanted, self._options, only_language=only_language)
            try:
                for source, begin in each:
                    self.add(source, begin, interrupt)
            finally:
                self._ordered.flush()
        self.signal = interrupt.signal

    def _list_wanted(self, interrupt: Interrupt) -> Iterator[tuple[Input, Progress | None]]:
        """Yield the inputs that are to be transcribed, and what is left of an interrupted run."""
        for source in self._sources:
            if interrupt.signal is not None:
                return
            if self._is_done(source):
                self._skip(source)
            else:
                yield source, self._find_progress(source)

    def _is_done(self, source: Input) -> bool:
        return self.outputs.options.resume and self.outputs.are_complete(source)

    def _skip(self, source: Input) -> None:
        from whisper_npu_cli.writers.document import Skipped

        self.note(f"{source.name}: complete, skipped")
        self._keep(source, Skipped(source.path))
        self._ordered.end(self._numbers[id(source)])

    def print_summary(self) -> None:
        """Print what was transcribed of several inputs, what failed, and what is not begun."""
        if len(self._sources) > 1 and self._timings:
            self._print_timings(self._timings)
            self.note(describe_run(self._timings, len(self._sources), len(self.failed)))
        if self.failed and len(self._sources) > 1:
            print_notice(f"failed: {len(self.failed)} of {len(self._sources)} inputs:")
            for name in self.failed:
                print_notice(f"  {name}")
        if self.signal is not None:
            from whisper_npu_cli.writers.document import is_complete

            n_complete = sum(is_complete(result) for result in self.results)
            print_notice(f"interrupted: {n_complete} of {len(self._sources)} inputs are complete")

    def add(self, source: Input, begin: Callable[[], Job], interrupt: Interrupt) -> None:
        """Transcribe one input; keep a failure in the results, beside the text if there is any.

        A failure of the input is reported and not raised. A failure of a device ends the run.
        """
        from whisper_npu_cli.writers.document import describe_result

        transcribed: Transcribed | None = None
        try:
            with closing(source):
                job = begin()
                interrupt.watch(job, source)
                if self.outputs.options.detect_language:
                    self._print_language(source, job)
                    return
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
            self._keep(source, transcribed)
        finally:
            self._ordered.end(self._numbers[id(source)])

    def _remember(
        self, source: Input, error: WhisperNpuError, transcribed: Transcribed | None = None
    ) -> None:
        from whisper_npu_cli.writers.document import Failed

        self._failed[self._numbers[id(source)]] = source.name
        if transcribed is None:
            self._keep(source, Failed(source.path, str(error), error.hint))
        else:
            self._keep(source, replace(transcribed, error=str(error), hint=error.hint))

    def _keep(self, source: Input, entry: Entry) -> None:
        """Keep what came of an input, without the text that nobody will ask for."""
        from whisper_npu_cli.writers.document import Transcribed

        if isinstance(entry, Transcribed) and not self.outputs.options.as_json:
            entry = replace(
                entry, text="", segments=(), windows=(), uncovered=(), timings=(), language_probs={}
            )
        self._entries[self._numbers[id(source)]] = entry

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

    def _print_text(self, source: Input, job: Job) -> None:
        """Transcribe, and print segments as they are decided."""
        earlier = job.checkpoint.segments if job.checkpoint is not None else ()
        with self._show_progress(source, job):
            job.begin()  # in which an unreadable input fails, before its title is printed
            for notice in source.notices:
                self.note(f"{source.name}: {notice}")
            is_text = not (self.outputs.options.as_json or self.outputs.options.to_stdout)
            if is_text and not self.outputs.options.as_text and len(self._sources) > 1:
                self._say(source, lambda: print(f"==> {source.name} <==", flush=True))
            for segment in chain(earlier, job):
                if is_text:
                    self._say(source, partial(self._print_segment, segment))

    def _print_language(self, source: Input, job: Job) -> None:
        """Find the language of an input, and print it with its probability."""
        from whisper_npu_cli.writers.remarks import describe_language

        with self._show_progress(source, job):
            language = describe_language(job.begin())
        name = f"{source.name}: " if len(self._sources) > 1 else ""
        self._say(source, lambda: print(f"{name}{language or 'no speech'}", flush=True))

    def _show_progress(self, source: Input, job: Job) -> AbstractContextManager[object]:
        """Show a bar, unless the work was done elsewhere."""
        quiet = self.outputs.options.quiet or job.work_done == 1
        return show_progress(lambda: self._title(source), lambda: job.work_done, quiet=quiet)

    def _title(self, source: Input) -> str:
        """Return the name of an input, after its number where there are several."""
        n_inputs = len(self._sources)
        number = f"[{self._numbers[id(source)] + 1}/{n_inputs}] " if n_inputs > 1 else ""
        return f"{number}{source.name}"

    def _print_segment(self, segment: Segment) -> None:
        if self.outputs.options.as_text:
            print_words(segment)
        else:
            print_segment(segment, colours=self.outputs.options.print_colors)

    def _say(self, source: Input, say: Callable[[], None]) -> None:
        """Print something of an input on stdout, once what is before it was printed."""
        self._ordered.say(self._numbers[id(source)], partial(self._print, say))

    def _print(self, say: Callable[[], None]) -> None:
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
                self._say(source, lambda: self.outputs.print(result.transcript))
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
        self._timings = add_timings([self._timings, timings] if self._timings else [timings])
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
