"""A gateway's own link address: how it is, and the order to leave (FAN-5).

Ray owns SIGTERM in its workers, so whoever stops a gateway asks it here first: a socket in the node's run
folder, which only the engine's user can enter.
"""

import asyncio
from typing import Any, Protocol

from actors import messages as wire
from actors.link import Link, Listener, listen
from actors.messages import Message
from actors.site import address_of


class Controlled(Protocol):
    """The gateway, as its control sees it."""

    async def drain(self) -> int:
        """Sends everybody away; how many there were."""

    def status(self) -> dict[str, Any]:
        """Counters."""


def control_address(run_dir: str, number: int) -> str:
    """Where the gateway with this number on this node is controlled."""
    return address_of(run_dir, f"gateway-{number}")


class Control:
    """Answers `StatusQuery` and `Drain`."""

    def __init__(self, gateway: Controlled) -> None:
        self._gateway = gateway
        self._listener: Listener
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, run_dir: str, number: int) -> None:
        """Takes links from here on."""
        self._listener = await listen(control_address(run_dir, number), self)

    async def close(self) -> None:
        """Takes none any more, once what was asked is answered."""
        self._listener.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in list(self._links):
            link.abort()

    def link_opened(self, link: Link) -> None:
        self._links.add(link)

    def link_received(self, link: Link, view_version: int, messages: list[Message]) -> None:  # noqa: ARG002
        for message in messages:
            if isinstance(message, wire.StatusQuery):
                link.send(wire.Reply(message.rid, self._gateway.status()))
            elif isinstance(message, wire.Drain):
                task = asyncio.get_running_loop().create_task(self._drain(link, message.rid))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _drain(self, link: Link, rid: int) -> None:
        link.send(wire.Reply(rid, {"sockets": await self._gateway.drain()}))

    def link_closed(self, link: Link) -> None:
        self._links.discard(link)
