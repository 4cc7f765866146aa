"""What FFmpeg does not tell of a file: whether it is cut, and what the tags of mp3 really say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from io import FileIO

_SCANNED_BYTES = 1 << 20
_MIN_CHAIN = 4  # frames in a row, each where the last one ends: no picture holds that by chance

# MPEG audio, ISO/IEC 11172-3 section 2.4.2.3 and 13818-3: by version bits (3: MPEG-1)
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_BITRATES = {  # kbit/s, by whether the version is 1, and layer bits (1: layer III)
    (True, 3): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}

_OGG_HEADER_BYTES = 27  # RFC 3533, section 6
_OGG_MAX_PAGE_BYTES = 65_307
_TS_PACKET_BYTES = 188  # ISO/IEC 13818-1


def find_mpeg_audio(file: FileIO) -> int:
    """Return where mp3 or aac begins if that is within an ID3 tag, whose length is then wrong.

    0 where there is no tag, or none that lies: FFmpeg steps over it.
    """
    return next(_find_chains(file, 10, _measure_tag(file)), 0)


def count_mp3_samples(file: FileIO) -> tuple[int, int] | None:
    """Return how many samples a Xing, Info or VBRI header counts, and their rate in Hz.

    None where the first frame is none.
    """
    frame = _read(file, find_mpeg_audio(file) or _measure_tag(file), 256)
    size, rate = _measure_frame(frame[:4])
    for tag, offset in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        at = frame.find(tag)
        counts = at >= 0 and (tag == b"VBRI" or frame[at + 7] & 1)
        if size and counts:
            n_frames = int.from_bytes(frame[at + offset : at + offset + 4], "big")
            return n_frames * (1152 if rate >= 32_000 else 576), rate
    return None


def is_cut_ogg(file: FileIO) -> bool:
    """Return whether the last page of an ogg file is not whole."""
    size = os.fstat(file.fileno()).st_size
    start = max(0, size - 2 * _OGG_MAX_PAGE_BYTES)
    tail = _read(file, start, size - start)
    at = tail.rfind(b"OggS")
    header = tail[at : at + _OGG_HEADER_BYTES]
    if at < 0 or len(header) < _OGG_HEADER_BYTES:
        return True
    lengths = tail[at + _OGG_HEADER_BYTES :][: header[26]]
    page_end = at + _OGG_HEADER_BYTES + header[26] + sum(lengths)
    return len(lengths) < header[26] or page_end > len(tail)


def is_cut_ts(file: FileIO) -> bool:
    """Return whether an MPEG transport stream ends within a packet."""
    size = os.fstat(file.fileno()).st_size
    return _read(file, 0, 1) == b"G" and size % _TS_PACKET_BYTES != 0


def _read(file: FileIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def _measure_tag(file: FileIO) -> int:
    """Return the bytes that an ID3 tag at the beginning says it has; 0 where there is none."""
    head = _read(file, 0, 10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    # 4 bytes of 7 bits (ID3v2.4 structure, section 3.1)
    return 10 + sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))


def _find_chains(file: FileIO, start: int, end: int) -> Iterator[int]:
    """Yield where between `start` and `end` some frames of MPEG audio follow each other."""
    while start < end:
        data = _read(file, start, _SCANNED_BYTES)
        for sync in re.finditer(rb"\xff[\xe0-\xff]", data):
            if start + sync.start() < end and _is_chain(file, start + sync.start()):
                yield start + sync.start()
        if len(data) < _SCANNED_BYTES:
            return
        start += len(data) - 1


def _is_chain(file: FileIO, at: int) -> bool:
    rates = set()
    for _ in range(_MIN_CHAIN):
        size, rate = _measure_frame(_read(file, at, 7))
        rates.add(rate)
        if not size or len(rates) > 1:
            return False
        at += size
    return True


def _measure_frame(head: bytes) -> tuple[int, int]:
    """Return the bytes and the rate in Hz of a frame of mp1, mp2, mp3 or ADTS; 0, 0 of others."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0, 0
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    if layer == 0 and head[1] & 0xF0 == 0xF0 and len(head) >= 6:  # ADTS, ISO/IEC 13818-7
        size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        return (size, 1 + (head[2] >> 2 & 15)) if size > 7 else (0, 0)
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 0 or bitrate in (0, 15) or rate == 3:
        return 0, 0
    hz, padding = _RATES[version][rate], head[2] >> 1 & 1
    bits = 1000 * _BITRATES[version == 3, layer][bitrate]
    if layer == 3:
        return (12 * bits // hz + padding) * 4, hz
    return (72 if layer == 1 and version != 3 else 144) * bits // hz + padding, hz
