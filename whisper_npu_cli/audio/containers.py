"""What FFmpeg does not tell of a file: whether it is cut, and what the tags of mp3 really say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from io import FileIO
from itertools import takewhile

# Sizes from here on are what programs write that cannot seek back: sox, arecord, ffmpeg into a pipe
UNKNOWN_SIZE = 0x7FFF_0000

_SCANNED_BYTES = 1 << 20
# How far behind them the number of frames is: the LAME and Fraunhofer encoders' documentation
_LENGTH_TAGS = {b"Xing": 8, b"Info": 8, b"VBRI": 14}
_TAG_WITHIN_BYTES = 256
_MPEG_SYNC = re.compile(rb"\xff[\xe0-\xff]")
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
_OGG_FIRST_PAGE = re.compile(rb"OggS\x00[\x02\x06]\x00{8}")  # at sample 0
_OGG_MAX_PAGE_BYTES = 65_307
_MP4_FRAGMENT = re.compile(rb"moof\x00\x00\x00.mfhd", re.DOTALL)  # ISO/IEC 14496-12
_TS_PACKET_BYTES = 188  # ISO/IEC 13818-1


def find_mpeg_audio(file: FileIO) -> int:
    """Return where mp3 or aac begins if that is within an ID3 tag, whose length is then wrong.

    0 where there is no tag, or none that lies: FFmpeg steps over it.
    """
    end = _measure_tag(file)
    syncs = takewhile(lambda at: at < end, _find(file, _MPEG_SYNC, 10)) if end else ()
    return next((at for at in syncs if _is_chain(file, at)), 0)


def count_mp3_samples(file: FileIO, start: int) -> tuple[int, int] | None:
    """Return how many samples a Xing, Info or VBRI header counts, and their rate in Hz.

    `start` is where `find_mpeg_audio` says. None where the first frame is no such header.
    """
    frame = _read(file, start or _measure_tag(file), _TAG_WITHIN_BYTES).ljust(
        2 * _TAG_WITHIN_BYTES, b"\0"
    )
    size, rate = _measure_frame(frame[:4])
    for tag, offset in _LENGTH_TAGS.items():
        at = frame.find(tag)
        counts = at >= 0 and (tag == b"VBRI" or frame[at + 7] & 1)
        if size and counts:
            n_frames = int.from_bytes(frame[at + offset : at + offset + 4], "big")
            return n_frames * (1152 if rate >= 32_000 else 576), rate
    return None


def has_length_tag(frame: bytes) -> bool:
    """Return whether a frame of mp3 holds the length and no sound, as at seams of joined files."""
    return any(tag in frame[:_TAG_WITHIN_BYTES] for tag in _LENGTH_TAGS)


def find_ogg_links(file: FileIO) -> list[int]:
    """Return where the links of a chained ogg begin; nothing where it has one, or is no ogg."""
    if _read(file, 0, 4) != b"OggS":
        return []
    links, previous_end = [], -1
    for at in _find(file, _OGG_FIRST_PAGE):
        if at != previous_end:  # a first page right behind another is of another stream of the link
            links.append(at)
        page_bytes = _measure_page(_read(file, at, _OGG_HEADER_BYTES + 255))
        if page_bytes is None:
            break
        previous_end = at + page_bytes
    return links if len(links) > 1 else []


def find_ts_program(file: FileIO, start: int) -> int | None:
    """Return where behind `start` a transport stream next tells its programs, if it does."""
    at = start - start % _TS_PACKET_BYTES + _TS_PACKET_BYTES
    while len(packet := _read(file, at, 4)) == 4:
        if packet[:1] == b"G" and packet[1] & 0x5F == 0x40 and packet[2] == 0:  # PID 0, begin
            return at
        at += _TS_PACKET_BYTES
    return None


def is_cut_ogg(file: FileIO) -> bool:
    """Return whether the last page of an ogg file is not whole."""
    size = measure_file(file)
    start = max(0, size - 2 * _OGG_MAX_PAGE_BYTES)
    tail = _read(file, start, size - start)
    page = tail[tail.rfind(b"OggS") :] if b"OggS" in tail else b""
    page_bytes = _measure_page(page)
    return page_bytes is None or page_bytes > len(page)


def _measure_page(page: bytes) -> int | None:
    """Return the bytes that a page of ogg says to have; None where its head is not whole."""
    if len(page) < _OGG_HEADER_BYTES:
        return None
    n_segments = page[_OGG_HEADER_BYTES - 1]
    head_bytes = _OGG_HEADER_BYTES + n_segments
    if len(page) < head_bytes:
        return None
    return head_bytes + sum(page[_OGG_HEADER_BYTES:head_bytes])


def is_cut_mpeg_audio(file: FileIO, last_frame: int) -> bool:
    """Return whether mp3 or aac ends within a frame; `last_frame` is one of the last."""
    end, at = measure_file(file), last_frame
    while size := _measure_frame(_read(file, at, 7))[0]:
        at += size
    return at > end


def measure_riff(file: FileIO) -> float:
    """Return how many times as long as it is a RIFF file says to be; 1 where it does not."""
    size = measure_file(file)
    stated = int.from_bytes(_read(file, 4, 4), "little")
    return max(1.0, (8 + stated) / size) if stated < UNKNOWN_SIZE else 1.0


def has_fragment(file: FileIO, start: int) -> bool:
    """Return whether a fragment of an mp4 begins behind `start`."""
    return any(True for _ in _find(file, _MP4_FRAGMENT, start))


def is_cut_ts(file: FileIO) -> bool:
    """Return whether an MPEG transport stream ends within a packet."""
    size = measure_file(file)
    return _read(file, 0, 1) == b"G" and size % _TS_PACKET_BYTES != 0


def measure_file(file: FileIO) -> int:
    """Return the bytes of a file."""
    return os.fstat(file.fileno()).st_size


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


def _find(file: FileIO, pattern: re.Pattern[bytes], start: int = 0) -> Iterator[int]:
    """Yield where behind `start` the pattern, of at most 16 bytes, is found."""
    while data := _read(file, start, _SCANNED_BYTES):
        yield from (
            start + match.start()
            for match in pattern.finditer(data)
            if match.start() < _SCANNED_BYTES - 16  # others are found again
        )
        if len(data) < _SCANNED_BYTES:
            return
        start += _SCANNED_BYTES - 16


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
