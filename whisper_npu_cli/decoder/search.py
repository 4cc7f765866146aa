"""Choosing tokens: encoded windows and prompts in, one decoded token sequence a window out.

Greedy search with Whisper's token rules. Knows no text, no seconds and no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.decoder.base import Decoder
from whisper_npu_cli.decoder.rules import Rule
from whisper_npu_cli.encoder.base import EncodedWindow


@dataclass(frozen=True)
class SpecialTokens:
    """Ids that the search must know."""

    sot: int
    eot: int
    no_speech: int | None


@dataclass
class Hypothesis:
    """The tokens sampled for one window, without the end of text."""

    no_speech_prob: float
    tokens: list[int] = field(default_factory=list)
    sum_logprob: float = 0.0

    @property
    def avg_logprob(self) -> float:
        """Mean log-probability, the end of text counted as a token (openai/whisper)."""
        return self.sum_logprob / (len(self.tokens) + 1)


def decode_greedy(
    decoder: Decoder,
    windows: Sequence[EncodedWindow],
    prompts: NDArray[np.int64],  # (n_windows, n_prompt), holding `special.sot` at one position
    rules: Sequence[Rule],
    special: SpecialTokens,
) -> list[Hypothesis]:
    """Decode `windows` together, each token the likeliest one that the rules allow.

    A window samples at most half of the text context, as in openai/whisper; a finished one
    leaves the batch.
    """
    n_prompt = prompts.shape[1]
    sot_index = int(np.flatnonzero(prompts[0] == special.sot)[0])
    session = decoder.start(windows)
    logits_at_sot, logits = np.moveaxis(session.prefill(prompts, (sot_index, n_prompt - 1)), 1, 0)
    hypotheses = [Hypothesis(prob) for prob in _no_speech_probs(logits_at_sot, special)]
    active = list(hypotheses)

    for _ in range(decoder.dims.n_text_ctx // 2):
        for rule in rules:
            rule.apply(logits, [hypothesis.tokens for hypothesis in active])
        tokens = logits.argmax(axis=1)
        logprobs = np.take_along_axis(logits, tokens[:, None], axis=1)[:, 0] - logsumexp(logits)
        for hypothesis, token, logprob in zip(active, tokens, logprobs, strict=True):
            hypothesis.sum_logprob += float(logprob)
            if token != special.eot:
                hypothesis.tokens.append(int(token))
        going_on = np.flatnonzero(tokens != special.eot)
        active = [active[row] for row in going_on]
        if not active or n_prompt + len(active[0].tokens) > decoder.dims.n_text_ctx:
            break
        if len(going_on) < len(tokens):
            session.gather(going_on)
        logits = session.step(tokens[going_on])
    return hypotheses


def detect_language(
    decoder: Decoder, window: EncodedWindow, sot: int, language_ids: dict[str, int]
) -> dict[str, float]:
    """Return the probability of each language for `window`, likeliest first."""
    logits = decoder.start([window]).prefill(np.array([[sot]]), (0,))[:, 0]
    among = logits[:, list(language_ids.values())]
    probs = np.exp(among - logsumexp(among)[:, None])[0]
    ranked = sorted(zip(language_ids, probs, strict=True), key=lambda item: -item[1])
    return {code: float(prob) for code, prob in ranked}


def logsumexp(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log(sum(exp(logits))) of each row: (n_rows, n) to (n_rows,)."""
    peak = logits.max(axis=1, keepdims=True)
    total: NDArray[np.float32] = np.log(np.exp(logits - peak).sum(axis=1)) + peak[:, 0]
    return total


def _no_speech_probs(
    logits: NDArray[np.float32], special: SpecialTokens
) -> list[float]:  # one a window
    if special.no_speech is None:
        return [0.0] * len(logits)
    return [float(p) for p in np.exp(logits[:, special.no_speech] - logsumexp(logits))]
