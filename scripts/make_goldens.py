"""Make `tests/golden`: what openai-whisper and transformers compute, for the tests to hold to.

Needs scripts/requirements.txt; run by `make goldens`. The tests need none of these packages.
Each file says what made it. Recordings are read from ../shared beside the checkout.
"""

from __future__ import annotations

from mel_goldens import make_mel
from model_goldens import make_demo, make_model
from tokenizer_goldens import make_tokenizer

if __name__ == "__main__":
    make_mel()
    make_tokenizer()
    make_model()
    make_demo()
