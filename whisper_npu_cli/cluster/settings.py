"""Which part of the inputs is wanted, which cluster transcribes, and how it is reached.

Imports nothing that only a cluster needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from whisper_npu_cli.environment import is_loopback
from whisper_npu_cli.errors import UsageError
from whisper_npu_cli.fields import Bounds, Options, option

LOCAL = "local"
TLS_FILES = ("ca.pem", "cert.pem", "key.pem")
_cluster = partial(option, group="Cluster")


@dataclass(frozen=True)
class ClusterOptions(Options):
    """Where the workers are (none: this process transcribes), and which inputs are wanted."""

    cluster: str | None = _cluster(
        None,
        "Transcribe on the workers of Dask's scheduler at ADDRESS, or on one process for each "
        "device of this machine (local); `whisper-npu help cluster` tells how they are started",
        metavar="ADDRESS|local",
    )
    cluster_tls: Path | None = _cluster(
        None,
        f"Folder with the {', '.join(TLS_FILES)} of a tls:// cluster (default: Dask's settings)",
        metavar="FOLDER",
    )
    insecure: bool = _cluster(
        False, "Use tcp:// beyond this machine: whoever reaches a port can run programs there"
    )
    ship: bool = _cluster(
        False, "Send files that a worker does not see at their paths; it keeps a copy meanwhile"
    )
    split_minutes: float | None = _cluster(
        None,
        "Longer recordings are cut at pauses, so that several workers transcribe one (batched "
        "mode); none: a recording is one worker's",
        unit="minutes",
        bounds=Bounds(1),
    )
    shard: str | None = option(
        None,
        "Only the K-th of N parts of the inputs, chosen by their paths: the same command with 1/N, "
        "..., N/N has each input once, on whatever machines",
        group="Batch work",
        metavar="K/N",
    )

    @property
    def part(self) -> tuple[int, int]:
        """Which part of how many of the inputs is wanted: 1 of 1 where all are."""
        numbers = re.fullmatch(r"(\d{1,9})/(\d{1,9})", self.shard or "1/1", re.ASCII)
        return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)

    @property
    def address(self) -> str:
        """The scheduler's address with its protocol."""
        address = self.cluster or ""
        return address if "://" in address else f"tcp://{address}"

    @property
    def longest_s(self) -> float | None:
        """The longest recording that is not cut."""
        return None if self.split_minutes is None else 60 * self.split_minutes

    def list_tls_files(self) -> list[Path]:
        """Return the authority's certificate, ours, and its key; none where no folder was given.

        UsageError where one is missing.
        """
        if self.cluster_tls is None:
            return []
        files = [self.cluster_tls / name for name in TLS_FILES]
        if missing := [file for file in files if not file.is_file()]:
            raise UsageError(
                f"{missing[0]}: no such file", hint="`whisper-npu help cluster` makes them"
            )
        return files

    def _refuse_contradictions(self) -> None:
        k, n = self.part
        if not 1 <= k <= n:
            raise UsageError(
                f"a shard is K/N, a part of N from 1 to N, not {self.shard!r}",
                hint="for example --shard 2/3",
            )
        if self.cluster is None and self.split_minutes is not None:
            raise UsageError(
                "--split-minutes is for a cluster", hint="name one with --cluster, or leave it out"
            )
        self._refuse_address()

    def _refuse_address(self) -> None:
        if self.cluster in (None, LOCAL):
            if self.cluster_tls is not None or self.insecure or self.ship:
                raise UsageError(
                    "--cluster-tls, --insecure and --ship are for a cluster at an address",
                    hint="leave them out, or name it with --cluster",
                )
            return
        parts = urlsplit(self.address)
        has_port = parts.netloc.rpartition(":")[2].isdecimal()
        if parts.scheme not in ("tcp", "tls") or not parts.hostname or not has_port:
            raise UsageError(
                f"{self.cluster!r} is no address of a scheduler",
                hint="for example --cluster tls://10.0.0.1:8786, or local",
            )
        is_open = parts.scheme == "tcp"
        if is_open and self.cluster_tls is not None:
            raise UsageError(
                f"{self.address} is without TLS", hint=f"tls://{parts.netloc}, or no --cluster-tls"
            )
        if is_open and not self.insecure and not is_loopback(parts.hostname):
            raise UsageError(
                f"{self.address}: without TLS whoever reaches it can run programs on every worker",
                hint=f"tls://{parts.netloc} (`whisper-npu help cluster`), or --insecure where "
                "nobody else can",
            )
