"""A cluster of this machine alone: a scheduler in this process, and a worker process a device."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dask
from distributed import Nanny, Scheduler, SpecCluster

from whisper_npu_cli.cluster.worker import NPU
from whisper_npu_cli.devices import AUTO
from whisper_npu_cli.engines.npu.machine import ACCEL
from whisper_npu_cli.environment import STANDIN_VARIABLE
from whisper_npu_cli.errors import ClusterError

_HOST = "127.0.0.1"
_SETTINGS = {
    # Dask's profiler stops every thread a hundred times a second, and the engine waits
    "distributed.worker.profile.enabled": False,
    # A machine that slept for five minutes has lost no worker; one that ends closes its connection
    "distributed.scheduler.worker-ttl": None,
}
_HTTP = {"dashboard": False, "dashboard_address": f"{_HOST}:0"}  # else at every address


@contextmanager
def start_local(device: str) -> Iterator[SpecCluster]:
    """Start what computes `device` here, and end it; ClusterError where a worker does not start."""
    with (
        TemporaryDirectory(prefix="whisper-npu-") as folder,  # Dask removes none of its own
        dask.config.set({**_SETTINGS, "temporary-directory": folder}),
    ):
        workers = {
            name: {
                "cls": Nanny,
                "options": {**_OPTIONS, "resources": {NPU: 1} if is_npu else {}},
            }
            for name, is_npu in _list_workers(device).items()
        }
        scheduler = {"cls": Scheduler, "options": {"host": _HOST, "port": 0, **_HTTP}}
        try:
            cluster = SpecCluster(workers, scheduler, silence_logs=logging.CRITICAL)
        except RuntimeError as error:  # what Dask says of it is where it began alone
            raise ClusterError(
                "a worker process of this machine ended before it had begun",
                hint="end other programs, which may take the memory; try again",
            ) from error
        with cluster:
            yield cluster


_OPTIONS: dict[str, Any] = {
    "host": _HOST,
    "nthreads": 1,
    "memory_limit": 0,  # a model is large, and what does not fit is told by the file's failure
    **_HTTP,
    "preload": ["whisper_npu_cli.cluster.worker"],
    "silence_logs": logging.CRITICAL,
}


def _list_workers(device: str) -> dict[str, bool]:
    """Return the workers by name, and whether each has the NPU."""
    if device != AUTO:
        return {device: device == "npu"}
    has_npu = STANDIN_VARIABLE in os.environ or Path("/", ACCEL).exists()
    return {"npu": True, "cpu": False} if has_npu else {"cpu": False}
