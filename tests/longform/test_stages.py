"""Languages: detected in some windows, and again where a text is doubtful; by a scripted model."""

from __future__ import annotations

import sys
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.decoding_model import DIMS
from tests.support.scripted import ScriptedDecoder
from tests.support.vocabularies import BYTES as TOKENIZER
from whisper_npu_cli.dims import N_FRAMES
from whisper_npu_cli.engines.base import EncodedWindow
from whisper_npu_cli.engines.loading import _DECODING, Engines
from whisper_npu_cli.longform.guide import Guide
from whisper_npu_cli.longform.sequential import transcribe_sequential
from whisper_npu_cli.longform.stages import Stages
from whisper_npu_cli.options import DecodingOptions, TranscribeOptions
from whisper_npu_cli.spans import Span
from whisper_npu_cli.timings import Stopwatch

EOT, BEGIN = TOKENIZER.eot, TOKENIZER.timestamp_begin
EN, DE, FR = (TOKENIZER.language_ids[code] for code in ("en", "de", "fr"))
GREEDY = DecodingOptions(beam_size=None, temperature_increment_on_fallback=None)


class NumberingEncoder:
    """Encode a window to the number that fills its mel."""

    name, dims, leaves_cpu = "numbering", DIMS, False

    def encode(self, mel: NDArray[np.float32]) -> EncodedWindow:
        number = mel[0, :1]
        return EncodedWindow(number, number, number)

    def close(self) -> None:
        pass


class ListeningDecoder(ScriptedDecoder):
    """Say "yes" or "ja", likelier where the language of the prompt is that of the window.

    `languages` has the probabilities of languages for each window, by number.
    """

    def __init__(self, languages: list[dict[int, float]]) -> None:
        super().__init__(self._say, n_vocab=TOKENIZER.n_vocab)
        self._languages = languages
        self._prompted = EN
        self.prompts: list[list[int]] = []

    def start(self, windows: Any, max_rows: int | None = None) -> Any:
        assert _DECODING._is_taken  # no other thread may use numba's
        session = super().start(windows, max_rows)
        prefill = session.prefill

        def listen(prompts: NDArray[np.int64], logits_at: Any) -> NDArray[np.float32]:
            self.prompts.append(prompts[0].tolist())
            self._prompted = next((t for t in self.prompts[-1] if t in (EN, DE, FR)), -1)
            return prefill(prompts, logits_at)

        session.prefill = listen  # type: ignore[method-assign]
        return session

    def _say(self, window: int, said: tuple[int, ...]) -> dict[int, float]:
        languages = self._languages[window]
        if self._prompted == -1:
            return languages
        is_right = self._prompted == max(languages, key=lambda code: languages[code])
        word = TOKENIZER.encode(" yes" if self._prompted == EN else " ja")
        text = (BEGIN, *word, BEGIN + 1500, EOT)
        rest = dict.fromkeys(range(100, 200), (0.1 if is_right else 0.7) / 100)
        return rest | {text[min(len(said), len(text) - 1)]: 0.9 if is_right else 0.3}


def listen(*languages: dict[int, float], **options: Any) -> tuple[Stages, ListeningDecoder]:
    decoder = ListeningDecoder(list(languages))
    engines = Engines(cast(Any, NumberingEncoder()), decoder, "scripted", "", n_threads=1)
    chosen = TranscribeOptions(decoding=GREEDY, **options)
    return Stages(engines, TOKENIZER, chosen, Stopwatch()), decoder


def window(number: int) -> NDArray[np.float32]:
    return np.full((1, N_FRAMES), number, np.float32)


class Windows:
    """A source whose windows are numbered by 30 s."""

    is_ended, n_heard = True, sys.maxsize

    def reach(self, clip: Span, _start: int) -> Span:
        return clip

    def window(self, start: int, _end: int) -> NDArray[np.float32]:
        return window(start // N_FRAMES)


def test_the_first_window_that_is_sure_tells_the_language() -> None:
    stages, _ = listen({EN: 0.4, FR: 0.3, DE: 0.3}, {FR: 0.9, EN: 0.1}, {EN: 1.0})
    stages.detect_language((window(i), 3000 * i) for i in range(3))
    assert stages.language == "fr"
    assert stages.language_probs["fr"] == pytest.approx(0.9, abs=1e-3)
    assert [encoded.seek for encoded in stages.windows] == [0, 3000]
    stages.encode(window(0), 0)
    stages.encode(window(1), 3000)
    assert len(stages.windows) == 2  # what told the language is not encoded again


def test_of_unsure_windows_the_mean_tells_the_language() -> None:
    spread = dict.fromkeys(range(FR + 1, FR + 5), 0.1)
    unsure = [{EN: 0.35, FR: 0.25, **spread}, {FR: 0.4, EN: 0.2, **spread}, {EN: 1.0}]
    stages, _ = listen(*unsure, language_detection_segments=2)
    stages.detect_language((window(i), 3000 * i) for i in range(3))
    assert stages.language == "fr"
    assert len(stages.windows) == 2


def test_a_doubtful_window_is_decoded_in_its_own_language() -> None:
    stages, _ = listen({EN: 1.0}, {DE: 0.8, EN: 0.2}, {EN: 0.9, DE: 0.1})
    stages.detect_language([(window(0), 0)])
    encoded = [stages.encode(window(i), 3000 * i) for i in range(3)]
    assert [one.language for one in stages.decode(encoded)] == ["en", "de", "en"]


@pytest.mark.parametrize(
    "options", [{"language": "en"}, {"language_detection_threshold": 0.85}], ids=["given", "unsure"]
)
def test_a_language_is_kept_where_it_was_given_or_no_other_is_likely(
    options: dict[str, Any],
) -> None:
    stages, _ = listen({EN: 1.0}, {DE: 0.8, EN: 0.2}, **options)
    if stages.language is None:
        stages.detect_language([(window(0), 0)])
    encoded = [stages.encode(window(i), 3000 * i) for i in range(2)]
    assert [one.language for one in stages.decode(encoded)] == ["en", "en"]


def test_multilingual_windows_have_languages_of_their_own() -> None:
    stages, _ = listen({EN: 0.6, DE: 0.4}, {DE: 0.6, EN: 0.4}, multilingual=True)
    encoded = [stages.encode(window(i), 3000 * i) for i in range(2)]
    assert [one.language for one in stages.decode(encoded)] == ["en", "de"]


def test_sequential_mode_goes_on_in_the_second_language_without_the_text_of_the_first() -> None:
    stages, decoder = listen({EN: 1.0}, {DE: 0.9, EN: 0.1}, {DE: 0.9, EN: 0.1})
    stages.detect_language([(window(0), 0)])
    decoder.prompts.clear()
    clip, speech = Span(0, 3 * N_FRAMES), [Span(0, 2900), Span(3100, 8900)]
    guide = Guide(speech, 0)
    decided = list(transcribe_sequential(Windows(), stages, [clip], guide))
    segments = [segment for one in decided for segment in one.segments]
    assert [segment.language for segment in segments] == ["en", "de", "de"]
    assert [segment.text[-2:] for segment in segments] == ["es", "ja", "ja"]
    yes = TOKENIZER.encode(" yes")
    in_german = [prompt for prompt in decoder.prompts if DE in prompt]
    assert len(in_german) == 2  # the third window is not decoded in English first
    assert not any(set(yes) <= set(prompt) for prompt in in_german)
