"""Words of segments: timed words of a window in, its segments with words and better bounds out.

The rules are those of openai/whisper `timing.py`: punctuation belongs to a word, and a word that
seems too long has a pause in it. Knows no arrays and no audio.

One thing differs: times never run backwards and never leave the content of the window. The rules
below can do both by fractions of a second, and openai/whisper lets them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from whisper_npu_cli.decoding.align import TimedWord
from whisper_npu_cli.dims import FRAMES_PER_SECOND
from whisper_npu_cli.options import WordOptions
from whisper_npu_cli.transcript import Segment, Word

SENTENCE_ENDS = ".。!！?？"
MAX_MEDIAN_S = 0.7  # no word is typically longer


@dataclass(frozen=True)
class Lengths:
    """How long the words of a window are, in seconds."""

    median: float
    max: float  # a longer word has a pause in it

    @staticmethod
    def of(words: Sequence[TimedWord]) -> Lengths:
        """Measure `words`, leaving out those without duration."""
        durations = [word.duration for word in words if word.duration]
        typical = min(MAX_MEDIAN_S, median(durations)) if durations else 0.0
        return Lengths(typical, 2 * typical)


def add_words(
    segments: Sequence[Segment],  # of one window
    n_tokens: Sequence[int],  # text tokens of each
    timed: Sequence[TimedWord],  # of all of them
    options: WordOptions,
    last_speech_s: float,  # end of the speech before them
) -> list[Segment]:
    """Return `segments` with their words, and with bounds that follow from these.

    As in openai/whisper, a segment may end before its last word where the model said so.
    """
    lengths = Lengths.of(timed)
    merged = merge_punctuation(limit_sentence_ends(timed, lengths.max), options)
    result = []
    for segment, own in zip(segments, distribute(merged, n_tokens), strict=True):
        words = placed(own, segment.seek / FRAMES_PER_SECOND)
        fitted = fit(replace(segment, words=tuple(words)), lengths, last_speech_s)
        result.append(fitted)
        if words:
            last_speech_s = fitted.end
    return result


def placed(words: Sequence[TimedWord], offset_s: float) -> list[Word]:
    """Return the words of a window that begins at `offset_s`, times rounded to 10 ms."""
    return [
        Word(w.word, round(offset_s + w.start, 2), round(offset_s + w.end, 2), w.probability)
        for w in words
    ]


def limit_sentence_ends(words: Sequence[TimedWord], max_s: float) -> list[TimedWord]:
    """Cut words longer than `max_s` that end a sentence, or begin one."""
    limited = list(words)
    for i in range(1, len(limited) if max_s else 0):
        if limited[i].duration <= max_s:
            continue
        if limited[i].word in SENTENCE_ENDS:
            limited[i] = replace(limited[i], end=limited[i].start + max_s)
        elif limited[i - 1].word in SENTENCE_ENDS:
            limited[i] = replace(limited[i], start=limited[i].end - max_s)
    return limited


def merge_punctuation(words: Sequence[TimedWord], options: WordOptions) -> list[TimedWord]:
    """Join punctuation to the word after it, or before it; times are those of the word."""
    merged: list[TimedWord] = []
    for word in reversed(words):
        opens = word.word.startswith(" ") and word.word.strip() in options.prepend_punctuations
        if merged and opens:
            merged[-1] = _joined(word, merged[-1], times_of=merged[-1])
        else:
            merged.append(word)
    openers_joined, merged = merged[::-1], []
    for word in openers_joined:
        closes = word.word in options.append_punctuations
        if merged and closes and not merged[-1].word.endswith(" "):
            merged[-1] = _joined(merged[-1], word, times_of=merged[-1])
        else:
            merged.append(word)
    return merged


def _joined(first: TimedWord, second: TimedWord, times_of: TimedWord) -> TimedWord:
    return replace(times_of, word=first.word + second.word, tokens=first.tokens + second.tokens)


def distribute(words: Sequence[TimedWord], n_tokens: Sequence[int]) -> list[list[TimedWord]]:
    """Return the words of segments of `n_tokens` tokens each.

    A word whose tokens lie on both sides of a bound belongs to the segment where it begins.
    """
    remaining = list(words)[::-1]
    result = []
    for n_missing in n_tokens:
        own: list[TimedWord] = []
        while remaining and n_missing > sum(len(word.tokens) for word in own):
            own.append(remaining.pop())
        result.append(own)
    return result


def fit(segment: Segment, lengths: Lengths, last_speech_s: float) -> Segment:
    """Fit the first and last word of a segment, and its bounds, to each other."""
    if not segment.words:
        return segment
    words = shorten_after_pause(segment.words, lengths, last_speech_s)
    first, start, end = words[0], segment.start, segment.end
    # The timestamp that the model wrote is preferred where the word is too long.
    if start < first.end and start - 0.5 > first.start:
        words[0] = replace(first, start=max(0.0, min(first.end - lengths.median, start)))
    else:
        start = first.start
    last = words[-1]
    if end > last.start and end + 0.5 < last.end:
        words[-1] = replace(last, end=max(last.start + lengths.median, end))
    else:
        end = last.end
    return replace(segment, start=start, end=end, words=tuple(words))


def shorten_after_pause(
    words: Sequence[Word], lengths: Lengths, last_speech_s: float
) -> list[Word]:
    """Let the first two words after a pause last at most twice the median each."""
    first, *rest = words
    if first.end - last_speech_s <= 4 * lengths.median:
        return list(words)
    both = rest[0].end - first.start if rest else 0.0
    if first.end - first.start <= lengths.max and both <= 2 * lengths.max:
        return list(words)
    if rest and rest[0].end - rest[0].start > lengths.max:
        # Half of the end time: openai/whisper's way not to fall below zero.
        bound = max(rest[0].end / 2, rest[0].end - lengths.max)
        first, rest[0] = replace(first, end=bound), replace(rest[0], start=bound)
    return [replace(first, start=max(0.0, first.end - lengths.max)), *rest]
