"""What a request is refused with: a status, and a sentence for whoever sent it."""

from __future__ import annotations

from dataclasses import dataclass

from whisper_npu_cli.errors import AudioError, UsageError, WhisperNpuError

RETRY_S = 5  # after which one that found no place may be sent again
CLIENT_GONE = 499  # nginx's status for a client that closed the connection, in logs alone


@dataclass
class Refusal(Exception):  # noqa: N818, named for what it is
    """The answer to a request that is not served."""

    status: int
    message: str
    param: str | None = None  # the field that is wrong
    code: str | None = None  # OpenAI's word for it

    def __str__(self) -> str:
        return self.message

    @property
    def headers(self) -> dict[str, str]:
        """When to try again, where that may help."""
        return {"Retry-After": str(RETRY_S)} if self.status == 503 else {}


FAULT = Refusal(500, "a fault of the server, which its log describes")


class ClientGone(Exception):  # noqa: N818, nothing is wrong
    """Whoever sent the request has closed the connection."""


def to_refusal(error: Refusal | WhisperNpuError) -> Refusal:
    """Return the refusal for an error of the library, with its hint; one as it is.

    What the system refused this machine, such as space, is no fault of whoever sent the request.
    """
    if isinstance(error, Refusal):
        return error
    hint = f" ({error.hint})" if error.hint else ""
    is_theirs = isinstance(error, AudioError | UsageError) and not _is_of_system(error)
    return Refusal(400 if is_theirs else 500, f"{error}{hint}")


def _is_of_system(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__
    return error is not None
