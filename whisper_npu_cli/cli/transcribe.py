"""`whisper-npu transcribe`: inputs in, transcript on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from whisper_npu_cli.cli import decoding, words
from whisper_npu_cli.cli.console import (
    print_device_times,
    print_error,
    print_notice,
    print_timings,
    progress_bar,
)
from whisper_npu_cli.cli.outputs import OutputFormat, Outputs, print_segment
from whisper_npu_cli.errors import AudioError, OutputError, UsageError
from whisper_npu_cli.words import WordOptions

if TYPE_CHECKING:
    from whisper_npu_cli.audio import AudioSource
    from whisper_npu_cli.options import TranscribeOptions
    from whisper_npu_cli.pipeline import Transcriber


def transcribe(
    context: typer.Context,
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
    multilingual: Annotated[
        bool, typer.Option("--multilingual", help="Detect the language of every window.")
    ] = False,
    task: Annotated[
        Literal["transcribe", "translate"],
        typer.Option(help="Write the words as spoken, or in English."),
    ] = "transcribe",
    clips: Annotated[
        str,
        typer.Option("--clip-timestamps", help="Only these parts: start,end,start,… in seconds."),
    ] = "0",
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
    stdin_name: Annotated[
        str, typer.Option(help="Name of the files written for standard input.")
    ] = "stdin",
    word_timestamps: words.WordTimestamps = False,
    highlight_words: words.HighlightWords = False,
    max_line_width: words.MaxLineWidth = None,
    max_line_count: words.MaxLineCount = None,
    max_words_per_line: words.MaxWordsPerLine = None,
    prepend_punctuations: words.PrependPunctuations = WordOptions.prepend_punctuations,
    append_punctuations: words.AppendPunctuations = WordOptions.append_punctuations,
    hallucination_silence_threshold: words.HallucinationSilenceThreshold = None,
    print_colors: words.PrintColors = False,
    beam_size: decoding.BeamSize = 5,
    patience: decoding.Patience = None,
    length_penalty: decoding.LengthPenalty = None,
    best_of: decoding.BestOf = 5,
    seed: decoding.Seed = 0,
    suppress_tokens: decoding.SuppressTokens = "-1",
    suppress_blank: decoding.SuppressBlank = True,
    without_timestamps: decoding.WithoutTimestamps = False,
    max_initial_timestamp: decoding.MaxInitialTimestamp = 1.0,
    repetition_penalty: decoding.RepetitionPenalty = 1.0,
    no_repeat_ngram_size: decoding.NoRepeatNgramSize = 0,
    temperature: decoding.Temperature = 0.0,
    temperature_increment_on_fallback: decoding.TemperatureIncrement = 0.2,
    compression_ratio_threshold: decoding.CompressionRatioThreshold = 2.4,
    logprob_threshold: decoding.LogprobThreshold = -1.0,
    no_speech_threshold: decoding.NoSpeechThreshold = 0.6,
    condition_on_previous_text: decoding.ConditionOnPreviousText = True,
    initial_prompt: decoding.InitialPrompt = None,
    carry_initial_prompt: decoding.CarryInitialPrompt = False,
    prefix: decoding.Prefix = None,
    hotwords: decoding.Hotwords = None,
    device: Annotated[
        Literal["auto", "npu", "cpu", "reference", "sim"],
        typer.Option(
            help="Compute engine; sim: the NPU's on a simulated chip.", rich_help_panel="Engine"
        ),
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
    xclbins: Annotated[
        Path | None,
        typer.Option(help="Folder of the NPU overlay.", rich_help_panel="Engine"),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="With --device sim: run the overlay's own designs and kernels (checkout, g++).",
            rich_help_panel="Engine",
        ),
    ] = False,
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
    from whisper_npu_cli.options import TranscribeOptions
    from whisper_npu_cli.pipeline import load_transcriber
    from whisper_npu_cli.report import document

    if exact:
        _choose_exact(device)
    sources = find_audio(paths)
    layout = words.subtitle_layout(context.params)
    outputs = Outputs(output_format, output_dir, layout, stdin_name)
    outputs.check_names(sources)
    engine = EngineOptions(device, precision, cross_kv, threads, xclbins)
    options = TranscribeOptions(
        language=language_code(language) if language else None,
        multilingual=multilingual,
        task=task,
        clip_timestamps=decoding.clip_timestamps(clips),
        words=words.word_options(context.params),
        decoding=decoding.decoding_options(context.params),
    )
    with load_transcriber(model, engine, offline=offline, notice=print_notice) as transcriber:
        if device == "auto":
            print_notice(f"device: {transcriber.engines.device} ({transcriber.engines.reason})")
        printing = Printing(as_json, print_colors, has_titles=len(sources) > 1)
        run = Run(transcriber, options, outputs, printing)
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


def _choose_exact(device: str) -> None:
    """Let the worker that owns the simulated chip run the overlay's sources."""
    from whisper_npu_cli.npu.standin.open import EXACT_VARIABLE

    if device != "sim":
        raise UsageError("--exact needs --device sim")
    os.environ[EXACT_VARIABLE] = "1"


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
        self._transcriber = transcriber
        self._options = options
        self._outputs = outputs
        self._printing = printing

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

        if self._printing.has_titles and not self._printing.as_json:
            print(f"==> {source.name} <==", flush=True)
        job = self._transcriber.transcribe(source, self._options)
        with progress_bar(source.name) as show:
            for segment in job:
                if not self._printing.as_json:
                    print_segment(segment, colours=self._printing.colours)
                show(job.progress)
        with job.timings.measure("write"):
            self._outputs.write(source, job.transcript)
        print_timings(job.timings)
        print_device_times([window.proof for window in job.windows])
        return result_fields(source.path, job.transcript, job.timings, job.windows)
