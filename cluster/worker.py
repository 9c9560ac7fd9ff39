"""What every Ray worker of an engine does first (Ray's worker process setup hook)."""

from collections.abc import Callable
from typing import Any

EVERY_ADDRESS = "[::]:"


def keep_to_loopback() -> None:
    """Serve replicas open a gRPC server for other deployments on `[::]:0`, with no setting for the address:
    put it on 127.0.0.1. Runs before Serve is imported, so that Serve takes the mended function.
    """
    from ray._common import tls_utils  # noqa: PLC0415 (only inside a Ray worker)

    original: Callable[[Any, str], int] = tls_utils.add_port_to_grpc_server

    def add_port(server: Any, address: str) -> int:
        return original(server, address.replace(EVERY_ADDRESS, "127.0.0.1:"))

    tls_utils.add_port_to_grpc_server = add_port
