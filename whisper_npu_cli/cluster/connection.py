"""How a client reaches its cluster: one of this machine, which it starts, or one at an address."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from distributed import Client, Security

from whisper_npu_cli.cluster.fleet import Fleet
from whisper_npu_cli.cluster.local import start_local
from whisper_npu_cli.cluster.settings import LOCAL, ClusterOptions
from whisper_npu_cli.cluster.tasks import Setup
from whisper_npu_cli.errors import ClusterError

_CONNECT_S = 10.0


@contextmanager
def open_fleet(
    options: ClusterOptions, setup: Setup, notice: Callable[[str], None]
) -> Iterator[Fleet]:
    """Reach the cluster, and leave it at the end; ClusterError where that cannot be."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what happens is told here
    with ExitStack() as stack:
        if options.cluster == LOCAL:
            address: Any = stack.enter_context(start_local(setup.engine.device))
        else:
            address = options.address
        client = stack.enter_context(_connect(address, options))
        fleet = Fleet(client, setup, notice, options)
        fleet.check()
        yield fleet


def _connect(address: Any, options: ClusterOptions) -> Client:
    files = [str(file) for file in options.list_tls_files()]
    names = ("tls_ca_file", "tls_client_cert", "tls_client_key")
    try:
        security = Security(**dict(zip(names, files, strict=False)))  # else Dask's settings
        context = security.get_connection_args("client").get("ssl_context")
        if options.address.startswith("tls:") and context is None:
            raise ClusterError(
                f"{options.address}: there are no certificates", hint="name them by --cluster-tls"
            )
        return Client(address, security=security, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ClusterError(
            f"no scheduler at {options.address}: {reason}",
            hint="`whisper-npu help cluster` tells how one is started",
        ) from error
