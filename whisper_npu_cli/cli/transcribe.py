"""`whisper-npu transcribe`: inputs in, transcript on stdout, everything else on stderr."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from whisper_npu_cli.cli.console import print_error, print_notice, print_timings, progress_bar
from whisper_npu_cli.errors import AudioError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from whisper_npu_cli.audio import AudioSource
    from whisper_npu_cli.pipeline import TranscribeOptions, Transcriber
    from whisper_npu_cli.transcript import Segment, Transcript


OutputFormat: TypeAlias = Literal["txt", "srt", "vtt", "tsv", "json", "all"]


def transcribe(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Audio or video files, folders, or - for stdin."),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Alias (tiny … large-v3-turbo, demo), Hugging Face repo id, folder, "
            "or random:SIZE.",
        ),
    ] = "base",
    language: Annotated[
        str | None,
        typer.Option("--language", "-l", help="Code or name; detected where not given."),
    ] = None,
    task: Annotated[
        Literal["transcribe", "translate"],
        typer.Option(help="Write the words as spoken, or in English."),
    ] = "transcribe",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of text.")
    ] = False,
    output_format: Annotated[
        OutputFormat | None,
        typer.Option("--output-format", "-f", help="Also write a file for each input."),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="Folder of the written files (default: here)."),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "reference"],
        typer.Option(help="Compute engine.", rich_help_panel="Engine"),
    ] = "auto",
    precision: Annotated[
        Literal["auto", "bf16", "f32"],
        typer.Option(help="Encoder arithmetic.", rich_help_panel="Engine"),
    ] = "auto",
    cross_kv: Annotated[
        Literal["int8", "f32"],
        typer.Option(help="Decoder cross-attention cache.", rich_help_panel="Engine"),
    ] = "int8",
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads (default: physical cores).", rich_help_panel="Engine"),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Never use the network.", rich_help_panel="Engine")
    ] = False,
) -> None:
    """Transcribe audio files to text.

    Segments are printed as they are decided; a file that fails does not stop the others.

    Example: whisper-npu transcribe talk.mp3 --model base --output-format srt
    """
    from whisper_npu_cli.audio import find_audio
    from whisper_npu_cli.engine import EngineOptions
    from whisper_npu_cli.languages import language_code
    from whisper_npu_cli.pipeline import TranscribeOptions, load_transcriber
    from whisper_npu_cli.report import document

    sources = find_audio(paths)
    outputs = Outputs(output_format, output_dir)
    outputs.check_names(sources)
    engine = EngineOptions(device, precision, cross_kv, threads)
    options = TranscribeOptions(language=language_code(language) if language else None, task=task)
    with load_transcriber(model, engine, offline=offline, notice=print_notice) as transcriber:
        if device == "auto":
            print_notice(f"device: {transcriber.engines.device} ({transcriber.engines.reason})")
        run = Run(transcriber, options, outputs, as_json=as_json, n_inputs=len(sources))
        for source in sources:
            run.add(source)
    if as_json:
        print(json.dumps(document(model, transcriber.engines, run.results), ensure_ascii=False))
    if run.failed:
        if len(sources) > 1:
            print_notice(f"failed: {len(run.failed)} of {len(sources)} inputs:")
            for name in run.failed:
                print_notice(f"  {name}")
        raise typer.Exit(1)


class Outputs:
    """The transcript files to write, beside what goes to stdout."""

    def __init__(self, output_format: OutputFormat | None, folder: Path | None) -> None:
        from whisper_npu_cli.writers import WRITERS

        if folder is not None and output_format is None:
            output_format = "all"
        self._folder = folder or Path()
        self._suffixes: list[str] = []
        if output_format is not None:
            self._suffixes = list(WRITERS) if output_format == "all" else [output_format]

    def check_names(self, sources: Sequence[AudioSource]) -> None:
        """Refuse inputs that would overwrite each other's files: UsageError."""
        seen: dict[str, AudioSource] = {}
        for source in sources if self._suffixes else ():
            other = seen.setdefault(output_stem(source), source)
            if other is not source:
                raise UsageError(
                    f"{other.name} and {source.name} would be written to the same files",
                    hint="transcribe them in two runs with different --output-dir",
                )

    def write(self, source: AudioSource, transcript: Transcript) -> None:
        """Write the files of one input, each replaced as a whole; raises OutputError."""
        from whisper_npu_cli.writers import WRITERS, write_atomically

        for suffix in self._suffixes:
            path = self._folder / f"{output_stem(source)}.{suffix}"
            write_atomically(path, WRITERS[suffix](transcript))


class Run:
    """Inputs transcribed one after another with one loaded model."""

    def __init__(
        self,
        transcriber: Transcriber,
        options: TranscribeOptions,
        outputs: Outputs,
        *,
        as_json: bool,
        n_inputs: int,
    ) -> None:
        self.results: list[dict[str, Any]] = []
        self.failed: list[str] = []
        self._transcriber = transcriber
        self._options = options
        self._outputs = outputs
        self._as_json = as_json
        self._n_inputs = n_inputs

    def add(self, source: AudioSource) -> None:
        """Transcribe one input; a failure is reported, remembered, and not raised."""
        try:
            with source:
                self.results.append(self._transcribe(source))
        except (AudioError, OutputError) as error:
            print_error(error)
            self.failed.append(source.name)
            self.results.append({"path": source.path, "error": str(error), "hint": error.hint})

    def _transcribe(self, source: AudioSource) -> dict[str, Any]:
        from whisper_npu_cli.report import result_fields

        if self._n_inputs > 1 and not self._as_json:
            print(f"==> {source.name} <==", flush=True)
        job = self._transcriber.transcribe(source, self._options)
        with progress_bar(source.name) as show:
            for segment in job:
                if not self._as_json:
                    print(segment_line(segment), flush=True)
                show(job.progress)
        with job.timings.measure("write"):
            self._outputs.write(source, job.transcript)
        print_timings(job.timings)
        return result_fields(source.path, job.transcript, job.timings)


def output_stem(source: AudioSource) -> str:
    """Return the name of an input's files, without suffix."""
    return "stdin" if source.path == "-" else Path(source.path).stem


def segment_line(segment: Segment) -> str:
    """Return a segment as openai/whisper prints it: `[00:00.000 --> 00:02.400] text`."""
    from whisper_npu_cli.writers import format_timestamp

    start, end = (
        format_timestamp(seconds, hours=False, decimal_marker=".")
        for seconds in (segment.start, segment.end)
    )
    return f"[{start} --> {end}] {segment.text}"
