"""Arguments as people spell them: `--word_timestamps True` of openai-whisper, `-f srt -f vtt`.

openai-whisper's flags want a value (`str2bool` in its `transcribe.py`); ours want none. What
chooses its precision and what it prints has no effect here. Formats that are named one after
another are all meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_FLAGS = (
    "--word-timestamps",
    "--highlight-words",
    "--carry-initial-prompt",
    "--condition-on-previous-text",
)
_WITHOUT_EFFECT = ("--fp16", "--verbose")
_FORMAT_OPTIONS = ("--output-format", "-f")
_VALUES = {"true": True, "false": False}


def translate(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments as this program takes them."""
    rest = _join_formats(arguments)
    while rest:
        argument = rest.pop(0)
        name, _, value = argument.partition("=")
        name = name.replace("_", "-") if name.startswith("--") else name
        known = name in _FLAGS or name in _WITHOUT_EFFECT
        if known and not value and rest and rest[0].lower() in _VALUES:
            value = rest.pop(0)
        if not known or value.lower() not in _VALUES:
            yield argument
        elif name in _FLAGS:
            yield name if _VALUES[value.lower()] else f"--no-{name[2:]}"


def _join_formats(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with all formats in the first option that names one."""
    kept, formats, place = list[str](), list[str](), 0
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if argument == "--":  # names of inputs come after it
            kept, rest = [*kept, argument, *rest], []
        elif name.replace("_", "-") not in _FORMAT_OPTIONS or not (equals or rest):
            kept.append(argument)
        else:
            place = place if formats else len(kept)
            formats.append(value if equals else rest.pop(0))
    if formats:
        kept[place:place] = [_FORMAT_OPTIONS[0], ",".join(formats)]
    return kept
