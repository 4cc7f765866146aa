"""OpenAI's own weights on real speech: tokens, texts, words and languages of its own program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain, permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.edits import count_edits
from tests.support.formats import write_ggml
from tests.support.real_speech import (
    CLIPS,
    ENGLISH,
    GERMAN,
    LONG,
    LONG_ORDER,
    RUSSIAN,
    compose_languages,
    compose_sentences,
    read_clip,
    split_words,
)
from whisper_npu_cli import DecodingOptions, EngineOptions, TranscribeOptions, Transcriber
from whisper_npu_cli.checkpoints.names import open_checkpoint
from whisper_npu_cli.longform.guide import count_speech
from whisper_npu_cli.options import LongForm, VadOptions, WordOptions
from whisper_npu_cli.spans import round_span
from whisper_npu_cli.speech.detect import SpeechFinder
from whisper_npu_cli.transcript import Result, Segment

pytestmark = pytest.mark.real

MODELS = ("tiny.en", "base")
SAID = ENGLISH | RUSSIAN
read = cache(read_clip)


@pytest.fixture(scope="module")
def transcribers(real_models: dict[str, Path]) -> Iterator[Any]:
    """Each model on each engine, loaded once."""
    opened: dict[tuple[str, str, str], Transcriber] = {}

    def get(model: str, device: str = "cpu", precision: str = "auto") -> Transcriber:
        key = (model, device, precision)
        if key not in opened:
            options = EngineOptions.from_dict({"device": device, "precision": precision})
            opened[key] = Transcriber(str(real_models[model]), options, offline=True)
        return opened[key]

    yield get
    for transcriber in opened.values():
        transcriber.close()


def as_openai(name: str, beam_size: int | None = None, **options: Any) -> TranscribeOptions:
    """openai-whisper's way, at temperature 0 without fallback."""
    decoding = DecodingOptions(beam_size=beam_size, temperature_increment_on_fallback=None)
    given: dict[str, Any] = {
        "language": "ru" if name in RUSSIAN else "en",
        "long_form": "sequential",
        "vad_skip": False,
        "vad_starts": False,
        "decoding": decoding,
    }
    return TranscribeOptions(**given | options)


def transcribe(transcriber: Transcriber, name: str, options: TranscribeOptions) -> Result:
    transcription = transcriber.transcribe(read(name), options)
    list(transcription)
    return transcription.result


def count_errors(expected: str, text: str) -> int:
    return count_edits(split_words(expected), split_words(text))


def tokens_of(segments: tuple[Segment, ...]) -> list[list[int]]:
    return [list(segment.tokens) for segment in segments]


def said_tokens(golden: list[dict[str, Any]]) -> list[list[int]]:
    """The tokens of openai-whisper's segments; this program leaves out those without text."""
    return [segment["tokens"] for segment in golden if segment["text"].strip()]


@pytest.mark.parametrize("search", ["greedy", "beam 5"])
@pytest.mark.parametrize(
    ("model", "name"),
    [
        *(("tiny.en", name) for name in list(ENGLISH)[3:]),
        *(("base", name) for name in ("jfk.flac", *RUSSIAN)),
    ],
)
def test_reference_tokens_are_openai_whispers(
    transcribers: Any, goldens: dict[str, Any], model: str, name: str, search: str
) -> None:
    beam_size = 5 if search == "beam 5" else None
    result = transcribe(transcribers(model, "reference"), name, as_openai(name, beam_size))
    expected = goldens[model]["clips"][name][search]
    # "wearily" and "we're really" are a near tie of fp32 in one clip of tiny.en, where
    # faster-whisper's float32 does not say what openai-whisper's says either.
    is_tie = result.transcript.text == goldens[model]["faster-whisper"][name][search]
    assert is_tie or tokens_of(result.transcript.segments) == said_tokens(expected)


@pytest.mark.parametrize("precision", ["f32", "auto", "int8"])
def test_texts_are_openai_whispers(
    transcribers: Any, goldens: dict[str, Any], precision: str
) -> None:
    pairs = [(model, search) for model in MODELS for search in ("greedy", "beam 5")]
    n_same = sum(
        count_same_texts(
            transcribers(model, "cpu", precision), goldens[model]["clips"], model, search
        )
        for model, search in pairs
    )
    # Near ties: 48 of 50 on Zen 4, 49 with an fp32 decoder, 44 with an int8 encoder. Another CPU
    # rounds otherwise, for which two clips are left.
    assert n_same >= (0.8 if precision == "int8" else 0.92) * sum(len(CLIPS[m]) for m, _ in pairs)


def count_same_texts(
    transcriber: Transcriber, golden_clips: dict[str, Any], model: str, search: str
) -> int:
    """Return on how many clips the words are openai-whisper's; they may not be further from truth.

    AssertionError where they are.
    """
    beam_size = 5 if search == "beam 5" else None
    n_same, n_words, ours, theirs = 0, 0, 0, 0
    for name in CLIPS[model]:
        text = transcribe(transcriber, name, as_openai(name, beam_size)).transcript.text
        golden = "".join(s["text"] for s in golden_clips[name][search])
        n_same += split_words(text) == split_words(golden)
        n_words += len(split_words(SAID[name]))
        ours += count_errors(SAID[name], text)
        theirs += count_errors(SAID[name], golden)
    # One word of some 190 is 0.5 points, the least that can be told apart here.
    assert ours - theirs <= max(1, 0.003 * n_words)
    return n_same


@pytest.mark.parametrize("model", MODELS)
def test_word_times_are_openai_whispers(
    transcribers: Any, goldens: dict[str, Any], model: str
) -> None:
    near = []
    for name in CLIPS[model]:
        options = as_openai(name, words=WordOptions())
        result = transcribe(transcribers(model, "cpu", "f32"), name, options)
        ours = [word for s in result.transcript.segments for word in s.words or ()]
        theirs = [w for s in goldens[model]["clips"][name]["greedy"] for w in s["words"]]
        if [word.word for word in ours] == [word for word, _, _ in theirs]:
            near += [
                abs(word.start - start) <= 0.02 + 1e-9 and abs(word.end - end) <= 0.02 + 1e-9
                for word, (_, start, end) in zip(ours, theirs, strict=True)
            ]
    assert len(near) > 100
    assert np.mean(near) >= 0.95


def test_languages_are_openai_whispers(transcribers: Any, goldens: dict[str, Any]) -> None:
    for name in CLIPS["base"]:
        info = transcribers("base", "cpu", "f32").transcribe(read(name)).begin()
        expected = goldens["base"]["clips"][name]["languages"]
        assert info.language == max(expected, key=expected.get)
        # The decoder's int8 weights; 0.02 was the most on these clips
        assert info.language_probs[info.language] == pytest.approx(
            expected[info.language], abs=0.05
        )


@pytest.mark.parametrize("precision", ["f32", "int8"])
@pytest.mark.parametrize("mode", ["sequential", "batched"])
@pytest.mark.parametrize("model", MODELS)
def test_three_minutes(
    transcribers: Any, goldens: dict[str, Any], model: str, mode: str, precision: str
) -> None:
    # Our default skips no speech. Without it a near tie at the end of a window decides whether the
    # last 11 s are decoded, as it does in openai-whisper.
    greedy = DecodingOptions(beam_size=None)
    options = as_openai(LONG, long_form=mode, decoding=greedy, vad_skip=True)
    result = transcribe(transcribers(model, "cpu", precision), LONG, options)
    said = " ".join(ENGLISH[name] for name in LONG_ORDER)
    golden = goldens[model]
    original = "".join(s["text"] for s in golden["clips"][LONG]["greedy"])
    theirs = original if mode == "sequential" else golden["faster-whisper"][LONG]["batched"]
    ours = count_errors(said, result.transcript.text)
    # Batched, 0.3 points, which are one word. In sequence a near tie that falls otherwise moves
    # all windows after it: 0.6 to 1.2 points measured on Zen 4, beside 7 and 9 % of
    # openai-whisper's own, and up to 2.8 where a sentence was lost.
    margin = 0.003 if mode == "batched" else 0.03
    assert ours <= count_errors(said, theirs) + margin * len(split_words(said))
    assert result.is_complete


@pytest.mark.slow
@pytest.mark.parametrize("vad_skip", [True, False])
def test_three_minutes_in_fp32_are_openai_whispers(
    transcribers: Any, goldens: dict[str, Any], vad_skip: bool
) -> None:
    # All windows, seeks and prompts: what differs above is the rounding of bf16 and int8.
    options = as_openai(LONG, vad_skip=vad_skip)
    result = transcribe(transcribers("tiny.en", "reference"), LONG, options)
    expected = goldens["tiny.en"]["clips"][LONG]["greedy"]
    assert tokens_of(result.transcript.segments) == said_tokens(expected)


@pytest.mark.slow
def test_q8_0_writes_the_words_of_the_original(
    transcribers: Any, real_models: dict[str, Path], tmp_path: Path
) -> None:
    n_edits = n_words = 0
    for model in MODELS:
        path = tmp_path / f"{model}.bin"
        write_ggml(path, open_checkpoint(str(real_models[model]), offline=True), "Q8_0")
        with Transcriber(str(path), offline=True) as quantized:
            for name, beam_size in product(CLIPS[model], (None, 5)):  # of languages that it knows
                options = as_openai(name, beam_size)
                text = transcribe(transcribers(model), name, options).transcript.text
                again = transcribe(quantized, name, options).transcript.text
                n_words += len(split_words(text))
                n_edits += count_errors(text, again)
    assert n_edits < 0.01 * n_words  # 0.7 % measured


@pytest.mark.parametrize("model", MODELS)
def test_the_simulated_npu_writes_the_text_of_the_cpu(transcribers: Any, model: str) -> None:
    def text(device: str, name: str) -> list[str]:
        transcriber = transcribers(model, device)
        return split_words(transcribe(transcriber, name, as_openai(name)).transcript.text)

    same = [text("sim", name) == text("cpu", name) for name in CLIPS[model]]
    assert np.mean(same) >= 0.85  # one clip of eleven: bf16 turns near ties


def test_what_the_clips_say_is_what_is_heard(transcribers: Any) -> None:
    """The references are right: default options, as a person would."""
    n_errors = n_words = 0
    for name in CLIPS["base"]:
        transcription = transcribers("base").transcribe(read(name))
        text = "".join(segment.text for segment in transcription)
        n_errors += count_errors(SAID[name], text)
        n_words += len(split_words(SAID[name]))
    assert n_errors / n_words < 0.15  # 12 % measured: names, spelling, Russian endings


def share_of_words(name: str, segments: Sequence[Segment], start: float, end: float) -> float:
    """Return how much of what is said from `start` to `end` has been written about there."""
    near = [s.text for s in segments if s.end > start and s.start < end]
    said = set(split_words(SAID[name]))
    return len(said & set(split_words("".join(near)))) / len(said)


ENGLISH_FIRST = (
    "librispeech_1089-134686-0009.wav",
    "fleurs_en_02.wav",
    "librispeech_61-70968-0000.wav",
    "fleurs_en_04.wav",
    *RUSSIAN,
)
RUSSIAN_FIRST = (
    *RUSSIAN,
    "fleurs_en_02.wav",
    "jfk.flac",
    "librispeech_61-70968-0000.wav",
)


@pytest.mark.parametrize("mode", ["sequential", "batched"])
@pytest.mark.parametrize("names", [ENGLISH_FIRST, RUSSIAN_FIRST], ids=["en, ru", "ru, en"])
def test_a_file_in_two_languages_loses_nothing(
    transcribers: Any, names: Sequence[str], mode: LongForm
) -> None:
    samples, spans = compose_sentences(names, [1.0] * len(names))
    transcription = transcribers("base").transcribe(samples, TranscribeOptions(long_form=mode))
    segments = list(transcription)
    # Of the right sentences at least half of the words are right; a sentence left out has none.
    shares = {
        name: share_of_words(name, segments, *span) for name, span in zip(names, spans, strict=True)
    }
    assert min(shares.values()) > 0.3, shares


SENTENCES = {
    "en": (
        ("librispeech_1089-134686-0009.wav",),
        ("fleurs_en_02.wav", "librispeech_3570-5694-0000.wav"),
        ("jfk.flac", "fleurs_en_01.wav", "librispeech_3570-5694-0000.wav"),
        ("jfk.flac", *list(ENGLISH)[4:6], "fleurs_en_04.wav"),
    ),
    "ru": (
        ("fleurs_ru_05.wav",),
        ("fleurs_ru_08.wav", "fleurs_ru_05.wav"),
        tuple(RUSSIAN),
        ("fleurs_ru_02.wav", "fleurs_ru_08.wav"),
    ),
    "de": (tuple(GERMAN)[:1], tuple(GERMAN)[:2], tuple(GERMAN), tuple(GERMAN)[1:]),
}
PAUSES_S = (0.3, 1.0, 2.0, 5.0)
COMPOSITIONS = [
    (first, second, i)
    for n, (first, second) in enumerate(permutations(SENTENCES, 2))
    for i in range(len(PAUSES_S))
    if (i + n) % 2  # half of them: all take minutes
]


@pytest.fixture(scope="module")
def heard_alone(transcribers: Any) -> dict[str, Counter[str]]:
    """What base writes of each sentence that is told its language."""
    alone = {}
    for language, several in SENTENCES.items():
        for name in set(chain(*several)):
            options = TranscribeOptions(language=language)
            text = "".join(s.text for s in transcribers("base").transcribe(read(name), options))
            alone[name] = Counter(split_words(text))
    return alone


@pytest.mark.parametrize("mode", ["sequential", "batched"])
@pytest.mark.parametrize(("first", "second", "i"), COMPOSITIONS)
def test_what_follows_in_another_language_is_not_lost(
    transcribers: Any,
    heard_alone: dict[str, Counter[str]],
    first: str,
    second: str,
    i: int,
    mode: LongForm,
) -> None:
    names = (*SENTENCES[first][i], *SENTENCES[second][i - 1])  # 8 to 41 s, then 8 to 38 s
    samples, spans = compose_languages(SENTENCES[first][i], SENTENCES[second][i - 1], PAUSES_S[i])
    segments = list(transcribers("base").transcribe(samples, TranscribeOptions(long_form=mode)))
    lost = {}
    for name, (start, end) in zip(names, spans, strict=True):
        near = "".join(s.text for s in segments if s.end > start - 0.5 and s.start < end + 0.5)
        missing = heard_alone[name] - Counter(split_words(near))
        lost[name] = missing.total() / heard_alone[name].total()
    # Other text before it and other windows change words that base does not know well: up to 40 %
    # of a sentence. One that is left out, or told in the wrong language, has 80 % and more.
    assert max(lost.values()) < 0.6, lost


@pytest.mark.parametrize("below_db", [30, 40, 50])
def test_a_speaker_far_below_another_is_heard(below_db: int) -> None:
    names = ("jfk.flac", "fleurs_en_01.wav", "librispeech_3570-5694-0000.wav", "fleurs_en_02.wav")
    samples, spans = compose_sentences(names, [1.0, 10 ** (-below_db / 20)] * 2)
    finder = SpeechFinder(VadOptions())
    finder.add(samples)
    speech = finder.finish()
    for start, end in spans:
        # 4 s of one gain may begin with the end of the loud speaker.
        assert count_speech(speech, round_span(start, end)) > 30 * (end - start)


def test_samples_are_the_recordings(real_models: dict[str, Path]) -> None:
    del real_models
    long: NDArray[np.float32] = read(LONG)
    assert 120 < len(long) / 16_000 < 300
