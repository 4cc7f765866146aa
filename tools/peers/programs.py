"""This program and its peers behind one interface: a WAV file at 16 kHz in, segments out.

`workers.py` runs it as a child process, in the interpreter that has the program. That interpreter
may have nothing else, so a program is imported only when it is chosen. All decode at temperature 0
without fallback, because random draws could not be compared.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest import mock

from whisper_npu_cli.dims import N_SAMPLES, SAMPLE_RATE

WHISPER_EOT = 50257  # of the published multilingual vocabularies; all of them are larger
Segments = list[dict[str, Any]]


@dataclass(frozen=True)
class Ask:
    """One file, and the options to transcribe it with."""

    audio: str
    language: str = "en"
    beam: int = 1
    batch: int = 0  # windows of speech decoded together; 0 is one after the other
    timestamps: bool = True
    words: bool = False
    previous_text: bool = True  # whether earlier text precedes a window


class WhisperNpu:
    """whisper-npu, by its Python API."""

    versions = ("openvino", "numba", "numpy")

    def __init__(self, model: str, n_threads: int, precision: Any = "auto", device: Any = "cpu"):
        from whisper_npu_cli import EngineOptions, Transcriber

        engine = EngineOptions(precision=precision, n_threads=n_threads).for_device(device)
        self._transcriber = Transcriber(model, engine, notice=partial(print, file=sys.stderr))

    def transcribe(self, ask: Ask) -> Segments:
        """Transcribe with the options of `ask`."""
        from whisper_npu_cli import DecodingOptions, TranscribeOptions, WordOptions

        decoding = DecodingOptions(
            temperature_increment_on_fallback=None,
            beam_size=ask.beam if ask.beam > 1 else None,
            without_timestamps=not ask.timestamps,
            condition_on_previous_text=ask.previous_text,
        )
        options = TranscribeOptions(
            language=ask.language,
            words=WordOptions() if ask.words else None,
            decoding=decoding,
            long_form="batched" if ask.batch else "sequential",
            batch_size=ask.batch or 1,
        )
        return _to_plain(map(_pick_fields, self._transcriber.transcribe(ask.audio, options)))


class OpenAiWhisper:
    """openai-whisper in fp32, which has no batches."""

    versions = ("openai-whisper", "torch")

    def __init__(self, model: str, n_threads: int, checkpoint: str):
        import torch
        import whisper

        from tools.goldens.original import patch_vocabulary, set_alignment_heads
        from whisper_npu_cli.checkpoints import formats

        torch.set_num_threads(n_threads)
        self._model = whisper.load_model(model)
        source = formats.load(Path(checkpoint))
        set_alignment_heads(self._model, source)
        self._patches = ExitStack()
        if source.dims.n_vocab < WHISPER_EOT:  # a vocabulary unknown to openai-whisper
            self._patches.enter_context(patch_vocabulary(source))

    def transcribe(self, ask: Ask) -> Segments:
        """Transcribe with the options of `ask`."""
        result = self._model.transcribe(
            _read_samples(ask.audio),
            language=ask.language,
            fp16=False,
            temperature=0.0,
            beam_size=ask.beam if ask.beam > 1 else None,
            without_timestamps=not ask.timestamps,
            word_timestamps=ask.words,
            condition_on_previous_text=ask.previous_text,
            verbose=None,
        )
        return _to_plain(result["segments"])


class FasterWhisper:
    """faster-whisper in a precision of CTranslate2: int8 or float32."""

    versions = ("faster-whisper", "ctranslate2")

    def __init__(self, model: str, n_threads: int, precision: str):
        from faster_whisper import BatchedInferencePipeline, WhisperModel, tokenizer

        self._model = WhisperModel(model, "cpu", compute_type=precision, cpu_threads=n_threads)
        self._batched = BatchedInferencePipeline(self._model)
        if self._model.hf_tokenizer.get_vocab_size() < WHISPER_EOT:
            # It takes a vocabulary smaller than Whisper's for an English one, whose prompt
            # names no language and no task. The models used here were trained with both.
            original = tokenizer.Tokenizer

            def multilingual(source: Any, _: bool, task: str, language: str) -> Any:
                return original(source, True, task, language)

            mock.patch("faster_whisper.transcribe.Tokenizer", multilingual).start()

    def transcribe(self, ask: Ask) -> Segments:
        """Transcribe with the options of `ask`."""
        pipeline, batched = self._model, {}
        if ask.batch:
            pipeline, batched = self._batched, {"batch_size": ask.batch}
        segments, _ = pipeline.transcribe(
            _read_samples(ask.audio),
            language=ask.language,
            temperature=0.0,
            beam_size=ask.beam,
            without_timestamps=not ask.timestamps,
            word_timestamps=ask.words,
            condition_on_previous_text=ask.previous_text,
            **batched,
        )
        return _to_plain(map(_pick_fields, segments))


class Transformers:
    """Hugging Face's model in fp32: long form with timestamps, else windows of 30 s."""

    versions = ("transformers", "torch")

    def __init__(self, model: str, n_threads: int):
        import torch
        from tokenizers import Tokenizer
        from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

        torch.set_num_threads(n_threads)
        self._model = WhisperForConditionalGeneration.from_pretrained(model, dtype=torch.float32)
        self._features = WhisperFeatureExtractor.from_pretrained(model)
        self._tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))

    def transcribe(self, ask: Ask) -> Segments:
        """Transcribe with the options of `ask`; windows of 30 s are cut anywhere."""
        samples = _read_samples(ask.audio)
        if ask.timestamps:
            rows = self._generate(
                ask,
                self._features(
                    samples,
                    sampling_rate=SAMPLE_RATE,
                    truncation=False,
                    padding="longest",
                    return_attention_mask=True,
                    return_tensors="pt",
                ),
                return_timestamps=True,
                condition_on_prev_tokens=ask.previous_text,
                temperature=0.0,
            )
        else:
            windows = [samples[i : i + N_SAMPLES] for i in range(0, len(samples), N_SAMPLES)]
            n = ask.batch or 1
            batches = [windows[i : i + n] for i in range(0, len(windows), n)]
            rows = [
                row
                for batch in batches
                for row in self._generate(
                    ask, self._features(batch, sampling_rate=SAMPLE_RATE, return_tensors="pt")
                )
            ]
        texts = ([token for token in row if token < WHISPER_EOT] for row in rows)
        return [{"tokens": row, "text": self._tokenizer.decode(row)} for row in texts]

    def _generate(self, ask: Ask, features: Any, **options: Any) -> list[list[int]]:
        tokens = self._model.generate(
            **features,
            language=ask.language,
            task="transcribe",
            num_beams=ask.beam,
            do_sample=False,
            **options,
        )
        return tokens.tolist()  # type: ignore[no-any-return]


class OpenVinoGenAi:
    """OpenVINO GenAI's pipeline; it tells how many tokens it generated, but not which."""

    versions = ("openvino-genai", "openvino-tokenizers")

    def __init__(self, model: str, n_threads: int):
        from openvino_genai import WhisperPipeline

        self._pipeline = WhisperPipeline(model, "CPU", INFERENCE_NUM_THREADS=n_threads)

    def transcribe(self, ask: Ask) -> Segments:
        """Transcribe with the options of `ask`; it has no batches, and no text before."""
        result = self._pipeline.generate(
            _read_samples(ask.audio),
            language=f"<|{ask.language}|>",
            task="transcribe",
            num_beams=ask.beam,
            return_timestamps=ask.timestamps,
        )
        n_generated = result.perf_metrics.get_num_generated_tokens()  # of all beams
        return [{"text": result.texts[0], "tokens": [0] * (n_generated // ask.beam)}]


class WhisperCpp:
    """whisper.cpp's command; it loads its model for every file, and that time is left out."""

    versions = ()

    def __init__(self, model: str, n_threads: int, binary: str):
        self._command = [binary, "-m", model, "-t", str(n_threads), "-nf", "-ojf"]
        self.load_s = 0.0  # seconds to load the model for the last file

    def transcribe(self, ask: Ask) -> Segments:
        """Transcribe with the options of `ask`; it has no batches and no words here."""
        search = ["-l", ask.language, "-bs", str(ask.beam), "-bo", "1"]
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "result"
            command = [*self._command, *search, "-f", ask.audio, "-of", str(output)]
            command += [] if ask.timestamps else ["-nt"]
            command += [] if ask.previous_text else ["-mc", "0"]
            done = subprocess.run(command, check=True, capture_output=True)
            self.load_s = float(re.findall(rb"load time = *([\d.]+) ms", done.stderr)[0]) / 1000
            result = json.loads(output.with_suffix(".json").read_bytes().decode("utf-8", "replace"))
        return [
            {
                "text": segment["text"],
                "tokens": [token["id"] for token in segment["tokens"] if token["id"] < WHISPER_EOT],
            }
            for segment in result["transcription"]
        ]


PROGRAMS: dict[str, Any] = {
    "whisper-npu": WhisperNpu,
    "openai-whisper": OpenAiWhisper,
    "faster-whisper": FasterWhisper,
    "transformers": Transformers,
    "openvino-genai": OpenVinoGenAi,
    "whisper.cpp": WhisperCpp,
}


def _read_samples(path: str) -> Any:
    import soundfile

    return soundfile.read(path, dtype="float32")[0]


def _pick_fields(segment: Any) -> dict[str, Any]:
    words = [vars(word) for word in segment.words or ()]
    return {name: getattr(segment, name) for name in ("start", "end", "text", "tokens")} | {
        "words": words
    }


def _to_plain(segments: Iterable[dict[str, Any]]) -> Segments:
    """Return the compared fields of the segments with text."""
    return [
        {
            "text": segment["text"],
            "tokens": [int(token) for token in segment["tokens"]],
            "words": [
                [word["word"], float(word["start"]), float(word["end"])]
                for word in segment.get("words") or ()
            ],
        }
        for segment in segments
        if segment["text"].strip() and segment["start"] != segment["end"]
    ]


def _read_peak_mb() -> float:
    """Return the peak memory of this process, or of one that it ran."""
    status = Path("/proc/self/status").read_text()  # ru_maxrss would include the parent's fork
    own_kb = int(re.findall(r"VmHWM:\s*(\d+)", status)[0])
    return max(own_kb, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def main() -> None:
    """Answer each JSON line on stdin with one on stdout; everything else goes to stderr."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    arguments = json.loads(sys.argv[1])
    kind = PROGRAMS[arguments.pop("program")]
    program = kind(**arguments)
    print(json.dumps({name: version(name) for name in kind.versions}), file=replies, flush=True)
    for line in sys.stdin:
        ask = Ask(**json.loads(line))
        start = perf_counter()
        segments = program.transcribe(ask)
        seconds = perf_counter() - start - getattr(program, "load_s", 0.0)
        reply = {"seconds": seconds, "peak_mb": _read_peak_mb(), "segments": segments}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
