"""Make `tests/golden`: results of openai-whisper and transformers, which the tests compare with.

`make goldens` runs it. It needs tools/requirements.txt; the tests need none of these packages.
Each file tells the versions that made it. Recordings are read from ../shared beside the checkout.
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
