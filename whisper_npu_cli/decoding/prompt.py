"""What a window's decoder is told before it samples: earlier text, hotwords, language, task."""

from __future__ import annotations

from collections.abc import Sequence

from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.options import DecodingOptions


class PromptBuilder:
    """Prompts of one task under one set of options.

    UsageError where the model lacks the task, or has no room for the prefix.
    """

    def __init__(
        self, tokenizer: Tokenizer, options: DecodingOptions, task: str, n_text_ctx: int
    ) -> None:
        self._tokenizer = tokenizer
        self._options = options
        self._task = task
        # As in openai/whisper: half of the context is for what is sampled.
        self.n_previous = n_text_ctx // 2 - 1
        # Beside previous text, <|startofprev|>, four tokens of the prompt and one to be sampled.
        room = n_text_ctx - self.n_previous - 6
        if (n := len(self._encode(options.prefix))) > room:
            raise UsageError(f"the prefix has {n} tokens, there is room for {room}")

    def build(
        self, language: str, previous: Sequence[int] = (), *, first: bool = False
    ) -> tuple[int, ...]:
        """Return the prompt of a window in `language` (a code) that follows `previous` tokens.

        The prefix stands in the `first` window only. Hotwords come first in the room of the
        previous text; faster-whisper gives them room of their own, which can fill the context.
        """
        tokenizer, options = self._tokenizer, self._options
        prompt = list(tokenizer.sot_sequence(language, self._task))
        if options.without_timestamps:
            prompt.append(tokenizer.no_timestamps)
        prefix = self._encode(options.prefix) if first else []
        hotwords = [] if prefix else self._encode(options.hotwords)[: self.n_previous]
        context = hotwords + last(previous, self.n_previous - len(hotwords))
        return (*([tokenizer.sot_prev, *context] if context else ()), *prompt, *prefix)

    def _encode(self, text: str | None) -> list[int]:
        return self._tokenizer.encode(" " + text.strip()) if text else []

    def history(self) -> History:
        """Begin the history of one audio."""
        return History(self._encode(self._options.initial_prompt), self._options, self.n_previous)


class History:
    """The tokens that condition the next window (openai/whisper `transcribe.py`)."""

    def __init__(self, initial: Sequence[int], options: DecodingOptions, n_previous: int) -> None:
        self._initial = list(initial)
        self._options = options
        self._n_previous = n_previous
        self._since_reset = [] if options.carry_initial_prompt else list(initial)

    @property
    def tokens(self) -> list[int]:
        """What the next window follows, a carried initial prompt first; `build` takes the end."""
        if not self._options.carry_initial_prompt:
            return self._since_reset
        return self._initial + last(self._since_reset, self._n_previous - len(self._initial))

    def add(self, tokens: Sequence[int], temperature: float) -> None:
        """Add what a window said, unless it must not condition the next.

        Text sampled at a high temperature is no model to follow, nor is what came before it.
        """
        self._since_reset.extend(tokens)
        if not self._options.condition_on_previous_text or temperature > 0.5:
            self._since_reset.clear()


def last(tokens: Sequence[int], n: int) -> list[int]:
    """Return the last `n` of `tokens`; none where `n` is not positive."""
    return list(tokens[max(0, len(tokens) - n) :]) if n > 0 else []
