"""The network between simulated processes: byte streams that are ordered in themselves and not among each
other, late, cut into any pieces, held back by partitions and reset.
"""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simulated.loop import Process, VirtualLoop, current


class Server:
    """Somebody listens."""

    def __init__(self, network: "Network", address: str, factory: Callable[[], Any]) -> None:
        self.network = network
        self.address = address
        self.factory = factory
        self.process = current()

    @property
    def is_open(self) -> bool:
        """Whether a dial would be answered."""
        return self.network.servers.get(self.address) is self and (self.process is None or self.process.alive)

    def close(self) -> None:
        """As asyncio's."""
        if self.network.servers.get(self.address) is self:
            del self.network.servers[self.address]

    async def wait_closed(self) -> None:
        """As asyncio's."""


class Wire(asyncio.Transport):
    """One end of a connection. Bytes arrive at the other end in order, some time."""

    def __init__(self, network: "Network", process: Process | None, protocol: Any, number: int) -> None:
        super().__init__()
        self.network = network
        self.process = process
        self.protocol = protocol
        self.number = number
        self.peer: Wire
        self.is_open = True
        self._way: deque[bytes | None] = deque()
        """On their way to the peer; None: the end."""
        self._pumping = False
        self._earliest_s = 0.0

    def __hash__(self) -> int:
        return self.number

    def write(self, data: Any) -> None:
        if not self.is_open or not data:
            return
        data, chance = bytes(data), self.network.chance
        while len(data) > 1 and chance.random() < self.network.split:
            cut = chance.randrange(1, len(data))
            self._way.append(data[:cut])
            data = data[cut:]
        self._way.append(data)
        self._pump_later()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def _pump_later(self) -> None:
        if self._pumping or not self._way:
            return
        self._pumping = True
        loop = self.network.loop
        self._earliest_s = max(self._earliest_s, loop.time() + self.network.latency_s())
        loop.call_at(self._earliest_s, self._pump, context=self.network.context)

    def _pump(self) -> None:
        """Hands the peer the next piece, unless the two are cut off from each other now."""
        self._pumping = False
        network = self.network
        until_s = network.blocked_until_s(self.process, self.peer.process)
        if until_s > network.loop.time():
            self._earliest_s = until_s
            self._pump_later()
            return
        if not self._way:
            return
        data = self._way.popleft()
        if data is None:
            self.peer.lost(ConnectionResetError())
            return
        self.peer._receive(data)
        self._pump_later()

    def _receive(self, data: bytes) -> None:
        if self.is_open:
            self.network.act(self.process, self.protocol.data_received, data)

    def lost(self, error: Exception | None) -> None:
        """This end learns that the connection is gone."""
        if not self.is_open:
            return
        self.is_open = False
        self.network.wires.pop(self.number, None)
        self.network.act(self.process, self.protocol.connection_lost, error)

    def abort(self) -> None:
        """Resets the connection; what is under way to the peer may still arrive."""
        if not self.is_open:
            return
        self.is_open = False
        self.network.wires.pop(self.number, None)
        if self.process is None or self.process.alive:
            self.network.loop.call_soon(
                self.protocol.connection_lost,
                None,
                context=None if self.process is None else self.process.context.copy(),
            )
        if self._way and self.network.chance.random() < 0.5:
            self._way.clear()
        self._way.append(None)
        self._pump_later()

    def close(self) -> None:
        self.abort()

    def is_closing(self) -> bool:
        return not self.is_open

    def set_write_buffer_limits(self, high: Any = None, low: Any = None) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002
        return default

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Network:
    """All connections and who may reach whom."""

    def __init__(self, loop: VirtualLoop, chance: random.Random) -> None:
        self.loop = loop
        self.chance = chance
        self.context = _nobody()
        self.servers: dict[str, Server] = {}
        self.wires: dict[int, Wire] = {}
        self.split = 0.1
        self.slow = 0.02
        self._numbers = itertools.count(1)
        self._blocked: dict[frozenset[str], float] = {}
        loop.network = self

    def latency_s(self) -> float:
        """How long a piece takes now: short, and now and then long."""
        if self.chance.random() < self.slow:
            return self.chance.uniform(0.005, 0.2)
        return self.chance.uniform(0.0001, 0.003)

    def act(self, process: Process | None, work: Callable[..., None], *args: Any) -> None:
        """Calls `work` as a process, if it lives."""
        if process is None:
            work(*args)
        elif process.alive:
            process.run(work, *args)

    # -- partitions -------------------------------------------------------------------------------

    def block(self, one: str, other: str, seconds: float) -> None:
        """Nothing passes between two processes (by name) for so long."""
        until_s = self.loop.time() + seconds
        pair = frozenset((one, other))
        self._blocked[pair] = max(until_s, self._blocked.get(pair, 0.0))

    def heal(self) -> None:
        """All reach all."""
        self._blocked.clear()

    def blocked_until_s(self, one: Process | None, other: Process | None) -> float:
        """Until when nothing passes between the two."""
        if not self._blocked or one is None or other is None:
            return 0.0
        return self._blocked.get(frozenset((one.name, other.name)), 0.0)

    def reset(self, one: str, other: str) -> None:
        """Cuts all connections between two processes: both ends learn it at once."""
        for wire in list(self.wires.values()):
            ends = [end.process.name for end in (wire, wire.peer) if end.process is not None]
            if ends == [one, other]:
                wire.lost(ConnectionResetError())
                wire.peer.lost(ConnectionResetError())

    # -- what asyncio asks for ----------------------------------------------------------------------

    def listen(self, address: str, factory: Callable[[], Any]) -> Server:
        """Takes an address over from whoever had it."""
        Path(address).touch()  # a listener on a Unix socket changes its file's mode
        server = self.servers[address] = Server(self, address, factory)
        return server

    async def dial(self, address: str, factory: Callable[[], Any]) -> tuple[Wire, Any]:
        """Raises ConnectionRefusedError where nobody listens; waits while the two are cut off."""
        me = current()
        while True:
            await asyncio.sleep(self.latency_s())
            server = self.servers.get(address)
            if server is None or not server.is_open:
                raise ConnectionRefusedError(address)
            until_s = self.blocked_until_s(me, server.process)
            if until_s <= self.loop.time():
                break
            await asyncio.sleep(until_s - self.loop.time())
        ours = Wire(self, me, factory(), next(self._numbers))
        theirs = Wire(self, server.process, None, next(self._numbers))
        ours.peer, theirs.peer = theirs, ours
        for wire in (ours, theirs):
            self.wires[wire.number] = wire

        def accept() -> None:
            theirs.protocol = server.factory()
            theirs.protocol.connection_made(theirs)

        self.act(server.process, accept)
        ours.protocol.connection_made(ours)
        for wire in (ours, theirs):
            if wire.process is not None:
                wire.process.when_killed.append(wire.abort)
        return ours, ours.protocol


def _nobody() -> Any:
    """A context of no process: the network's own."""
    import contextvars  # noqa: PLC0415

    return contextvars.Context()
