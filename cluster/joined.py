"""`hereabouts join`: a node beside the head, with a Ray, shards and gateways of its own.

It needs the head's Ray address and Ray's token. On the head's machine both are read from the data folder of
the engine with that port; elsewhere the token comes in a file. Everything else is told by the head through
Ray. When the head ends, Ray on the node ends too; the node then waits for the head to come back.
"""

import asyncio
import os
import re
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import engine, layout, processes
from cluster.errors import OperatorError
from cluster.layout import Layout
from cluster.leftovers import remove_leftovers
from cluster.node import NodeSupervisor, locked, now, prepared_ports
from cluster.orders import Handler, Tell
from cluster.plan import HEAD
from cluster.ports import choose_port, is_free
from cluster.ray_cluster import NODE_DAEMONS
from cluster.ray_head import node_command

RETRY_S = 1.0
LEAVE_TIMEOUT_S = 30.0
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Joining:
    """What `hereabouts join` was told. `head` is HOST:PORT; 0 for the gateway's port means a free one."""

    head: str
    data: Path
    name: str = ""
    token_file: Path | None = None
    address: str = "127.0.0.1"
    gateway_port: int = 0
    shards: int = 1
    gateways: int = 1


@dataclass(frozen=True, slots=True)
class Head:
    """Where the head's Ray is, and the token for it."""

    ray_address: str
    token: str


def find_head(joining: Joining) -> Head:
    """The head: an engine of this user on this machine, by its HTTP or Ray port, or what the token file is
    for. Raises OperatorError.
    """
    host, _, port = joining.head.rpartition(":")
    if not host or not port.isdigit():
        raise OperatorError(f"{joining.head!r} is not HOST:PORT", "for example 127.0.0.1:8000")
    for data in layout.announced():
        state = engine.read(data / "engine.json")
        if state is None or state.node != HEAD or not processes.is_alive(state.supervisor):
            continue
        if int(port) in (state.ports["http"], state.ports["ray"]) and state.ray_address is not None:
            token = Path(str(state.ray_token_path)).read_text(encoding="ascii")
            return Head(state.ray_address, token.strip())
    if joining.token_file is None:
        raise OperatorError(
            f"no engine of yours with port {port} runs on this machine",
            "for one elsewhere give the Ray address that `hereabouts status` prints there, and --token-file",
        )
    try:
        token = joining.token_file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as wrong:
        raise OperatorError(
            f"cannot read the token file {joining.token_file}: {wrong}",
            "copy the file whose path `hereabouts status` prints at the head",
        ) from None
    return Head(joining.head, token.strip())


class JoinedSupervisor(NodeSupervisor):
    """A joined node's."""

    def __init__(
        self, joining: Joining, head: Head, place: Layout, inherited: Mapping[str, str], tell: Tell
    ) -> None:
        self._joining = joining
        self._head = head
        self._name = joining.name or _own_name(place)
        ports = prepared_ports(place, joining.address)
        super().__init__(
            place,
            ports,
            command=node_command(place, ports, self._name, head.ray_address),
            daemons=NODE_DAEMONS,
            inherited=inherited,
            shards=joining.shards,
            gateways=joining.gateways,
            tell=tell,
        )
        self._gateway_port = joining.gateway_port or choose_port(None, self.chance)
        me = processes.identify(os.getpid())
        assert me is not None
        self.state = engine.EngineState(
            supervisor=me,
            url="",
            gateway_url=f"ws://{joining.address}:{self._gateway_port}/rt",
            mode="joined",
            privacy_k=0,
            run_dir=str(place.run),
            started_at=now(),
            mark=self.mark,
            node=self._name,
            host=joining.address,
            directory="",
            ray_address=head.ray_address,
            ray_token_path=str(place.ray_token),
            ports={
                "gateway": self._gateway_port,
                "metrics": ports.metrics,
                "ray_block_first": ports.block[0],
                "ray_block_last": ports.block[-1],
            },
        )

    @property
    def ray_address(self) -> str:
        return self._head.ray_address

    @property
    def first_gateway(self) -> int:
        return 0

    def handlers(self) -> dict[str, Handler]:
        return {"scale": self.scale, "drain": self._drain}

    def other_identities(self) -> dict[str, processes.Identity]:
        return {}

    def describe(self) -> dict[str, Any]:
        return {
            "name": self._name,
            "run_dir": str(self.place.run),
            "host": self._joining.address,
            "gateway_host": self._joining.address,
            "gateway_port": self._gateway_port,
        }

    async def live(self, ready: Callable[[], None]) -> None:
        self.tell(f"data in {self.place.data}; joining {self._head.ray_address} as {self._name}")
        await self._join()
        self.state.ready_at = now()
        self.record()
        ready()
        while True:
            await self.ray.broken.wait()
            self.tell("Ray on this node ended; joining the head again when it is there")
            await self._join_again()
            self.tell("joined again")

    async def _join(self) -> None:
        await self.ray.start()
        self.record()
        async with self.changing:
            answer = await self.order("join")
            self.state.directory = answer["directory"]
            self.placed(answer)

    async def _join_again(self) -> None:
        while True:
            await self.stop_ray()
            try:
                self._find_head_again()
                await self._join()
            except OperatorError:
                await asyncio.sleep(RETRY_S)
            else:
                return

    def _find_head_again(self) -> None:
        """On one machine it may have other ports by now."""
        self._head = find_head(self._joining)
        layout.keep_secret(self.place.ray_token, self._head.token)
        self.ray.command = node_command(self.place, self.ports, self._name, self._head.ray_address)
        self.state.ray_address = self._head.ray_address

    async def _drain(self, order: dict[str, Any], tell: Tell) -> dict[str, Any]:
        if order["name"] not in ("", self._name):
            raise OperatorError(
                f"this node is {self._name}", "drain another one from the head, or from its own data folder"
            )
        return await self.scale({"shards": 0, "gateways": 0}, tell)

    async def leave(self) -> None:
        """Hands its slots to others, if the engine is still there to take them."""
        if self.ray.broken.is_set() or not (self.shards or self.gateways):
            return
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await self.scale({"shards": 0, "gateways": 0}, self.tell)
        except TimeoutError:
            self.tell(f"leaving without a hand-off: there was none in {LEAVE_TIMEOUT_S:g} s")
        except OperatorError as wrong:
            self.tell(f"leaving without a hand-off: {wrong.problem.splitlines()[0]}")

    async def stop_servers(self) -> None:
        """There are none."""


def _own_name(place: Layout) -> str:
    """The machine's name and what tells its data folders apart; the same after a restart."""
    host = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-")[:20] or "node"
    return f"{host}-{place.run.name.rpartition('-')[2][:6]}"


async def join(
    joining: Joining, inherited: Mapping[str, str], tell: Tell, ready: Callable[[str], None]
) -> None:
    """Run a node until it is asked to stop. Raises OperatorError."""
    if joining.name and (not NAME.fullmatch(joining.name) or joining.name == HEAD):
        raise OperatorError(f"{joining.name!r} can't be a node's name", "a-z, 0-9 and -, at most 32")
    place = layout.layout_of(joining.data)
    head = find_head(joining)
    layout.prepare(place)
    with locked(place):
        await remove_leftovers(place, tell)
        layout.prepare(place)
        if joining.gateway_port and not is_free(joining.gateway_port, joining.address):
            raise OperatorError(f"port {joining.gateway_port} is taken", "choose another with --gateway-port")
        layout.keep_secret(place.ray_token, head.token)
        supervisor = JoinedSupervisor(joining, head, place, inherited, tell)
        await supervisor.run(lambda: ready(supervisor.state.gateway_url))
    shutil.rmtree(place.run, ignore_errors=True)
    tell("stopped")
