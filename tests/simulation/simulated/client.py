"""A client in a simulated world: it follows rooms through some gateway, publishes, and writes down what it
learns. What it holds of a stream is the test client's own view (rt_client); its socket is a recording one.
"""

import json
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from rt_client.views import PresenceView, StreamView

from actors import messages as wire
from actors.protocol import EngineError
from cluster.history import Ack, AnyLine, Broken, Channel
from serve_app.connection import Connection
from serve_app.frames import HEADROOM, JSON

if TYPE_CHECKING:
    from simulated.engine import Gateway
    from simulated.world import World

RETRY_S = 0.1


class Socket:
    """One connection of a client to a gateway, both ends: the transport and the owner of a Connection."""

    def __init__(self, client: "Client", gateway: "Gateway") -> None:
        self.client = client
        self.gateway = gateway
        self.is_open = True
        self._arrives_s = 0.0
        self._way: deque[bytes] = deque()
        hub = gateway.hub
        self.connection = Connection(hub, self, JSON, self)
        self.connection.user = self.connection.device = client.name
        self.connection.id = client.world.new_id()
        self.connection.since_ms = client.world.now_ms()
        hub.opened(self.connection)

    # Transport

    def send(self, message: bytearray) -> None:
        """A message is on its way: it arrives after all that was sent before."""
        world = self.client.world
        self._arrives_s = max(self._arrives_s, world.loop.time() + world.network.latency_s() / 2)
        self._way.append(bytes(message[HEADROOM:]))
        world.later(self._arrives_s, self._arrived)

    def _arrived(self) -> None:
        message = self._way.popleft()  # timers of one moment fire in any order
        if self.is_open:
            for frame in message.split(b"\n"):
                if frame:
                    self.client.received(self, json.loads(frame))

    def close(self, code: int, reason: str) -> None:  # noqa: ARG002
        """The gateway ends it."""
        self.abort()

    def abort(self) -> None:
        """The gateway drops it: a session would tell the hub now."""
        self.connection.discard()
        self.gateway.hub.dropped(self.connection, clean=False)
        self.client.world.soon(self.client.lost, self)

    # Owner

    def slow(self) -> None:
        """Too far behind."""
        self.abort()

    def lost(self, reason: str) -> None:
        """A position can't be recovered: 3010."""
        self.client.world.count(f"3010 {reason}")
        self.abort()

    def ended(self, channel: Any, code: int, reason: str) -> None:
        """An actor ended a subscription."""
        self.client.broken(channel.name, f"ended: {code} {reason}")


class Client:
    """One device of one user. It is always on its way to a gateway, or connected to one."""

    def __init__(self, world: "World", name: str, memory: set[str]) -> None:
        self.world = world
        self.name = name
        self.log: list[AnyLine] = [Channel(ch=ch, memory=True) for ch in sorted(memory)]
        self.views: dict[str, StreamView | PresenceView] = {}
        self.socket: Socket | None = None
        self.unacked: dict[str, tuple[str, str]] = {}
        """cid → (channel, ack)."""
        self.numbers: dict[int, str] = {}
        self.live: set[str] = set()
        """Channels whose subscription was answered on this socket."""
        self._asked: set[str] = set()
        self._published = 0

    # -- the socket -----------------------------------------------------------------------------------

    def connect(self) -> None:
        """Dials a gateway that lives and follows everything again; tries again later if there is none."""
        gateway = self.world.some_gateway()
        if gateway is None:
            self.world.after(RETRY_S, self.connect)
            return
        self.socket = gateway.process.run(Socket, self, gateway)
        gateway.sockets.append(self.socket)
        for ch in self.views:
            self._ask(ch)
        for cid in list(self.unacked):
            self._send(cid)

    def lost(self, socket: Socket) -> None:
        """The socket is gone, whoever ended it."""
        socket.is_open = False
        if self.socket is not socket:
            return
        self.socket = None
        self.numbers.clear()
        self.live.clear()
        self._asked.clear()
        self.world.after(self.world.chance.uniform(0.01, 0.5), self.connect)

    def drop(self) -> None:
        """Loses the socket; the gateway learns it."""
        if self.socket is not None:
            socket = self.socket
            self.lost(socket)
            if socket.gateway.process.alive:
                socket.gateway.process.run(socket.abort)

    # -- channels -------------------------------------------------------------------------------------

    def follow(self, ch: str) -> None:
        """From now on."""
        if ch not in self.views:
            self.views[ch] = (
                PresenceView() if ch.startswith("presence:") else StreamView(self.name, ch, self.log)
            )
            if self.socket is not None:
                self._ask(ch)

    def unfollow(self, ch: str) -> None:
        """Leaves; when it comes back it begins anew."""
        if ch not in self.views or ch in self._asked:
            return  # its answer is on its way
        del self.views[ch]
        self.live.discard(ch)
        self.numbers = {n: name for n, name in self.numbers.items() if name != ch}
        if self.socket is not None and self._hub_has(ch):
            hub = self.socket.gateway.hub
            self.socket.gateway.process.run(partial(hub.unsubscribe, self.socket.connection, ch, clean=True))

    def _hub_has(self, ch: str) -> bool:
        return self.socket is not None and ch in self.socket.connection.subscriptions

    def _ask(self, ch: str) -> None:
        socket = self.socket
        if socket is None or ch not in self.views or ch in self._asked:
            return
        if self._hub_has(ch):  # its last subscription has not ended yet
            self.world.after(RETRY_S, self._ask, ch)
            return
        view = self.views[ch]
        place = view.position() if isinstance(view, StreamView) else {}
        connection = socket.connection
        message = wire.Subscribe(
            0, ch, self.name, connection.id, connection.device, connection.since_ms,
            mode="map" if ch.startswith("presence:") else "stream",
            epoch=place.get("epoch", ""), offset=place.get("offset", -1),
        )  # fmt: skip
        self._asked.add(ch)

        def done(reply: Any, error: EngineError | None) -> None:
            """In the gateway: what is queued here leaves before any later push (RT-3)."""
            if error is not None:
                self.world.soon(self._refused, socket, ch, error)
                return
            channel = socket.gateway.hub.channel(ch)
            frame = {"sub": {"n": channel.n, **reply, "ch": ch}}
            connection.queue(JSON.encode(frame))

        socket.gateway.process.run(socket.gateway.hub.subscribe, connection, message, done)

    def _refused(self, socket: Socket, ch: str, error: EngineError) -> None:
        if self.socket is not socket:
            return
        self._asked.discard(ch)
        if error.code.temporary:
            self.world.after(RETRY_S, self._ask, ch)
        else:
            self.broken(ch, f"refused: {error}")

    def received(self, socket: Socket, frame: dict[str, Any]) -> None:
        """A frame that arrived."""
        if self.socket is not socket:
            return
        if "sub" in frame:
            result = frame["sub"]
            ch = result["ch"]
            self._asked.discard(ch)
            if ch in self.views:
                self.numbers[result["n"]] = ch
                self.live.add(ch)
                self.views[ch].subscribed(result)
                self._repaired(ch)
            return
        ch = self.numbers.get(frame["p"], "")
        view = self.views.get(ch)
        if view is None:
            return
        view.pushed(frame)
        if isinstance(view, StreamView) and view.insufficient:
            self.world.count(f"insufficient state at a client {ch in self.world.memory}")
            del self.numbers[frame["p"]]
            self.live.discard(ch)
            hub = socket.gateway.hub
            socket.gateway.process.run(partial(hub.unsubscribe, socket.connection, ch, clean=True))
            self._ask(ch)

    def _repaired(self, ch: str) -> None:
        """What could not be recovered is left out; the checker says whether that was allowed."""
        view = self.views[ch]
        if isinstance(view, StreamView) and view.unsettled_from is not None:
            view.unsettled_from = None

    # -- publications -----------------------------------------------------------------------------------

    def publish(self, ch: str, ack: str) -> None:
        """Under one cid until it is acknowledged."""
        self._published += 1
        cid = f"{self.name}-{self._published}"
        self.unacked[cid] = (ch, ack)
        self._send(cid)

    def _send(self, cid: str) -> None:
        socket = self.socket
        if socket is None or cid not in self.unacked:
            return  # sent with the next connection
        ch, ack = self.unacked[cid]
        body = json.dumps({"text": cid}).encode()
        message = wire.Publish(0, ch, self.name, socket.connection.id, body, cid, ack)
        kind, key = "room", ch.removeprefix("room:")

        def done(reply: Any, error: EngineError | None) -> None:
            self.world.soon(self._answered, socket, cid, reply, error)

        socket.gateway.process.run(socket.gateway.router.call, kind, key, message, done)

    def _answered(self, socket: Socket, cid: str, reply: Any, error: EngineError | None) -> None:
        if self.socket is not socket or cid not in self.unacked:
            return  # the answer came down a socket that is gone
        if error is not None:
            if error.code.temporary:
                self.world.count(f"refused: {error.message}")
                self.world.after(RETRY_S, self._send, cid)
            else:
                self.broken(self.unacked.pop(cid)[0], f"publication refused: {error}")
            return
        ch, ack = self.unacked.pop(cid)
        line = Ack(
            client=self.name, ch=ch, offset=reply["o"], id=reply["i"], cid=cid, user=self.name, ack=ack
        )
        self.log.append(line)

    def broken(self, ch: str, what: str) -> None:
        """A rule was broken: the checker says so."""
        self.log.append(Broken(client=self.name, ch=ch, what=what))
