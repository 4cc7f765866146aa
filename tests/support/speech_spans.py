"""Strategies for probabilities of speech and options, and the spans found with them."""

from __future__ import annotations

from hypothesis import strategies as st

from whisper_npu_cli.options import VadOptions
from whisper_npu_cli.spans import Span
from whisper_npu_cli.speech.detect import SpeechTracker

runs = st.lists(
    st.tuples(st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0]), st.integers(1, 1500)), max_size=12
)
noisy = st.lists(st.floats(0, 1), max_size=300)
probabilities = st.one_of(runs.map(lambda parts: [p for p, n in parts for _ in range(n)]), noisy)
options = st.builds(
    VadOptions,
    threshold=st.sampled_from([0.3, 0.5, 0.7]),
    max_speech_duration_s=st.sampled_from([5.0, 12.5, 30.0]),
    min_silence_duration_ms=st.sampled_from([0, 160, 2000]),
    speech_pad_ms=st.sampled_from([0, 30, 400]),
)
shortest = st.sampled_from([0, 100, 1000])  # milliseconds that are speech


def track(probabilities: list[float], options: VadOptions) -> list[tuple[int, int]]:
    tracker = SpeechTracker(options)
    tracker.add(probabilities)
    tracker.finish()
    return tracker.spans


def listen(probabilities: list[float], options: VadOptions, n_heard: int) -> SpeechTracker:
    """Return the tracker after some of the probabilities."""
    tracker = SpeechTracker(options)
    tracker.add(probabilities[:n_heard])
    return tracker


def to_frames(spans: list[tuple[int, int]]) -> list[Span]:
    """Return spans of chunks in mel frames; 5 chunks of 32 ms are 16 frames."""
    return [Span(start * 16 // 5, end * 16 // 5) for start, end in spans]


def track_frames(probabilities: list[float], options: VadOptions) -> list[Span]:
    """Return the spans in mel frames."""
    return to_frames(track(probabilities, options))
