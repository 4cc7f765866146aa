"""A checkpoint of random weights that writes the same number of tokens in every window.

Programs end a text where the model says so. This model does so after `n_tokens`, for any audio and
any search, so that all programs do the same work and need no special option. Architecture, sizes
and every other weight are those of `random:SIZE`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.checkpoints.random import random_checkpoint, random_dims

N_PROMPT = 4  # start, language, task, no timestamps
# Two coordinates of the decoder's states are reserved. The first is 1 after the last norm, and
# keeps tokens that are no text away. The second depends on the position alone. The others have a
# standard deviation of about 2 with random weights, so that the norm leaves 4 of the 8, and the
# logit of the end is 20. The largest of 50,000 random logits is about 4.5.
NO_TEXT, END = 0, 1
NO_TEXT_LOGIT, END_POSITION, END_SCALE = -20.0, 8.0, 5.0


def make_fixed_length_checkpoint(size: str, n_tokens: int) -> Checkpoint:
    """Return `random:SIZE` with texts of `n_tokens`, if it is decoded without timestamps."""
    checkpoint = random_checkpoint(random_dims(size), name=f"random:{size}")
    tensors = FixedLength(checkpoint.tensors, checkpoint.tokenizer().eot, n_tokens)
    return replace(checkpoint, tensors=tensors)


class FixedLength(Mapping[str, NDArray[np.float32]]):
    """The tensors of a checkpoint, changed where they decide on the end of a text."""

    def __init__(self, tensors: Mapping[str, NDArray[np.float32]], eot: int, n_tokens: int) -> None:
        self._tensors = tensors
        self._eot = eot
        self._end = N_PROMPT + n_tokens - 1  # position that reads the last token

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        values = self._tensors[name]
        part = name.removeprefix("model.decoder.")
        if part == "embed_tokens.weight":
            values[:, [NO_TEXT, END]] = 0
            values[self._eot] = 0
            values[self._eot, END] = 1
            values[self._eot + 1 :, NO_TEXT] = NO_TEXT_LOGIT
        elif part == "embed_positions.weight":
            values[: self._end, END] = -END_POSITION
            values[self._end :, END] = END_POSITION
        elif part == "layer_norm.weight":
            values[[NO_TEXT, END]] = 0, END_SCALE
        elif part == "layer_norm.bias":
            values[[NO_TEXT, END]] = 1, 0
        elif "decoder" in name and part.endswith(
            ("out_proj.weight", "out_proj.bias", "fc2.weight", "fc2.bias")
        ):
            values[END] = 0  # what layers add to the states
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
