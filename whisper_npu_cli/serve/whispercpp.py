"""The API of whisper.cpp's server: the fields of `/inference`, and its answers.

Names and shapes are those of its `examples/server/server.cpp`. A field that this module does not
name has no effect.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.responses import JSONResponse, Response

from whisper_npu_cli.checkpoints.languages import LANGUAGES, language_code
from whisper_npu_cli.options import TranscribeOptions, WordOptions
from whisper_npu_cli.serve.forms import Form
from whisper_npu_cli.serve.jobs import Job
from whisper_npu_cli.serve.openai import MEDIA_TYPES
from whisper_npu_cli.serve.refusals import Refusal
from whisper_npu_cli.transcript import Segment, Transcript
from whisper_npu_cli.writers import make_writers

PATHS = ("/inference", "/load")
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
# Its names of numbers that DecodingOptions has under openai-whisper's
_NUMBERS = {
    "temperature": "temperature",
    "temperature_inc": "temperature_increment_on_fallback",
    "logprob_thold": "logprob_threshold",
    "no_speech_thold": "no_speech_threshold",
}
_MIN_PROB = 0.001  # of the languages that it lists
_FLAGS = {
    "no_timestamps": "without_timestamps",
    "carry_initial_prompt": "carry_initial_prompt",
}


class Inference:
    """How a request to `/inference` wants to be answered, over the options `base` of the server.

    Refusal and UsageError for what contradicts itself.
    """

    def __init__(self, form: Form, base: TranscribeOptions) -> None:
        self._format = form.get_choice("response_format", FORMATS)
        self._is_verbose = self._format == "verbose_json"
        self._is_translation = form.get_flag("translate")
        self.options = self._read_options(form, base)

    def _read_options(self, form: Form, base: TranscribeOptions) -> TranscribeOptions:
        values: dict[str, Any] = {
            ours: number
            for theirs, ours in _NUMBERS.items()
            if (number := form.get_number(theirs)) is not None
        }
        values |= {ours: True for theirs, ours in _FLAGS.items() if form.get_flag(theirs)}
        if values.get("temperature_increment_on_fallback") == 0:
            values["temperature_increment_on_fallback"] = None
        if (n_beams := form.get_count("beam_size")) is not None:
            values["beam_size"] = n_beams if n_beams > 1 else None  # -1 is greedy there
        if (n_samples := form.get_count("best_of")) is not None:
            values["best_of"] = n_samples
        if (prompt := form.get_text("prompt")) is not None:
            values["initial_prompt"] = prompt
        options = replace(base, decoding=replace(base.decoding, **values))
        if self._is_translation:
            options = replace(options, task="translate")
        language = form.get_text("language")
        if language is not None:
            code = None if language == "auto" else language_code(language)
            options = replace(options, language=code)
        return replace(options, words=WordOptions()) if self._is_verbose else options

    def make(self, job: Job) -> Response:
        """Return the answer."""
        transcript = job.result.transcript
        if self._format in ("srt", "vtt"):
            written = make_writers()[self._format](transcript)
            return Response(written, media_type=MEDIA_TYPES[self._format])
        text = "".join(f"{segment.text}\n" for segment in transcript.segments)
        if self._format == "text":
            return Response(text, media_type="text/html")
        content: dict[str, Any] = {"text": text}
        return JSONResponse(content | (self._describe(transcript) if self._is_verbose else {}))

    def _describe(self, transcript: Transcript) -> dict[str, Any]:
        content: dict[str, Any] = {
            "task": "translate" if self._is_translation else "transcribe",
            "language": LANGUAGES.get(transcript.language, ""),
            "duration": transcript.duration_s,
            "segments": [_describe_segment(segment) for segment in transcript.segments],
        }
        if probs := transcript.language_probs:  # it was detected
            content["detected_language"] = content["language"]
            content["detected_language_probability"] = probs[transcript.language]
            content["language_probabilities"] = {k: v for k, v in probs.items() if v > _MIN_PROB}
        return content


def describe_error(refusal: Refusal) -> dict[str, Any]:
    """Return the JSON of a refusal."""
    return {"error": refusal.message}


def _describe_segment(segment: Segment) -> dict[str, Any]:
    words = [
        {"word": w.word, "start": w.start, "end": w.end, "probability": w.probability}
        for w in segment.words or ()
    ]
    names = ("id", "text", "start", "end", "tokens", "temperature", "avg_logprob", "no_speech_prob")
    return {name: getattr(segment, name) for name in names} | {"words": words}
