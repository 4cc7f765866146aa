"""The decoder seam: encoded windows and tokens in, logits out, with cached keys and values.

A session holds any number of rows. A row is one token sequence over one window; several rows
may share a window (beams, samples). Choosing tokens is the caller's business (`search.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.dims import ModelDims
from whisper_npu_cli.encoder.base import EncodedWindow


@dataclass(frozen=True)
class CrossKV:
    """A window's cross-attention keys and values as one decoder keeps them.

    All that decoding needs of an encoded window, which can go then. Layout and dtype are the
    decoder's own; integers have a scale for each channel, (n_text_layer, n_head, head_size).
    """

    keys: NDArray[Any]
    values: NDArray[Any]
    key_scale: NDArray[np.float32] | None = None
    value_scale: NDArray[np.float32] | None = None


class DecoderSession(Protocol):
    """Rows of tokens being decoded. At first, row i is window i."""

    def prefill(
        self,
        prompts: NDArray[np.int64],  # (n_rows, n_prompt), equal lengths
        logits_at: Sequence[int],  # positions in the prompt
    ) -> NDArray[np.float32]:
        """Feed the prompts; return logits (n_rows, len(logits_at), n_vocab) as a copy."""
        ...

    def step(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Feed one token a row (n_rows,); return logits (n_rows, n_vocab).

        The result is a view that the next call overwrites. Raises ValueError where the context
        of n_text_ctx positions is full.
        """
        ...

    def gather(self, rows: NDArray[np.int64]) -> None:
        """Make row i what row `rows[i]` was: reorders, repeats or drops rows with their caches."""
        ...


class Decoder(Protocol):
    """A text decoder with its weights; a factory of sessions."""

    name: str  # shown in timings, for example "numba int8"
    dims: ModelDims

    def cross_kv(self, window: EncodedWindow) -> CrossKV:
        """Return what decoding needs of `window`. May be called from any thread."""
        ...

    def start(self, windows: Sequence[CrossKV], max_rows: int | None = None) -> DecoderSession:
        """Begin decoding `windows`; `max_rows` (default: one a window) bounds later `gather`s.

        One session is live at a time: its caches belong to the decoder and are allocated once.
        """
        ...

    def align(
        self,
        window: CrossKV,
        tokens: NDArray[np.int64],  # (n_tokens,)
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Feed `tokens` of `window` at once; return logits, and where the alignment heads look.

        That is logits (n_tokens, n_vocab) and, of the heads that the checkpoint names, the
        weights of the cross-attention (n_heads, n_tokens, n_audio_ctx), which sum to 1 over the
        window. Ends the session that is live.
        """
        ...

    def close(self) -> None:
        """Release what the decoder holds. Calling it twice is allowed."""
        ...
