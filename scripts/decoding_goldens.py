"""Goldens of decoding: what openai-whisper makes of windows and of whole recordings.

Part of `make_goldens.py`. openai-whisper is given this program's arrays and vocabulary.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
DEMO = ROOT / "whisper_npu_cli" / "demo"
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

# Hugging Face's names of Whisper's modules -> openai-whisper's; the order matters.
_RENAMED = [
    (r"^model\.", ""),
    (r"\.layers\.", ".blocks."),
    (r"embed_positions\.weight", "positional_embedding"),
    (r"embed_tokens", "token_embedding"),
    (r"encoder_attn_layer_norm", "cross_attn_ln"),
    (r"self_attn_layer_norm", "attn_ln"),
    (r"encoder_attn", "cross_attn"),
    (r"self_attn", "attn"),
    (r"q_proj", "query"),
    (r"k_proj", "key"),
    (r"v_proj", "value"),
    (r"out_proj", "out"),
    (r"fc1", "mlp.0"),
    (r"fc2", "mlp.2"),
    (r"final_layer_norm", "mlp_ln"),
    (r"encoder\.layer_norm", "encoder.ln_post"),
    (r"decoder\.layer_norm", "decoder.ln"),
]


def load_original(checkpoint: Any) -> Any:
    """Return openai-whisper's model with the arrays of `checkpoint`, in fp32."""
    import torch
    from whisper.model import ModelDimensions, Whisper

    model = Whisper(ModelDimensions(**vars(checkpoint.dims)))
    state = {}
    for name in checkpoint.tensors:
        renamed = name
        for pattern, replacement in _RENAMED:
            renamed = re.sub(pattern, replacement, renamed)
        state[renamed] = torch.from_numpy(np.array(checkpoint.array(name)))
    model.load_state_dict(state, strict=True)
    return model.eval()


def original_tokenizer(checkpoint: Any, language: str | None, task: str) -> Any:
    """Return openai-whisper's tokenizer over the vocabulary of `checkpoint`."""
    import tiktoken
    from whisper.tokenizer import Tokenizer, get_encoding

    from whisper_npu_cli.checkpoints.random import byte_alphabet

    fields = json.loads(checkpoint.tokenizer_json)
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = dict(zip(byte_alphabet(), printable + others, strict=True))
    ranks = {bytes(byte_of[c] for c in text): id_ for text, id_ in fields["model"]["vocab"].items()}
    special = {token["content"]: token["id"] for token in fields["added_tokens"]}
    if "<|nocaptions|>" in special:  # openai-whisper's own name of it since large-v3
        special["<|nospeech|>"] = special.pop("<|nocaptions|>")
    encoding = tiktoken.Encoding(
        name="golden",
        pat_str=get_encoding("gpt2")._pat_str,
        mergeable_ranks=ranks,
        special_tokens=special,
    )
    if not checkpoint.generation.is_multilingual:
        language = task = None
    n_languages = sum(bool(re.fullmatch(r"<\|[a-z]{2,3}\|>", name)) for name in special)
    return Tokenizer(encoding, n_languages, language=language, task=task)


@contextmanager
def vocabulary_of(checkpoint: Any) -> Iterator[None]:
    """Give openai-whisper the vocabulary, and the likeliest token where it would draw one.

    Random draws cannot be the same in two programs; that which is decided by them can.
    """

    class Likeliest:
        def __init__(self, logits: Any) -> None:
            self._logits = logits

        def sample(self) -> Any:
            return self._logits.argmax(dim=-1)

    def tokenizer(*_: Any, language: str | None = None, task: str | None = None, **__: Any) -> Any:
        return original_tokenizer(checkpoint, language or "en", task or "transcribe")

    with (
        mock.patch("whisper.decoding.get_tokenizer", tokenizer),
        mock.patch("whisper.transcribe.get_tokenizer", tokenizer),
        mock.patch("whisper.decoding.Categorical", Likeliest),
    ):
        yield


def decode_windows(model: Any, mels: list[NDArray[np.float32]], case: dict[str, Any]) -> list[Any]:
    """Return openai-whisper's results for each of `mels`, one by one."""
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
    """Return the segments of openai-whisper's command line, with the options of `case`."""
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
    kept = ("seek", "start", "end", "tokens", "temperature", "avg_logprob", "no_speech_prob")
    kept += also_kept
    return [
        {key: _plain(segment[key]) for key in kept}
        for segment in result["segments"]
        if segment["text"]
    ]


def make_decoding() -> None:
    """Save windows and transcriptions of the random checkpoint."""
    from tests.support.decoding_model import (
        LONG_CASES,
        WINDOW_CASES,
        lively_checkpoint,
        noise,
        windows,
    )

    checkpoint = lively_checkpoint()
    model = load_original(checkpoint)
    mels = windows()
    samples = noise(50)
    with vocabulary_of(checkpoint):
        decoded = {name: decode_windows(model, mels, case) for name, case in WINDOW_CASES.items()}
        recordings = {
            name: transcribe_original(model, samples, case) for name, case in LONG_CASES.items()
        }
    write("decoding.json", {"windows": decoded, "recordings": recordings})


def make_demo_recordings(directory: Path = DEMO) -> None:
    """Save transcriptions of spoken digits by the demo checkpoint, with the default options."""
    from tests.support.decoding_model import DEMO_RECORDINGS
    from tests.support.digits import compose_recording
    from whisper_npu_cli.checkpoints.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(directory)
    model = load_original(checkpoint)
    with vocabulary_of(checkpoint):
        recordings = {
            name: transcribe_original(model, compose_recording(*shape), {})
            for name, shape in DEMO_RECORDINGS.items()
        }
    write("demo_recordings.json", {"sha256": sha256(directory), "recordings": recordings})


def sha256(directory: Path) -> str:
    """Return the digest of a checkpoint's weights, so that a test can tell another one."""
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()


def write(name: str, fields: dict[str, Any]) -> None:
    """Write a golden with what made it."""
    packages = ("openai-whisper", "torch", "numpy")
    made_by = ", ".join(f"{package} {version(package)}" for package in packages)
    text = json.dumps({"provenance": made_by} | fields, separators=(",", ":"))
    (GOLDEN / name).write_text(re.sub(r'("[^"]*":\[\{)', r"\n\1", text) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, np.integer):
        return int(value)
    return float(value) if isinstance(value, np.floating) else value


if __name__ == "__main__":
    make_decoding()
    make_demo_recordings()
