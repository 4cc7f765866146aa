"""Prompts: the tokens of earlier text, hotwords, language and task that precede a window's text."""

from __future__ import annotations

from collections.abc import Sequence

from whisper_npu_cli.checkpoints.tokenizer import Tokenizer
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.options import DecodingOptions


class PromptBuilder:
    """Build the prompts of one task under one set of options.

    UsageError where the prefix does not fit into the model's context.
    """

    def __init__(
        self, tokenizer: Tokenizer, options: DecodingOptions, task: str, n_text_ctx: int
    ) -> None:
        self._tokenizer = tokenizer
        self._options = options
        self._task = task
        # Half of the context is for the sampled tokens, as in openai/whisper.
        self.n_previous = n_text_ctx // 2 - 1
        # The six are <|startofprev|>, four tokens of the prompt, and one token to be sampled.
        room = n_text_ctx - self.n_previous - 6
        if (n := len(self._encode(options.prefix))) > room:
            raise UsageError(f"the prefix has {n} tokens, there is room for {room}")

    def build(
        self,
        language: str,
        previous: Sequence[int] = (),
        *,
        first: bool = False,
        begun: Sequence[int] = (),
    ) -> tuple[int, ...]:
        """Return the prompt of a window in `language` (a code), given the `previous` text tokens.

        The text of the window is to go on from `begun`, which leaves less room for what comes
        before. Only the `first` window has the prefix. Hotwords take the beginning of the room for
        previous text; faster-whisper gives them room of their own, which can fill the context.
        UsageError where the model lacks the language or the task.
        """
        tokenizer, options = self._tokenizer, self._options
        prompt = list(tokenizer.sot_sequence(language, self._task))
        if options.without_timestamps:
            prompt.append(tokenizer.no_timestamps)
        prefix = self._encode(options.prefix) if first else []
        room = max(0, self.n_previous - len(begun))
        hotwords = [] if prefix else self._encode(options.hotwords)[:room]
        context = hotwords + take_last(previous, room - len(hotwords))
        return (*([tokenizer.sot_prev, *context] if context else ()), *prompt, *prefix, *begun)

    def _encode(self, text: str | None) -> list[int]:
        return self._tokenizer.encode(" " + text.strip()) if text else []

    def begin_history(self) -> History:
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
        """Tokens before the next window, a carried initial prompt first; `build` takes the end."""
        if not self._options.carry_initial_prompt:
            return self._since_reset
        return self._initial + take_last(self._since_reset, self._n_previous - len(self._initial))

    def add(self, tokens: Sequence[int], temperature: float) -> None:
        """Add the tokens of a window, or forget all where they must not condition the next window.

        Text sampled at a temperature above 0.5 is no good example, nor is the text before it.
        """
        self._since_reset.extend(tokens)
        if not self._options.condition_on_previous_text or temperature > 0.5:
            self._since_reset.clear()


def take_last(tokens: Sequence[int], n: int) -> list[int]:
    """Return the last `n` of `tokens`; none where `n` is not positive."""
    return list(tokens[max(0, len(tokens) - n) :]) if n > 0 else []
