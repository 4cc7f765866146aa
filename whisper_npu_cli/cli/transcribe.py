"""`whisper-npu transcribe`: inputs in, the transcript on stdout, everything else on stderr."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import inf
from typing import TYPE_CHECKING, Annotated

import typer

from whisper_npu_cli.cli.completion import complete_model
from whisper_npu_cli.cli.console import describe_fleet, show_progress
from whisper_npu_cli.cli.fields import from_fields
from whisper_npu_cli.cli.outputs import OutputOptions, Outputs, print_json
from whisper_npu_cli.cli.run import Run
from whisper_npu_cli.cluster.settings import ClusterOptions
from whisper_npu_cli.environment import collect_versions, find_shipped
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.options import (
    EngineOptions,
    InputOptions,
    SubtitleLayout,
    TranscribeOptions,
    WordOptions,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whisper_npu_cli.cli.sites import Site
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
    cluster: ClusterOptions,
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
    from whisper_npu_cli.audio.find import find_audio, pick_shard
    from whisper_npu_cli.checkpoints.languages import language_code

    if layout != SubtitleLayout():  # made of words
        options = replace(options, words=options.words or WordOptions())
    if options.language is not None:
        options = replace(options, language=language_code(options.language))
    _refuse_contradictions(inputs, options, cluster)
    found = find_audio(paths, inputs)
    outputs = Outputs(found, output, layout)  # whose names depend on all inputs
    run = Run(pick_shard(found, *cluster.part), model, options, outputs)
    _finish(run, _Work(model, engine, cluster, offline))


def _refuse_contradictions(
    inputs: InputOptions, options: TranscribeOptions, cluster: ClusterOptions
) -> None:
    if cluster.ship and inputs.follow:
        raise UsageError(
            "--ship and --follow exclude each other", hint="send the files once they are whole"
        )
    if cluster.split_minutes is not None and options.speakers is not None:
        raise UsageError("--split-minutes and --speakers exclude each other", hint="leave one out")
    if cluster.split_minutes is not None and options.long_form_of(inf) != "batched":
        raise UsageError(
            "--split-minutes is for batched mode: in sequential mode windows depend on each other",
            hint="add --long-form batched, or leave out --split-minutes",
        )


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
    _finish(run, _Work(DEMO, EngineOptions(), ClusterOptions(), offline=True))


@dataclass(frozen=True)
class _Work:
    """What transcribes."""

    model: str
    engine: EngineOptions
    cluster: ClusterOptions
    offline: bool


def _finish(run: Run, work: _Work) -> None:
    """Transcribe, and exit with the status."""
    _transcribe_all(run, work)
    run.print_summary()
    if run.signal is not None:
        raise typer.Exit(128 + run.signal)
    if run.failed or run.has_losses or run.stdout_error:
        raise typer.Exit(1)


def _transcribe_all(run: Run, work: _Work) -> None:
    from whisper_npu_cli.writers.document import to_plain

    open_site = _open_here if work.cluster.cluster is None else _open_cluster
    site = None
    try:
        if run.has_input():  # else no model is downloaded and loaded
            run.outputs.prepare_folders()
            with open_site(run, work) as site:
                run.add_all(site)
    finally:
        is_empty = not run.results and run.has_sources
        if run.outputs.options.as_json and not is_empty:  # also after the failure of a device
            print_json(to_plain(_describe_run(work.model, site, run)))


@contextmanager
def _open_here(run: Run, work: _Work) -> Iterator[Site]:
    """Load the model into this process."""
    from whisper_npu_cli.audio.isolated import prepare
    from whisper_npu_cli.cli.sites import Here
    from whisper_npu_cli.pipeline import Transcriber

    prepare()  # while the model is loaded
    loading = Transcriber(work.model, work.engine, offline=work.offline, notice=run.notice)
    with loading as transcriber:
        run.note(f"loaded {work.model} in {transcriber.load_s:.2f} s")
        yield Here(transcriber)


@contextmanager
def _open_cluster(run: Run, work: _Work) -> Iterator[Site]:
    """Reach the workers, and show how far all of the inputs are."""
    if find_spec("distributed") is None:
        raise UsageError(
            "--cluster needs distributed", hint="pip install 'whisper-npu-cli[cluster]'"
        )
    from whisper_npu_cli.cluster.connection import open_fleet
    from whisper_npu_cli.cluster.tasks import Setup

    setup = Setup.describe(work.model, work.engine, offline=work.offline)
    with open_fleet(work.cluster, setup, run.note) as fleet:
        run.note(f"{fleet.tally.workers} at {fleet.address}")

        def describe() -> str:
            return describe_fleet(fleet.tally, len(run.failed))

        def estimate() -> float:
            return run.estimate_done(fleet.tally.n_partly)

        with show_progress(describe, estimate, quiet=run.outputs.options.quiet):
            yield fleet
        run.note(describe())


def _describe_run(model: str, site: Site | None, run: Run) -> Document:
    from whisper_npu_cli.writers.document import SCHEMA_VERSION, Document

    return Document(
        schema_version=SCHEMA_VERSION,
        model=model,
        device=site.device if site else None,
        load_s=site.load_s if site else None,
        versions=collect_versions(),
        results=run.results,
    )
