"""Goldens of the whole model: what transformers computes of it.

Part of `make_goldens.py`. Recordings are read from ../shared/audio beside the checkout.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
AUDIO = ROOT.parent / "shared" / "audio"
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def pack_speech_mel() -> NDArray[np.uint8]:
    """Return openai-whisper's log-mel window of jfk.wav in steps of 1/64, which pack well."""
    from whisper.audio import N_FRAMES, log_mel_spectrogram, pad_or_trim

    samples, _ = soundfile.read(AUDIO / "jfk.wav", dtype="float32")
    mel = pad_or_trim(log_mel_spectrogram(samples), N_FRAMES).numpy()
    return np.rint((mel + 1) * 64).clip(0, 255).astype(np.uint8)


def load_peer(directory: Path) -> Any:
    """Return transformers' Whisper of a Hugging Face directory, in fp32 and plain PyTorch."""
    import torch
    from transformers import WhisperForConditionalGeneration

    return WhisperForConditionalGeneration.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def decode_cached(model: Any, states: Any, tokens: Any, n_steps: int) -> tuple[Any, Any]:
    """Feed `tokens` (n_rows, n) one by one to the cache, then `n_steps` greedy ones.

    Returns the logits (n_rows, n, n_vocab) of `tokens` and the greedy tokens (n_rows, n_steps).
    """
    import torch

    logits, cache = [], None
    for i in range(tokens.shape[1] + n_steps - 1):
        token = tokens[:, i] if i < tokens.shape[1] else logits[-1].argmax(-1)
        out = model(
            encoder_outputs=(states,),
            decoder_input_ids=token[:, None],
            past_key_values=cache,
            use_cache=True,
        )
        cache = out.past_key_values
        logits.append(out.logits[:, 0])
    greedy = torch.stack([row.argmax(-1) for row in logits[tokens.shape[1] - 1 :]], 1)
    return torch.stack(logits[: tokens.shape[1]], 1), greedy


def make_model() -> None:
    """Save transformers' states and logits of a small random checkpoint on recorded speech."""
    import torch
    from tiny_model import TINY_DIMS, TINY_SEED, unpack_mel

    from whisper_npu_cli.random_checkpoint import random_checkpoint
    from whisper_npu_cli.save_checkpoint import save_checkpoint

    speech = pack_speech_mel()
    packed = np.stack([speech, np.roll(speech, 1000, axis=1)])
    mels = torch.from_numpy(unpack_mel(packed))
    prompts = np.random.default_rng(1).integers(0, TINY_DIMS.n_vocab, (len(mels), 8))
    tokens = torch.from_numpy(prompts)
    with tempfile.TemporaryDirectory() as directory, torch.inference_mode():
        save_checkpoint(random_checkpoint(TINY_DIMS, TINY_SEED), Path(directory))
        model = load_peer(Path(directory))
        states = model.model.encoder(mels).last_hidden_state
        attention = model.model.decoder.layers[-1].encoder_attn
        logits = model(encoder_outputs=(states,), decoder_input_ids=tokens).logits
        cached, greedy = decode_cached(model, states, tokens, n_steps=24)
        cross_keys, cross_values = attention.k_proj(states), attention.v_proj(states)
    positions = np.r_[0:3, 3:1497:50, 1497:1500]
    np.savez_compressed(
        GOLDEN / "model.npz",
        provenance=f"random_checkpoint(TINY_DIMS, TINY_SEED) in {_versions()}; log-mel of jfk.wav",
        mels=packed,
        positions=positions,
        states=states.numpy()[:, positions],
        cross_keys=cross_keys.numpy()[:, positions],
        cross_values=cross_values.numpy()[:, positions],
        prompts=prompts,
        logits=logits.numpy()[..., ::8],
        logits_cached=cached.numpy()[..., ::8],
        greedy=greedy.numpy(),
    )


def _versions() -> str:
    packages = ("transformers", "torch", "openai-whisper", "numpy")
    return ", ".join(f"{package} {version(package)}" for package in packages)
