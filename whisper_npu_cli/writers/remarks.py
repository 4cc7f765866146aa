"""What a transcript lacks, each in one line for a person."""

from __future__ import annotations

from collections.abc import Sequence

from whisper_npu_cli.transcript import Damage, Result, Transcript, TranscriptionInfo
from whisper_npu_cli.writers.subtitles import format_timestamp

_MAX_PLACES = 3
# Speech is recorded at -30 to -3 dBFS. At -42 all of a clip was heard, at -52 a part was not.
_QUIET_DBFS = -40.0


def describe_damage(damages: Sequence[Damage]) -> str:
    """Return where a recording is not sound, at most three places."""
    parts = []
    for damage in damages[:_MAX_PLACES]:
        what = "sound is missing" if damage.missing else "sound may be wrong"
        parts.append(f"{what} {_format_place(damage)} ({damage.reason})")
    n_more = len(damages) - len(parts)
    return "; ".join(parts) + (f"; and at {n_more} more places" if n_more else "")


def list_warnings(result: Result) -> list[str]:
    """Return what of an input may be missing in its text, a line each."""
    warnings = []
    if result.damage:
        warnings.append(describe_damage(result.damage))
    if result.uncovered:
        spans = [f"{_format_time(a)} to {_format_time(b)}" for a, b in result.uncovered]
        warnings.append(f"speech without text: {', '.join(spans)}")
    return warnings


def list_notes(result: Result) -> list[str]:
    """Return what else a person may want to know of an input, a line each."""
    notes = []
    if result.is_complete and not result.transcript.text.strip():
        notes.append("no speech found")
    if result.peak_dbfs is None:
        notes.append("all of it is digital silence")
    elif result.peak_dbfs < _QUIET_DBFS:
        notes.append(
            f"very quiet: the loudest sample is at {result.peak_dbfs:.0f} dBFS; "
            "a louder recording is heard better"
        )
    return notes


def describe_language(transcript: Transcript | TranscriptionInfo) -> str:
    """Return `fr (0.98)`, or `fr` where the language was given; nothing where none was heard."""
    code = transcript.language
    probability = transcript.language_probs.get(code)
    return code if probability is None else f"{code} ({probability:.2f})"


def format_length(seconds: float) -> str:
    """Return `2:57` or `1:02:57`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def _format_place(damage: Damage) -> str:
    start, end = _format_time(damage.start), damage.end and _format_time(damage.end)
    if start == end:
        return f"at {start}"
    return f"from {start} to {end}" if end else f"from {start} on"


def _format_time(seconds: float) -> str:
    return format_timestamp(seconds, hours=False, decimal_marker=".")
