"""Where the language of a window changes, told by a table of what is spoken when."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.longform.guide import Guide
from whisper_npu_cli.longform.languages import find_change
from whisper_npu_cli.longform.windows import Window
from whisper_npu_cli.spans import Span

START = 500  # of the window
SPEECH = [Span(0, 700), Span(720, 900), Span(1000, 1300), Span(1400, 1500), Span(1600, 2000)]


class Listener:
    """Tell the languages of utterances by their first frames."""

    def __init__(self, languages: dict[int, str | None], *, is_mixed: bool = True) -> None:
        self.parts: list[tuple[int, int]] = []  # that it was asked about
        self._languages, self._is_mixed = languages, is_mixed

    def is_mixed(self, _: object) -> bool:
        return self._is_mixed

    def tell_language(self, mel: NDArray[np.float32], seek: int) -> str | None:
        assert mel.shape == (1, N_FRAMES)
        frames = mel[0][mel[0] > 0]  # each has its number
        assert frames[0] == seek
        self.parts.append((seek, int(frames[-1]) + 1))
        return self._languages[seek]


def find(listener: Listener) -> int | None:
    mel = np.arange(START, START + N_FRAMES, dtype=np.float32)[None]
    window, guide = Window(START, START + N_FRAMES, 5000), Guide(SPEECH, 40)
    return find_change(window, mel, cast(Any, None), cast(Any, listener), guide)


@pytest.mark.parametrize(
    ("languages", "change"),
    [
        ({500: "en", 1000: "de", 1600: "de"}, 950),
        ({500: "en", 1000: "en", 1600: "de"}, 1550),  # what is too short to tell is the first's
        ({500: "en", 1000: None, 1600: "de"}, 1550),
        ({500: None, 1000: "en", 1600: "de"}, 1550),
        ({500: "en", 1000: "en", 1600: "en"}, None),
        ({500: None, 1000: "en", 1600: None}, None),
    ],
)
def test_the_change_is_in_the_pause_before_it(
    languages: dict[int, str | None], change: int | None
) -> None:
    assert find(Listener(languages)) == change


def test_utterances_are_heard_alone_and_only_up_to_the_change() -> None:
    listener = Listener({500: "en", 1000: "de"})
    find(listener)
    assert listener.parts == [(500, 900), (1000, 1300)]


def test_nothing_is_encoded_where_one_language_is_likely() -> None:
    listener = Listener({}, is_mixed=False)
    assert find(listener) is None
    assert not listener.parts
