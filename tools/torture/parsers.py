"""What this program parses itself: a sound file of each kind, and what reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.bad_checkpoints import SMALL_DIMS, write_good_checkpoint
from tests.support.formats import small_checkpoint, write_ctranslate2, write_ggml, write_openai
from tests.support.small_overlay import SMALL, SPECS
from whisper_npu_cli.audio.encoded import FileSource
from whisper_npu_cli.checkpoints import ctranslate2, formats, ggml
from whisper_npu_cli.checkpoints.huggingface import INDEX_FILE, WEIGHTS_FILE
from whisper_npu_cli.checkpoints.random import random_checkpoint
from whisper_npu_cli.checkpoints.safetensors import read_header
from whisper_npu_cli.checkpoints.save import save_checkpoint
from whisper_npu_cli.checkpoints.torch_file import read_torch_file
from whisper_npu_cli.cli.config import read_toml
from whisper_npu_cli.cli.progress import describe_progress, read_progress
from whisper_npu_cli.engines.npu.instructions import inspect_instructions
from whisper_npu_cli.engines.npu.manifest import load_manifest
from whisper_npu_cli.engines.npu.standin.build import (
    build_overlay,
    make_instructions,
    make_xclbin,
)
from whisper_npu_cli.engines.npu.xclbin import inspect_xclbin
from whisper_npu_cli.errors import WhisperNpuError
from whisper_npu_cli.options import TranscribeOptions
from whisper_npu_cli.transcript import Progress

_HEAD_BYTES = 4096  # of files with weights: what is behind is numbers
_CONFIG = """
model = "small"
word-timestamps = true
temperature = [0.0, 0.2]
beam_size = 5
# a remark
initial-prompt = 'he said "one"'
"""


@dataclass(frozen=True)
class Parser:
    """What reads a file."""

    name: str  # of the file, in its folder
    write: Callable[[Path], object]  # a sound one, and what must lie beside it
    read: Callable[[Path], object]

    def is_refused(self, path: Path) -> bool:
        """Read a file; return whether it is refused, in one line. Raise whatever else comes."""
        try:
            self.read(path)
        except WhisperNpuError as error:
            text = f"{error} {error.hint}"
            if "\n" in text or len(text) > _LONGEST:
                raise AssertionError(f"not a line: {text[:300]!r}") from error
            return True
        return False


_LONGEST = 900  # characters of an error with its hint


def _write_folder(path: Path) -> None:
    write_good_checkpoint(path.parent)


def _write_index(path: Path) -> None:
    write_good_checkpoint(path.parent)
    (path.parent / WEIGHTS_FILE).rename(path.parent / "a.safetensors")
    names = read_header(path.parent / "a.safetensors")
    path.write_text(json.dumps({"weight_map": dict.fromkeys(names, "a.safetensors")}))


def _read_folder(path: Path) -> None:
    formats.load(path.parent).tokenizer()


def _write_header(path: Path) -> None:
    save_checkpoint(random_checkpoint(SMALL_DIMS), path.parent, "BF16")


def _write_small_archive(path: Path) -> None:
    write_openai(path, random_checkpoint(SMALL_DIMS))


def _write_head(path: Path, write: Callable[[Path], object]) -> None:
    write(path)
    path.write_bytes(path.read_bytes()[:_HEAD_BYTES])


def _write_ct2(path: Path) -> None:
    write_ctranslate2(path.parent, small_checkpoint(), "int8")
    path.write_bytes(path.read_bytes()[:_HEAD_BYTES])


def _write_progress(path: Path) -> None:
    path.with_name("sound.wav").write_bytes(b"RIFF")
    source = FileSource(path.with_name("sound.wav"))
    path.write_text(describe_progress(source, "demo", TranscribeOptions(), Progress()))


def _read_progress(path: Path) -> None:
    read_progress(path, FileSource(path.with_name("sound.wav")), "demo", TranscribeOptions())


PARSERS: dict[str, Parser] = {
    "safetensors": Parser(WEIGHTS_FILE, _write_header, read_header),
    "index of shards": Parser(INDEX_FILE, _write_index, _read_folder),
    "config.json": Parser("config.json", _write_folder, _read_folder),
    "generation_config.json": Parser("generation_config.json", _write_folder, _read_folder),
    "tokenizer.json": Parser("tokenizer.json", _write_folder, _read_folder),
    "torch.save": Parser("model.pt", _write_small_archive, read_torch_file),
    "ggml": Parser(
        "ggml.bin",
        lambda path: _write_head(path, lambda p: write_ggml(p, small_checkpoint(), "Q5_1")),
        ggml.load,
    ),
    "CTranslate2": Parser("model.bin", _write_ct2, ctranslate2.load),
    "xclbin": Parser("a.xclbin", lambda path: path.write_bytes(make_xclbin()), inspect_xclbin),
    "instructions": Parser(
        "a.bin", lambda path: path.write_bytes(make_instructions(SMALL)), inspect_instructions
    ),
    "manifest": Parser(
        "manifest.json", lambda path: build_overlay(path.parent, SPECS), load_manifest
    ),
    "config.toml": Parser("config.toml", lambda path: path.write_text(_CONFIG), read_toml),
    "progress": Parser("a.progress", _write_progress, _read_progress),
}


_WORDS = (
    *(b"\n", b'"', b"'", b"<", b"&", b"[", b"]", b"{", b"}", b":", b",", b"null", b"true", b"-1"),
    *(b"1e999", b"NaN", b"9" * 30, b"9" * 5000, b"[" * 5000, b'{"a":' * 5000, b"\\ud800"),
    *(bytes(4), b"\xff" * 4, b"\xff" * 8, b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"../", b"/"),
)


def damage(data: bytes, random: np.random.Generator) -> bytes:
    """Return a file after one to four accidents."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 5)):
        # Half of them at the beginning, where headers are
        reach = len(changed) if random.random() < 0.5 else min(len(changed), 200)
        at, size = int(random.integers(reach + 1)), int(random.integers(1, 9))
        match random.integers(5):
            case 0:
                changed[at : at + 1] = bytes(
                    byte ^ 1 << random.integers(8) for byte in changed[at : at + 1]
                )
            case 1:
                word = _WORDS[random.integers(len(_WORDS))]
                changed[at : at + len(word)] = word
            case 2:
                changed[at:at] = _WORDS[random.integers(len(_WORDS))]
            case 3:
                del changed[at : at + size]
            case 4:
                changed[at:at] = changed[at : at + 8 * size]
    return bytes(
        changed[: random.integers(len(changed) + 1)] if random.random() < 0.05 else changed
    )
