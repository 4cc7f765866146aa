"""An overlay's files, damaged in every way: each is read, or refused in one plain line."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.small_overlay import SMALL
from whisper_npu_cli.engines.npu import instructions as form
from whisper_npu_cli.engines.npu.instructions import inspect_instructions
from whisper_npu_cli.engines.npu.manifest import Manifest, load_manifest, verify
from whisper_npu_cli.engines.npu.spec import COLUMNS, KERNEL
from whisper_npu_cli.engines.npu.standin.build import ARGUMENTS, make_instructions, make_xclbin
from whisper_npu_cli.engines.npu.xclbin import SECTION_COUNT_AT, check_overlay, inspect_xclbin
from whisper_npu_cli.errors import OverlayError

# What a message of Python's own would hold: names of exceptions, reprs, addresses, tracebacks.
PYTHON = re.compile(
    r"Error\b|Exception|\(\)|\bb'|<class|object at 0x|Traceback|codec|unpack|NoneType"
)
N_ARGUMENTS = len(SMALL.arguments)


def refuse(inspect: Callable[[Path], object], path: Path, data: bytes) -> str:
    """Return the words with which `data` is refused."""
    path.write_bytes(data)
    with pytest.raises(OverlayError) as refused:
        inspect(path)
    return str(refused.value)


def test_what_an_xclbin_says(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(make_xclbin())
    info = inspect_xclbin(tmp_path / "x")
    assert (info.kernels, info.n_columns) == ({KERNEL: len(ARGUMENTS)}, COLUMNS)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"xclbin2", b"xclbin3", "not an xclbin"),
        (b"<project>", b"<?xml version='1.0' encoding='no-such'?><project>", "no XML"),
        (b"<project>", b"<?xml version='1.0' encoding='utf-7'?><project>", "no XML"),
        (b"<project>", b"<?xml version='1.0' encoding='hex'?><project>", "no XML"),
        (b"</project>", b"", "no XML"),
        (b"</project>", b"\xff\xfe\0\0", "no XML"),
    ],
)
def test_a_damaged_xclbin(tmp_path: Path, old: bytes, new: bytes, reason: str) -> None:
    """The size of the metadata stays: what is put in takes the place of arguments."""
    data = make_xclbin()
    length = len(old) + max(0, len(new) - len(old))
    at = data.index(old)
    changed = data[:at] + new.ljust(length, b" ") + data[at + length :]
    assert len(changed) == len(data)
    message = refuse(inspect_xclbin, tmp_path / "x", changed)
    assert reason in message
    assert not PYTHON.search(message)


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (0, "not an xclbin"),
        (8, "ends in its header"),
        (0x1D0, "table of 2 sections"),
        (-1, "section 32"),
    ],
)
def test_a_cut_xclbin(tmp_path: Path, size: int, reason: str) -> None:
    assert reason in refuse(inspect_xclbin, tmp_path / "x", make_xclbin()[:size])


def test_sections_without_end_and_without_the_array(tmp_path: Path) -> None:
    data = bytearray(make_xclbin())
    struct.pack_into("<I", data, SECTION_COUNT_AT, 0xFFFFFFFF)
    assert "4294967295 sections" in refuse(inspect_xclbin, tmp_path / "x", bytes(data))
    struct.pack_into("<I", data, SECTION_COUNT_AT, 1)
    assert "no partition of the array" in refuse(inspect_xclbin, tmp_path / "x", bytes(data))


def test_what_instructions_say(tmp_path: Path) -> None:
    (tmp_path / "i").write_bytes(make_instructions(SMALL))
    info = inspect_instructions(tmp_path / "i")
    assert (info.n_columns, info.n_arguments) == (COLUMNS, N_ARGUMENTS)
    assert info.n_operations == N_ARGUMENTS + 1


@pytest.mark.parametrize(
    ("at", "word", "reason"),
    [
        (0, 0x06040100, "another array: generation 4"),
        (8, 99, "operations instead of 99"),
        (12, 8, "bytes instead of 8"),
        (20, 0, "byte 16 cannot have 0 bytes"),
        (20, 49, "byte 16 cannot have 49 bytes"),
        (20, 0xFFFFFFFC, "byte 16 cannot have"),
    ],
)
def test_damaged_instructions(tmp_path: Path, at: int, word: int, reason: str) -> None:
    data = bytearray(make_instructions(SMALL))
    struct.pack_into("<I", data, at, word)
    message = refuse(inspect_instructions, tmp_path / "i", bytes(data))
    assert reason in message
    assert not PYTHON.search(message)


@pytest.mark.parametrize(("at", "word"), [(0, 0x06030001), (16, 77)], ids=["version", "operation"])
def test_what_a_later_compiler_writes_is_no_damage(tmp_path: Path, at: int, word: int) -> None:
    data = bytearray(make_instructions(SMALL))
    struct.pack_into("<I", data, at, word)
    (tmp_path / "i").write_bytes(data)
    info = inspect_instructions(tmp_path / "i")
    assert (info.n_columns, info.n_arguments) == (COLUMNS, 0)


def test_cut_instructions_are_refused(tmp_path: Path) -> None:
    data = make_instructions(SMALL)
    assert "no header" in refuse(inspect_instructions, tmp_path / "i", data[:15])
    assert "bytes instead of" in refuse(inspect_instructions, tmp_path / "i", data[:-4])


@pytest.mark.parametrize(
    ("at", "word", "reason"),
    [
        (16 + form.PATCHED_ARGUMENT_AT, 7, f"uses 8 buffers, and the program passes {N_ARGUMENTS}"),
        (4, 0x108, "made for 8 columns, not 4"),
    ],
)
def test_instructions_of_another_program(
    manifest: Manifest, at: int, word: int, reason: str
) -> None:
    overlay, folder = manifest.overlays[0], manifest.path.parent
    check_overlay(folder, overlay)
    path = folder / overlay.streams[0].insts
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, at, word)
    path.write_bytes(data)
    with pytest.raises(OverlayError, match=reason):
        check_overlay(folder, overlay)


def test_names_of_kernels_stay_in_the_line(manifest: Manifest) -> None:
    overlay, folder = manifest.overlays[0], manifest.path.parent
    data = make_xclbin().replace(b'name="MLIR_AIE"', b'name="MLI&#10;"')
    (folder / overlay.xclbin).write_bytes(data)
    with pytest.raises(OverlayError, match=r"no kernel MLIR_AIE, only MLI\?$"):
        check_overlay(folder, overlay)


TEXTS = [b"\n", b'"', b"<", b"&", b"encoding='utf-7'?>", b"[", b"null", b"-1", b"1e999", b"true"]


def mutate(generator: np.random.Generator, content: bytes) -> bytes:
    """Return `content` with one to three places changed, or without its end."""
    data = bytearray(content)
    for _ in range(generator.integers(1, 4)):
        # Half of them at the beginning, where headers are.
        reach = len(data) if generator.random() < 0.5 else min(len(data), 200)
        at = int(generator.integers(reach))
        flipped = bytes([data[at] ^ 1 << int(generator.integers(8))])
        new = [flipped, bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f", *TEXTS]
        text = new[generator.integers(len(new))]
        data[at : at + len(text)] = text
    return bytes(data[: generator.integers(len(data))] if generator.random() < 0.1 else data)


def check_manifest(path: Path) -> None:
    """Do what `overlays verify` does."""
    found = load_manifest(path)
    verify(found)
    for overlay in found.overlays:
        check_overlay(path.parent, overlay)


@pytest.mark.parametrize("n_mutants", [300, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["xclbin", "instructions", "manifest"])
def test_mutants_are_read_or_refused(manifest: Manifest, kind: str, n_mutants: int) -> None:
    overlay, folder = manifest.overlays[0], manifest.path.parent
    path, inspect = {
        "xclbin": (folder / overlay.xclbin, inspect_xclbin),
        "instructions": (folder / overlay.streams[0].insts, inspect_instructions),
        "manifest": (manifest.path, check_manifest),
    }[kind]
    content, generator = path.read_bytes(), np.random.default_rng(n_mutants)
    n_refused = 0
    for _ in range(n_mutants):
        path.write_bytes(mutate(generator, content))
        try:
            inspect(path)
        except OverlayError as error:
            n_refused += 1
            assert not PYTHON.search(str(error))
            assert str(error).isprintable()
    assert n_mutants / 8 < n_refused < n_mutants  # a changed opaque word is as good
