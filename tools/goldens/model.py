"""Goldens of the whole model, computed by transformers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from tests.support.digits import compose_clips
from tests.support.places import DEMO, SHARED
from tests.support.tiny_model import TINY_DIMS, TINY_SEED, unpack_mel
from tools.goldens.provenance import hash_weights, list_versions, write_arrays
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.checkpoints.save import save_checkpoint

PACKAGES = ("transformers", "torch", "openai-whisper", "numpy")
N_CLIPS = 200  # clips in the golden of the demo checkpoint
POSITIONS = np.r_[0:3, 3:1497:50, 1497:1500]  # positions of the states that are kept


def pack_speech_mel() -> NDArray[np.uint8]:
    """Return openai-whisper's log-mel window of jfk.wav in steps of 1/64, which pack well."""
    from whisper.audio import N_FRAMES, log_mel_spectrogram, pad_or_trim

    samples, _ = soundfile.read(SHARED / "audio" / "jfk.wav", dtype="float32")
    mel = pad_or_trim(log_mel_spectrogram(samples), N_FRAMES).numpy()
    packed: NDArray[np.uint8] = np.rint((mel + 1) * 64).clip(0, 255).astype(np.uint8)
    return packed


def load_peer(directory: Path) -> Any:
    """Return transformers' Whisper of a Hugging Face directory, in fp32 and plain PyTorch."""
    import torch
    from transformers import WhisperForConditionalGeneration

    return WhisperForConditionalGeneration.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def decode_cached(model: Any, states: Any, tokens: Any, n_steps: int) -> tuple[Any, Any]:
    """Feed `tokens` (n_rows, n) one by one to the cache, then `n_steps` greedy ones.

    A greedy step takes the best token that the row has not had, because a random model repeats
    itself.
    Returns the logits (n_rows, n, n_vocab) of `tokens` and all tokens (n_rows, n + n_steps).
    """
    import torch

    logits, cache, n = [], None, tokens.shape[1]
    for i in range(n + n_steps - 1):
        out = model(
            encoder_outputs=(states,),
            decoder_input_ids=tokens[:, i : i + 1],
            past_key_values=cache,
            use_cache=True,
        )
        cache = out.past_key_values
        logits.append(out.logits[:, 0])
        if i + 1 >= n:
            best = logits[-1].scatter(1, tokens, -torch.inf).argmax(-1, keepdim=True)
            tokens = torch.cat([tokens, best], 1)
    return torch.stack(logits[:n], 1), tokens


def make_model() -> None:
    """Save transformers' states and logits of a small random checkpoint on recorded speech."""
    import torch

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
    write_arrays(
        "model.npz",
        f"random_checkpoint(TINY_DIMS, TINY_SEED) in {list_versions(*PACKAGES)}; "
        "log-mel of jfk.wav",
        mels=packed,
        positions=POSITIONS,
        states=states.numpy()[:, POSITIONS],
        cross_keys=cross_keys.numpy()[:, POSITIONS],
        cross_values=cross_values.numpy()[:, POSITIONS],
        prompts=prompts,
        logits=logits.numpy()[..., ::8],
        logits_cached=cached.numpy()[..., ::8],
        greedy=greedy.numpy(),
    )


def make_demo() -> None:
    """Save what transformers computes of clips of spoken digits with the demo checkpoint.

    Saved are the tokens of all clips by `generate` with timestamps and, of the first clip, the
    states and the logits after the prompt and after each token.
    """
    import torch

    model = load_peer(DEMO)
    config = model.generation_config
    prompt = [
        config.decoder_start_token_id,
        config.lang_to_id["<|en|>"],
        config.task_to_id["transcribe"],
    ]
    mels = torch.from_numpy(
        np.stack([clip.mel(model.config.num_mel_bins) for clip in compose_clips(N_CLIPS)])
    )
    with torch.inference_mode():
        rows = [
            model.generate(mel[None], return_timestamps=True, language="en", task="transcribe")[0]
            for mel in mels
        ]
        states = model.model.encoder(mels[:1]).last_hidden_state
        fed = torch.tensor([prompt + rows[0].tolist()])
        logits = model(encoder_outputs=(states,), decoder_input_ids=fed).logits
    write_arrays(
        "demo.npz",
        f"generate(return_timestamps=True) and forward passes in {list_versions(*PACKAGES)}",
        sha256=hash_weights(DEMO),
        prompt=np.array(prompt),
        tokens=np.concatenate([row.numpy() for row in rows]),
        lengths=np.array([len(row) for row in rows]),
        positions=POSITIONS,
        states=states.numpy()[0, POSITIONS],
        logits=logits.numpy()[0],
    )
