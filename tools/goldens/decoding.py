"""Goldens of decoding: windows and whole recordings decoded by openai-whisper."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.decoding_model import (
    DEMO_RECORDINGS,
    LONG_CASES,
    WINDOW_CASES,
    lively_checkpoint,
    noise,
    windows,
)
from tests.support.digits import compose_recording
from tests.support.places import DEMO
from tools.goldens.original import load_original, patch_vocabulary
from tools.goldens.provenance import hash_weights, write_json
from whisper_npu_cli.checkpoints import huggingface


def decode_windows(model: Any, mels: list[NDArray[np.float32]], case: dict[str, Any]) -> list[Any]:
    """Return openai-whisper's result for each of `mels`, decoded one by one."""
    import torch
    import whisper

    options = whisper.DecodingOptions(fp16=False, language="en", **case)
    results = [whisper.decode(model, torch.from_numpy(mel), options) for mel in mels]
    return [
        {
            "tokens": [int(token) for token in result.tokens],
            "avg_logprob": result.avg_logprob,
            "compression_ratio": result.compression_ratio,
            "no_speech_prob": result.no_speech_prob,
        }
        for result in results
    ]


def transcribe_original(
    model: Any, samples: NDArray[np.float32], case: dict[str, Any], *also_kept: str
) -> Any:
    """Return the segments that openai-whisper's command line gives with the options of `case`."""
    import whisper

    case = {"beam_size": 5, "best_of": 5} | case
    increment = case.pop("temperature_increment_on_fallback", 0.2)
    temperatures = (0.0,) if increment is None else tuple(np.arange(0, 1 + 1e-6, increment))
    clips = list(case.pop("clip_timestamps", ()))
    result = whisper.transcribe(
        model,
        samples,
        temperature=temperatures,
        clip_timestamps=clips,
        language="en",
        fp16=False,
        **case,
    )
    kept = (
        *("seek", "start", "end", "tokens", "temperature", "avg_logprob", "no_speech_prob"),
        *also_kept,
    )
    return [
        {key: _to_plain(segment[key]) for key in kept}
        for segment in result["segments"]
        if segment["text"]
    ]


def make_decoding() -> None:
    """Save windows and recordings decoded with the random checkpoint."""
    checkpoint = lively_checkpoint()
    model = load_original(checkpoint)
    mels = windows()
    samples = noise(50)
    with patch_vocabulary(checkpoint):
        decoded = {name: decode_windows(model, mels, case) for name, case in WINDOW_CASES.items()}
        recordings = {
            name: transcribe_original(model, samples, case) for name, case in LONG_CASES.items()
        }
    write_json("decoding.json", {"windows": decoded, "recordings": recordings})


def make_demo_recordings() -> None:
    """Save transcriptions of spoken digits by the demo checkpoint, with the default options."""
    checkpoint = huggingface.load(DEMO)
    model = load_original(checkpoint)
    with patch_vocabulary(checkpoint):
        recordings = {
            name: transcribe_original(model, compose_recording(*shape), {})
            for name, shape in DEMO_RECORDINGS.items()
        }
    fields = {"sha256": hash_weights(DEMO), "recordings": recordings}
    write_json("demo_recordings.json", fields)


def _to_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_to_plain(item) for item in value]
    if isinstance(value, np.integer):
        return int(value)
    return float(value) if isinstance(value, np.floating) else value
