"""Read what an instruction stream says of itself: array, operations, the arguments that it uses.

Format: transactions of version 0.1, mlir-aie `lib/Targets/AIETargetNPU.cpp`. Little-endian words.
What a later compiler may write, another version or operation, is no damage and ends the reading:
the known-answer test judges it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from whisper_npu_cli.engines.npu.manifest import HINT_BUILD
from whisper_npu_cli.errors import OverlayError

# major, minor, generation of the array, rows, columns, rows of memory tiles, operations, bytes
HEADER = struct.Struct("<BBBBBBxxII")
VERSION = (0, 1)
GENERATION = 3  # Phoenix and Hawk Point; XDNA2 has 4
ROWS, MEMORY_TILE_ROWS = 6, 1
WORD = struct.Struct("<I")
BLOCK_WRITE, ADDRESS_PATCH = 1, 129


@dataclass(frozen=True)
class Form:
    """How long an operation is: at least `least_bytes`, and which word of it has its size."""

    least_bytes: int
    size_at: int | None  # None: it is always as long as that


FORMS = {
    0: Form(24, 20),  # write
    BLOCK_WRITE: Form(16, 12),
    3: Form(28, 24),  # masked write
    6: Form(4, None),  # preempt
    8: Form(16, None),  # load a PDI
    128: Form(16, 4),  # wait for a token
    ADDRESS_PATCH: Form(48, 4),
}
PATCHED_ARGUMENT_AT = 32


@dataclass(frozen=True)
class InstructionInfo:
    """What an instruction stream says of itself."""

    n_columns: int
    n_operations: int
    n_arguments: int  # one more than the last that it uses


def inspect_instructions(path: Path) -> InstructionInfo:
    """Read a stream from its header to its last operation; OverlayError if it is damaged."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OverlayError(f"{path}: {error.strerror}", hint=HINT_BUILD) from error
    try:
        return _inspect(data)
    except ValueError as error:
        raise OverlayError(f"{path}: damaged instructions: {error}", hint=HINT_BUILD) from error


def _inspect(data: bytes) -> InstructionInfo:
    """ValueError says what is wrong."""
    if len(data) < HEADER.size:
        raise ValueError(f"{len(data)} bytes are no header")
    major, minor, generation, rows, columns, memory_rows, n_operations, size = HEADER.unpack_from(
        data
    )
    if (generation, rows, memory_rows) != (GENERATION, ROWS, MEMORY_TILE_ROWS):
        raise ValueError(f"made for another array: generation {generation}, {rows} rows")
    if size != len(data):
        raise ValueError(f"{len(data)} bytes instead of {size}")
    operations = list(_walk(data)) if (major, minor) == VERSION else []
    is_whole = bool(operations) and operations[-1][0] in FORMS
    if is_whole and len(operations) != n_operations:
        raise ValueError(f"{len(operations)} operations instead of {n_operations}")
    patches = (at + PATCHED_ARGUMENT_AT for kind, at in operations if kind == ADDRESS_PATCH)
    patched = [WORD.unpack_from(data, at)[0] for at in patches]
    return InstructionInfo(columns, n_operations, max(patched, default=-1) + 1)


def _walk(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield each operation and where it begins, up to one that is not known.

    ValueError where one cannot be there.
    """
    at = HEADER.size
    while at < len(data):
        operation = data[at]
        yield operation, at
        form = FORMS.get(operation)
        if form is None:
            return
        if at + form.least_bytes > len(data):
            raise ValueError(f"the operation at byte {at} ends behind the file")
        size = form.least_bytes
        if form.size_at is not None:
            (size,) = WORD.unpack_from(data, at + form.size_at)
        if size < form.least_bytes or size % WORD.size or at + size > len(data):
            raise ValueError(f"the operation at byte {at} cannot have {size} bytes")
        at += size
