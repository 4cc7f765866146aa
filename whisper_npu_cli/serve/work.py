"""What served a job and how long it took, as the last event of a stream tells it.

A header cannot: it is sent before the first text. The page at `/` shows it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from whisper_npu_cli.serve.jobs import Job
from whisper_npu_cli.transcript import Transcript
from whisper_npu_cli.writers import make_writers
from whisper_npu_cli.writers.remarks import list_notes, list_warnings

_FILES = ("txt", "srt", "vtt")


def describe_work(job: Job) -> dict[str, Any]:
    """Return the JSON of a finished job: device, seconds, remarks, and its transcript as files."""
    result = job.result
    return {
        "model": job.model,
        "device": job.device,
        "queue_s": job.queue_s,
        "total_s": result.timings.total_s,
        "stages": [
            {"stage": row.stage, "engine": row.engine, "seconds": row.seconds}
            for row in result.timings.rows
        ],
        "remarks": [*list_warnings(result), *list_notes(result)],
        "files": _write_files(result.transcript),
    }


def _write_files(transcript: Transcript) -> dict[str, str]:
    """Return what a request for each format is answered with: cues are segments."""
    segments = tuple(replace(segment, words=None) for segment in transcript.segments)
    writers = make_writers()
    return {name: writers[name](replace(transcript, segments=segments)) for name in _FILES}
