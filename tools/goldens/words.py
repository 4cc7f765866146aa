"""Goldens of words and subtitles, by openai-whisper."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from tests.support.decoding_model import lively_checkpoint, windows
from tests.support.digits import compose_recording
from tests.support.places import DEMO
from tests.support.words_model import LAYOUTS, N_FRAMES, TEXTS, WORD_CASES, spoken_segments
from tools.goldens.decoding import transcribe_original
from tools.goldens.original import load_original, make_original_tokenizer, patch_vocabulary
from tools.goldens.provenance import hash_weights, write_json
from whisper_npu_cli.checkpoints import huggingface
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint


def make_words() -> None:
    """Save openai-whisper's words of single windows, by the random checkpoint."""
    checkpoint = lively_checkpoint()
    alignments = list(align_originals(load_original(checkpoint), checkpoint))
    write_json("alignments.json", {"alignments": alignments})


def make_demo_words() -> None:
    """Save openai-whisper's words of spoken digits, by the demo checkpoint."""
    checkpoint = huggingface.load(DEMO)
    model = load_original(checkpoint)
    with patch_vocabulary(checkpoint):
        recordings = {
            name: transcribe_original(
                model, compose_recording(*shape), {"word_timestamps": True, **case}, "words"
            )
            for name, (case, shape) in WORD_CASES.items()
        }
    fields = {"sha256": hash_weights(DEMO), "recordings": recordings}
    write_json("demo_words.json", fields)


def make_subtitles() -> None:
    """Save the subtitles of made-up segments in all layouts."""
    write_json(
        "subtitles.json", {name: write_subtitles(layout) for name, layout in LAYOUTS.items()}
    )


def align_originals(model: Any, checkpoint: Checkpoint) -> Iterator[dict[str, Any]]:
    """Yield openai-whisper's path and words of each text in its window."""
    import torch
    from whisper.timing import find_alignment

    tokenizer = make_original_tokenizer(checkpoint, "en", "transcribe")
    for mel, text, n_frames in zip(windows(), TEXTS, N_FRAMES, strict=True):
        tokens = tokenizer.encode(text)
        with record_paths() as paths:
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
def record_paths() -> Iterator[list[Any]]:
    """Collect the paths that openai-whisper's dynamic time warping returns."""
    import whisper.timing

    warp, paths = whisper.timing.dtw, []

    def record(cost: Any) -> Any:
        paths.append(warp(cost))
        return paths[-1]

    with mock.patch("whisper.timing.dtw", record):
        yield paths


def write_subtitles(layout: dict[str, Any]) -> dict[str, str]:
    """Return openai-whisper's files of the made-up segments, by suffix."""
    from whisper.utils import WriteSRT, WriteVTT

    texts = {}
    for writer in (WriteSRT, WriteVTT):
        file = io.StringIO()
        result = {"segments": json.loads(json.dumps(spoken_segments()))}
        writer("").write_result(result, file, layout)
        texts[writer.extension] = file.getvalue()
    return texts
