"""Results as one JSON document."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from whisper_npu_cli.engines.loading import Engines
from whisper_npu_cli.environment import versions
from whisper_npu_cli.pipeline import Transcription
from whisper_npu_cli.timings import Timings
from whisper_npu_cli.writers import segment_fields

SCHEMA_VERSION = 1


def timings_rows(timings: Timings) -> list[dict[str, Any]]:
    """Return one row a stage; `rtf` and `speed` are relative to the length of the audio."""
    return [
        {
            "stage": row.stage,
            "seconds": row.seconds,
            "calls": row.calls,
            "rtf": row.rtf(timings.audio_s),
            "speed": row.speed(timings.audio_s),
            "engine": row.engine,
            **({"tokens": row.tokens} if row.stage == "decode" else {}),
        }
        for row in timings.rows
    ]


def result_fields(path: str, job: Transcription) -> dict[str, Any]:
    """Return the entry of one transcribed input."""
    transcript = job.transcript
    return {
        "path": path,
        "complete": job.is_complete,
        "long_form": job.long_form,
        "duration_s": transcript.duration_s,
        "language": transcript.language,
        "language_probs": dict(transcript.language_probs),
        "text": transcript.text,
        "segments": [segment_fields(segment) for segment in transcript.segments],
        "uncovered": [list(span) for span in transcript.uncovered],
        "windows": [asdict(window) for window in job.windows],
        "timings": timings_rows(job.timings),
    }


def document(model: str, engines: Engines | None, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the whole document: results in the order of the inputs; `engines` if any loaded."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "device": engines
        and {
            "name": engines.device,
            "reason": engines.reason,
            "incidents": engines.incidents,
        },
        "versions": versions(),
        "results": results,
    }
