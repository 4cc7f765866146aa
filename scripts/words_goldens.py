"""Goldens of words and subtitles, by openai-whisper. Part of `make_goldens.py`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from decoding_goldens import (
    DEMO,
    load_original,
    original_tokenizer,
    sha256,
    transcribe_original,
    vocabulary_of,
    write,
)


def make_words() -> None:
    """Save openai-whisper's words of single windows: those of the random checkpoint."""
    from tests.support.decoding_model import lively_checkpoint

    checkpoint = lively_checkpoint()
    write(
        "alignments.json", {"alignments": list(align_originals(original(checkpoint), checkpoint))}
    )


def make_demo_words(directory: Path = DEMO) -> None:
    """Save openai-whisper's words of spoken digits, by the demo checkpoint."""
    from tests.support.digits import compose_recording
    from tests.support.words_model import WORD_CASES
    from whisper_npu_cli.checkpoints.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(directory)
    model = original(checkpoint)
    with vocabulary_of(checkpoint):
        recordings = {
            name: transcribe_original(
                model, compose_recording(*shape), {"word_timestamps": True, **case}, "words"
            )
            for name, (case, shape) in WORD_CASES.items()
        }
    write("demo_words.json", {"sha256": sha256(directory), "recordings": recordings})


def make_subtitles() -> None:
    """Save the subtitles of made-up segments in all layouts."""
    from tests.support.words_model import LAYOUTS

    write("subtitles.json", {name: subtitles(layout) for name, layout in LAYOUTS.items()})


def original(checkpoint: Any) -> Any:
    """Return openai-whisper's model of `checkpoint`, with its alignment heads."""
    import torch

    model = load_original(checkpoint)
    mask = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head, dtype=torch.bool)
    for head in checkpoint.generation.alignment_heads:
        mask[head] = True
    model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)
    return model


def align_originals(model: Any, checkpoint: Any) -> Iterator[dict[str, Any]]:
    """Yield openai-whisper's path and words of each text in its window."""
    import torch
    from whisper.timing import find_alignment

    from tests.support.decoding_model import windows
    from tests.support.words_model import N_FRAMES, TEXTS

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

    from tests.support.words_model import spoken_segments

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
    make_demo_words()
