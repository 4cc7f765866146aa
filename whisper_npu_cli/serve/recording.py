"""Wyoming's audio as a file: PCM that arrives in pieces, written as wav."""

from __future__ import annotations

import wave
from collections.abc import Mapping
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

from starlette.datastructures import UploadFile

from whisper_npu_cli.fields import Bounds
from whisper_npu_cli.serve.forms import Upload
from whisper_npu_cli.serve.refusals import Refusal

_IN_MEMORY_BYTES = 1 << 20  # 33 s; more of it goes to the disk, as multipart's files do
# Two bytes are what programs send; one is signed in some and unsigned in others.
_FORMAT = {"rate": Bounds(4_000, 384_000), "width": Bounds(2, 4), "channels": Bounds(1, 8)}


class Recording:
    """What is spoken on one connection, of at most `max_bytes`; Refusal for what is no PCM."""

    def __init__(self, data: Mapping[str, Any], max_bytes: int) -> None:
        self._format = _read_format(data)
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._file = SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115, `close` does
        self._wave = wave.open(self._file, "wb")  # noqa: SIM115
        self._wave.setframerate(self._format["rate"])
        self._wave.setsampwidth(self._format["width"])
        self._wave.setnchannels(self._format["channels"])

    @property
    def is_empty(self) -> bool:
        """Whether there is no sample."""
        return self._n_bytes < self._format["width"] * self._format["channels"]

    def add(self, data: Mapping[str, Any], payload: bytes) -> None:
        """Write a piece."""
        if _read_format(data) != self._format:
            raise Refusal(400, f"the audio changes from {self._format} to {_read_format(data)}")
        self._n_bytes += len(payload)
        if self._n_bytes > self._max_bytes:
            raise Refusal(413, f"the audio has more than {self._max_bytes / 1e6:g} MB (--max-mb)")
        self._wave.writeframesraw(payload)

    def finish(self, max_s: float) -> Upload:
        """Return all of it as a source of at most `max_s` seconds, which closes the file."""
        self._wave.close()
        self._file.seek(0)
        return Upload(UploadFile(cast(BinaryIO, self._file), filename="the audio"), max_s)

    def close(self) -> None:
        """Give up the file. Calling it twice is allowed."""
        if not self._file.closed:
            self._wave.close()
            self._file.close()


def _read_format(data: Mapping[str, Any]) -> dict[str, int]:
    """Return rate, width and channels; Refusal where they are none."""
    for name, bounds in _FORMAT.items():
        value = data.get(name)
        if type(value) is not int or value not in bounds:
            raise Refusal(400, f"{name} of the audio is {value!r}, not {bounds}")
    return {name: data[name] for name in _FORMAT}
