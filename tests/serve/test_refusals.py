"""What a request is refused with: whose fault it is."""

from __future__ import annotations

import pytest

from whisper_npu_cli.errors import AudioError, DeviceError, UsageError, WhisperNpuError
from whisper_npu_cli.serve.refusals import to_refusal


def explain(error: WhisperNpuError, cause: BaseException) -> WhisperNpuError:
    """Return an error that another one was the cause of."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AudioError("no audio in it"), 400),
        (explain(AudioError("talk.wav: no audio in it"), AudioError("no audio in it")), 400),
        (UsageError("no such language"), 400),
        (explain(UsageError("no number"), ValueError()), 400),
        (explain(AudioError("cannot be copied"), OSError(28, "No space left on device")), 500),
        (explain(AudioError("x: cannot be read"), explain(AudioError("y"), OSError(5, "z"))), 500),
        (DeviceError("the array hangs"), 500),
    ],
)
def test_what_the_system_refuses_is_no_fault_of_the_client(
    error: WhisperNpuError, status: int
) -> None:
    assert to_refusal(error).status == status
