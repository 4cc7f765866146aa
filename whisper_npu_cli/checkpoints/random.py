"""Checkpoints with random weights, computed tensor by tensor: `random:base` needs no file.

They are for benchmarks and tests. The architecture is that of the published model, so a window
and a token cost the same work; the text means nothing.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints.checkpoint import (
    MULTILINGUAL_N_VOCAB,
    Checkpoint,
    GenerationSettings,
    default_alignment_heads,
    expected_shapes,
)
from whisper_npu_cli.checkpoints.tokenizer import special_tokens
from whisper_npu_cli.checkpoints.vocabularies import byte_alphabet, tokenizer_json
from whisper_npu_cli.dims import N_FRAMES, ModelDims
from whisper_npu_cli.errors import CheckpointError

RANDOM_PREFIX = "random:"
# (width, heads, encoder layers, decoder layers): config.json of openai/whisper-SIZE
_ARCHITECTURES = {
    "tiny": (384, 6, 4, 4),
    "base": (512, 8, 6, 6),
    "small": (768, 12, 12, 12),
    "medium": (1024, 16, 24, 24),
    "large-v3": (1280, 20, 32, 32),
    "large-v3-turbo": (1280, 20, 32, 4),
}
_ENGLISH_SIZES = ("tiny", "base", "small", "medium")
RANDOM_SIZES = (*_ARCHITECTURES, *(f"{size}.en" for size in _ENGLISH_SIZES))


def random_dims(size: str) -> ModelDims:
    """Return the dimensions of the published model `size`; CheckpointError if there is none."""
    if size not in RANDOM_SIZES:
        raise CheckpointError(
            f"unknown model {RANDOM_PREFIX}{size}", hint=f"sizes: {', '.join(RANDOM_SIZES)}"
        )
    width, n_head, n_audio_layer, n_text_layer = _ARCHITECTURES[size.removesuffix(".en")]
    is_large = size.startswith("large-v3")
    n_vocab = MULTILINGUAL_N_VOCAB + is_large - size.endswith(".en")
    return ModelDims(
        n_mels=128 if is_large else 80,
        n_audio_ctx=N_FRAMES // 2,
        n_audio_state=width,
        n_audio_head=n_head,
        n_audio_layer=n_audio_layer,
        n_vocab=n_vocab,
        n_text_ctx=448,
        n_text_state=width,
        n_text_head=n_head,
        n_text_layer=n_text_layer,
    )


def random_checkpoint(dims: ModelDims, seed: int = 0, name: str = "random") -> Checkpoint:
    """Return a checkpoint of `dims`; each tensor depends on `seed`, its name and its shape."""
    return Checkpoint(
        name=name,
        path=None,
        dims=dims,
        generation=GenerationSettings(
            is_multilingual=dims.n_vocab >= MULTILINGUAL_N_VOCAB,
            alignment_heads=default_alignment_heads(dims),
        ),
        tokenizer_json=_build_tokenizer_json(dims.n_vocab),
        tensors=RandomTensors(expected_shapes(dims), seed),
    )


class RandomTensors(Mapping[str, NDArray[np.float32]]):
    """Random fp32 arrays by name, computed anew at each access (2.5 ns a weight)."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], seed: int) -> None:
        self._shapes = shapes
        self._seed = seed

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        shape = self._shapes[name]
        # Uniform numbers take a quarter of the time of normal ones.
        values = np.random.Generator(
            np.random.PCG64([self._seed, zlib.crc32(name.encode())])
        ).random(shape, dtype=np.float32)
        values -= 0.5
        # A variance of 1 / fan-in keeps activations near 1; that of uniform numbers is 1/12.
        if len(shape) > 1:
            values *= math.sqrt(12 / math.prod(shape[1:]))
        else:
            values *= 0.2
            if name.endswith("norm.weight"):
                values += 1
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    @property
    def identity(self) -> str:
        """A key that changes when any weight changes: seed, shapes and the first tensor.

        The first tensor tells whether NumPy's generator gives other numbers, as versions may.
        """
        name = next(iter(self._shapes))
        return repr((self._seed, self._shapes, zlib.crc32(self[name].tobytes())))


def _build_tokenizer_json(n_vocab: int) -> bytes:
    """Return a `tokenizer.json` of `n_vocab` ids, or b"" where the special tokens do not fit.

    The texts are single bytes and fillers. A filler decodes to a word; no text encodes to it.
    """
    specials = special_tokens(n_languages=100 if n_vocab > MULTILINGUAL_N_VOCAB else 99)
    n_fillers = n_vocab - 256 - len(specials)
    if n_fillers < 0:
        return b""
    space = "\u0120"  # a space in byte_alphabet()
    return tokenizer_json(
        byte_alphabet() + [f"{space}w{i}" for i in range(n_fillers)], [], specials
    )
