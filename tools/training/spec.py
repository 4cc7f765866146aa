"""The vocabulary and dimensions of the `demo` model.

The vocabulary is all bytes, the digits as one token each, and Whisper's special tokens for English.
"""

from __future__ import annotations

from tests.support.digits import WORDS
from whisper_npu_cli.checkpoints.tokenizer import Tokenizer, special_tokens
from whisper_npu_cli.checkpoints.vocabularies import byte_alphabet, tokenizer_json
from whisper_npu_cli.dims import N_FRAMES, ModelDims

SPACE = "\u0120"  # a space in byte_alphabet()


def _build() -> tuple[list[str], list[str]]:
    """Return texts and merges: bytes, then the prefixes of " zero" to " nine"."""
    texts, merges = byte_alphabet(), []
    for word in WORDS:
        piece = SPACE
        for letter in word:
            if piece + letter not in texts:
                texts.append(piece + letter)
                merges.append(f"{piece} {letter}")
            piece += letter
    return texts, merges


_TEXTS, _MERGES = _build()
TOKENIZER_JSON = tokenizer_json(_TEXTS, _MERGES, special_tokens(n_languages=1))
TOKENIZER = Tokenizer(TOKENIZER_JSON, is_multilingual=True, source="demo")
WORD_IDS = [_TEXTS.index(SPACE + word) for word in WORDS]
LANGUAGE = TOKENIZER.language_ids["en"]
EOT, SOT, PREVIOUS = TOKENIZER.eot, TOKENIZER.sot, TOKENIZER.sot_prev
TRANSCRIBE, NO_SPEECH = TOKENIZER.transcribe, TOKENIZER.no_speech
NO_TIMESTAMPS, TIME = TOKENIZER.no_timestamps, TOKENIZER.timestamp_begin
DIMS = ModelDims(
    n_mels=80,
    n_audio_ctx=N_FRAMES // 2,
    n_audio_state=128,
    n_audio_head=2,
    n_audio_layer=4,
    n_vocab=TOKENIZER.n_vocab,
    n_text_ctx=448,
    n_text_state=128,
    n_text_head=2,
    n_text_layer=2,
)
ALIGNMENT_HEAD = (DIMS.n_text_layer - 1, 0)  # layer, head; training tells it where to look
