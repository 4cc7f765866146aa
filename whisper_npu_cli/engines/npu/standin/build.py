"""Build an overlay for the stand-in: an xclbin, instruction streams, a manifest.

Nothing in these files computes. They have the form of built ones, so that everything that
locates, parses, verifies and loads an overlay is exercised; the chip knows the streams by hash.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from whisper_npu_cli.engines.npu import instructions as form
from whisper_npu_cli.engines.npu.manifest import Manifest, Overlay, Stream
from whisper_npu_cli.engines.npu.spec import COLUMNS, DEVICE, KERNEL, StreamSpec
from whisper_npu_cli.engines.npu.standin.operators import StreamOperator
from whisper_npu_cli.engines.npu.xclbin import (
    AIE_PARTITION,
    COLUMN_WIDTH_AT,
    EMBEDDED_METADATA,
    MAGIC,
    SECTION,
    SECTION_COUNT_AT,
    SECTIONS_AT,
    UUID_AT,
)

ARGUMENTS = ("opcode", "instr", "ninstr", "bo0", "bo1", "bo2", "bo3", "bo4")
OVERLAY = "standin"
STREAM_BYTES = 4096  # bytes of an instruction stream here; built ones have 12 to 620 KB


def build_overlay(folder: Path, specs: Iterable[StreamSpec]) -> Manifest:
    """Write the files of an overlay with streams `specs` to `folder`; return its manifest."""
    xclbin = folder / f"{OVERLAY}.xclbin"
    xclbin.write_bytes(make_xclbin())
    streams = []
    for spec in specs:
        path = folder / f"{spec.name}.insts.bin"
        path.write_bytes(make_instructions(spec))
        streams.append(Stream(spec, path.name, sha256(path.read_bytes()).hexdigest()))
    digest = sha256(xclbin.read_bytes()).hexdigest()
    overlay = Overlay(OVERLAY, DEVICE, COLUMNS, KERNEL, xclbin.name, digest, tuple(streams))
    manifest = Manifest(folder / "manifest.json", "", {"standin": "1"}, (overlay,))
    manifest.path.write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def make_operators(manifest: Manifest) -> dict[str, StreamOperator]:
    """Return what each instruction stream of `manifest` computes, by its hash."""
    return {
        stream.sha256: StreamOperator(stream.spec)
        for overlay in manifest.overlays
        for stream in overlay.streams
    }


def make_instructions(spec: StreamSpec) -> bytes:
    """Return a stream that uses every argument of `spec`, with opaque words that stand for it."""
    operations = [_patch_address(index) for index in range(len(spec.arguments))]
    n_opaque = STREAM_BYTES - form.HEADER.size - sum(map(len, operations)) - 16
    opaque = (sha256(spec.name.encode()).digest() * (n_opaque // 32 + 1))[:n_opaque]
    operations.append(struct.pack("<4I", form.BLOCK_WRITE, 0, 0, 16 + n_opaque) + opaque)
    array = (*form.VERSION, form.GENERATION, form.ROWS, COLUMNS, form.MEMORY_TILE_ROWS)
    return form.HEADER.pack(*array, len(operations), STREAM_BYTES) + b"".join(operations)


def _patch_address(argument: int) -> bytes:
    words = bytearray(form.FORMS[form.ADDRESS_PATCH].least_bytes)
    struct.pack_into("<2I", words, 0, form.ADDRESS_PATCH, len(words))
    struct.pack_into("<I", words, form.PATCHED_ARGUMENT_AT, argument)
    return bytes(words)


def make_xclbin() -> bytes:
    """Return an xclbin with the sections that a host reads."""
    arguments = "".join(f'<arg name="{name}" id="{i}"/>' for i, name in enumerate(ARGUMENTS))
    xml = f'<project><platform><device><core><kernel name="{KERNEL}">{arguments}</kernel>'
    xml += "</core></device></platform></project>"
    partition = bytearray(COLUMN_WIDTH_AT + 2)
    struct.pack_into("<H", partition, COLUMN_WIDTH_AT, COLUMNS)
    sections = [(EMBEDDED_METADATA, xml.encode()), (AIE_PARTITION, bytes(partition))]
    data = bytearray(SECTIONS_AT + SECTION.size * len(sections))
    data[:8] = MAGIC
    data[UUID_AT : UUID_AT + 16] = UUID(bytes=sha256(xml.encode()).digest()[:16]).bytes
    struct.pack_into("<I", data, SECTION_COUNT_AT, len(sections))
    for index, (kind, content) in enumerate(sections):
        at = SECTIONS_AT + index * SECTION.size
        SECTION.pack_into(data, at, kind, str(kind).encode(), len(data), len(content))
        data += content
    return bytes(data)
