"""Which words are settled, told by where the decoder looks; and what of the audio is kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from whisper_npu_cli.decoding.align import TimedWord
from whisper_npu_cli.decoding.retry import DecodedWindow
from whisper_npu_cli.dims import FRAMES_PER_SECOND
from whisper_npu_cli.longform.growing import GrowingText, Hypothesis
from whisper_npu_cli.longform.policies import Streaming, Utterances, adapt, count_past
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.options import DecodingOptions, TranscribeOptions

MARGIN_S = 0.7
DECODED = DecodedWindow("en", (), 0.0, -0.2, 1.0, 0.1)


def word(text: str, end: float, attended: float | None = None) -> TimedWord:
    where = end - 0.1 if attended is None else attended
    return TimedWord(text, (len(text),), end - 0.3, end, 0.9, where)


def make_hypothesis(words: list[TimedWord], n_frames: int) -> Hypothesis:
    return Hypothesis(Window(0, n_frames, n_frames), DECODED, words)


@pytest.mark.parametrize(
    ("words", "n_past"),
    [
        ([word(" a", 1.0), word(" b", 2.0)], 2),
        ([word(" a", 1.0), word(" b", 2.7)], 1),  # looked at within the margin
        ([word(" a", 2.7), word(" b", 2.0)], 0),  # nothing after a word that may change
        ([word(" a", 1.0), word(" b\ufffd", 2.0)], 1),  # half of a character
        ([word(" a", 2.3), word(" b", 0.2, 0.1)], 1),  # it looks back: said once more
        ([word(" a", 2.3), word(" b", 2.0)], 2),  # a little, as it may
        ([], 0),
    ],
)
def test_words_are_past_that_are_looked_at_before_the_margin(
    words: list[TimedWord], n_past: int
) -> None:
    assert count_past(make_hypothesis(words, 300), MARGIN_S) == n_past


def test_text_that_goes_on_is_decoded_without_timestamps_and_may_end_at_once() -> None:
    options = TranscribeOptions(decoding=DecodingOptions(patience=2.0))
    final, draft = (adapt(options, is_draft=is_draft).decoding for is_draft in (False, True))
    assert final.without_timestamps
    assert not final.suppress_blank
    assert final.beam_size == 5
    assert (draft.beam_size, len(draft.temperatures)) == (None, 1)
    assert len(final.temperatures) > 1


class Table:
    """The stages of a model that says a word of half a second at each second of the audio."""

    def __init__(self, *, is_loop: bool = False, is_language_sure: bool = True) -> None:
        self.language = "en"
        self.goes_on = True  # from what is settled
        self.windows: list[object] = []
        self.begun: list[list[int]] = []
        self.is_loop, self.is_language_sure = is_loop, is_language_sure
        self.tokenizer = SimpleNamespace(decode=lambda tokens: " w" * len(tokens))

    def begin_history(self) -> Any:
        return SimpleNamespace(tokens=[])

    def detect_language(self, windows: Any) -> None:
        pass

    def encode(self, mel: NDArray[np.float32], seek: int) -> tuple[int, int]:
        return seek, int(mel[0, 0])

    def decode(self, encoded: Any, _previous: Any, *, begun: list[int], **_: str) -> Any:
        ((start, end),) = encoded
        self.begun.append(begun)
        if begun and not self.goes_on:
            return [DECODED]
        said = [t for t in range(-(-start // 100), end // 100) if t not in begun]
        return [DecodedWindow("en", tuple(said), 0.0, -0.2, 1.0, 0.1)]

    def align(self, encoded: Any, tokens: list[int], *_: Any) -> Any:
        offset = encoded[0] / FRAMES_PER_SECOND
        return [
            TimedWord(" w", (t,), t - offset, t - offset + 0.5, 0.9, t - offset + 0.4)
            for t in tokens
        ]

    def is_repetitive(self, _: DecodedWindow) -> bool:
        return self.is_loop

    def is_silence(self, _: DecodedWindow) -> bool:
        return False


class Audio:
    """Windows that are the frame at which they end."""

    def window(self, _start: int, end: int) -> NDArray[np.float32]:
        return np.full((1, 1), end, np.float32)


def make_policies(table: Table) -> tuple[Streaming, Utterances]:
    text = GrowingText(cast(Any, Audio()), cast(Any, table))
    utterances = Utterances(text, cast(Any, table), MARGIN_S)
    return Streaming(text, cast(Any, table), utterances), utterances


def grow(policy: Streaming | Utterances, end: int) -> tuple[list[int], str]:
    heard = policy.follow(Window(policy.text.start, end, end))
    return [token for segment in heard.settled for token in segment.tokens], heard.tail


def test_streaming_settles_each_word_once_however_long_it_goes_on() -> None:
    table = Table()
    streaming, _ = make_policies(table)
    tokens = []
    for end in range(100, 12_000, 70):
        tokens += grow(streaming, end)[0]
        assert end - streaming.text.start < 2500
        assert set(table.begun[-1]) <= set(tokens)
        assert len(table.begun[-1]) <= 25
    assert tokens == list(range(len(tokens)))
    assert len(tokens) > 115


def test_the_tail_is_what_is_not_settled() -> None:
    streaming, _ = make_policies(Table())
    assert grow(streaming, 220) == ([0, 1], "")
    assert grow(streaming, 300) == ([], " w")


def test_an_utterance_is_decoded_at_its_end() -> None:
    table = Table()
    _, utterances = make_policies(table)
    assert grow(utterances, 700) == ([], "")
    assert not table.begun
    heard = utterances.finish(Window(0, 760, 720))
    assert [segment.tokens for segment in heard.settled] == [tuple(range(7))]


@pytest.mark.parametrize("is_language_sure", [True, False])
def test_an_utterance_too_long_for_a_window_loses_nothing(is_language_sure: bool) -> None:
    _, utterances = make_policies(Table(is_language_sure=is_language_sure))
    tokens = []
    for end in range(100, 7_000, 100):
        tokens += grow(utterances, end)[0]
        assert end - utterances.text.start <= 2600
    assert tokens == list(range(len(tokens)))
    assert len(tokens) > 40


def test_a_loop_is_never_settled() -> None:
    streaming, _ = make_policies(Table(is_loop=True))
    assert grow(streaming, 500) == ([], "")
    assert not streaming.finish(Window(0, 600, 560)).settled
    assert streaming.text.start == 560
    for end in range(700, 4_000, 100):
        assert grow(streaming, end) == ([], "")
        assert end - streaming.text.start <= 2600


def test_no_word_is_settled_in_a_language_in_doubt_before_the_end() -> None:
    streaming, _ = make_policies(Table(is_language_sure=False))
    assert grow(streaming, 500) == ([], "")
    assert streaming.finish(Window(0, 600, 560)).settled


def test_what_was_said_is_the_context_of_what_is_said_soon_after() -> None:
    streaming, _ = make_policies(Table())
    streaming.finish(Window(0, 500, 460))  # of which the last word ends at 450
    streaming.text.release(580, pad_frames=40)
    assert streaming.text.start == 0
    streaming.text.release(600, pad_frames=40)
    assert streaming.text.start == 560


def test_speech_is_decoded_alone_where_nothing_of_it_follows_its_context() -> None:
    table = Table()
    streaming, _ = make_policies(table)
    streaming.finish(Window(0, 500, 460))  # of which the last word ends at 450
    table.goes_on = False
    assert not streaming.finish(Window(0, 560, 540)).settled  # too short to have a word more
    assert streaming.text.start == 0
    assert grow(streaming, 700) == ([5], " w")
    assert streaming.text.start == 450


def test_nothing_is_settled_of_little_speech_without_context() -> None:
    streaming, _ = make_policies(Table())
    assert grow(streaming, 190) == ([], " w")
    assert grow(streaming, 210) == ([0, 1], "")
    streaming.text.restart(600)
    assert grow(streaming, 790) == ([], " w")
