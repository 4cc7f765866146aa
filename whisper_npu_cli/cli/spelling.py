"""Arguments as people spell them: `--word_timestamps True` of openai-whisper, `-f srt -f vtt`.

openai-whisper's flags want a value (`str2bool` in its `transcribe.py`); ours want none. What
chooses its precision and what it prints has no effect here, and some of its values say no more than
to leave an option out. Formats that are named one after another are all meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

_VALUES = {"true": True, "false": False}
_FLAGS = (
    "--word-timestamps",
    "--highlight-words",
    "--carry-initial-prompt",
    "--condition-on-previous-text",
)
# Options that are left out with one of these values
_LEFT_OUT = {
    "--fp16": tuple(_VALUES),
    "--verbose": tuple(_VALUES),
    "--threads": ("0",),
    "--language": ("none",),
}


def translate(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments as this program takes them."""
    rest = _name_model_file(_join_formats(list(arguments)))
    while rest:
        argument = rest.pop(0)
        name, _, value = argument.partition("=")
        name = name.replace("_", "-") if name.startswith("--") else name
        values = tuple(_VALUES) if name in _FLAGS else _LEFT_OUT.get(name, ())
        if not value and rest and rest[0].lower() in values:
            value = rest.pop(0)
        if value.lower() not in values:
            yield argument
        elif name in _FLAGS:
            yield name if _VALUES[value.lower()] else f"--no-{name[2:]}"


def _join_formats(arguments: list[str]) -> list[str]:
    """Return the arguments with all formats in the first option that names one."""
    formats, kept, place = _take(arguments, "--output-format", "-f")
    named = ["--output-format", ",".join(formats)] if formats else []
    return [*kept[:place], *named, *kept[place:]]


def _name_model_file(arguments: list[str]) -> list[str]:
    """Return the arguments with the file that openai-whisper keeps a model in, in --model_dir."""
    folders, kept, place = _take(arguments, "--model-dir")
    if not folders:
        return arguments
    models, kept, _ = _take(kept, "--model", "-m")
    path = Path(folders[-1], f"{models[-1] if models else 'base'}.pt")
    return [*kept[:place], "--model", str(path), *kept[place:]]


def _take(arguments: Sequence[str], *names: str) -> tuple[list[str], list[str], int]:
    """Return the values of an option, the other arguments, and where in these it was first."""
    kept, values, place = list[str](), list[str](), 0
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if argument == "--":  # names of inputs come after it
            return values, [*kept, argument, *rest], place
        if name.replace("_", "-") not in names or not (equals or rest):
            kept.append(argument)
        else:
            place = place if values else len(kept)
            values.append(value if equals else rest.pop(0))
    return values, kept, place
