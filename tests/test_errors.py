"""What is told is a line, whatever it repeats of a file."""

from __future__ import annotations

from whisper_npu_cli.errors import WhisperNpuError


def test_an_error_is_a_line_that_can_be_read() -> None:
    assert str(WhisperNpuError("stream a\nb: damaged")) == "stream a b: damaged"
    told = str(WhisperNpuError(f"stream {'[' * 100_000}: damaged"))
    assert told.startswith("stream [[")
    assert told.endswith("[: damaged")
    assert len(told) < 1000
