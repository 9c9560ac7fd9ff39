"""Sending the clients of a node's gateways away before these are stopped (FAN-5)."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

DRAIN_TIMEOUT_S = 28.0


async def drain_gateways(run: Path, tell: Callable[[str], None]) -> None:
    """Ask every gateway with a control socket in the run folder to drain, and wait until they have, at most
    DRAIN_TIMEOUT_S. One that does not answer is not waited for.
    """
    sockets = sorted(run.glob("gateway-*.sock"))  # noqa: ASYNC240 (a handful of names)
    if not sockets:
        return
    counts = await asyncio.gather(*(_drain(path) for path in sockets))
    if sent := sum(counts):
        tell(f"sent {sent} clients away from {len(sockets)} gateways")


async def _drain(path: Path) -> int:
    from actors import messages as wire  # noqa: PLC0415 (the supervisor is small until it has to stop)
    from actors.probe import ask  # noqa: PLC0415
    from actors.protocol import EngineError  # noqa: PLC0415

    try:
        answer: dict[str, Any] = await ask(f"unix:{path}", wire.Drain(0), timeout_s=DRAIN_TIMEOUT_S)
    except (OSError, TimeoutError, EngineError):
        return 0
    return int(answer["sockets"])
