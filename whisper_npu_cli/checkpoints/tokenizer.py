"""Text <-> token ids, and the special tokens of Whisper by name.

A tokenizer is made from the bytes of a Hugging Face `tokenizer.json`. The library `tokenizers`
handles the ids below `eot`, which are text in byte-level BPE. All other ids are special tokens,
kept here in plain dictionaries, so that text that spells one is never taken for it.
Knows nothing of model files, logits or search.
"""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

import tokenizers

from whisper_npu_cli.checkpoints.languages import LANGUAGES
from whisper_npu_cli.dims import CHUNK_S, TIME_PRECISION_S, TOKENS_PER_SECOND
from whisper_npu_cli.errors import CheckpointError, UsageError

_TASKS = ("transcribe", "translate")
_NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")  # the name since large-v3, and the one before

# These languages are written without spaces, so each character counts as a word
# (openai/whisper `split_to_word_tokens`).
_UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})

# openai/whisper suppresses these by default, with and without a space before them, to keep
# speaker tags and descriptions of sounds ("[MUSIC]", "(laughs)", "♪") out of transcripts.
_NON_SPEECH = (
    *'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
    *("<<", ">>", "<<<", ">>>", "--", "---", "-(", "-[", "('", '("', "((", "))", "(((", ")))"),
    *("[[", "]]", "{{", "}}", "♪♪", "♪♪♪"),
)
# Where one of these takes several tokens, the first can be suppressed without touching other text:
# its two bytes begin only U+2640 to U+267F, which are all symbols.
_NON_SPEECH_NOTES = tuple("♩♪♫♬♭♮♯")
_REPLACEMENT = "\ufffd"  # the text of bytes that are no complete character


def special_tokens(n_languages: int) -> list[str]:
    """Return Whisper's special tokens in the order of their ids, <|endoftext|> first.

    Published vocabularies have 99 languages, or 100 since large-v3. The order is that of
    openai/whisper `tokenizer.py`.
    """
    return [
        "<|endoftext|>",
        "<|startoftranscript|>",
        *(f"<|{code}|>" for code in list(LANGUAGES)[:n_languages]),
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>" if n_languages > 99 else "<|nocaptions|>",
        "<|notimestamps|>",
        *(timestamp_token(step) for step in range(CHUNK_S * TOKENS_PER_SECOND + 1)),
    ]


def timestamp_token(step: int) -> str:
    """Return the name of the timestamp at `step` times 20 ms from the start of the window."""
    return f"<|{step * TIME_PRECISION_S:.2f}|>"


class Tokenizer:
    """The vocabulary of one checkpoint. Its attributes are the ids of the special tokens."""

    def __init__(self, tokenizer_json: bytes, *, is_multilingual: bool, source: str) -> None:
        """Read a `tokenizer.json`; CheckpointError, naming `source`, if it is not of a Whisper."""
        fields = _parse(tokenizer_json, source)
        self.is_multilingual = is_multilingual
        self._source = source
        self._special: dict[str, int] = {
            token["content"]: token["id"] for token in fields["added_tokens"]
        }
        self._special_names = {id_: name for name, id_ in self._special.items()}
        # Without added tokens the library never takes text for a special token, and without a
        # post-processor it does not wrap prompts in special tokens.
        fields |= {"added_tokens": [], "post_processor": None}
        self._bpe = _build_bpe(fields, source)

        self.eot = self._find_id("<|endoftext|>")
        self.sot = self._find_id("<|startoftranscript|>")
        self.transcribe = self._find_id("<|transcribe|>")
        self.translate = self._find_id("<|translate|>")
        self.sot_lm = self._find_id("<|startoflm|>")
        self.sot_prev = self._find_id("<|startofprev|>")
        self.no_speech = self._find_id(*_NO_SPEECH)
        self.no_timestamps = self._find_id("<|notimestamps|>")
        # Files of 2022 and 2023 do not list the timestamps, whose ids follow <|notimestamps|>.
        self.timestamp_begin = self._special.get("<|0.00|>", self.no_timestamps + 1)
        self.language_ids = {
            name[2:-2]: id_ for name, id_ in self._special.items() if name[2:-2] in LANGUAGES
        }
        last_timestamp = self.timestamp_begin + CHUNK_S * TOKENS_PER_SECOND
        self.n_vocab = max(last_timestamp, *self._special.values()) + 1

    def _find_id(self, *names: str) -> int:
        for name in names:
            if name in self._special:
                return self._special[name]
        raise CheckpointError(
            f"{self._source}: tokenizer.json has no token {' or '.join(names)}, as Whisper's have"
        )

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, without any special tokens."""
        return self._bpe.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; timestamps and other special tokens are dropped."""
        return self._bpe.decode([i for i in ids if not self.is_special(i)])

    def decode_with_timestamps(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, with special tokens by name and timestamps as <|1.08|>."""
        return "".join(
            "".join(map(self._name, run)) if special else self._bpe.decode(list(run))
            for special, run in groupby(ids, key=self.is_special)
        )

    def is_special(self, id_: int) -> bool:
        """Return whether `id_` is a timestamp or another token that is not text."""
        return id_ in self._special_names or id_ >= self.timestamp_begin

    def _name(self, id_: int) -> str:
        """Return the name of a special token."""
        return self._special_names.get(id_) or timestamp_token(id_ - self.timestamp_begin)

    def sot_sequence(self, language: str | None, task: str = "transcribe") -> tuple[int, ...]:
        """Return the tokens that start a transcript: one where the model is English-only.

        `language` is a code. Raises UsageError where the model has no such language or task.
        """
        if task not in _TASKS:
            raise UsageError(f"unknown task {task!r}", hint=f"one of {', '.join(_TASKS)}")
        if not self.is_multilingual:
            if task != "transcribe" or language not in (None, "en"):
                raise UsageError(
                    "an English-only model cannot transcribe other languages or translate",
                    hint="use the model without '.en'",
                )
            return (self.sot,)
        if language not in self.language_ids:
            raise UsageError(
                f"the model has no language {language!r}",
                hint=f"it has {', '.join(self.language_ids)}",
            )
        task_id = self.transcribe if task == "transcribe" else self.translate
        return (self.sot, self.language_ids[language], task_id)

    @cached_property
    def non_speech_tokens(self) -> tuple[int, ...]:
        """Ids that openai/whisper suppresses by default, sorted (its `suppress_tokens` "-1")."""
        # Hyphens and apostrophes may stand within a word, not at its beginning.
        found = {self.encode(" -")[0], self.encode(" '")[0]}
        for symbol in _NON_SPEECH + _NON_SPEECH_NOTES:
            for ids in (self.encode(symbol), self.encode(" " + symbol)):
                if len(ids) == 1 or symbol in _NON_SPEECH_NOTES:
                    found.add(ids[0])
        return tuple(sorted(found))

    def split_to_word_tokens(
        self, ids: Sequence[int], language: str
    ) -> tuple[list[str], list[list[int]]]:
        """Split `ids` into words, as openai/whisper does; return their texts and their ids."""
        characters = self._split_on_characters(ids)
        if language in _UNSPACED_LANGUAGES:
            return [text for text, _ in characters], [tokens for _, tokens in characters]
        words: list[str] = []
        word_ids: list[list[int]] = []
        for text, tokens in characters:
            starts_word = text.startswith(" ") or text.strip() in string.punctuation
            if not words or starts_word or self.is_special(tokens[0]):
                words.append(text)
                word_ids.append(tokens)
            else:
                words[-1] += text
                word_ids[-1] += tokens
        return words, word_ids

    def _split_on_characters(self, ids: Sequence[int]) -> list[tuple[str, list[int]]]:
        """Group `ids` so that each group is whole characters, which may take several tokens.

        Algorithm: openai/whisper `split_tokens_on_unicode`. A group whose text has a replacement
        character goes on, unless the whole text has one at that place too: then the bytes are
        broken, and no further token completes them.
        """
        full = self.decode_with_timestamps(ids)
        groups: list[tuple[str, list[int]]] = []
        pending: list[int] = []
        offset = 0
        for id_ in ids:
            pending.append(id_)
            text = self.decode_with_timestamps(pending)
            broken_at = text.find(_REPLACEMENT)
            if broken_at < 0 or full[offset + broken_at] == _REPLACEMENT:
                groups.append((text, pending))
                offset += len(text)
                pending = []
        return groups


def _parse(tokenizer_json: bytes, source: str) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads(tokenizer_json)
        tokens = [(token["content"], token["id"]) for token in fields["added_tokens"]]
        if not all(type(name) is str and type(id_) is int and id_ >= 0 for name, id_ in tokens):
            raise TypeError("a special token without a name or an id")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{source}: tokenizer.json is damaged: {error!r:.200}") from error
    if not tokens:
        raise CheckpointError(f"{source}: tokenizer.json has no special tokens")
    return fields


def _build_bpe(fields: dict[str, Any], source: str) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_str(json.dumps(fields))
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"{source}: tokenizer.json is damaged: {error!s:.200}") from error
