"""AlignAtt: words are settled while they are spoken, by where the decoder looks for them.

A few heads of the decoder look at the sound of the word that they predict. A word whose sound lies
well before the end of the audio so far changes no more when the rest is heard. What is settled
precedes the next decoding, so that it is never written anew. Papi et al. 2023, "AlignAtt"; for
Whisper: Wang et al. 2024, "Simul-Whisper", and SimulStreaming. These end the decoding at the first
word beyond; here the words after it are the tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, takewhile

from whisper_npu_cli.decoding.align import TimedWord
from whisper_npu_cli.decoding.retry import DecodedWindow, compression_ratio
from whisper_npu_cli.dims import FRAMES_PER_SECOND
from whisper_npu_cli.longform.hearing import Arriving
from whisper_npu_cli.longform.policies import Heard
from whisper_npu_cli.longform.stages import Stages
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.longform.words import SENTENCE_ENDS, merge_punctuation, place_words
from whisper_npu_cli.options import TranscribeOptions, WordOptions
from whisper_npu_cli.transcript import Segment

_LONG_FRAMES = 1500  # a longer utterance is cut at a settled word, and what is before given up
_LONGEST_FRAMES = 2500  # without any such word all of it is settled, as at its end
_KEPT_FRAMES = 300  # before the last settled word, so that the cut has text on both sides
_REWIND_S = 2.0  # the decoder that looks back further says something once more
_REPLACEMENT = "\ufffd"  # the text of bytes that are no complete character


def adapt(options: TranscribeOptions, *, is_draft: bool) -> TranscribeOptions:
    """Return the options for decoding an utterance that may have begun: greedily, a draft once."""
    increment = None if is_draft else options.decoding.temperature_increment_on_fallback
    decoding = replace(
        options.decoding,
        temperature_increment_on_fallback=increment,
        beam_size=None,
        patience=None,
        without_timestamps=True,  # audio that is cut off has no end to be told
        suppress_blank=False,  # nothing may follow what is settled
    )
    return replace(options, decoding=decoding)


@dataclass(frozen=True)
class _Hypothesis:
    """What a window may say after what is settled."""

    window: Window
    decoded: DecodedWindow  # of all its text
    words: Sequence[TimedWord]  # that are not settled

    @property
    def tail(self) -> str:
        """The text of the words."""
        return "".join(word.word for word in self.words)


class Streaming:
    """Decode an utterance at every step, and settle the words that are surely past.

    `drafts` are the stages of one attempt, `stages` those of several at higher temperatures.
    """

    def __init__(self, audio: Arriving, stages: Stages, drafts: Stages, margin_s: float) -> None:
        self.start = 0
        self._audio = audio
        self._stages = stages
        self._drafts = drafts
        self._margin_s = margin_s
        self._history = stages.begin_history()
        self._settled: list[TimedWord] = []  # in seconds of the audio, from `start` on

    def follow(self, window: Window) -> Heard:
        """Settle the words that end before the margin, unless the text cannot be trusted."""
        if window.n_frames > _LONGEST_FRAMES:
            return self.finish(window, is_cut=False)
        self.start = window.start
        draft = self._decode(self._drafts, window)
        if not self._stages.is_language_sure or not self._is_sound(draft):
            return Heard()
        n_past = self._count_past(draft)
        heard = Heard(self._settle(draft, n_past), replace(draft, words=draft.words[n_past:]).tail)
        if window.n_frames > _LONG_FRAMES:
            self._cut()
        return heard

    def finish(self, window: Window, *, is_cut: bool) -> Heard:
        """Settle all words of an utterance; one that is cut goes on."""
        if is_cut:
            return Heard()
        final = self._decode(self._drafts, window)
        if not self._is_sound(final):
            final = self._decode(self._stages, window)
        settled = self._settle(final, len(final.words)) if self._is_sound(final) else []
        last_s = self._settled[-1].end if self._settled else 0.0
        self._give_up(len(self._settled), final.decoded.last_temperature)
        self.start = max(window.until, min(round(last_s * FRAMES_PER_SECOND), window.end))
        return Heard(settled)

    def _decode(self, stages: Stages, window: Window) -> _Hypothesis:
        mel = self._audio.window(window.start, window.end)
        if not self._stages.is_language_sure:
            self._stages.detect_language([(mel, window.start)])
        language = self._stages.language
        begun = [token for word in self._settled for token in word.tokens]
        encoded = self._stages.encode(mel, window.start)
        (decoded,) = stages.decode([encoded], self._history.tokens, language=language, begun=begun)
        tokens = [*begun, *decoded.tokens]
        text = stages.tokenizer.decode(tokens)
        whole = replace(decoded, tokens=tuple(tokens), compression_ratio=compression_ratio(text))
        timed = stages.align(encoded, tokens, decoded.language, window.n_frames)
        return _Hypothesis(window, whole, self._skip_settled(timed, len(begun)))

    def _skip_settled(self, timed: Sequence[TimedWord], n_begun: int) -> list[TimedWord]:
        """Return the words after `n_begun` tokens; of one that begins before, the rest."""
        left = []
        ends = accumulate(len(word.tokens) for word in timed)
        for word, end in zip(timed, ends, strict=True):
            tokens = word.tokens[-(end - n_begun) :] if end > n_begun else ()
            if tokens:
                is_whole = len(tokens) == len(word.tokens)
                text = word.word if is_whole else self._stages.tokenizer.decode(tokens)
                left.append(replace(word, word=text, tokens=tokens))
        return left

    def _is_sound(self, hypothesis: _Hypothesis) -> bool:
        """Return whether a text is none of a loop, of silence, or of chance."""
        decoded = hypothesis.decoded
        return not (self._stages.is_repetitive(decoded) or self._stages.is_silence(decoded))

    def _count_past(self, draft: _Hypothesis) -> int:
        """Return how many words are surely past: whole, and looked at before the margin."""
        end_s = draft.window.n_frames / FRAMES_PER_SECOND - self._margin_s
        furthest_s = 0.0
        for n, word in enumerate(draft.words):
            is_back = word.attended < furthest_s - _REWIND_S
            if word.attended > end_s or is_back or _REPLACEMENT in word.word:
                return n
            furthest_s = max(furthest_s, word.attended)
        return len(draft.words)

    def _settle(self, hypothesis: _Hypothesis, n_words: int) -> list[Segment]:
        """Settle the first words of a hypothesis; return them as a segment, if there are any."""
        offset_s = hypothesis.window.start_s
        words = hypothesis.words[:n_words]
        self._settled += [
            replace(word, start=word.start + offset_s, end=word.end + offset_s) for word in words
        ]
        placed = place_words(merge_punctuation(words, WordOptions()), offset_s)
        text = "".join(word.word for word in words)
        if not text.strip():
            return []
        decoded = hypothesis.decoded
        return [
            Segment(
                id=0,
                seek=hypothesis.window.start,
                start=placed[0].start,
                end=placed[-1].end,
                text=text,
                tokens=tuple(token for word in words for token in word.tokens),
                temperature=decoded.temperature,
                avg_logprob=decoded.avg_logprob,
                compression_ratio=decoded.compression_ratio,
                no_speech_prob=decoded.no_speech_prob,
                language=decoded.language,
                words=tuple(placed),
            )
        ]

    def _cut(self) -> None:
        """Give up the audio and the text before the end of a sentence, or else before a word."""
        if not self._settled:
            return
        latest_s = self._settled[-1].end - _KEPT_FRAMES / FRAMES_PER_SECOND
        early = list(takewhile(lambda word: word.end < latest_s, self._settled))
        ends = [n for n, word in enumerate(early, 1) if word.word.strip()[-1:] in SENTENCE_ENDS]
        n_words = ends[-1] if ends else len(early)
        if n_words:
            self.start = round(early[n_words - 1].end * FRAMES_PER_SECOND)
            self._give_up(n_words, 0.0)

    def _give_up(self, n_words: int, temperature: float) -> None:
        """Let the first settled words be text before the window."""
        tokens = [token for word in self._settled[:n_words] for token in word.tokens]
        self._history.add(tokens, temperature)
        del self._settled[:n_words]
