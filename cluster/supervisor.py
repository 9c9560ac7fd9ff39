"""`hereabouts up`: starts everything, keeps it running, stops exactly what it started.

Postgres and Valkey are direct children. The Ray head's daemons are orphans of `ray start` that come to this
process as their subreaper, so all of the engine is one process tree with this at its root.
"""

import asyncio
import contextlib
import ipaddress
import os
from collections.abc import Callable, Mapping
from typing import Any

from actors.site import Site
from cluster import doctor, engine, layout, processes
from cluster.databases import Databases
from cluster.errors import OperatorError
from cluster.layout import Layout
from cluster.leftovers import remove_leftovers
from cluster.node import NodeSupervisor, locked, now, prepared_ports
from cluster.orders import Handler, Tell
from cluster.plan import HEAD, RAY_TOKEN_CHARACTERS, deployment, directory_address, head_node
from cluster.ray_cluster import HEAD_DAEMONS
from cluster.ray_head import LOOPBACK, head_command, write_front_wrapper
from cluster.settings import Settings

READY_TIMEOUT_S = 120.0
READY_POLL_S = 0.1
RESTART_TRIES = 4
LEAVE_TIMEOUT_S = 30.0


class Supervisor(NodeSupervisor):
    """The head's: databases, Directory, HTTP, and shards and gateways as on every node."""

    def __init__(
        self, settings: Settings, place: Layout, inherited: Mapping[str, str], tell: Callable[[str], None]
    ) -> None:
        self._settings = settings
        ports = prepared_ports(place, _reachable(settings.bind))
        layout.secret(place.ray_token, RAY_TOKEN_CHARACTERS)
        super().__init__(
            place,
            ports,
            command=head_command(place, ports, HEAD, dashboard=settings.ray_dashboard),
            daemons=HEAD_DAEMONS,
            inherited=inherited,
            shards=settings.shards,
            gateways=settings.gateways,
            tell=tell,
        )
        self._databases = Databases(
            settings=settings,
            place=place,
            reaper=self.reaper,
            chance=self.chance,
            tell=tell,
            changed=self.record,
        )
        me = processes.identify(os.getpid())
        assert me is not None
        self.state = engine.EngineState(
            supervisor=me,
            url=settings.url,
            gateway_url=settings.gateway_url,
            mode=settings.mode,
            privacy_k=settings.privacy_k,
            run_dir=str(place.run),
            started_at=now(),
            mark=self.mark,
            node=HEAD,
            host=ports.host,
            directory=directory_address(place, ports),
            ray_address=ports.address,
            ray_dashboard_url=f"http://{LOOPBACK}:{ports.dashboard}",
            ray_token_path=str(place.ray_token),
            ports={
                "http": settings.port,
                "gateway": settings.gateway_port,
                "ray": ports.gcs,
                "metrics": ports.metrics,
                "ray_block_first": ports.block[0],
                "ray_block_last": ports.block[-1],
            },
        )

    @property
    def ray_address(self) -> str:
        return self.ports.address

    @property
    def first_gateway(self) -> int:
        return 1

    def handlers(self) -> dict[str, Handler]:
        return {"scale": self.scale, "drain": self._drain}

    def other_identities(self) -> dict[str, processes.Identity]:
        return self._databases.identities()

    def describe(self) -> dict[str, Any]:
        return head_node(self._settings, self.place, self.ports)

    async def live(self, ready: Callable[[], None]) -> None:
        self.tell(f"data in {self.place.data}; starting Postgres, Valkey and Ray")
        layout.announce(self.place)
        write_front_wrapper(self.place, self._settings.bind, self._settings.port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._databases.start())
                group.create_task(self.ray.start())
        except* OperatorError as several:
            raise several.exceptions[0] from None
        await self._deploy()
        self.state.ready_at = now()
        self.record()
        ready()
        while True:
            await self.ray.broken.wait()
            self.tell("the Ray head ended; starting it and everything on it again")
            await self._start_again()
            self.tell("Ray and everything on it is back")

    async def _start_again(self) -> None:
        """What was killed may be killed again while it starts."""
        for tries_left in reversed(range(RESTART_TRIES)):
            await self.stop_ray()
            try:
                await self.ray.start()
                await self._deploy()
            except OperatorError as wrong:
                if not tries_left:
                    raise
                self.tell(f"trying again: {wrong.problem.splitlines()[0]}")
            else:
                return

    async def _deploy(self) -> None:
        self.record()
        databases = self._databases
        plan = deployment(self._settings, self.place, self.ports, databases.database_url, databases.redis_url)
        async with self.changing:
            self.placed(await self.order(**{"name": "deploy", **plan}))
        await wait_until_ready(self._settings.bind, self._settings.port, READY_TIMEOUT_S)

    async def scale(self, order: dict[str, Any], tell: Tell) -> dict[str, Any]:
        if 0 in (order.get("shards"), order.get("gateways")):
            raise OperatorError("the head keeps at least one shard and one gateway", "`down` stops it")
        return await super().scale(order, tell)

    async def _drain(self, order: dict[str, Any], tell: Tell) -> dict[str, Any]:
        if order["name"] == HEAD:
            raise OperatorError("the head can't be drained: the Directory is there", "`down` stops it")
        async with self.changing, self.telling(tell):
            return await self.order("drain", name_of_node=order["name"])

    async def leave(self) -> None:
        """Everybody leaves with the head, so the clients of other nodes are sent away too."""
        if self.ray.broken.is_set() or not await _has_other_nodes(self.state):
            return
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await self.order("dismiss")
        except (OperatorError, TimeoutError) as wrong:
            self.tell(f"clients of other nodes were not sent away: {wrong}")

    async def stop_servers(self) -> None:
        await self._databases.stop()


async def _has_other_nodes(state: engine.EngineState) -> bool:
    """Whether gateways stand elsewhere: the Directory knows."""
    from actors.probe import fetch_view  # noqa: PLC0415 (the supervisor is small until it has to stop)

    try:
        view = await fetch_view(Site(state.node, directory=state.directory))
    except (OSError, TimeoutError):
        return False
    return any(not name.startswith(f"{HEAD}-") for name in view.gateways)


def _reachable(bind: str) -> str:
    """The address that other nodes find Ray and links at."""
    return LOOPBACK if ipaddress.ip_address(bind).is_unspecified else bind


async def wait_until_ready(host: str, port: int, timeout_s: float) -> None:
    """Wait for `GET /readyz` to answer 200. Raises OperatorError with its last answer."""
    answer = "no answer"
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                with contextlib.suppress(OSError):
                    reader, writer = await asyncio.open_connection(host, port)
                    writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    received = await reader.read(65_536)
                    writer.close()
                    if received.startswith(b"HTTP/1.1 200"):
                        return
                    answer = received.decode("utf-8", "replace").strip() or answer
                await asyncio.sleep(READY_POLL_S)
    except TimeoutError:
        raise OperatorError(f"not ready after {timeout_s:g} s; /readyz says: {answer}") from None


async def up(
    settings: Settings,
    inherited: Mapping[str, str],
    tell: Callable[[str], None],
    ready: Callable[[str], None],
) -> None:
    """Run an engine until it is asked to stop. Raises OperatorError."""
    place = layout.layout_of(settings.data)
    layout.prepare(place)
    with locked(place):
        await remove_leftovers(place, tell)
        doctor.refuse_fatal(doctor.examine(settings, place))
        await Supervisor(settings, place, inherited, tell).run(lambda: ready(settings.url))
    tell("stopped")
