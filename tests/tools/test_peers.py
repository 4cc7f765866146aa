"""The benchmark beside the peers: its model, its audio and its tables. The peers are not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from fixed_length import fixed_length_checkpoint
from peers_report import chart, growth_tables, table
from steady_speech import RATE, WINDOW_S, write_speech

from whisper_npu_cli.decoding.prompt import PromptBuilder
from whisper_npu_cli.decoding.retry import Task, WindowDecoder
from whisper_npu_cli.engines.base import CrossKV
from whisper_npu_cli.engines.reference import ReferenceDecoder
from whisper_npu_cli.options import DecodingOptions, VadOptions
from whisper_npu_cli.speech.detect import SpeechFinder, make_windows


@pytest.mark.parametrize("beam_size", [None, 5])
def test_texts_have_the_same_length_whatever_is_heard(beam_size: int | None) -> None:
    n_tokens = 7
    checkpoint = fixed_length_checkpoint("tiny", n_tokens)
    dims, tokenizer = checkpoint.dims, checkpoint.tokenizer()
    shape = (dims.n_text_layer, dims.n_audio_ctx, dims.n_text_state)
    rng = np.random.default_rng(0)
    windows = [CrossKV(*rng.standard_normal((2, *shape), np.float32)) for _ in range(2)]
    options = DecodingOptions(
        beam_size=beam_size, without_timestamps=True, temperature_increment_on_fallback=None
    )
    prompt = PromptBuilder(tokenizer, options, "transcribe", dims.n_text_ctx).build("en")
    decoder = WindowDecoder(ReferenceDecoder(checkpoint), tokenizer, options)
    for decoded in decoder.decode([Task(window, "en", prompt) for window in windows]):
        assert len(decoded.tokens) == n_tokens
        assert max(decoded.tokens) < tokenizer.eot
        assert decoded.no_speech_prob < 0.01  # a silent window would be skipped


def test_every_thirty_seconds_are_one_window_to_the_vad(tmp_path: Path) -> None:
    write_speech(tmp_path / "speech.wav", 3)
    samples, rate = soundfile.read(tmp_path / "speech.wav", dtype="float32")
    assert (rate, len(samples)) == (RATE, 3 * WINDOW_S * RATE)
    finder = SpeechFinder(VadOptions())
    finder.add(samples)
    windows = make_windows(finder.finish(), (0, 3 * WINDOW_S * 100), VadOptions())
    assert [window.start // (WINDOW_S * 100) for window in windows] == [0, 1, 2]


def document() -> dict[str, Any]:
    return {
        "model": "base",
        "n_windows": 2,
        "window_s": 30,
        "tokens_per_window": 90,
        "threads": 2,
        "cpu": "some CPU",
        "date": "2026-01-01",
        "machine": {"memory_read_gb_s": 30.0},
        "versions": {"peer": "1.0"},
        "rows": [
            {
                "program": program,
                "precision": precision,
                "way": "greedy",
                "seconds": seconds,
                "peak_mb": 100,
            }
            for program, precision, seconds in (
                ("whisper-npu", "auto", [2.0, 4.0, 2.0]),
                ("peer & co", "int8", [5.0, 8.0, 3.0]),
            )
        ],
    }


def test_ratios_are_taken_within_a_round() -> None:
    rows = table(document()).splitlines()[-2:]
    assert rows[0] == "| whisper-npu | auto | greedy | 1000 | 30.0 |  | 100 |"
    # 2.5, 2.0 and 1.5; of the medians it would be 2.5.
    assert rows[1] == "| peer & co | int8 | greedy | 2500 | 12.0 | 2.00 x | 100 |"


def test_chart_shows_the_fastest_first() -> None:
    root = ElementTree.fromstring(chart(document()))
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[1:] == ["whisper-npu greedy", "30.0 x", "peer & co int8 greedy", "12.0 x"]


def test_growth_compares_pairs() -> None:
    rows = [
        {"program": program, "minutes": 1, "n_windows": 2, "seconds": seconds, "peak_mb": 10}
        for program, seconds in (("whisper-npu", 1.0), ("faster-whisper", 3.0))
    ]
    found = document() | {"minutes": rows, "batches": [], "sizes": []}
    found["batches"] = found["sizes"] = rows
    assert "| 1 | 500 | 10 | 1500 | 10 | 3.00 x |" in growth_tables(found)
