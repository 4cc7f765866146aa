"""Goldens of words and subtitles, by openai-whisper. Part of `make_goldens.py`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from decoding_goldens import (
    load_original,
    original_tokenizer,
    transcribe_original,
    vocabulary_of,
    write,
)


def make_words() -> None:
    """Save words of windows and of whole recordings."""
    from decoding_model import lively_checkpoint, noise
    from words_model import SECONDS, WORD_CASES

    checkpoint = lively_checkpoint()
    model = load_original(checkpoint)
    heads = list(checkpoint.generation.alignment_heads)
    set_heads(model, heads)
    samples = noise(SECONDS)
    with vocabulary_of(checkpoint):
        recordings = {
            name: transcribe_original(model, samples, {"word_timestamps": True, **case}, "words")
            for name, case in WORD_CASES.items()
        }
    write(
        "words.json",
        {
            "alignments": list(align_originals(model, checkpoint)),
            "recordings": recordings,
        },
    )


def make_subtitles() -> None:
    """Save the subtitles of made-up segments in all layouts."""
    from words_model import LAYOUTS

    write("subtitles.json", {name: subtitles(layout) for name, layout in LAYOUTS.items()})


def set_heads(model: Any, heads: list[tuple[int, int]]) -> None:
    """Make openai-whisper look at the alignment heads of the checkpoint."""
    import torch

    mask = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head, dtype=torch.bool)
    for head in heads:
        mask[head] = True
    model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)


def align_originals(model: Any, checkpoint: Any) -> Iterator[dict[str, Any]]:
    """Yield openai-whisper's path and words of each text in its window."""
    import torch
    from decoding_model import windows
    from whisper.timing import find_alignment
    from words_model import N_FRAMES, TEXTS

    tokenizer = original_tokenizer(checkpoint, "en", "transcribe")
    for mel, text, n_frames in zip(windows(), TEXTS, N_FRAMES, strict=True):
        tokens = tokenizer.encode(text)
        with recorded_paths() as paths:
            words = find_alignment(model, tokenizer, tokens, torch.from_numpy(mel), n_frames)
        rows, columns = paths[0].tolist()
        yield {
            "tokens": tokens,
            "starts": [columns[rows.index(row)] for row in range(rows[-1] + 1)],
            "path_length": len(rows),
            "words": [
                [word.word, float(word.start), float(word.end), float(word.probability)]
                for word in words
            ],
        }


@contextmanager
def recorded_paths() -> Iterator[list[Any]]:
    """Collect what openai-whisper's dynamic time warping returns."""
    import whisper.timing

    warp, paths = whisper.timing.dtw, []

    def record(cost: Any) -> Any:
        paths.append(warp(cost))
        return paths[-1]

    with mock.patch("whisper.timing.dtw", record):
        yield paths


def subtitles(layout: dict[str, Any]) -> dict[str, str]:
    """Return openai-whisper's files of the made-up segments."""
    from whisper.utils import WriteSRT, WriteVTT
    from words_model import spoken_segments

    texts = {}
    for writer in (WriteSRT, WriteVTT):
        file = io.StringIO()
        result = {"segments": json.loads(json.dumps(spoken_segments()))}
        writer("").write_result(result, file, layout)
        texts[writer.extension] = file.getvalue()
    return texts


if __name__ == "__main__":
    make_subtitles()
    make_words()
