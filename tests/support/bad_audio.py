"""Inputs that cannot be transcribed, with the words of the error of each.

The tests of `audio` and of the command line use them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16_000


def tone(duration_s: float = 2.0, rate: int = RATE, n_channels: int = 1) -> NDArray[np.float32]:
    """A quiet tone with noise, (n, n_channels), so that no coder can shrink it to nothing."""
    n = round(duration_s * rate)
    noise = np.random.default_rng(0).standard_normal((n, n_channels))
    return (0.2 * np.sin(np.arange(n) * 0.17)[:, None] + 0.02 * noise).astype(np.float32)


def encode(path: Path, codec: str, rate: int = RATE, **options: str) -> Path:
    """Write 2 s of stereo (mono where the codec has no more) with FFmpeg's `codec`."""
    n_channels = 1 if codec == "libopencore_amrnb" else 2
    return encode_samples(path, tone(rate=rate, n_channels=n_channels), rate, codec, **options)


def encode_samples(
    path: Path, samples: NDArray[np.float32], rate: int, codec: str, **options: str
) -> Path:
    """Write samples (n, n_channels), one or two channels, with FFmpeg's `codec`."""
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = layout
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T), format="fltp", layout=layout
        )
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def cut(path: Path, part: float = 0.5) -> Path:
    """Keep only the beginning of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    return path


def _wav(path: Path, **options: str) -> Path:
    soundfile.write(path, tone(), RATE, **options)
    return path


def _with_sample(path: Path, value: float) -> Path:
    samples = tone()
    samples[RATE] = value
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


def _bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _directory(path: Path) -> Path:
    path.mkdir()
    (path / "notes.txt").write_text("no sound here")
    return path


def _silent_video(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def _empty_wav(path: Path) -> Path:
    soundfile.write(path, np.zeros(0, np.float32), RATE)
    return path


def _damaged_flac(path: Path) -> Path:
    data = bytearray(_wav(path).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    return _bytes(path, bytes(data))


def _no_permission(path: Path) -> Path:
    _wav(path).chmod(0)
    return path


@dataclass(frozen=True)
class BadInput:
    """An input that fails: how to make it at a path, and phrases of the error and its hint."""

    name: str
    make: Callable[[Path], Path]
    message: str
    hint: str
    unprivileged: bool = False  # root may read everything: make it, then drop the rights


BAD_INPUTS = (
    BadInput("missing.wav", lambda path: path, "no such file", "spelling"),
    BadInput(
        "locked.wav", _no_permission, "cannot be read: Permission denied", "permissions", True
    ),
    BadInput("folder", _directory, "no audio files in this directory", ".flac"),
    BadInput("zero-bytes.mp3", lambda path: _bytes(path, b""), "empty (0 bytes)", "again"),
    BadInput("zero-samples.wav", _empty_wav, "no samples", "record it again"),
    BadInput("cut.m4a", lambda path: cut(encode(path, "aac")), "its index is missing", "untrunc"),
    BadInput("text.wav", lambda path: _bytes(path, b"not audio " * 99), "not audio", "recording"),
    BadInput(
        "noise.mp3",
        lambda path: _bytes(path, np.random.default_rng(1).bytes(50_000)),
        "not audio",
        "recording",
    ),
    BadInput("silent.mp4", _silent_video, "no audio track", "with sound"),
    BadInput("nan.wav", lambda path: _with_sample(path, np.nan), "has a sample of nan", "16-bit"),
    BadInput("inf.wav", lambda path: _with_sample(path, -np.inf), "has a sample of inf", "16-bit"),
    BadInput("loud.wav", lambda path: _with_sample(path, 2e12), "sample of 2e+12", "16-bit"),
)

# Two seconds of which a part is missing: how to make them, where that begins, and where it ends
DAMAGED_INPUTS: dict[str, tuple[Callable[[Path], Path], float, float | None]] = {
    "cut.wav": (lambda path: cut(_wav(path)), 1.0, 2.0),
    "cut.flac": (lambda path: cut(_wav(path)), 1.0, 2.0),
    "cut.ogg": (lambda path: cut(_wav(path), 0.9), 1.0, None),
    "cut.mp3": (lambda path: cut(_wav(path)), 1.0, 2.0),
    "cut.aiff": (lambda path: cut(_wav(path)), 1.0, 2.0),
    "cut.rf64": (lambda path: cut(_wav(path, format="RF64")), 1.0, None),
    "cut-fast.m4a": (lambda path: cut(encode(path, "aac", movflags="faststart")), 1.0, 2.0),
    "cut.webm": (lambda path: cut(encode(path, "libopus", rate=48_000)), 1.0, 2.0),
    "cut.ts": (lambda path: cut(encode(path, "aac")), 1.0, None),
    "damaged.flac": (_damaged_flac, 0.75, 1.4),
}


@contextmanager
def unprivileged(active: bool = True) -> Iterator[None]:
    """Act as nobody inside the block where the tests run as root."""
    drop = active and os.geteuid() == 0
    if drop:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if drop:
            os.seteuid(0)
