from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.scripted import Script, ScriptedDecoder, window
from tests.support.vocabularies import BYTES as TOKENIZER
from whisper_npu_cli.decoding.retry import (
    DecodedWindow,
    PromptedWindow,
    WindowDecoder,
    compression_ratio,
    ends_in_loop,
)
from whisper_npu_cli.decoding.sampling import SamplingPolicy
from whisper_npu_cli.options import DecodingOptions

A, EOT, BEGIN = TOKENIZER.encode("a")[0], TOKENIZER.eot, TOKENIZER.timestamp_begin
UNLIKELY = range(A, A + 12)  # at 0.25 each: a mean log-probability of -1.2
PROMPT = TOKENIZER.sot_sequence("en")


def says(*tokens: int, prob: float = 0.9, no_speech: float = 0.0) -> Script:
    """Script a window that begins with <|0.00|>, goes on with `tokens` and ends."""
    text = (BEGIN, *tokens, BEGIN + 50, EOT)

    def script(_: int, said: tuple[int, ...]) -> dict[int, float]:
        rest = (1 - prob - no_speech) / 100  # on many unlikely tokens
        spread = dict.fromkeys(range(100, 200), rest) if rest > 0 else {}
        return (
            spread | {text[min(len(said), len(text) - 1)]: prob} | {TOKENIZER.no_speech: no_speech}
        )

    return script


def decoded(script: Script, n: int = 1, **options: Any) -> tuple[list[DecodedWindow], list[Any]]:
    decoder = ScriptedDecoder(script, n_vocab=TOKENIZER.n_vocab)
    chosen = DecodingOptions(**{"beam_size": None, "best_of": 1} | options)
    prompted = [PromptedWindow(window(i), "en", PROMPT) for i in range(n)]
    return WindowDecoder(decoder, TOKENIZER, chosen).decode(prompted), decoder.started


def test_a_good_text_is_decoded_once() -> None:
    (result,), started = decoded(says(A, A + 1))
    assert result.tokens == (BEGIN, A, A + 1, BEGIN + 50)
    assert result.temperature == 0.0
    assert len(started) == 1


def test_only_the_windows_that_fail_are_decoded_again() -> None:
    good, loop = says(A), says(*[A] * 28, prob=1.0)
    results, started = decoded(lambda i, said: (loop if i in (1, 3) else good)(i, said), n=4)
    assert started == [[0, 1, 2, 3]] + [[1, 3]] * 5
    assert [result.last_temperature for result in results] == [0.0, 1.0, 0.0, 1.0]
    assert compression_ratio("a" * 28) > 2.4


@pytest.mark.parametrize(
    ("options", "n_attempts"),
    [
        ({}, 6),
        ({"logprob_threshold": -2.0}, 1),
        ({"logprob_threshold": None}, 1),
        ({"temperature_increment_on_fallback": None}, 1),
        ({"temperature_increment_on_fallback": 0.5}, 3),
        ({"temperature": 0.8}, 2),
        ({"no_speech_threshold": None}, 6),
    ],
)
def test_an_unlikely_text_is_tried_again(options: dict[str, Any], n_attempts: int) -> None:
    _, started = decoded(says(*UNLIKELY, prob=0.25), **options)
    assert len(started) == n_attempts


def test_of_texts_that_all_fail_the_likeliest_that_is_no_loop_is_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def likeliest(_: SamplingPolicy, logprobs: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.array(logprobs.argmax(axis=1))

    monkeypatch.setattr(SamplingPolicy, "choose", likeliest)
    loop = says(*[A] * 40, prob=1.0)
    attempts = iter([loop, *(says(*UNLIKELY, prob=prob) for prob in (0.2, 0.25, 0.22, 0.2, 0.2))])
    attempt = loop

    def script(i: int, said: tuple[int, ...]) -> dict[int, float]:
        nonlocal attempt
        attempt = attempt if said else next(attempts)
        return dict(attempt(i, said))

    (result,), _ = decoded(script)
    assert result.temperature == pytest.approx(0.4)
    assert result.last_temperature == 1.0  # the text before is forgotten as after that one


def test_a_loop_is_less_trusted_than_an_unlikelier_text_in_another_language() -> None:
    loop, right = says(*[A] * 28, prob=1.0), says(A, A + 1, prob=0.8)
    german = TOKENIZER.sot_sequence("de")
    prompted = {0: PromptedWindow(window(1), "de", german)}
    decoder = ScriptedDecoder(
        lambda i, said: (right if i else loop)(i, said), n_vocab=TOKENIZER.n_vocab
    )
    options = DecodingOptions(beam_size=None)
    english = [PromptedWindow(window(0), "en", PROMPT)]
    (result,) = WindowDecoder(decoder, TOKENIZER, options).decode(english, prompted)
    assert (result.language, result.tokens) == ("de", (BEGIN, A, A + 1, BEGIN + 50))


def test_where_every_text_is_a_loop_the_likeliest_of_them_is_returned() -> None:
    (result,), _ = decoded(says(*[A] * 40, prob=1.0))
    assert (result.temperature, result.last_temperature) == (0.0, 1.0)


def test_silence_is_not_tried_again_and_is_skipped() -> None:
    script = says(*UNLIKELY, prob=0.08, no_speech=0.7)
    (result,), started = decoded(script)
    assert len(started) == 1
    silent = WindowDecoder(ScriptedDecoder(script), TOKENIZER, DecodingOptions())
    assert silent.is_silence(result)


@pytest.mark.parametrize(
    ("no_speech_prob", "avg_logprob", "options", "is_silence"),
    [
        (0.7, -1.5, {}, True),
        (0.7, -0.5, {}, False),  # a likely text overrules
        (0.5, -1.5, {}, False),
        (0.7, -0.5, {"logprob_threshold": None}, True),
        (0.7, -1.5, {"no_speech_threshold": None}, False),
        (0.7, -1.0, {}, True),  # exactly at the threshold
    ],
)
def test_silence(
    no_speech_prob: float, avg_logprob: float, options: dict[str, Any], is_silence: bool
) -> None:
    decoder = WindowDecoder(ScriptedDecoder(says(A)), TOKENIZER, DecodingOptions(**options))
    result = DecodedWindow("en", (A,), 0.0, avg_logprob, 1.0, no_speech_prob)
    assert decoder.is_silence(result) is is_silence


def test_of_several_samples_the_likeliest_is_kept() -> None:
    def script(_: int, said: tuple[int, ...]) -> dict[int, float]:
        return {0: {BEGIN: 1.0}, 1: {A: 0.7, A + 1: 0.3}, 2: {BEGIN + 9: 1.0}}.get(
            len(said), {EOT: 1.0}
        )

    for seed in range(5):
        (one,), _ = decoded(script, temperature=1.0, best_of=16, seed=seed)
        assert one.tokens == (BEGIN, A, BEGIN + 9)
        assert one.avg_logprob == pytest.approx(log(0.7) / 4, abs=1e-4)


def test_ratio_of_a_text_is_that_of_zlib() -> None:
    assert compression_ratio(" ") == 0
    assert compression_ratio("thank you. " * 20) > 2.4 > compression_ratio("thank you.")
    rng = np.random.default_rng(0)
    assert compression_ratio("".join(map(chr, rng.integers(97, 123, 500)))) < 2


def test_a_loop_after_much_good_text_is_found() -> None:
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, rng.integers(97, 123, rng.integers(2, 9)))) for _ in range(120)]
    text = " ".join(words) + " of the" * 20
    assert compression_ratio(text) < 2  # of 2.4, the threshold
    assert ends_in_loop(TOKENIZER.encode(text))
    assert not ends_in_loop(TOKENIZER.encode(" ".join(words)))


def test_saying_something_a_few_times_is_no_loop() -> None:
    assert not ends_in_loop([1] * 31)
    assert ends_in_loop([5] + [1] * 32)
    assert not ends_in_loop([1] * 40 + [2])
    assert ends_in_loop(list(range(8)) * 4)
    assert not ends_in_loop(list(range(9)) * 8)
