"""Large rooms go through relays: the owner sends one message to each of a few shards, and these pass it on to
gateways of theirs (FAN-3).

Each gateway of a room has one relay (rendezvous hashing over the shards that can be reached), so what it is
sent keeps its order. Before a gateway gets another one, a fence goes the old way behind all that was sent;
until the gateway has answered it, what comes next is held. Whatever is lost with a relay or its link is found
by position: the owner tells the gateway directly how far the room is.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from zlib import crc32

from actors import messages as wire
from actors.effects import Fan
from actors.link import Link
from actors.metrics import counter
from actors.router import Router

FENCE_S = 1.0
"""A way that has not answered by then is left without waiting longer."""

HELD_LIMIT = 10_000
"""Messages that wait for a fence; past it they go on without it, and positions tell what is amiss."""

_relayed = counter("relayed")

Direct = Callable[[str, wire.Pushed], None]


@dataclass(slots=True)
class Path:
    """How one channel's messages reach its gateways. Number -1 is: directly."""

    ways: dict[str, int] = field(default_factory=dict)
    """Gateway → relay; who is missing is sent directly."""
    known_by: tuple[object, ...] = ()
    """What the ways were chosen for."""
    top: int = 0
    held: deque[Fan] | None = None
    fences: int = 0


def chosen(channel: str, gateway: str, relays: Iterable[int]) -> int:
    """The relay of one gateway for one channel: the same as long as it is among those there are."""
    return max(relays, key=lambda relay: crc32(f"{channel}|{gateway}|{relay}".encode()))


class Relays:
    """Both sides: the ways of this shard's rooms, and what it passes on for others."""

    def __init__(self, router: Router, gateways: dict[str, Link], direct: Direct) -> None:
        self._router = router
        self._gateways = gateways
        self._direct = direct
        self._paths: dict[str, Path] = {}
        self._fences: dict[int, tuple[str, Callable[[], None]]] = {}
        self._served: dict[str, set[Link]] = {}
        """Gateway → links of the owners that send to it through here."""

    @property
    def _own(self) -> int:
        return -1 if self._router.local is None else self._router.local[0]

    def has(self, channel: str) -> bool:
        """Whether a channel is on relays now."""
        return channel in self._paths

    # -- the owner's side -----------------------------------------------------------------------------

    def fan(self, effect: Fan, *, is_large: bool) -> None:
        """Sends to all gateways of the effect, over relays while the room is large."""
        path = self._paths.get(effect.message.ch)
        if path is None:
            path = self._paths[effect.message.ch] = Path()
        if path.held is not None:
            path.held.append(effect)
            if len(path.held) > HELD_LIMIT:
                path.known_by = ()  # whatever the fences say now is of no use
                self._let_go(path)
            return
        known_by = (self._router.view.version, effect.gateways, is_large)
        if path.known_by != known_by and self._find_ways(path, effect, is_large=is_large):
            return
        self._send(path, effect)
        if not path.ways and not is_large:
            del self._paths[effect.message.ch]

    def _find_ways(self, path: Path, effect: Fan, *, is_large: bool) -> bool:
        """Chooses the ways anew. True where the effect is held until fences are answered."""
        path.known_by = (self._router.view.version, effect.gateways, is_large)
        relays = [-1, *self._reachable()] if is_large and len(effect.gateways) > 1 else [-1]
        ways = {
            gateway: way
            for gateway in effect.gateways
            if (way := chosen(effect.message.ch, gateway, relays)) >= 0
        }
        before, path.ways = path.ways, ways
        moved: dict[int, list[str]] = {}
        for gateway in effect.gateways:
            if before.get(gateway, -1) != ways.get(gateway, -1):
                moved.setdefault(before.get(gateway, -1), []).append(gateway)
        path.fences = len(moved)
        path.held = deque([effect]) if moved else None
        for relay, gateways in moved.items():
            self._fence(relay, gateways, path, effect.message.ch)
        return bool(moved)

    def _reachable(self) -> list[int]:
        router = self._router
        links = {shard: router.shard_link(shard) for shard in router.view.addresses if shard != self._own}
        return [shard for shard, link in links.items() if link.ready]

    def _fence(self, relay: int, gateways: list[str], path: Path, channel: str) -> None:
        waits, choice = True, path.known_by

        def passed(_: object, error: object) -> None:
            nonlocal waits
            if not waits or path.known_by is not choice:
                return
            waits = False
            if error is not None:
                self._tell_top(path, channel, gateways)
            path.fences -= 1
            if path.fences == 0:
                self._let_go(path)

        loop = asyncio.get_running_loop()
        loop.call_later(FENCE_S, passed, None, "late")
        if relay < 0:
            self.fence(gateways, lambda: passed(None, None))
            return
        link = self._router.shard_link(relay)
        if link.ready:
            link.query(wire.RelayFence(0, gateways), passed, loop.time() + FENCE_S)
        else:
            passed(None, "gone")

    def _let_go(self, path: Path) -> None:
        held, path.held = path.held, None
        for effect in held or ():
            self._send(path, effect)

    def _send(self, path: Path, effect: Fan) -> None:
        message, ways = effect.message, path.ways
        if isinstance(message, wire.Push):
            path.top = message.offset
        through: dict[int, list[str]] = {}
        for gateway in effect.gateways:
            way = ways.get(gateway, -1)
            if way < 0:
                self._direct(gateway, message)
            else:
                through.setdefault(way, []).append(gateway)
        for relay, gateways in through.items():
            self._router.shard_link(relay).send(wire.Relayed(gateways, message))
            _relayed.n += 1

    def _tell_top(self, path: Path, channel: str, gateways: Iterable[str]) -> None:
        for gateway in gateways:
            self._direct(gateway, wire.PushTop(channel, path.top))

    def heard(self, message: wire.Unrelayed) -> None:
        """A relay has lost a gateway: what was on the way may be lost, and it can't pass on more."""
        for channel, path in self._paths.items():
            if path.ways.get(message.gateway) == message.relay:
                del path.ways[message.gateway]
                self._tell_top(path, channel, [message.gateway])

    def look_after(self, channels: Callable[[str], bool]) -> None:
        """Once a second: relays that are gone are left, and channels that moved away forgotten."""
        reachable = set(self._reachable())
        for channel, path in list(self._paths.items()):
            if not channels(channel):
                del self._paths[channel]
                continue
            lost = [gateway for gateway, relay in path.ways.items() if relay not in reachable]
            for gateway in lost:
                del path.ways[gateway]
            if lost:
                if path.held is None:
                    path.known_by = ()
                self._tell_top(path, channel, lost)

    # -- the relay's side -----------------------------------------------------------------------------

    def took(self, link: Link, message: wire.Relayed | wire.RelayFence | wire.Reply) -> None:
        """From an owner, or a gateway's answer to a fence."""
        if isinstance(message, wire.Relayed):
            self.relay(link, message)
        elif isinstance(message, wire.RelayFence):
            rid = message.rid
            self.fence(message.gateways, lambda: link.send(wire.Reply(rid, {})))
        else:
            self.answered(message.rid)

    def relay(self, owner: Link, message: wire.Relayed) -> None:
        """Passes a message on; tells the owner of gateways that it can't reach."""
        for gateway in message.gateways:
            link = self._gateways.get(gateway)
            if link is None:
                owner.send(wire.Unrelayed(gateway, self._own))
            else:
                link.send(message.message)
                self._served.setdefault(gateway, set()).add(owner)

    def fence(self, gateways: Iterable[str], passed: Callable[[], None]) -> None:
        """Calls back when the gateways have taken all that they were sent from here, or are gone."""
        left = set(gateways) & self._gateways.keys()
        if not left:
            passed()
            return

        def one(gateway: str) -> None:
            left.discard(gateway)
            if not left:
                passed()

        for gateway in list(left):
            rid = self._router.next_rid()
            self._fences[rid] = (gateway, lambda gateway=gateway: one(gateway))  # type: ignore[misc]
            self._gateways[gateway].send(wire.Fence(rid))

    def answered(self, rid: int) -> None:
        """A gateway has come to a fence."""
        found = self._fences.pop(rid, None)
        if found is not None:
            found[1]()

    def gateway_lost(self, gateway: str) -> None:
        """Owners are told; fences of it are passed, since it will tell everything anew."""
        for owner in self._served.pop(gateway, ()):
            if owner.is_open:
                owner.send(wire.Unrelayed(gateway, self._own))
        for rid in [rid for rid, (name, _) in self._fences.items() if name == gateway]:
            self.answered(rid)
