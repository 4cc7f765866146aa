"""The cases that goldens and tests of words and subtitles share."""

from __future__ import annotations

from typing import Any

# Texts to align with the windows of `decoding_model`, one with each.
TEXTS = (
    ' "One, two (three) -- four!" he said. ¿Qué?',
    " a",
    " It's 5 o'clock. Well... [no] maybe-not: 100,000 times",
    " Müßiggang, мир",
)
N_FRAMES = (3000, 3000, 1234, 501)  # frames of content in each window

# Options of a transcription of spoken digits by the demo checkpoint, and the recording: its length
# and its longest gap in seconds.
_GREEDY: dict[str, Any] = {"beam_size": None, "temperature_increment_on_fallback": None}
WORD_CASES: dict[str, tuple[dict[str, Any], tuple[float, float]]] = {
    "gaps to 2 s": (_GREEDY, (60.0, 2.0)),
    "gaps to 20 s": (_GREEDY, (120.0, 20.0)),
    "clips": (_GREEDY | {"clip_timestamps": (3.0, 11.5, 20.0)}, (50.0, 2.0)),
    "skip silence": (_GREEDY | {"hallucination_silence_threshold": 2.0}, (120.0, 20.0)),
    "skip short silence": (_GREEDY | {"hallucination_silence_threshold": 0.5}, (60.0, 4.0)),
}

# Layouts of subtitles, under openai-whisper's names.
LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "highlight": {"highlight_words": True},
    "width 16": {"max_line_width": 16},
    "width 16, count 1": {"max_line_width": 16, "max_line_count": 1},
    "width 24, count 2": {"max_line_width": 24, "max_line_count": 2},
    "width 24, count 2, highlight": {
        "max_line_width": 24,
        "max_line_count": 2,
        "highlight_words": True,
    },
    "width 1000, count 3": {"max_line_width": 1000, "max_line_count": 3},
    "3 words": {"max_words_per_line": 3},
    "1 word, highlight": {"max_words_per_line": 1, "highlight_words": True},
}

_SENTENCES: tuple[tuple[float, str], ...] = (  # where each begins, in seconds
    (0.0, " And so, my fellow Americans, ask not"),
    (4.0, " what your country can do for you --> ask"),
    (12.5, " Donaudampfschifffahrtsgesellschaft says: (wait)"),
    (3599.0, " what you can do for your country."),
)


def spoken_segments() -> list[dict[str, Any]]:
    """Return segments with words, in openai-whisper's form: steady speech with pauses between."""
    segments: list[dict[str, Any]] = []
    for start, sentence in _SENTENCES:
        words: list[dict[str, Any]] = []
        now = start
        for i, word in enumerate(sentence.split()):
            begun = round(now + (0.1 if i % 3 == 1 else 0.0), 2)
            now = round(begun + 0.08 * len(word), 2)
            words.append({"word": f" {word}", "start": begun, "end": now, "probability": 0.9})
        segments.append({"start": start, "end": now, "text": sentence, "words": words})
    return segments
