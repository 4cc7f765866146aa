"""Requests of multipart/form-data: their fields, and their file as a source of audio.

Bytes are counted while they arrive and seconds while they are decoded: 25 MB may be 8 hours, and a
header may lie.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from whisper_npu_cli.audio.encoded import StreamSource
from whisper_npu_cli.dims import SAMPLE_RATE
from whisper_npu_cli.serve.refusals import Refusal

SILENCE_S = 60.0  # after which a client that sends nothing more is given up
_MAX_FIELDS = 100
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


class Upload(StreamSource):
    """The file of a request, of at most `max_s` seconds, which it closes itself."""

    def __init__(self, file: UploadFile, max_s: float) -> None:
        super().__init__(file.file, file.filename or "file")
        self._max_s = max_s

    def blocks(self, channel: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Yield all channels mixed, or one of two, in blocks (n,) at 16 kHz.

        AudioError names the file; Refusal once more was decoded than is allowed.
        """
        n_left = self._max_s * SAMPLE_RATE
        blocks = super().blocks(channel)
        with closing(blocks):  # type: ignore[type-var]  # it is a generator
            for block in blocks:
                n_left -= block.size
                if n_left < 0:
                    hours = f"{self._max_s / 3600:g}"
                    raise Refusal(413, f"{self.name}: longer than {hours} hours (--max-hours)")
                yield block

    def close(self) -> None:
        """Give up the copy and the file. Calling it twice is allowed."""
        super().close()
        self._stream.close()

    def _is_pipe(self) -> bool:
        return False  # all of it is there; Python 3.10's spooled files cannot say that they seek


class Form:
    """The fields of a request. An empty one is an absent one, because clients send those too."""

    def __init__(self, items: Sequence[tuple[str, str | UploadFile]]) -> None:
        self._texts = [(k, v) for k, v in items if isinstance(v, str) and v != ""]
        self._files = {k: v for k, v in items if isinstance(v, UploadFile)}

    def close(self) -> None:
        """Give up the files."""
        for file in self._files.values():
            file.file.close()

    def take_file(self, max_s: float) -> Upload:
        """Return the field `file`, of which at most `max_s` seconds are decoded."""
        file = self._files.get("file")
        if file is None:
            raise Refusal(400, "the request has no file in its field 'file'", param="file")
        return Upload(file, max_s)

    def get_text(self, name: str) -> str | None:
        """Return a field, the last where it is there twice; None for an absent one."""
        return dict(self._texts).get(name)

    def get_choice(self, name: str, choices: Sequence[str]) -> str:
        """Return a field that is one of `choices`; the first of them for an absent one."""
        value = self.get_text(name) or choices[0]
        if value not in choices:
            raise Refusal(400, f"{name} is {value!r}, none of {', '.join(choices)}", param=name)
        return value

    def get_flag(self, name: str) -> bool:
        """Return whether a field is true; an absent one is not."""
        value = self.get_text(name) or _FALSE[0]
        if value.lower() not in (*_TRUE, *_FALSE):
            raise Refusal(400, f"{name} is {value!r}, neither true nor false", param=name)
        return value.lower() in _TRUE

    def get_number(self, name: str) -> float | None:
        """Return a field that is a number; None for an absent one."""
        value = self.get_text(name)
        try:
            return None if value is None else float(value)
        except ValueError as error:
            raise Refusal(400, f"{name} is {value!r}, no number", param=name) from error

    def get_count(self, name: str) -> int | None:
        """Return a field that is a whole number; None for an absent one."""
        number = self.get_number(name)
        if number is not None and not number.is_integer():
            raise Refusal(400, f"{name} is {number}, no whole number", param=name)
        return None if number is None else int(number)

    def get_list(self, name: str, *, separator: str | None = ",") -> list[str]:
        """Return an array in any spelling: `name[]` or `name` again and again, JSON, `a,b`."""
        pattern = re.compile(rf"{re.escape(name)}(\[\d*\])?")
        values = list[str]()
        for key, text in self._texts:
            if pattern.fullmatch(key):
                parsed = parse_json(text)
                if not isinstance(parsed, list):
                    parsed = text.split(separator) if separator else [text]
                values += [str(item).strip() for item in parsed]
        return [value for value in values if value]

    def get_object(self, name: str) -> dict[str, str] | str | None:
        """Return an object, as JSON or as `name[key]`, with its values as text; else the text."""
        prefix = f"{name}["
        inner = {k[len(prefix) : -1]: v for k, v in self._texts if k.startswith(prefix)}
        if inner:
            return inner
        text = self.get_text(name)
        parsed = parse_json(text) if text else None
        return {k: str(v) for k, v in parsed.items()} if isinstance(parsed, dict) else text


def parse_json(text: str) -> Any:
    """Return what a text is as JSON; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


async def read_form(request: Request, max_bytes: int) -> Form:
    """Read a request of at most `max_bytes`; Refusal for another, and for what is no form."""
    content_type = request.headers.get("content-type", "")
    if not content_type.startswith("multipart/form-data"):
        raise Refusal(400, f"multipart/form-data is expected, not {content_type or 'nothing'}")
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise _too_large(max_bytes)
    chunks = _limit(request.stream(), max_bytes)
    parser = _WholeForm(request.headers, chunks, max_files=1, max_fields=_MAX_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Refusal(400, f"the form cannot be read: {error.message}") from error
    return Form(form.multi_items())


class _WholeForm(MultiPartParser):
    """A parser that takes no form without an end, of which Starlette's leaves the file open."""

    def __init__(
        self, headers: Headers, stream: AsyncGenerator[bytes, None], **limits: int
    ) -> None:
        super().__init__(headers, self._expect_end(stream), **limits)
        self._is_ended = False

    def on_headers_finished(self) -> None:
        """Read the name of a field."""
        with _decoding():
            super().on_headers_finished()

    def on_part_end(self) -> None:
        """Read the text of a field."""
        with _decoding():
            super().on_part_end()

    def on_end(self) -> None:
        """Note the last boundary."""
        self._is_ended = True

    async def _expect_end(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for chunk in stream:
            yield chunk
        if not self._is_ended:
            raise MultiPartException("it ends before its last boundary")


@contextmanager
def _decoding() -> Iterator[None]:
    """Refuse what Starlette does not expect of a charset, such as `undefined`."""
    try:
        yield
    except UnicodeError as error:
        raise MultiPartException(f"its charset is wrong: {error}") from error


async def _limit(
    chunks: AsyncGenerator[bytes, None], max_bytes: int
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a request; Refusal for too many bytes, or none for too long."""
    n_left = max_bytes
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks), SILENCE_S)
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError as error:
            raise Refusal(408, f"nothing arrived for {SILENCE_S:g} s") from error
        n_left -= len(chunk)
        if n_left < 0:
            raise _too_large(max_bytes)
        yield chunk


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(413, f"the request has more than {max_bytes / 1e6:g} MB (--max-mb)")
