"""Read what matters of an xclbin file without XRT: identity, kernels, array columns.

Format: XRT `core/include/xrt/detail/xclbin.h` (axlf). Used by `overlays verify`, the doctor and
the stand-in, which must work where XRT is not installed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID
from xml.etree import ElementTree

from whisper_npu_cli.engines.npu.manifest import HINT_BUILD, Overlay
from whisper_npu_cli.errors import OverlayError

MAGIC = b"xclbin2\0"
UUID_AT = 0x1A0
SECTION_COUNT_AT = 0x1C0
SECTIONS_AT = 0x1C8
SECTION = struct.Struct("<I16s4xQQ")  # kind, name, offset, size
EMBEDDED_METADATA = 2  # XML: kernels and their arguments
AIE_PARTITION = 32
COLUMN_WIDTH_AT = 0x20  # u16 in AIE_PARTITION
FIRST_DATA_ARGUMENT = 3  # after opcode, instructions and their length


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
        kernels = _read_kernels(sections[EMBEDDED_METADATA])
        (n_columns,) = struct.unpack_from("<H", sections[AIE_PARTITION], COLUMN_WIDTH_AT)
    except (KeyError, struct.error, ElementTree.ParseError) as error:
        raise OverlayError(f"{path}: damaged xclbin ({error!r})", hint=HINT_BUILD) from error
    return XclbinInfo(str(UUID(bytes=data[UUID_AT : UUID_AT + 16])), kernels, n_columns)


def check_overlay(folder: Path, overlay: Overlay) -> None:
    """Compare the xclbin itself with what the manifest says; OverlayError where they differ."""
    info = inspect_xclbin(folder / overlay.xclbin)
    least = FIRST_DATA_ARGUMENT + max(len(stream.spec.arguments) for stream in overlay.streams)
    problem = ""
    if info.n_columns != overlay.columns:
        problem = f"made for {info.n_columns} columns, not {overlay.columns}"
    elif overlay.kernel not in info.kernels:
        problem = f"has no kernel {overlay.kernel}, only {', '.join(info.kernels)}"
    elif info.kernels[overlay.kernel] < least:
        problem = f"its kernel takes {info.kernels[overlay.kernel]} arguments, not {least}"
    if problem:
        raise OverlayError(f"{overlay.xclbin}: {problem}", hint=HINT_BUILD)


def _read_sections(data: bytes) -> dict[int, bytes]:
    """Map the kind of each section to its bytes."""
    (count,) = struct.unpack_from("<I", data, SECTION_COUNT_AT)
    sections = {}
    for index in range(count):
        kind, _, offset, size = SECTION.unpack_from(data, SECTIONS_AT + index * SECTION.size)
        if offset + size > len(data):
            raise struct.error(f"section {kind} ends behind the file")
        sections[kind] = data[offset : offset + size]
    return sections


def _read_kernels(metadata: bytes) -> dict[str, int]:
    root = ElementTree.fromstring(metadata.rstrip(b"\0"))
    return {kernel.get("name", ""): len(kernel.findall("arg")) for kernel in root.iter("kernel")}
