"""Make the expected values in tests/golden/ with the original implementations.

Run `make goldens`; the packages it needs are in scripts/requirements.txt. Each file says in
`provenance` what made it. Recordings are read from ../shared/audio beside the checkout.
"""

from __future__ import annotations

import sys
import tempfile
import wave
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
AUDIO = ROOT.parent / "shared" / "audio"
sys.path.insert(0, str(ROOT / "tests"))


def read_wav(name: str) -> NDArray[np.float32]:
    """Return the samples (n,) of a 16-bit mono recording at 16 kHz, full scale 1."""
    with wave.open(str(AUDIO / name)) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, 16_000):
            raise ValueError(f"{name}: expected 16-bit mono at 16 kHz")
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return samples.astype(np.float32) / 32768


def save(name: str, provenance: str, packages: list[str], **arrays: NDArray[np.generic]) -> None:
    """Write tests/golden/<name>.npz with the arrays and how they were made."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    np.savez_compressed(
        GOLDEN / f"{name}.npz", provenance=np.array(f"{provenance}; {versions}"), **arrays
    )


def make_mel() -> None:
    """Save openai-whisper's log-mel of jfk.wav: every 8th frame and both ends, in fp32."""
    from whisper.audio import N_FRAMES, N_SAMPLES, log_mel_spectrogram

    samples = read_wav("jfk.wav")
    arrays: dict[str, NDArray[np.generic]] = {}
    for n_mels in (80, 128):
        mel = log_mel_spectrogram(samples, n_mels, padding=N_SAMPLES).numpy()[:, :-N_FRAMES]
        n_frames = mel.shape[1]
        picked = np.unique(np.r_[0:4, 0:n_frames:8, n_frames - 4 : n_frames])
        arrays[f"frames_{n_mels}"] = picked
        arrays[f"mel_{n_mels}"] = mel[:, picked]
    save(
        "mel",
        "whisper.audio.log_mel_spectrogram(jfk.wav, padding=N_SAMPLES), content frames",
        ["openai-whisper", "torch", "numpy"],
        **arrays,
    )


def pack_speech_mel() -> NDArray[np.uint8]:
    """Return openai-whisper's log-mel window of jfk.wav in steps of 1/64, which pack well."""
    from whisper.audio import N_FRAMES, log_mel_spectrogram, pad_or_trim

    mel = pad_or_trim(log_mel_spectrogram(read_wav("jfk.wav")), N_FRAMES).numpy()
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
    from models import TINY_DIMS, TINY_SEED, unpack_mel

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
    save(
        "model",
        "transformers, random_checkpoint(TINY_DIMS, TINY_SEED), jfk.wav and the same 10 s later",
        ["transformers", "torch", "numpy", "openai-whisper"],
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


def main() -> None:
    """Make every golden file."""
    GOLDEN.mkdir(exist_ok=True)
    make_mel()
    make_model()


if __name__ == "__main__":
    main()
