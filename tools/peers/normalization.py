"""openai-whisper's normalisers: JSON pairs of language and text on stdin -> texts on stdout.

They make texts comparable word by word: small letters, no punctuation and, in English, one
spelling and one way to write numbers.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Normalise all texts."""
    from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer

    english, basic = EnglishTextNormalizer(), BasicTextNormalizer()
    pairs = json.load(sys.stdin)
    json.dump(
        [(english if language == "en" else basic)(text) for language, text in pairs], sys.stdout
    )


if __name__ == "__main__":
    main()
