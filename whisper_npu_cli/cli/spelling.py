"""Arguments as openai-whisper's command line takes them: `--word_timestamps True`.

Its flags want a value (`str2bool` in its `transcribe.py`); ours want none. What chooses its
precision and what it prints has no effect here.
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
_VALUES = {"true": True, "false": False}


def translate(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments as this program takes them."""
    rest = list(arguments)
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
