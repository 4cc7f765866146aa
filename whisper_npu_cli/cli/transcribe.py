"""`whisper-npu transcribe`: inputs in, the transcript on stdout, everything else on stderr."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from whisper_npu_cli.cli.completion import complete_model
from whisper_npu_cli.cli.fields import from_fields
from whisper_npu_cli.cli.outputs import OutputOptions, Outputs, print_json
from whisper_npu_cli.cli.run import Run
from whisper_npu_cli.environment import collect_versions, find_shipped
from whisper_npu_cli.options import (
    EngineOptions,
    InputOptions,
    SubtitleLayout,
    TranscribeOptions,
    WordOptions,
)

if TYPE_CHECKING:
    from whisper_npu_cli.pipeline import Transcriber
    from whisper_npu_cli.writers.document import Document

_SAMPLE = "samples/lucas-1-6-1-8-0.wav"


def _print_schema(value: bool) -> None:
    if value:
        from whisper_npu_cli.writers.document import make_json_schema

        print_json(make_json_schema())
        raise typer.Exit


# It is long because its parameters are the options and its docstring is the help.
@from_fields
def transcribe(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Audio or video files, folders, or - for stdin."),
    ],
    *,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            autocompletion=complete_model,
            help="Alias (tiny ... large-v3-turbo, demo), Hugging Face repo id, folder, "
            "or random:SIZE.",
        ),
    ] = "base",
    inputs: InputOptions,
    options: TranscribeOptions,
    _json_schema: Annotated[
        bool,
        typer.Option(
            "--json-schema",
            callback=_print_schema,
            is_eager=True,
            help="Print the JSON Schema of what --json prints.",
        ),
    ] = False,
    layout: SubtitleLayout,
    output: OutputOptions,
    engine: EngineOptions,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline/--no-offline", help="Never use the network.", rich_help_panel="Engine"
        ),
    ] = False,
) -> None:
    """Transcribe audio files to text.

    Segments are printed as they are decided; a file that fails does not stop the others.
    Ctrl-C (and SIGTERM) ends after the window being decoded and writes what there is to
    NAME.partial.SUFFIX; --resume goes on from there. `whisper-npu config --help` says how options
    get other defaults.

    Example: whisper-npu transcribe talk.mp3 --model base --output-format srt

    Example: whisper-npu transcribe film.mkv --subtitles --output-format srt

    Example: whisper-npu transcribe interviews/ --output-format all --output-dir texts --resume

    Example: whisper-npu transcribe - --language en --json < talk.ogg > talk.json
    """
    from whisper_npu_cli.audio.find import find_audio
    from whisper_npu_cli.checkpoints.languages import language_code

    if layout != SubtitleLayout():  # made of words
        options = replace(options, words=options.words or WordOptions())
    if options.language is not None:
        options = replace(options, language=language_code(options.language))
    sources = find_audio(paths, inputs)
    run = Run(sources, model, options, Outputs(sources, output, layout))
    _finish(run, model, engine, offline=offline)


def demo() -> None:
    """Transcribe the recording that comes with the program.

    Someone says four digits and another, to the model that comes with it: no microphone, no
    network, no file is needed.

    Example: whisper-npu demo
    """
    from whisper_npu_cli.audio.find import find_audio
    from whisper_npu_cli.checkpoints.names import DEMO

    sources = find_audio([str(find_shipped(_SAMPLE))])
    outputs = Outputs(sources, OutputOptions(), SubtitleLayout())
    run = Run(sources, DEMO, TranscribeOptions(), outputs)
    _finish(run, DEMO, EngineOptions(), offline=True)


def _finish(run: Run, model: str, engine: EngineOptions, *, offline: bool) -> None:
    """Transcribe, and exit with the status."""
    _transcribe_all(run, model, engine, offline=offline)
    run.print_summary()
    if run.signal is not None:
        raise typer.Exit(128 + run.signal)
    if run.failed or run.has_losses or run.stdout_error:
        raise typer.Exit(1)


def _transcribe_all(run: Run, model: str, engine: EngineOptions, *, offline: bool) -> None:
    from whisper_npu_cli.audio.isolated import prepare
    from whisper_npu_cli.pipeline import Transcriber
    from whisper_npu_cli.writers.document import to_plain

    transcriber = None
    try:
        if run.has_input():  # else no model is downloaded and loaded
            run.outputs.check_folder()
            prepare()  # while the model is loaded
            with Transcriber(model, engine, offline=offline, notice=run.notice) as transcriber:
                run.note(f"loaded {model} in {transcriber.load_s:.2f} s")
                run.add_all(transcriber)
    finally:
        if run.outputs.options.as_json and run.results:  # also after the failure of a device
            print_json(to_plain(_describe_run(model, transcriber, run)))


def _describe_run(model: str, transcriber: Transcriber | None, run: Run) -> Document:
    from whisper_npu_cli.writers.document import SCHEMA_VERSION, Device, Document

    device = None
    if transcriber is not None:
        engines = transcriber.engines
        device = Device(engines.device, engines.reason, engines.incidents)
    return Document(
        schema_version=SCHEMA_VERSION,
        model=model,
        device=device,
        load_s=transcriber.load_s if transcriber else None,
        versions=collect_versions(),
        results=run.results,
    )
