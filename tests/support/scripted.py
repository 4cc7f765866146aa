"""A decoder whose logits come from a script, given the window and the tokens so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tests.support.decoding_model import DIMS
from whisper_npu_cli.engines.base import CrossKV, EncodedWindow

SOT, EOT, NO_SPEECH, N_VOCAB = 20, 21, 22, 24
Script: TypeAlias = Callable[[int, tuple[int, ...]], Mapping[int, float]]


def window(index: int) -> CrossKV:
    """Return an encoded window that holds only its number."""
    number = np.full(1, index)
    return CrossKV(number, number)


class ScriptedDecoder:
    """Give tokens the probabilities of `script`, and all others an equal, tiny one."""

    name = "scripted"

    def __init__(self, script: Script, n_text_ctx: int = 64, n_vocab: int = N_VOCAB) -> None:
        self.dims = replace(DIMS, n_text_ctx=n_text_ctx, n_vocab=n_vocab)
        self.script = script
        self.started: list[list[int]] = []  # numbers of the windows of each session
        self.n_rows: list[int] = []  # number of rows in each step

    def cross_kv(self, window: EncodedWindow) -> CrossKV:
        return CrossKV(window.cross_keys, window.cross_values)

    def start(self, windows: Sequence[CrossKV], max_rows: int | None = None) -> ScriptedSession:
        self.started.append([int(w.keys[0]) for w in windows])
        return ScriptedSession(self, self.started[-1], max_rows or len(windows))

    def close(self) -> None:
        pass

    def logits(self, index: int, tokens: tuple[int, ...]) -> NDArray[np.float32]:
        probs = np.full(self.dims.n_vocab, 1e-9)
        for token, prob in self.script(index, tokens).items():
            probs[token] = max(prob, 1e-9)
        return np.log(probs).astype(np.float32)


class ScriptedSession:
    """Rows of (window, tokens after the prompt)."""

    def __init__(self, decoder: ScriptedDecoder, windows: Sequence[int], max_rows: int) -> None:
        self._decoder = decoder
        self._rows: list[tuple[int, tuple[int, ...]]] = [(index, ()) for index in windows]
        self._max_rows = max_rows
        self._length = 0

    def prefill(self, prompts: NDArray[np.int64], logits_at: Sequence[int]) -> NDArray[np.float32]:
        assert len(prompts) == len(self._rows)
        self._length = prompts.shape[1]
        logits = self._logits()
        return np.stack([logits] * len(logits_at), axis=1)

    def step(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        self._decoder.n_rows.append(len(tokens))
        self._length += 1
        assert self._length <= self._decoder.dims.n_text_ctx
        self._rows = [
            (index, (*before, int(token)))
            for (index, before), token in zip(self._rows, tokens, strict=True)
        ]
        return self._logits()

    def gather(self, rows: NDArray[np.int64]) -> None:
        assert len(rows) <= self._max_rows
        self._rows = [self._rows[row] for row in rows]

    def _logits(self) -> NDArray[np.float32]:
        return np.stack([self._decoder.logits(*row) for row in self._rows])
