"""Asks the running processes how they are, from outside: what `hereabouts status` shows."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

from actors import messages as wire
from actors.link import Link, dial
from actors.messages import Message
from actors.protocol import EngineError, ErrorCode
from actors.site import HERE, Site, address_of, parse
from storage.ids import new_id


async def fetch_status(run_dir: str, site: Site = HERE, timeout_s: float = 3.0) -> dict[str, Any]:
    """Slots, epochs and message counts per shard, asked of the running processes.

    Returns {"view": int, "gateways": {name: url}, "shards": {number: {...}}}; a shard that does not answer
    has {"up": false}. Raises OSError if no Directory listens.
    """
    directory = site.directory or address_of(run_dir, "directory")
    view = await fetch_view(replace(site, directory=directory), timeout_s)
    shards: dict[str, Any] = {}
    for shard in sorted(view.addresses.keys() | set(view.owners)):
        slots = sum(1 for owner in view.owners if owner == shard)
        shards[str(shard)] = {"up": False, "slots": slots}
        address = view.addresses.get(shard)
        if address is None:
            continue
        with suppress(OSError, TimeoutError, EngineError):
            counters = await ask(address, wire.StatusQuery(0), site, timeout_s)
            shards[str(shard)] |= {"up": True, "node": parse(address).node, **counters}
    return {"view": view.version, "gateways": view.gateways, "shards": shards}


async def fetch_view(site: Site, timeout_s: float = 3.0) -> wire.View:
    """The newest view. Raises OSError if no Directory listens, TimeoutError if it does not answer."""
    probe = _Probe()
    link = await dial(site.directory, probe, site)
    try:
        link.send(wire.Hello("probe", "view", new_id(), node=site.node))
        async with asyncio.timeout(timeout_s):
            found: wire.View = await probe.first(wire.View)
    finally:
        link.abort()
    return found


async def ask(address: str, message: wire.Request, site: Site = HERE, timeout_s: float = 3.0) -> Any:
    """Asks one process, from outside; its reply. Raises OSError if it does not listen or goes away,
    TimeoutError, and EngineError if it refuses.
    """
    probe = _Probe()
    link = await dial(address, probe, site)
    try:
        link.send(wire.Hello("probe", "ask", new_id(), node=site.node))
        message.rid = 1
        link.send(message)
        async with asyncio.timeout(timeout_s):
            reply = await probe.first((wire.Reply, wire.Failure))
    finally:
        link.abort()
    if isinstance(reply, wire.Failure):
        raise EngineError(ErrorCode(reply.code), reply.message, reply.retry_ms)
    return reply.ok


class _Probe:
    """An endpoint that waits for the first message of a type."""

    def __init__(self) -> None:
        self._received: asyncio.Queue[Message | None] = asyncio.Queue()

    async def first(self, kind: type[Any] | tuple[type[Any], ...]) -> Any:
        while True:
            message = await self._received.get()
            if message is None:
                raise ConnectionResetError("the link was cut")
            if isinstance(message, kind):
                return message

    def link_opened(self, link: Link) -> None:
        pass

    def link_received(self, link: Link, view_version: int, messages: list[Message]) -> None:  # noqa: ARG002
        for message in messages:
            self._received.put_nowait(message)

    def link_closed(self, link: Link) -> None:  # noqa: ARG002
        self._received.put_nowait(None)
