"""`whisper-npu transcribe`: inputs in, transcript on stdout, everything else on stderr."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from whisper_npu_cli.cli import decoding, longform, words
from whisper_npu_cli.cli.console import print_notice
from whisper_npu_cli.cli.outputs import OutputFormat, Outputs, location, print_document
from whisper_npu_cli.cli.run import Printing, Run
from whisper_npu_cli.longform.words import WordOptions


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
            help="Alias (tiny ... large-v3-turbo, demo), Hugging Face repo id, folder, "
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
        typer.Option("--clip-timestamps", help="Only these parts: start,end,start,... in seconds."),
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
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Skip inputs whose files are all there, and newer than the input.",
            rich_help_panel="Batch work",
        ),
    ] = False,
    long_form: longform.Mode = "auto",
    batch_size: longform.BatchSize = 8,
    vad_threshold: longform.Threshold = 0.5,
    vad_neg_threshold: longform.NegThreshold = None,
    vad_min_speech_duration_ms: longform.MinSpeech = 0,
    vad_max_speech_duration_s: longform.MaxSpeech = 30.0,
    vad_min_silence_duration_ms: longform.MinSilence = 160,
    vad_speech_pad_ms: longform.SpeechPad = 400,
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
        str,
        typer.Option(
            metavar="DEVICE",
            help="auto, npu, cpu, reference, sim (the NPU's engine on a simulated chip), or "
            "openvino:NAME (CPU, GPU, NPU, AUTO: Intel's devices).",
            rich_help_panel="Engine",
        ),
    ] = "auto",
    precision: Annotated[
        Literal["auto", "bf16", "f32", "int8"],
        typer.Option(
            help="Encoder arithmetic; int8: in products with weights, for CPUs with VNNI.",
            rich_help_panel="Engine",
        ),
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
    Ctrl-C ends after the windows being decoded and writes what there is to NAME.partial.SUFFIX;
    --resume goes on with what is not complete.

    Example: whisper-npu transcribe talk.mp3 --model base --output-format srt

    Example: whisper-npu transcribe interviews/ --output-format all --output-dir texts --resume

    Example: whisper-npu transcribe - --language en --json < talk.ogg > talk.json
    """
    from whisper_npu_cli.audio.sources import find_audio
    from whisper_npu_cli.checkpoints.languages import language_code
    from whisper_npu_cli.engines.registry import EngineOptions
    from whisper_npu_cli.options import TranscribeOptions
    from whisper_npu_cli.pipeline import Transcriber
    from whisper_npu_cli.report import document

    # an input that is named twice is transcribed once
    sources = list({location(source.path): source for source in find_audio(paths)}.values())
    layout = words.subtitle_layout(context.params)
    outputs = Outputs(sources, output_format, output_dir, layout, stdin_name)
    if resume:
        outputs.check_resumable()
    engine = EngineOptions(device, precision, cross_kv, threads, xclbins, exact)
    options = TranscribeOptions(
        language=language_code(language) if language else None,
        multilingual=multilingual,
        task=task,
        clip_timestamps=decoding.clip_timestamps(clips),
        words=words.word_options(context.params),
        decoding=decoding.decoding_options(context.params),
        long_form=long_form,
        batch_size=batch_size,
        vad=longform.vad_options(context.params),
    )
    printing = Printing(as_json, print_colors, len(sources) > 1)
    run = Run(sources, options, outputs, printing, resume=resume)
    engines = None
    try:
        if run.has_input():  # before a model is downloaded and loaded for nothing
            outputs.check_folder()
            with Transcriber(model, engine, offline=offline, notice=print_notice) as transcriber:
                engines = transcriber.engines
                run.add_all(transcriber)
    finally:
        if as_json and run.results:  # also those from before a device failed
            print_document(document(model, engines, run.results))
    run.print_summary()
    if run.is_interrupted:
        raise typer.Exit(130)
    if run.failed:
        raise typer.Exit(1)
