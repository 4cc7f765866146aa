"""`whisper-npu listen`: words on stdout while they are spoken, everything else on stderr."""

from __future__ import annotations

import io
import sys
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whisper_npu_cli.cli.completion import complete_model
from whisper_npu_cli.cli.console import print_notice, print_timings, stdout_errors
from whisper_npu_cli.cli.fields import Only, from_fields
from whisper_npu_cli.cli.interrupt import Interrupt
from whisper_npu_cli.cli.live import Commands, EventLines, Terminal, TextLines, View
from whisper_npu_cli.cli.outputs import OutputOptions, Outputs
from whisper_npu_cli.cli.run import was_told
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.longform.events import Listening, LiveOptions, Settled
from whisper_npu_cli.options import EngineOptions, SubtitleLayout, TranscribeOptions

if TYPE_CHECKING:
    from whisper_npu_cli.audio.live import Clock, LiveSource
    from whisper_npu_cli.longform.live import Live

_STDIN = "-"
_LAG_S = 5.0  # that is told, and then whenever it has doubled


def _print_devices(value: bool) -> None:
    if value:
        from whisper_npu_cli.audio.capture import list_devices

        for device in list_devices():
            print(f"{device.name}  {device.description}".rstrip())
        raise typer.Exit


@from_fields
def listen(
    *,
    input_: Annotated[
        str | None,
        typer.Option(
            "--input",
            "-i",
            metavar="DEVICE|FILE|-",
            help="A device of --list-devices, a recording, which is played by the clock, or - for "
            "raw PCM on stdin: 16 bits, little-endian, mono, 16 kHz (default: the system's "
            "microphone).",
        ),
    ] = None,
    _list_devices: Annotated[
        bool,
        typer.Option(
            "--list-devices",
            callback=_print_devices,
            is_eager=True,
            help="Print what can be listened to.",
        ),
    ] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="Play a recording as fast as it can be decoded.")
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            autocompletion=complete_model,
            help="Any model that transcribe takes; a small one answers sooner.",
        ),
    ] = "base",
    options: Annotated[TranscribeOptions, Only("language", "task", "initial_prompt", "hotwords")],
    live: LiveOptions,
    execute: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="COMMAND",
            help="Run a shell command for each settled text, which is on its stdin.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every event as a line of JSON.")
    ] = False,
    output: Annotated[OutputOptions, Only("output_format", "output_dir", "quiet")],
    engine: EngineOptions,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline/--no-offline", help="Never use the network.", rich_help_panel="Engine"
        ),
    ] = False,
) -> None:
    """Write down what is said, while it is said.

    Text is settled once it changes no more; on a terminal, what may still change follows it, dim.
    Ctrl-C ends it: what was said is settled, and the files are written. --json prints an event a
    line.

    Example: whisper-npu listen --language en

    Example: whisper-npu listen --exec 'wtype -' --quiet

    Example: whisper-npu listen --input samples/lucas-1-6-1-8-0.wav --model demo --fast

    Example: ffmpeg -i URL -f s16le -ac 1 -ar 16000 - | whisper-npu listen --input - -o talk.srt
    """
    from whisper_npu_cli.pipeline import Transcriber

    heard = _open_input(input_, fast=fast)
    outputs = Outputs([heard], output, SubtitleLayout())
    outputs.prepare_folders()
    session = _Session(_choose_view(output, as_json=as_json), quiet=output.quiet)
    with ExitStack() as stack:
        stack.enter_context(closing(heard.source))
        load = Transcriber(model, engine, offline=offline, notice=session.notice)
        transcriber = stack.enter_context(load)
        session.note(f"loaded {model} in {transcriber.load_s:.2f} s")
        job = transcriber.listen(heard.source, options, live, heard.clock)
        interrupt = stack.enter_context(Interrupt())
        interrupt.watch(job, heard.source)
        if execute:
            session.commands = stack.enter_context(Commands(execute, print_notice))
        try:
            session.follow(job, heard.source.name)
        finally:  # a microphone may fail after hours
            session.write(outputs, heard, job)
    if interrupt.signal is not None and not job.is_complete:
        raise typer.Exit(128 + interrupt.signal)


@dataclass(frozen=True)
class _Heard:
    """What is listened to, by which clock, and what the written files are named after."""

    source: LiveSource
    clock: Clock
    path: str
    mark: str = ""
    root: str | None = None


def _open_input(name: str | None, *, fast: bool) -> _Heard:
    """Open what is to be heard; AudioError where it is not there."""
    from whisper_npu_cli.audio.capture import Microphone
    from whisper_npu_cli.audio.encoded import FileSource
    from whisper_npu_cli.audio.find import AUDIO_SUFFIXES
    from whisper_npu_cli.audio.live import LeapingClock, PcmSource, PlayedSource, SystemClock

    path = Path(name or "")
    is_file = path.is_file() or path.suffix.lower() in AUDIO_SUFFIXES
    if fast and not is_file:
        raise UsageError("--fast is for recordings", hint="name a file with --input")
    clock = LeapingClock() if fast else SystemClock()
    if name is not None and is_file:
        recording = FileSource(name)
        recording.check()
        return _Heard(PlayedSource(recording, clock), clock, name)
    if name == _STDIN:
        stream = sys.stdin.buffer if sys.stdin else io.BytesIO()  # None where it is closed
        return _Heard(PcmSource("standard input", lambda: nullcontext(stream)), clock, "listen")
    return _Heard(Microphone(name), clock, "listen")


def _choose_view(output: OutputOptions, *, as_json: bool) -> View:
    if output.to_stdout and as_json:
        raise UsageError("--json and --output-dir - print both on stdout", hint="leave one out")
    if output.to_stdout:
        return View()
    if as_json:
        return EventLines()
    return Terminal() if sys.stdout.isatty() else TextLines()


class _Session:
    """What is told of a job while it runs, and written at its end."""

    def __init__(self, view: View, *, quiet: bool) -> None:
        from whisper_npu_cli.longform.captions import Captions

        self.commands: Commands | None = None
        self._view = view
        self._quiet = quiet
        self._captions = Captions()
        self._next_lag_s = _LAG_S

    def note(self, text: str) -> None:
        """Show a line that neither warns nor fails, unless it is to be quiet."""
        if not self._quiet:
            self._view.note(text)

    def notice(self, text: str) -> None:
        """Show a line of the engines; why the CPU computes is told once on a machine."""
        from whisper_npu_cli.engines.loading import USING_CPU

        if not (text.startswith(USING_CPU) and was_told(text)):
            self.note(text)

    def follow(self, job: Live, name: str) -> None:
        """Show what is said until it ends."""
        for event in job:
            if isinstance(event, Listening):
                self.note(f"listening to {name}: {event.policy} ({event.reason})")
            self._captions.add(event)
            if self.commands is not None and isinstance(event, Settled):
                self.commands.add(event.segment.text)
            with stdout_errors():
                self._view.show(event)
            if event.lag_s >= self._next_lag_s:
                self._view.note(f"{event.lag_s:.0f} s behind: this machine is too slow for this")
                self._next_lag_s = 2 * event.lag_s

    def write(self, outputs: Outputs, heard: _Heard, job: Live) -> None:
        """Write or print the transcript, and print the times."""
        transcript = self._captions.transcript
        if outputs.options.to_stdout:
            with stdout_errors():
                outputs.print(transcript)
        elif written := outputs.write(heard, transcript):
            self.note(f"wrote {', '.join(map(str, written))}")
        if not self._quiet:
            print_timings(job.stopwatch.read())
