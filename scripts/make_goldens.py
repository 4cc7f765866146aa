"""Make `tests/golden`: what openai-whisper and transformers compute, for the tests to hold to.

Needs scripts/requirements.txt; run by `make goldens`. The tests need none of these packages.
Each file says what made it. Recordings are read from ../shared beside the checkout.
"""

from __future__ import annotations

from decoding_goldens import make_decoding, make_demo_recordings
from mel_goldens import make_mel
from model_goldens import make_demo, make_model
from tokenizer_goldens import make_tokenizer
from words_goldens import make_demo_words, make_subtitles, make_words

if __name__ == "__main__":
    make_mel()
    make_tokenizer()
    make_model()
    make_decoding()
    make_subtitles()
    make_words()
    make_demo_recordings()
    make_demo_words()
    make_demo()
