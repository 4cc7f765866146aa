"""Counters and gauges as Prometheus reads them (its text format 0.0.4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from threading import Lock

from whisper_npu_cli.transcript import Result

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "whisper_npu_"
_COUNTERS = {
    "requests_total": "Requests answered.",
    "request_seconds_total": "Seconds from their first byte to the last of their answers.",
    "audio_seconds_total": "Seconds of audio transcribed.",
    "stage_seconds_total": "Seconds of work of a stage; over the next it is the realtime factor.",
    "stage_audio_seconds_total": "Seconds of the audio that a stage worked on.",
    "windows_total": "Windows of at most 30 s, by what encoded them.",
}
_GAUGES = {
    "working": "Requests that are worked on.",
    "waiting": "Requests that wait.",
    "waiting_limit": "Requests that may wait.",
    "models_loaded": "Models in memory.",
    "fallbacks": "Failures of a device from which the CPU went on, of the loaded models.",
}
_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """What a server has done since it was started. From any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[str, dict[_Labels, float]] = {
            name: defaultdict(float) for name in _COUNTERS
        }

    def add(self, name: str, amount: float, **labels: str) -> None:
        """Add to one of the counters."""
        with self._lock:
            self._counts[name][tuple(labels.items())] += amount

    def add_request(self, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered, or whose client has gone."""
        self.add("requests_total", 1, path=path, status=str(status))
        self.add("request_seconds_total", seconds, path=path)

    def add_result(self, result: Result) -> None:
        """Count what a transcription has taken."""
        self.add("audio_seconds_total", result.timings.audio_s)
        for row in result.timings.rows:
            labels = {"stage": row.stage, "engine": row.engine}
            self.add("stage_seconds_total", row.seconds, **labels)
            self.add("stage_audio_seconds_total", row.audio_s, **labels)
        for window in result.windows:
            self.add("windows_total", 1, engine=window.engine)

    def format(self, gauges: Mapping[str, float]) -> str:
        """Return all counters and these gauges as text."""
        with self._lock:
            lines = [*self._format_counters(), *_format_gauges(gauges)]
        return "\n".join([*lines, ""])

    def _format_counters(self) -> Iterator[str]:
        for name, text in _COUNTERS.items():
            yield from _describe(name, "counter", text)
            for labels, value in self._counts[name].items():
                yield f"{_PREFIX}{name}{_format_labels(labels)} {value}"


def _format_gauges(gauges: Mapping[str, float]) -> Iterator[str]:
    for name, text in _GAUGES.items():
        yield from _describe(name, "gauge", text)
        yield f"{_PREFIX}{name} {gauges[name]}"


def _describe(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {_PREFIX}{name} {text}"
    yield f"# TYPE {_PREFIX}{name} {kind}"


def _format_labels(labels: _Labels) -> str:
    """Return `{stage="encode"}`; what labels hold is ours, and has nothing to escape."""
    inner = ",".join(f'{key}="{value}"' for key, value in labels)
    return f"{{{inner}}}" if inner else ""
