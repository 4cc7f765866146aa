"""Encoded sound: samples written by FFmpeg's and libsndfile's encoders in one container."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from tests.support.places import SHARED
from whisper_npu_cli.dims import SAMPLE_RATE

Samples = NDArray[np.float32]
CLIPS = ("jfk.wav", "librispeech_61-70968-0000.wav", "beckett.wav")
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
_CHUNK_FRAMES = 1024  # what encoders take that do not say how much they want


@cache
def read_speech(*names: str) -> Samples:
    """Return recordings of people one after the other (n,), mono at 16 kHz."""
    return np.concatenate([_read_clip(name) for name in names or CLIPS])


def _read_clip(name: str) -> Samples:
    samples: Samples = soundfile.read(SHARED / "audio" / name, dtype="float32")[0]
    return samples


def make_pause(duration_s: float) -> Samples:
    """Return silence (n,) at 16 kHz."""
    return np.zeros(round(duration_s * SAMPLE_RATE), np.float32)


@dataclass(frozen=True)
class Coding:
    """How FFmpeg writes a track."""

    codec: str
    rate: int = SAMPLE_RATE
    n_channels: int = 1
    bit_rate: int = 64_000
    start_s: float = 0.0  # time stamp of the first sample
    gap: tuple[float, float] = (0.0, 0.0)  # at which second of sound, for how many seconds
    options: Mapping[str, str] = field(default_factory=dict)  # of the container
    format: str | None = None  # None: that of the suffix


def write(path: Path, samples: Samples, coding: Coding) -> Path:
    """Write samples (n,) or (n, n_channels) at 16 kHz with FFmpeg."""
    options = dict(coding.options)
    with av.open(str(path), "w", format=coding.format, options=options) as container:
        stream = _add_stream(container, coding)
        for packet in _encode(stream, samples, coding):
            container.mux(packet)
    return path


def remux(path: Path, suffix: str) -> Path:
    """Copy the packets of a recording to another container, beside it."""
    with av.open(str(path)) as source, av.open(str(path.with_suffix(suffix)), "w") as container:
        stream = container.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:  # the last one, which flushes, has none
                packet.stream = stream
                container.mux(packet)
    return path.with_suffix(suffix)


def write_tracks(path: Path, tracks: Mapping[str, Samples], coding: Coding, default: int) -> Path:
    """Write several tracks by language, of which the one with the index `default` is marked."""
    with av.open(str(path), "w", options=dict(coding.options)) as container:
        streams = [_add_stream(container, coding) for _ in tracks]
        for i, (stream, language) in enumerate(zip(streams, tracks, strict=True)):
            stream.metadata["language"] = language
            stream.disposition = av.stream.Disposition(int(i == default))
        packets = [
            packet
            for stream, samples in zip(streams, tracks.values(), strict=True)
            for packet in _encode(stream, samples, coding)
        ]
        for packet in sorted(packets, key=lambda packet: float(packet.pts * packet.time_base)):
            container.mux(packet)
    return path


def write_sndfile(path: Path, samples: Samples, rate: int = SAMPLE_RATE, **options: Any) -> Path:
    """Write samples at 16 kHz with libsndfile, at another rate."""
    soundfile.write(path, resample(samples, rate), rate, **options)
    return path


def resample(samples: Samples, rate: int) -> Samples:
    """Return samples at 16 kHz at another rate."""
    return samples if rate == SAMPLE_RATE else soxr.resample(samples, SAMPLE_RATE, rate)


def _add_stream(container: Any, coding: Coding) -> Any:
    stream = container.add_stream(coding.codec, rate=coding.rate)
    stream.layout = _LAYOUTS[coding.n_channels]
    stream.bit_rate = coding.bit_rate
    return stream


def _encode(stream: Any, samples: Samples, coding: Coding) -> Iterator[Any]:
    """Yield packets; time stamps jump where there is a gap."""
    layout = _LAYOUTS[coding.n_channels]
    wanted = stream.codec_context.format or "s16"
    converter = av.AudioResampler(format=wanted, layout=layout, rate=coding.rate)
    channels = samples[:, None] if samples.ndim == 1 else samples
    sound = resample(np.broadcast_to(channels, (len(samples), coding.n_channels)), coding.rate)
    gap_at, gap_s = (round(value * coding.rate) for value in coding.gap)
    start = round(coding.start_s * coding.rate)
    for at in range(0, len(sound), _CHUNK_FRAMES):
        interleaved = np.ascontiguousarray(sound[at : at + _CHUNK_FRAMES]).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
        frame.sample_rate, frame.time_base = coding.rate, Fraction(1, coding.rate)
        frame.pts = start + at + (gap_s if gap_s and at >= gap_at else 0)
        for converted in converter.resample(frame):
            yield from stream.encode(converted)
    yield from stream.encode(None)
