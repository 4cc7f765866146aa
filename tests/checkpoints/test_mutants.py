"""Thousands of damaged files of each format: each is read, or refused in one line.

A mutant is a good file with one to three of its numbers changed, mostly beside the weights, or
with its end cut off. Memory stays within a bound that follows from the file.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.formats import (
    DIMS,
    small_checkpoint,
    write_ctranslate2,
    write_ggml,
    write_openai,
)
from whisper_npu_cli.checkpoints import formats
from whisper_npu_cli.checkpoints.checkpoint import Checkpoint
from whisper_npu_cli.checkpoints.save import save_checkpoint
from whisper_npu_cli.errors import CheckpointError

# What a load may allocate: the file, all of which may be called its header, and that as text of
# four bytes a character; beside it Python's objects for the tensors, and the largest of them.
MAX_FILES, MAX_EXTRA_BYTES = 5, 8_000_000


@dataclass(frozen=True)
class Format:
    """How a format is written, and which file of it has the weights."""

    name: str
    write: Callable[[Path, Checkpoint], None]
    file: str = ""


FORMATS = [
    Format("safetensors", lambda path, c: save_checkpoint(c, path), "model.safetensors"),
    Format("openai-whisper", write_openai),
    Format("CTranslate2", lambda path, c: write_ctranslate2(path, c, "int8"), "model.bin"),
    Format("ggml", lambda path, c: write_ggml(path, c, "Q5_1")),
]


def find_gaps(content: bytes, checkpoint: Checkpoint) -> list[tuple[int, int]]:
    """Return where the file has other than weights, as pairs of offsets."""
    stored = vars(checkpoint.tensors)["_stored"].values()
    places = sorted({(tensor.offset, tensor.offset + tensor.n_bytes) for tensor in stored})
    begins = [0, *(end for _, end in places)]
    ends = [*(begin for begin, _ in places), len(content)]
    return [(b, e) for b, e in zip(begins, ends, strict=True) if b < e]


def mutate(
    generator: np.random.Generator, content: bytes, gaps: list[tuple[int, int]]
) -> dict[int, bytes]:
    """Return what to write at which offsets."""
    changes = {}
    for _ in range(generator.integers(1, 4)):
        begin, end = gaps[generator.integers(len(gaps))]
        # Half of them in the first bytes of a gap: a gap may be a long text.
        end = min(end, begin + 64) if generator.random() < 0.5 else end
        offset = int(generator.integers(begin, end))
        flipped = bytes([content[offset] ^ 1 << generator.integers(8)])
        new = [flipped, b"\0", b"\xff", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", bytes(4)]
        changes[offset] = new[generator.integers(len(new))][: len(content) - offset]
    return changes


def check(path: Path) -> str | None:
    """Load a checkpoint and read its tensors; return the words of its error."""
    try:
        checkpoint = formats.load(path)
    except CheckpointError as error:
        return str(error)
    # The embeddings are most of the file, so they are looked at and not read.
    embeddings = "model.decoder.embed_tokens.weight"
    for name in checkpoint.tensors:
        if name != embeddings:
            assert checkpoint.array(name).dtype == np.float32
    assert replace(checkpoint.dims, n_audio_head=2, n_text_head=2) == DIMS
    return None


@pytest.mark.parametrize("format_", FORMATS, ids=lambda f: f.name)
@pytest.mark.parametrize("n_mutants", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutants_are_read_or_refused(format_: Format, n_mutants: int, tmp_path: Path) -> None:
    path = tmp_path / "mutant"
    format_.write(path, small_checkpoint())
    file = path / format_.file if format_.file else path
    content = file.read_bytes()
    gaps = find_gaps(content, formats.load(path))
    generator = np.random.default_rng(n_mutants)
    errors: list[str | None] = []
    tracemalloc.start()
    try:
        with file.open("r+b") as out:
            for _ in range(n_mutants):
                changes = mutate(generator, content, gaps)
                for offset, new in changes.items():
                    out.seek(offset)
                    out.write(new)
                cut_at = int(generator.integers(len(content))) if generator.random() < 0.1 else None
                out.truncate(cut_at or len(content))
                out.flush()
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                errors.append(check(path))
                n_allocated = tracemalloc.get_traced_memory()[1] - before
                assert n_allocated < MAX_FILES * len(content) + MAX_EXTRA_BYTES
                for offset, new in changes.items():
                    out.seek(offset)
                    out.write(content[offset : offset + len(new)])
                if cut_at:
                    out.seek(cut_at)
                    out.write(content[cut_at:])
    finally:
        tracemalloc.stop()
    assert file.read_bytes() == content
    refused = [error for error in errors if error]
    assert len(refused) > n_mutants / 4  # so the damage is where it matters
    assert all("\n" not in error and len(error) < 600 for error in refused)
