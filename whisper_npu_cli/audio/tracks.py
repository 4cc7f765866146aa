"""Which audio track of a container is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whisper_npu_cli.errors import AudioError


def choose_track(tracks: Sequence[Any], wanted: int | str | None) -> int | None:
    """Return the index of the wanted one of PyAV's audio streams, by number (from 1) or language.

    Without a wish, that of the only one that its file marks as the default, and None where no
    mark decides: mp4 marks the first one where nobody chose. AudioError where there is no such
    track.
    """
    if wanted is None:
        marked = [i for i, track in enumerate(tracks) if track.disposition.value & 1]
        return 0 if len(tracks) == 1 else marked[0] if len(marked) == 1 and marked[0] else None
    if isinstance(wanted, int) and 1 <= wanted <= len(tracks):
        return wanted - 1
    codes = [_language_code(track.language or "") for track in tracks]
    if isinstance(wanted, str) and _language_code(wanted) in codes:
        return codes.index(_language_code(wanted))
    raise AudioError(
        f"has no audio track {wanted}",
        hint=f"it has {', '.join(describe_track(tracks, i) for i in range(len(tracks)))}",
    )


def describe_track(tracks: Sequence[Any], index: int) -> str:
    """Return `track 2 (eng, "Commentary")`."""
    track = tracks[index]
    title = track.metadata.get("title")
    details = [track.language, f'"{title}"' if title else None]
    known = ", ".join(detail for detail in details if detail)
    return f"track {index + 1}" + (f" ({known})" if known else "")


def _language_code(tag: str) -> str:
    """Return a language's code in ISO 639-1 where it has one, of `eng`, `en` or `en-US`."""
    from langcodes import get, tag_parser  # 0.1 s, needed only where a language is wanted

    try:
        return get(tag).language or ""
    except tag_parser.LanguageTagError:
        return tag
