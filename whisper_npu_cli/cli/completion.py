"""What the shell completes: models that are here, devices, languages, formats.

A choice among fixed words needs nothing here: Typer completes it by itself. All of it is fast,
because the shell waits: nothing that computes is imported.
"""

from __future__ import annotations

from collections.abc import Callable

from whisper_npu_cli.devices import list_devices

FORMATS = ("txt", "srt", "vtt", "tsv", "json", "lrc", "md")  # of written files
ALL = "all"


def complete_model() -> list[str]:
    """Return the models of the caches, and the one that comes with the program."""
    from whisper_npu_cli.checkpoints.copies import list_copies
    from whisper_npu_cli.checkpoints.names import DEMO

    return [*dict.fromkeys(copy.name for copy in list_copies()), DEMO]


def complete_device() -> list[str]:
    """Return the devices that --device may name."""
    return [name.removesuffix("NAME") for name in list_devices()]


def _complete_language() -> list[tuple[str, str]]:
    from whisper_npu_cli.checkpoints.languages import LANGUAGES

    return list(LANGUAGES.items())


def _complete_format(incomplete: str) -> list[str]:
    """Complete the last of several formats with commas between."""
    before, comma, _ = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in (*FORMATS, ALL)]


# The fields whose values are completed
COMPLETIONS: dict[str, Callable[..., list[str] | list[tuple[str, str]]]] = {
    "device": complete_device,
    "language": _complete_language,
    "output_format": _complete_format,
}
