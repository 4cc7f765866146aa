"""The text of audio that grows: what of it is settled, and what may follow.

Windows that begin at one place and end ever later in, hypotheses out. What is settled precedes the
next decoding, so that it is never written anew, and the audio in which it was said is the context
of what follows. This module does not know when to decode, nor what to settle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, takewhile
from math import inf

from whisper_npu_cli.decoding.align import TimedWord
from whisper_npu_cli.decoding.retry import DecodedWindow, compression_ratio
from whisper_npu_cli.dims import FRAMES_PER_SECOND
from whisper_npu_cli.longform.hearing import Arriving
from whisper_npu_cli.longform.stages import Stages
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.longform.words import (
    SENTENCE_ENDS,
    Lengths,
    merge_punctuation,
    place_words,
    shorten_after_pause,
)
from whisper_npu_cli.options import WordOptions
from whisper_npu_cli.transcript import Segment

# A longer window is cut at a settled word: what is before is given up. The seconds that are left
# let speech be understood in its context, and each word be told from a part of it.
_LONG_FRAMES, _KEPT_FRAMES = 1500, 500
# Of silence: after more, base ended the text there, and wrote none of what followed for 1 to 3 s.
_PAUSE_FRAMES = 140
# After a pause of 1.2 s tiny.en wrote nothing of the next sentence. No word is as long.
_IGNORED_FRAMES = 100


@dataclass(frozen=True)
class Hypothesis:
    """What a window may say after what is settled."""

    window: Window
    decoded: DecodedWindow  # of all its text
    words: Sequence[TimedWord]  # that are not settled, in seconds within the window

    def get_text(self, n_skipped: int = 0) -> str:
        """Return the text of the words, without the first."""
        return "".join(word.word for word in self.words[n_skipped:])


class GrowingText:
    """The text from frame `start` on."""

    def __init__(self, audio: Arriving, stages: Stages) -> None:
        self.start = 0
        self._audio = audio
        self._stages = stages
        self._settled: list[TimedWord] = []  # from `start` on, in seconds of the audio
        self._last_s = 0.0  # the end of the last settled word

    @property
    def is_language_sure(self) -> bool:
        """Whether what is written is in the right language."""
        return self._stages.is_language_sure

    @property
    def has_context(self) -> bool:
        """Whether some of the text is settled, which what follows goes on from."""
        return bool(self._settled)

    def decode(self, window: Window, stages: Stages) -> Hypothesis:
        """Decode a window from `start` on, in one of the ways to do so that `stages` are.

        Where what is settled is taken for all that is said, and it is not, it is given up.
        """
        hypothesis = self._decode(window, stages)
        last = round(self._last_s * FRAMES_PER_SECOND)
        is_ignored = self.has_context and window.until - last > _IGNORED_FRAMES
        if hypothesis.words or not is_ignored:
            return hypothesis
        self.restart(last)
        return self._decode(replace(window, start=self.start), stages)

    def _decode(self, window: Window, stages: Stages) -> Hypothesis:
        mel = self._audio.window(window.start, window.end)
        if not self._stages.is_language_sure:
            self._stages.detect_language([(mel, window.start)])
        language = self._stages.language
        encoded = self._stages.encode(mel, window.start)
        self._stages.windows.clear()  # for hours; that an engine failed is told by a notice
        begun = [token for word in self._settled for token in word.tokens]
        previous = stages.begin_history().tokens
        (decoded,) = stages.decode([encoded], previous, language=language, begun=begun)
        tokens = [*begun, *decoded.tokens]
        ratio = compression_ratio(stages.tokenizer.decode(tokens))
        whole = replace(decoded, tokens=tuple(tokens), compression_ratio=ratio)
        timed = stages.align(encoded, tokens, decoded.language, window.n_frames)
        return Hypothesis(window, whole, list(self._skip(timed, len(begun))))

    def is_sound(self, hypothesis: Hypothesis) -> bool:
        """Return whether a text is none of a loop, and none of silence."""
        decoded = hypothesis.decoded
        return not (self._stages.is_repetitive(decoded) or self._stages.is_silence(decoded))

    def settle(self, hypothesis: Hypothesis, n_words: int) -> list[Segment]:
        """Settle the first words of a hypothesis; return them, a segment for each sentence."""
        words, offset_s = hypothesis.words[:n_words], hypothesis.window.start_s
        lengths = Lengths.measure(words)
        self._settled += [
            replace(word, start=word.start + offset_s, end=word.end + offset_s) for word in words
        ]
        segments = []
        for sentence in _split_sentences(words):
            placed = place_words(merge_punctuation(sentence, WordOptions()), offset_s)
            placed = shorten_after_pause(placed, lengths, self._last_s)
            self._last_s = placed[-1].end
            decoded = hypothesis.decoded
            segments.append(
                Segment(
                    id=0,
                    seek=hypothesis.window.start,
                    start=placed[0].start,
                    end=placed[-1].end,
                    text="".join(word.word for word in sentence),
                    tokens=tuple(token for word in sentence for token in word.tokens),
                    temperature=decoded.temperature,
                    avg_logprob=decoded.avg_logprob,
                    compression_ratio=decoded.compression_ratio,
                    no_speech_prob=decoded.no_speech_prob,
                    language=decoded.language,
                    words=tuple(placed),
                )
            )
        return segments

    def shorten(self, end: int) -> None:
        """Give up what a window that ends at frame `end` is too long for, up to a settled word.

        That is the last of a sentence where there is one; the first where all of them are late.
        """
        if end - self.start <= _LONG_FRAMES or not self._settled:
            return
        latest_s = (end - _KEPT_FRAMES) / FRAMES_PER_SECOND
        early = list(takewhile(lambda word: word.end < latest_s, self._settled))
        ends = [n for n, word in enumerate(early, 1) if word.word.strip()[-1:] in SENTENCE_ENDS]
        n_words = ends[-1] if ends else len(early)
        cut_s = early[n_words - 1].end if n_words else self._settled[0].start
        self.start = max(self.start, round(cut_s * FRAMES_PER_SECOND))
        del self._settled[:n_words]

    def restart(self, frame: int) -> None:
        """Give up all that is before `frame`."""
        self.start = max(self.start, frame)
        self._settled.clear()

    def release(self, speech_start: int, pad_frames: int) -> None:
        """Give up what is before the next speech and its padding, unless it is its context."""
        last = self._settled[-1].end * FRAMES_PER_SECOND if self._settled else -inf
        if speech_start - last > _PAUSE_FRAMES or speech_start - self.start > _LONG_FRAMES:
            self.restart(speech_start - pad_frames)

    def _skip(self, timed: Sequence[TimedWord], n_tokens: int) -> Iterator[TimedWord]:
        """Yield the words after `n_tokens`; of one that begins before, the rest."""
        ends = accumulate(len(word.tokens) for word in timed)
        for word, end in zip(timed, ends, strict=True):
            tokens = word.tokens[-(end - n_tokens) :] if end > n_tokens else ()
            if len(tokens) == len(word.tokens):
                yield word
            elif tokens:
                yield replace(word, word=self._stages.tokenizer.decode(tokens), tokens=tokens)


def _split_sentences(words: Sequence[TimedWord]) -> Iterator[list[TimedWord]]:
    """Yield the words of each sentence, with the punctuation that ends it."""
    sentence: list[TimedWord] = []
    for word in words:
        is_new = sentence and sentence[-1].word.strip()[-1:] in SENTENCE_ENDS
        if is_new and word.word[:1] == " ":
            yield sentence
            sentence = []
        sentence.append(word)
    if sentence:
        yield sentence
