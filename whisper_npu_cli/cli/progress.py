"""What an interrupted run leaves of an input for `--resume`: a file beside its partial outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisper_npu_cli.transcript import Progress, Segment, Word

if TYPE_CHECKING:
    from whisper_npu_cli.audio.find import Input
    from whisper_npu_cli.options import TranscribeOptions


def describe_progress(
    source: Input, model: str, options: TranscribeOptions, progress: Progress
) -> str:
    """Return the text of the file: the progress, and of what."""
    from whisper_npu_cli.writers.document import to_plain

    return json.dumps({**_identify(source, model, options), "progress": to_plain(progress)})


def read_progress(
    file: Path, source: Input, model: str, options: TranscribeOptions
) -> Progress | None:
    """Return the progress in a file; None if it is of another input, model or other options."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        progress = content.pop("progress")
        if content != json.loads(json.dumps(_identify(source, model, options))):
            return None
        segments = tuple(map(_parse_segment, progress.pop("segments")))
        return Progress(**progress, segments=segments)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _identify(source: Input, model: str, options: TranscribeOptions) -> dict[str, Any]:
    status = Path(source.path).stat()
    return {
        "track": source.track,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "model": model,
        "options": options.to_dict(),
    }


def _parse_segment(content: dict[str, Any]) -> Segment:
    words = content.pop("words", None)
    content |= {key: tuple(content[key]) for key in ("tokens", "logprobs") if key in content}
    return Segment(**content, words=words and tuple(Word(**word) for word in words))
