"""Read what matters of an xclbin file without XRT: identity, kernels, array columns.

Format: XRT `core/include/xrt/detail/xclbin.h` (axlf). Used by `overlays verify`, the doctor and
the stand-in, which must work where XRT is not installed. Any bytes are read, or refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID
from xml.etree import ElementTree

from whisper_npu_cli.engines.npu.instructions import inspect_instructions
from whisper_npu_cli.engines.npu.manifest import HINT_BUILD, Overlay, Stream
from whisper_npu_cli.errors import OverlayError

MAGIC = b"xclbin2\0"
UUID_AT = 0x1A0
SECTION_COUNT_AT = 0x1C0
SECTIONS_AT = 0x1C8
SECTION = struct.Struct("<I16s4xQQ")  # kind, name, offset, size
EMBEDDED_METADATA = 2  # XML: kernels and their arguments
AIE_PARTITION = 32
COLUMN_WIDTH_AT = 0x20  # u16 in AIE_PARTITION
SECTION_NAMES = {EMBEDDED_METADATA: "metadata of kernels", AIE_PARTITION: "partition of the array"}
FIRST_DATA_ARGUMENT = 3  # after opcode, instructions and their length
MAX_NAME = 40  # of a kernel's name in a message: a damaged file may have any


@dataclass(frozen=True)
class XclbinInfo:
    """What an xclbin says of itself."""

    uuid: str
    kernels: dict[str, int]  # name -> number of arguments
    n_columns: int


def inspect_xclbin(path: Path) -> XclbinInfo:
    """Read the header and the two sections that the host depends on; OverlayError if damaged."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OverlayError(f"{path}: {error.strerror}", hint=HINT_BUILD) from error
    if data[:8] != MAGIC:
        raise OverlayError(f"{path}: not an xclbin", hint=HINT_BUILD)
    try:
        sections = _read_sections(data)
        kernels = _read_kernels(_cut(data, sections, EMBEDDED_METADATA))
        partition = _cut(data, sections, AIE_PARTITION, COLUMN_WIDTH_AT + 2)
    except ValueError as error:
        raise OverlayError(f"{path}: damaged xclbin: {error}", hint=HINT_BUILD) from error
    (n_columns,) = struct.unpack_from("<H", partition, COLUMN_WIDTH_AT)
    return XclbinInfo(str(UUID(bytes=data[UUID_AT : UUID_AT + 16])), kernels, n_columns)


def check_overlay(folder: Path, overlay: Overlay) -> None:
    """Compare xclbin and instructions with the manifest; OverlayError where they differ."""
    info = inspect_xclbin(folder / overlay.xclbin)
    least = FIRST_DATA_ARGUMENT + max((len(s.spec.arguments) for s in overlay.streams), default=0)
    problem = ""
    if info.n_columns != overlay.columns:
        problem = f"made for {info.n_columns} columns, not {overlay.columns}"
    elif overlay.kernel not in info.kernels:
        problem = f"has no kernel {overlay.kernel}, only {', '.join(map(_shorten, info.kernels))}"
    elif info.kernels[overlay.kernel] < least:
        problem = f"its kernel takes {info.kernels[overlay.kernel]} arguments, not {least}"
    if problem:
        raise OverlayError(f"{overlay.xclbin}: {problem}", hint=HINT_BUILD)
    for stream in overlay.streams:
        _check_stream(folder, stream, overlay.columns)


def _check_stream(folder: Path, stream: Stream, n_columns: int) -> None:
    info = inspect_instructions(folder / stream.insts)
    n_arguments = len(stream.spec.arguments)
    problem = ""
    if info.n_columns > n_columns:
        problem = f"made for {info.n_columns} columns, not {n_columns}"
    elif info.n_arguments > n_arguments:
        problem = f"uses {info.n_arguments} buffers, and the program passes {n_arguments}"
    if problem:
        raise OverlayError(f"{stream.insts}: {problem}", hint=HINT_BUILD)


def _shorten(name: str) -> str:
    """Return a name as part of a line."""
    return "".join(x if x.isprintable() else "?" for x in name)[:MAX_NAME]


def _read_sections(data: bytes) -> dict[int, tuple[int, int]]:
    """Map the kind of each section to where it begins and ends; ValueError where none can be."""
    if len(data) < SECTIONS_AT:
        raise ValueError("it ends in its header")
    (count,) = struct.unpack_from("<I", data, SECTION_COUNT_AT)
    if SECTIONS_AT + count * SECTION.size > len(data):
        raise ValueError(f"it ends in its table of {count} sections")
    sections = {}
    for index in range(count):
        kind, _, offset, size = SECTION.unpack_from(data, SECTIONS_AT + index * SECTION.size)
        if offset + size > len(data):
            raise ValueError(f"section {kind} ends behind the file")
        sections[kind] = (offset, offset + size)
    return sections


def _cut(
    data: bytes, sections: dict[int, tuple[int, int]], kind: int, least_bytes: int = 1
) -> bytes:
    """Return a section; ValueError where it is absent or shorter than `least_bytes`."""
    begin, end = sections.get(kind, (0, 0))
    if end - begin < least_bytes:
        raise ValueError(f"it has no {SECTION_NAMES[kind]}")
    return data[begin:end]


def _read_kernels(metadata: bytes) -> dict[str, int]:
    """Map the name of each kernel to its number of arguments; ValueError where this is no XML."""
    try:
        root = ElementTree.fromstring(metadata.rstrip(b"\0"))
    except (ElementTree.ParseError, LookupError, ValueError):  # the last two: an unknown encoding
        raise ValueError(f"its {SECTION_NAMES[EMBEDDED_METADATA]} is no XML") from None
    return {kernel.get("name", ""): len(kernel.findall("arg")) for kernel in root.iter("kernel")}
