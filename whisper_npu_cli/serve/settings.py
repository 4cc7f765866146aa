"""What a server may be told. Imports nothing that only a server needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from whisper_npu_cli.environment import is_loopback
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.fields import Bounds, Options, option

_address = partial(option, group="Address")
_limit = partial(option, group="Limits")


@dataclass(frozen=True)
class ServeOptions(Options):
    """Where a server listens, and how much it takes at once."""

    host: str = _address("127.0.0.1", "Address to listen at; 0.0.0.0: every one of the machine")
    port: int = _address(8000, "Port; 0: any that is free", bounds=Bounds(0, 65535))
    wyoming: str | None = _address(
        None,
        "Serve Home Assistant's protocol too, at an address such as tcp://0.0.0.0:10300",
        metavar="tcp://HOST:PORT",
    )
    no_auth: bool = _address(False, "Let everyone who reaches another address use it, without key")
    parallel: int = _limit(
        4, "Requests that are worked on at a time, window by window in turn", bounds=Bounds(1, 64)
    )
    queue: int = _limit(
        32, "Requests that wait beside them; others get 503 and are told when", bounds=Bounds(0)
    )
    max_mb: float = _limit(500.0, "Largest request, million bytes", bounds=Bounds(0, is_open=True))
    max_hours: float = _limit(12.0, "Longest audio", bounds=Bounds(0, is_open=True))
    max_models: int = _limit(2, "Models in memory at a time", bounds=Bounds(1))
    keep_s: float = _limit(
        300.0, "A model that requests asked for is kept so long without one", bounds=Bounds(0)
    )
    grace_s: int = _limit(
        30, "SIGTERM and Ctrl-C let what is being decoded go on for so long", bounds=Bounds(0)
    )

    @property
    def max_bytes(self) -> int:
        """Largest request in bytes."""
        return int(self.max_mb * 1e6)

    @property
    def max_s(self) -> float:
        """Longest audio in seconds."""
        return self.max_hours * 3600

    @property
    def wyoming_address(self) -> tuple[str, int] | None:
        """Host and port of Wyoming, if it is served."""
        return None if self.wyoming is None else _split_address(self.wyoming)

    def _refuse_contradictions(self) -> None:
        if self.wyoming is not None:
            _split_address(self.wyoming)

    def check_access(self, api_key: str | None) -> None:
        """Raise UsageError where other machines could use the server without a key."""
        if api_key == "":
            raise UsageError("the API key is empty", hint="leave it out, or give a long one")
        is_wyoming_open = self.wyoming_address and not is_loopback(self.wyoming_address[0])
        if is_wyoming_open and not self.no_auth:
            raise UsageError(
                f"--wyoming {self.wyoming}: every machine that reaches it could use this one, "
                "for its protocol has no key",
                hint="give --no-auth where that is meant; requests of HTTP need --api-key even so",
            )
        if api_key is not None and self.no_auth and not is_wyoming_open:
            raise UsageError("--api-key and --no-auth exclude each other")
        if not (api_key or self.no_auth or is_loopback(self.host)):
            raise UsageError(
                f"--host {self.host}: every machine that reaches it could use this one",
                hint="give --api-key (or WHISPER_NPU_API_KEY), or --no-auth where that is meant",
            )


def _split_address(url: str) -> tuple[str, int]:
    """Return host and port of tcp://HOST:PORT; UsageError for anything else."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "tcp" and parts.hostname and parts.port is not None:
            return parts.hostname, parts.port
    except ValueError:  # a port that is no number
        pass
    raise UsageError(f"no address for Wyoming: {url!r}", hint="such as tcp://0.0.0.0:10300")
