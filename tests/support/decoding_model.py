"""The checkpoint, the cases and the audio that decoding goldens and tests share.

The weights are random but scaled so that decoding has something to decide: probabilities are
peaked, texts end, and timestamps compete with text.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.audio.mel import HostMel, log_mel
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.dims import CHUNK_S, SAMPLE_RATE, ModelDims

DIMS = ModelDims(
    n_mels=80,
    n_audio_ctx=1500,
    n_audio_state=64,
    n_audio_head=1,
    n_audio_layer=1,
    n_vocab=2000,
    n_text_ctx=64,
    n_text_state=64,
    n_text_head=1,
    n_text_layer=2,
)
SEED = 12
TEXT = " The quick brown fox"  # a prompt; it becomes bytes, as no text encodes to a filler

# Options for one window, under names that openai-whisper and this program share.
WINDOW_CASES: dict[str, dict[str, Any]] = {
    "greedy": {"beam_size": None},
    "beam 5": {"beam_size": 5},
    "beam 2, patience 2": {"beam_size": 2, "patience": 2.0},
    "beam 5, patience 0.4": {"beam_size": 5, "patience": 0.4},
    "beam 5, length penalty 0": {"beam_size": 5, "length_penalty": 0.0},
    "beam 5, length penalty 1": {"beam_size": 5, "length_penalty": 1.0},
    "beam 3, no timestamps": {"beam_size": 3, "without_timestamps": True},
    "greedy, no timestamps, blank": {
        "beam_size": None,
        "without_timestamps": True,
        "suppress_blank": False,
    },
    "beam 3, prefix": {"beam_size": 3, "prefix": TEXT},
    "beam 3, some suppressed": {"beam_size": 3, "suppress_tokens": "40,41,300,350"},
    "greedy, none suppressed": {"beam_size": None, "suppress_tokens": ""},
    "greedy, any first timestamp": {"beam_size": None, "max_initial_timestamp": None},
    "greedy, early first timestamp": {"beam_size": None, "max_initial_timestamp": 0.1},
}

# Options of a whole transcription.
LONG_CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "greedy, no fallback": {"beam_size": None, "temperature_increment_on_fallback": None},
    "not conditioned": {"beam_size": 2, "condition_on_previous_text": False},
    "initial prompt": {"beam_size": 2, "initial_prompt": TEXT},
    "carried prompt": {"beam_size": 2, "initial_prompt": TEXT, "carry_initial_prompt": True},
    "clips": {"beam_size": None, "clip_timestamps": (3.0, 21.5, 30.0)},
    "no timestamps": {"beam_size": None, "without_timestamps": True},
    "easily repetitive": {
        "beam_size": None,
        "best_of": 2,
        "compression_ratio_threshold": 1.2,
        "temperature_increment_on_fallback": 0.5,
    },
    "easily silent": {"beam_size": None, "no_speech_threshold": 1e-4, "logprob_threshold": -2.0},
    "no thresholds": {
        "beam_size": None,
        "compression_ratio_threshold": None,
        "logprob_threshold": None,
        "no_speech_threshold": None,
    },
}

# Recordings of spoken digits: their length and their longest gap in seconds.
DEMO_RECORDINGS = {
    "1 min, no gaps": (60.0, 0.0),
    "3 min, gaps to 10 s": (180.0, 10.0),
    "10 min, gaps to 40 s": (600.0, 40.0),
}


def lively_checkpoint() -> Checkpoint:
    """Return the checkpoint; its vocabulary is English-only."""
    checkpoint = random_checkpoint(DIMS, SEED)
    tokenizer = checkpoint.tokenizer()
    tensors = {name: np.array(checkpoint.tensors[name]) for name in checkpoint.tensors}
    embedding = tensors["model.decoder.embed_tokens.weight"]
    embedding[tokenizer.timestamp_begin :] *= np.float32(0.65)
    tensors["model.decoder.embed_positions.weight"] *= np.float32(8)
    tensors["model.decoder.layer_norm.weight"] *= np.float32(4)
    for token in (tokenizer.eot, tokenizer.no_speech):
        direction = embedding[token] / np.square(embedding[token]).sum()
        tensors["model.decoder.layer_norm.bias"] += np.float32(11) * direction
    return replace(checkpoint, tensors=tensors)


def noise(seconds: float) -> NDArray[np.float32]:
    """Return bursts of noise of many loudnesses and colours, with a known seed."""
    rng = np.random.default_rng(SEED)
    n_bursts = round(seconds * 2)
    bursts = []
    for _ in range(n_bursts):
        burst = rng.standard_normal(SAMPLE_RATE // 2)
        burst = np.convolve(burst, np.ones(rng.integers(1, 40)), "same")
        bursts.append(burst * 10 ** rng.uniform(-3, -1))
    return np.concatenate(bursts).clip(-1, 1).astype(np.float32)


def windows() -> list[NDArray[np.float32]]:
    """Return four different windows, (n_mels, N_FRAMES) each."""
    mel = log_mel(noise(4 * CHUNK_S), HostMel(DIMS.n_mels))
    return np.split(mel, 4, axis=1)
