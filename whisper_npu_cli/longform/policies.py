"""When words of audio that is spoken now are decoded and settled: two policies, one seam.

AlignAtt (Papi et al. 2023; for Whisper: Wang et al. 2024, "Simul-Whisper", and SimulStreaming): a
few heads of the decoder look at the sound of the word that they predict, and a word whose sound
lies well before the end of the audio so far changes no more when the rest is heard. These end the
decoding at the first word beyond; here that and what follows it are the tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from whisper_npu_cli.dims import FRAMES_PER_SECOND, N_FRAMES
from whisper_npu_cli.longform.growing import GrowingText, Hypothesis
from whisper_npu_cli.longform.stages import Stages
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.transcript import Segment

_LONGEST_FRAMES = N_FRAMES - 500  # of a window, which grows by a step until it is decoded
# Of a window without context before a word is settled, 0.4 s of silence included: of 1.4 s base
# took "But already" for "Better ready". It had 1 point fewer wrong, in four orders of 326 words.
_FIRST_FRAMES = 200
_REWIND_S = 2.0  # a decoder that looks back further says something once more
_REPLACEMENT = "\ufffd"  # the text of bytes that are no complete character


def adapt(options: TranscribeOptions, *, is_draft: bool) -> TranscribeOptions:
    """Return the options for text that goes on from what is settled; a draft is one greedy try."""
    decoding = replace(
        options.decoding,
        without_timestamps=True,  # audio that is cut off has no end to be told
        suppress_blank=False,  # nothing may follow
    )
    if is_draft:
        decoding = replace(
            decoding, beam_size=None, patience=None, temperature_increment_on_fallback=None
        )
    return replace(options, decoding=decoding)


@dataclass(frozen=True)
class Heard:
    """What was made of an utterance so far: new text that is settled, and what may change."""

    settled: Sequence[Segment] = ()
    tail: str = ""


class Policy(Protocol):
    """When words are decoded, and when they are settled."""

    text: GrowingText

    def follow(self, window: Window) -> Heard:
        """Take an utterance that goes on, in a window up to all that was heard."""

    def finish(self, window: Window) -> Heard:
        """Take an utterance that has ended, and settle all of it."""


class Utterances:
    """Decode what was said once the speaker pauses."""

    def __init__(self, text: GrowingText, stages: Stages, margin_s: float) -> None:
        self.text = text
        self._stages = stages
        self.margin_s = margin_s

    def follow(self, window: Window) -> Heard:
        """Settle what is past of an utterance that is too long for a window."""
        if window.n_frames < _LONGEST_FRAMES:
            return Heard()
        hypothesis = self.text.decode(window, self._stages)
        settled = settle_past(self.text, hypothesis, self.margin_s).settled
        return Heard(settled) if settled else settle_all(self.text, hypothesis)

    def finish(self, window: Window) -> Heard:
        """Decode it."""
        return settle_all(self.text, self.text.decode(window, self._stages))


class Streaming:
    """Decode at every step, once and greedily, and settle the words that are surely past."""

    def __init__(self, text: GrowingText, drafts: Stages, rest: Utterances) -> None:
        self.text = text
        self._drafts = drafts
        self._rest = rest  # what a draft is no help for

    def follow(self, window: Window) -> Heard:
        """Settle what is past, unless the text cannot be trusted."""
        if window.n_frames >= _LONGEST_FRAMES:
            return self._rest.follow(window)
        return settle_past(self.text, self.text.decode(window, self._drafts), self._rest.margin_s)

    def finish(self, window: Window) -> Heard:
        """Settle the rest."""
        draft = self.text.decode(window, self._drafts)
        if not self.text.is_sound(draft):
            return self._rest.finish(draft.window)
        return settle_all(self.text, draft)


def settle_past(text: GrowingText, draft: Hypothesis, margin_s: float) -> Heard:
    """Settle the words that end `margin_s` before the window does; none of a text in doubt."""
    if not text.is_language_sure or not text.is_sound(draft):
        return Heard()
    is_first = not text.has_context and draft.window.n_frames < _FIRST_FRAMES
    n_past = 0 if is_first else count_past(draft, margin_s)
    heard = Heard(text.settle(draft, n_past), draft.get_text(n_past).rstrip())
    text.shorten(draft.window.end)
    return heard


def settle_all(text: GrowingText, hypothesis: Hypothesis) -> Heard:
    """Settle all words of an utterance; give up one whose text is still in doubt."""
    window = hypothesis.window
    if not text.is_sound(hypothesis):
        text.restart(window.until)
        return Heard()
    settled = text.settle(hypothesis, len(hypothesis.words))
    text.shorten(window.end)
    return Heard(settled)


def count_past(draft: Hypothesis, margin_s: float) -> int:
    """Return how many words are surely past: whole, and looked at before the margin, in order."""
    end_s = draft.window.n_frames / FRAMES_PER_SECOND - margin_s
    furthest_s = 0.0
    for n, word in enumerate(draft.words):
        is_back = word.attended < furthest_s - _REWIND_S
        if word.attended > end_s or is_back or _REPLACEMENT in word.word:
            return n
        furthest_s = max(furthest_s, word.attended)
    return len(draft.words)
