"""What the supervisors of the head and of joined nodes have in common: a Ray of their own, shards and
gateways on it, orders that change these, and an orderly end.
"""

import asyncio
import datetime as dt
import fcntl
import os
import random
import secrets
import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from cluster import engine, layout, processes
from cluster.draining import drain_gateways
from cluster.errors import OperatorError
from cluster.layout import Layout
from cluster.leftovers import MARK, stop_all
from cluster.orders import Handler, Orders, Tell
from cluster.ports import choose_block
from cluster.processes import Reaper
from cluster.ray_cluster import RayCluster
from cluster.ray_head import RayPorts


@contextmanager
def locked(place: Layout) -> Iterator[None]:
    """Hold the data folder's lock. Raises OperatorError if another engine has it."""
    descriptor = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            state = engine.read(place.state)
            where = f" at {state.url} (pid {state.supervisor.pid})" if state else ""
            raise OperatorError(
                f"an engine already runs on {place.data}{where}",
                "use it, stop it with `hereabouts down`, or choose another folder with --data",
            ) from None
        yield
    finally:
        os.close(descriptor)


class NodeSupervisor(ABC):
    """Created inside a running event loop, under the data folder's lock, with nothing left over."""

    def __init__(
        self,
        place: Layout,
        ports: RayPorts,
        *,
        command: Sequence[str],
        daemons: Sequence[str],
        inherited: Mapping[str, str],
        shards: int,
        gateways: int,
        tell: Tell,
    ) -> None:
        self.place = place
        self.ports = ports
        self.tell = tell
        self.shard_count = shards
        self.shards: list[int] = []
        """Numbers; after a restart of Ray the same ones are taken."""
        self.gateways = gateways
        self.mark = f"{secrets.randbits(64):016x}"
        self.chance = random.Random(secrets.randbits(64))  # noqa: S311 (which ports, nothing secret)
        self.reaper = Reaper(lambda pid, _code: self.ray.orphan_ended(pid))
        self.ray = RayCluster(
            place,
            ports,
            command=command,
            daemons=daemons,
            inherited={**inherited, MARK: self.mark},
            reaper=self.reaper,
            tell=tell,
        )
        self.changing = asyncio.Lock()
        """Held by whoever changes what stands here."""
        self._orders = Orders(place, self.handlers())
        self.state: engine.EngineState
        """To be set by the subclass."""

    @abstractmethod
    def handlers(self) -> dict[str, Handler]:
        """The orders that this supervisor takes."""

    @abstractmethod
    async def live(self, ready: Callable[[], None]) -> None:
        """Starts everything, calls `ready` once, and keeps it running. Raises OperatorError."""

    @abstractmethod
    async def leave(self) -> None:
        """Before anything is stopped."""

    @abstractmethod
    async def stop_servers(self) -> None:
        """After Ray was stopped."""

    @abstractmethod
    def other_identities(self) -> dict[str, processes.Identity]:
        """Processes beside Ray's, which its end must spare."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What every order of `cluster.deploy` must know of this node (fleet.Node)."""

    @property
    @abstractmethod
    def ray_address(self) -> str:
        """Of the head."""

    @property
    @abstractmethod
    def first_gateway(self) -> int:
        """The number of the first gateway that is not Serve's."""

    def record(self) -> None:
        """Writes the state file."""
        self.state.processes = {**self.other_identities(), **self.ray.identities()}
        self.state.shards, self.state.gateways = self.shards, self.gateways
        engine.write(self.place.state, self.state)

    async def run(self, ready: Callable[[], None]) -> None:
        """Until SIGINT or SIGTERM. Calls `ready` once, when everything answers.

        Raises OperatorError if something does not start; nothing is left behind either way.
        """
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        # SIGINT even where a shell's `&` has it ignored: somebody who sends it means it. nohup gets its way.
        loop.add_signal_handler(signal.SIGINT, asked.set)
        loop.add_signal_handler(signal.SIGTERM, asked.set)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, asked.set)
        processes.become_subreaper()
        self.record()
        await self._orders.listen()
        life = asyncio.create_task(self.live(ready))
        stop = asyncio.create_task(asked.wait())
        try:
            await asyncio.wait({life, stop}, return_when=asyncio.FIRST_COMPLETED)
            if life.done():
                life.result()
            self.tell("stopping")
        finally:
            stop.cancel()
            life.cancel()
            self._orders.close()
            await asyncio.gather(life, return_exceptions=True)
            await self._stop()

    async def _stop(self) -> None:
        if self.state.ready_at is not None:
            await self.leave()
            await drain_gateways(self.place.run, self.tell)
        await self.stop_ray()
        await self.stop_servers()
        while rest := processes.descendants([os.getpid()]):
            await stop_all(rest)
        shutil.rmtree(self.place.run, ignore_errors=True)
        self.place.state.unlink(missing_ok=True)

    async def stop_ray(self) -> None:
        """Ends Ray and everything on it."""
        await self.ray.stop(keep={each.pid for each in self.other_identities().values()})

    async def order(self, name: str, **more: Any) -> dict[str, Any]:
        """Has an order carried out on Ray (cluster.deploy), and takes note of what stands here now."""
        return await self.ray.carry_out(
            {
                "order": name,
                "ray_address": self.ray_address,
                "node": self.describe(),
                "remembered": self.shards,
                "first_gateway": self.first_gateway,
                "shards": self.shard_count,
                "gateways": self.gateways,
                **more,
            }
        )

    def placed(self, answer: dict[str, Any]) -> None:
        """Takes note of what stands here now, and will after a restart of Ray."""
        self.shards, self.gateways = answer["shards"], answer["gateways"]
        self.shard_count = len(self.shards)
        self.record()

    async def scale(self, order: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """The order `scale`: shards and gateways of this node; what is None stays as it is."""
        if self.state.ready_at is None:
            raise OperatorError("not ready yet", "wait until `hereabouts status` says so")
        shards, gateways = order.get("shards"), order.get("gateways")
        async with self.changing, self.telling(tell):
            answer = await self.order(
                "scale",
                shards=self.shard_count if shards is None else shards,
                gateways=self.gateways if gateways is None else gateways,
            )
            self.placed(answer)
        return answer

    @asynccontextmanager
    async def telling(self, tell: Tell) -> AsyncIterator[None]:
        """Whoever gave the order hears how it goes."""
        self.ray.tell = tell
        try:
            yield
        finally:
            self.ray.tell = self.tell


def prepared_ports(place: Layout, host: str) -> RayPorts:
    """Folders are made, and ports found: those of the last time if they are free, so that nodes on other
    machines find the head again.
    """
    layout.prepare(place)
    kept = place.data / "ray.port"
    try:
        first = int(kept.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        first = 0
    block = choose_block(random.Random(secrets.randbits(64)), first)  # noqa: S311 (nothing secret)
    kept.write_text(f"{block[0]}\n", encoding="ascii")
    return RayPorts(block, host)


def now() -> str:
    """For the state file."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
