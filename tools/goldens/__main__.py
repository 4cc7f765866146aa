"""Make `tests/golden`: what openai-whisper and transformers compute, for the tests to hold to.

Needs tools/requirements.txt; run by `make goldens`. The tests need none of these packages.
Each file says what made it. Recordings are read from ../shared beside the checkout.
"""

from __future__ import annotations

from tools.goldens.decoding import make_decoding, make_demo_recordings
from tools.goldens.mel import make_mel
from tools.goldens.model import make_demo, make_model
from tools.goldens.tokenizer import make_tokenizer
from tools.goldens.words import make_demo_words, make_subtitles, make_words

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
