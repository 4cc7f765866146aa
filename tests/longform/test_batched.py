"""Batched long form against a model that is a table: what is said in each frame."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from whisper_npu_cli.decoding.retry import DecodedWindow
from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.longform.batched import transcribe_batched
from whisper_npu_cli.longform.guide import Guide
from whisper_npu_cli.longform.stages import Stages
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.spans import Span
from whisper_npu_cli.transcript import Segment

BEGIN = 1000  # the first timestamp token
NO_GUIDE = Guide([], 0)


class Frames:
    """Windows whose only mel band is the number of the frame, from 1; zero is silence."""

    is_ended, n_heard = True, sys.maxsize

    def __init__(self) -> None:
        self._last = 0

    def reach(self, clip: Span, _start: int) -> Span:
        return clip

    def window(self, start: int, end: int) -> NDArray[np.float32]:
        assert start >= self._last, "a stream cannot go back"
        self._last = start
        frames = np.arange(start, start + N_FRAMES)
        return np.where(frames < end, frames + 1, 0).astype(np.float32)[None]


class Model:
    """A model that says a word of 50 frames at each of `words`, at most `n_said` in a window.

    As Whisper does, it may end a window with a segment that has begun but not ended.
    """

    is_stopped = False

    def __init__(self, words: Sequence[int], n_said: int, prefix: bool = False) -> None:
        self.batches: list[int] = []
        self.firsts: list[bool] = []
        self.has_prefix = prefix
        self.encodes_ahead = False
        self.tokenizer = SimpleNamespace(
            timestamp_begin=BEGIN,
            decode=lambda tokens: " ".join(str(token) for token in tokens if token < BEGIN),
        )
        self._words = words
        self._n_said = n_said

    def begin_history(self) -> Any:
        return SimpleNamespace(tokens=[])

    def encode(self, mel: NDArray[np.float32], _seek: int) -> NDArray[np.float32]:
        return mel[0].copy()

    def encode_each(self, windows: Sequence[tuple[Any, int]]) -> Generator[Any, None, None]:
        yield from (self.encode(*window) for window in windows)

    def add_words(self, _: object, segments: list[Segment], *__: object) -> list[Segment]:
        return segments

    def is_silence(self, window: DecodedWindow) -> bool:
        return not window.tokens

    def is_mixed(self, _: object) -> bool:
        return False

    def decode(
        self, windows: Sequence[NDArray[np.float32]], _previous: Sequence[int], *, first: bool
    ) -> list[DecodedWindow]:
        self.batches.append(len(windows))
        self.firsts.append(first)
        return [DecodedWindow("en", self._say(window), 0.0, -0.1, 1.0, 0.0) for window in windows]

    def _say(self, window: NDArray[np.float32]) -> tuple[int, ...]:
        tokens: list[int] = []
        first, n_frames = int(window[0]) - 1, int(np.count_nonzero(window))
        heard = [
            (i, word - first)
            for i, word in enumerate(self._words)
            if first <= word and word + 50 <= first + n_frames
        ]
        for i, at in heard[: self._n_said]:
            tokens += [BEGIN + at // 2, i, BEGIN + at // 2 + 25]
        if len(heard) > self._n_said:
            tokens += [BEGIN + heard[self._n_said][1] // 2]  # a segment that has only begun
        return tuple(tokens)


class ForgetfulModel(Model):
    """A model that ends a window after its first word, as if nothing more were spoken."""

    def _say(self, window: NDArray[np.float32]) -> tuple[int, ...]:
        return super()._say(window)[:3]


class BilingualModel(Model):
    """A model that writes nonsense where it hears what is said before frame 500 and after 1000."""

    def is_mixed(self, window: NDArray[np.float32]) -> bool:
        return bool(window[0] < 500 and window.max() > 1000)

    def tell_language(self, _mel: NDArray[np.float32], seek: int) -> str:
        return "en" if seek < 500 else "de"

    def _say(self, window: NDArray[np.float32]) -> tuple[int, ...]:
        nonsense = (BEGIN, *[9] * 99, BEGIN + np.count_nonzero(window) // 2)
        return nonsense if self.is_mixed(window) else super()._say(window)


class OneSidedModel(Model):
    """A model that writes the last word alone, as if it lasted over all that is said."""

    def _say(self, window: NDArray[np.float32]) -> tuple[int, ...]:
        tokens = super()._say(window)
        return (BEGIN, *tokens[-2:]) if tokens else ()


def said(
    model: Model, spans: Sequence[tuple[int, int]], batch_size: int, guide: Guide = NO_GUIDE
) -> list[str]:
    windows = [Window(start, end, end) for start, end in spans]
    decided = list(
        transcribe_batched(Frames(), cast(Stages, model), iter(windows), batch_size, guide)
    )
    assert [one.end_frame for one in decided][-1:] == [end for _, end in spans][-1:]
    segments = [segment for one in decided for segment in one.segments]
    assert all(a.end <= b.start + 1e-9 for a, b in pairwise(segments))  # sums of floats
    for segment in segments:
        a, b = round(segment.start * 100), round(segment.end * 100)
        assert any(start <= a < b <= end for start, end in spans)
    return [segment.text for segment in segments]


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int]]]:
    """Words of 50 frames, and windows that hold all of them."""
    gaps = draw(st.lists(st.integers(0, 400).map(lambda n: 2 * n), min_size=1, max_size=20))
    words, at = [], 0
    for gap in gaps:
        words.append(at + gap)
        at += gap + 50
    windows: list[tuple[int, int]] = []
    for word in words:
        if windows and word + 50 - windows[-1][0] <= N_FRAMES and draw(st.booleans()):
            windows[-1] = (windows[-1][0], word + 50)
        else:
            windows.append((word, word + 50))
    return words, windows


@given(layouts(), st.integers(1, 4), st.integers(1, 5))
def test_every_word_comes_once_and_in_order(
    layout: tuple[list[int], list[tuple[int, int]]], n_said: int, batch_size: int
) -> None:
    words, windows = layout
    model = Model(words, n_said)
    assert said(model, windows, batch_size) == [str(i) for i in range(len(words))]
    assert max(model.batches) <= batch_size


@given(layouts(), st.integers(1, 5))
def test_encoding_ahead_changes_nothing(
    layout: tuple[list[int], list[tuple[int, int]]], batch_size: int
) -> None:
    words, windows = layout
    model = Model(words, 2)
    model.encodes_ahead = True
    assert said(model, windows, batch_size) == [str(i) for i in range(len(words))]


def test_silent_windows_have_no_text() -> None:
    assert said(Model([], 1), [(0, 3000), (3000, 4000)], 8) == []


def test_speech_that_a_window_leaves_out_is_decoded_again() -> None:
    model, spans = ForgetfulModel([0, 1000], 2), [(0, 1100)]
    assert said(model, spans, 8) == ["0"]
    for speech, words in (([Span(0, 50), Span(950, 1100)], ["0", "1"]), ([Span(0, 90)], ["0"])):
        assert said(ForgetfulModel([0, 1000], 2), spans, 8, Guide(speech, 40)) == words


def test_speech_that_is_told_by_none_of_the_words_over_it_is_decoded_alone() -> None:
    words = [300, 900, 1500, 2100]
    speech = [Span(at - 200, at + 60) for at in words]
    model = OneSidedModel(words, 4)
    assert said(model, [(0, 2200)], 8) == ["3"]
    # The two last sentences together are spoken in 5.2 s, which one token is too little for.
    assert said(model, [(0, 2200)], 8, Guide(speech, 40)) == ["0", "1", "2", "3"]


def test_a_window_ends_where_its_language_changes() -> None:
    words = [*range(0, 500, 50), *range(1000, 1500, 50)]
    guide = Guide([Span(0, 500), Span(1000, 1500)], 0)
    texts = said(BilingualModel(words, 99), [(0, 1500)], 8, guide)
    assert texts == [str(i) for i in range(20)]


def test_no_windows_no_work() -> None:
    model = Model([], 1)
    assert said(model, [], 8) == []
    assert model.batches == []


def test_windows_are_decoded_together() -> None:
    model = Model([0, 1000, 2000], 1)
    said(model, [(0, 50), (1000, 1050), (2000, 2050)], 2)
    assert model.batches == [2, 1]
    assert model.firsts == [True, False]


def test_a_window_that_is_there_does_not_wait_for_the_next() -> None:
    words = [0, 1000, 2000, 3000]
    model, decided_before = Model(words, 1), []

    def arrive() -> Iterator[Window | None]:
        for word in words:
            yield Window(word, word + 50, word + 50)
            if word in (1000, 2000):
                yield None
            decided_before.append(sum(model.batches))

    list(transcribe_batched(Frames(), cast(Stages, model), arrive(), 8, NO_GUIDE))
    assert model.batches == [2, 1, 1]
    assert decided_before == [0, 2, 3, 3]


def test_the_prefix_is_for_the_first_window_alone() -> None:
    model = Model([0, 1000, 2000], 1, prefix=True)
    said(model, [(0, 50), (1000, 1050), (2000, 2050)], 8)
    assert model.batches == [1, 2]
    assert model.firsts == [True, False]


def test_what_is_decoded_together_is_yielded_together() -> None:
    """So that a stop, which comes while a batch is decoded, loses none of it."""
    words = [0, 3000, 6000]
    windows = [Window(word, word + 50, word + 50) for word in words]
    model = cast(Stages, Model(words, n_said=1))
    decided = list(transcribe_batched(Frames(), model, iter(windows), 2, NO_GUIDE))
    assert [[s.text for s in one.segments] for one in decided] == [["0", "1"], ["2"]]
    assert [one.end_frame for one in decided] == [3050, 6050]
