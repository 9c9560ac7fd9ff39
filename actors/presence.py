"""Who is in a room: one meta per connection, with a grace for sockets that were lost (PRE-1, PRE-2).

Pure. What is there is the merge of what gateways say of their own sockets (orswot.py); what is *shown*
depends on time as well: a lost socket's owner is shown for 15 s, so that nobody sees a resume; the people of
a gateway that can't be reached are hidden after 30 s and forgotten after 20 minutes.

A person may be there with several devices; each connection has its own `ref`. One that comes back anew on the
same device replaces the lost one in one step: a join with `prev` and the old one's leave. So does one whose
meta changes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec

from actors.orswot import SocketSet

LINGER_MS = 15_000
"""How long a lost socket's owner is still shown, and everybody of a gateway that is known to be dead."""

HIDDEN_AFTER_MS = 30_000
"""When the people of a gateway that can't be reached, but is not known to be dead, are hidden."""

DROPPED_AFTER_MS = 20 * 60_000
"""When they are forgotten. One that comes back before only says who is still there."""


@dataclass(slots=True)
class Presence:
    """One connection in the room."""

    conn: str
    user: str
    device: str
    since_ms: int
    info: Any = None
    ref: str = ""
    """Empty: the connection's id. Another one after its meta changed."""
    prev: str = ""

    def meta(self) -> dict[str, Any]:
        """The meta as it goes to clients."""
        meta: dict[str, Any] = {
            "u": self.user,
            "ref": self.ref or self.conn,
            "device": self.device,
            "since": self.since_ms,
        }
        if self.prev:
            meta["prev"] = self.prev
        if self.info is not None:
            meta["info"] = self.info
        return meta


@dataclass(frozen=True, slots=True)
class Diff:
    """What changed for one user."""

    user: str
    joins: list[dict[str, Any]] = field(default_factory=list)
    leaves: list[dict[str, Any]] = field(default_factory=list)

    def wire(self) -> tuple[bytes, bytes]:
        """Joins and leaves as JSON lists."""
        return msgspec.json.encode(self.joins), msgspec.json.encode(self.leaves)


@dataclass(slots=True)
class PresenceSet:
    """The people of a room."""

    sockets: SocketSet = field(default_factory=SocketSet)
    """Whose sockets live, by gateway."""
    by_conn: dict[str, Presence] = field(default_factory=dict)
    """All who are shown, and the hidden."""
    by_user: dict[str, list[str]] = field(default_factory=dict)
    """Their connections."""
    lost: dict[str, int] = field(default_factory=dict)
    """Connections without a socket, and since when."""
    down: dict[str, int] = field(default_factory=dict)
    """Gateways that can't be reached, and since when."""
    hidden: set[str] = field(default_factory=set)
    """Connections of gateways that can't be reached for long."""

    @property
    def waits(self) -> bool:
        """Whether time alone will change something."""
        return bool(self.lost or self.down)

    def metas(self, hidden: Iterable[str] = ()) -> list[dict[str, Any]]:
        """Everybody shown, but for the hidden users."""
        unseen = set(hidden)
        return [p.meta() for p in self.by_conn.values() if p.user not in unseen and p.conn not in self.hidden]

    @property
    def count(self) -> int:
        """How many are shown."""
        return len(self.by_conn) - len(self.hidden)

    def sample(self, size: int) -> list[Presence]:
        """About so many of those shown, evenly over the order in which they came."""
        step = max(1, len(self.by_conn) // size)
        some = islice(self.by_conn.values(), 0, None, step)
        return [each for each in some if each.conn not in self.hidden][:size]

    # -- what gateways say ------------------------------------------------------------------------------

    def join(self, presence: Presence, gateway: str, birth: int = 0, settled: int = 0) -> Diff | None:
        """A subscription; None where nothing is to be shown: it only came back, or has ended already."""
        conn = presence.conn
        if not self.sockets.add(gateway, conn, birth, settled):
            return None
        known = self.by_conn.get(conn)
        self.lost.pop(conn, None)
        if known is not None:
            return self._again(known, presence, birth)
        before = [old for old in self.conns_of(presence.user) if self._is_replaced(old, presence)]
        left = []
        for old in before:
            presence.prev = self.by_conn[old].ref or old
            diff = self.evict(old)
            left += [] if diff is None else diff.leaves
        self.by_conn[conn] = presence
        self.by_user.setdefault(presence.user, []).append(conn)
        return Diff(presence.user, [presence.meta()], left)

    def _is_replaced(self, conn: str, presence: Presence) -> bool:
        """A connection of the same device without a socket that is known to live."""
        if self.by_conn[conn].device != presence.device:
            return False
        return conn in self.lost or all(g in self.down for g in self.sockets.gateways_of(conn))

    def _again(self, known: Presence, presence: Presence, birth: int) -> Diff | None:
        was_hidden = known.conn in self.hidden
        self.hidden.discard(known.conn)
        if (known.device, known.info) == (presence.device, presence.info):
            return Diff(known.user, [known.meta()]) if was_hidden else None
        left = [] if was_hidden else [known.meta()]
        known.device, known.info = presence.device, presence.info
        known.prev = known.ref or known.conn
        known.ref = f"{known.conn}.{birth}"
        return Diff(known.user, [known.meta()], left)

    def leave(
        self, conn: str, gateway: str, now_ms: int, *, clean: bool = True, birth: int = 0, settled: int = 0
    ) -> Diff | None:
        """A subscription has ended: shown at once if it was a goodbye, else it lingers."""
        gone = self.sockets.remove(gateway, conn, birth, settled)
        if self.sockets.has(conn) or conn not in self.by_conn:
            return None
        if clean and (gone or conn in self.lost):
            return self.evict(conn)
        if gone:
            self.lost.setdefault(conn, now_ms)
        return None

    def told(self, gateway: str, settled: int, now_ms: int) -> None:
        """The gateway has told all its rows anew: it is there, and who is missing has lost the socket."""
        self.down.pop(gateway, None)
        for conn in self.sockets.void(gateway, settled):
            if not self.sockets.has(conn):
                self.lost.setdefault(conn, now_ms)

    def gateway_lost(self, gateway: str, now_ms: int) -> None:
        """It can't be reached: it may be dead, or only cut off."""
        known = self.sockets.replicas.get(gateway)
        if known is not None and known.rows:
            self.down.setdefault(gateway, now_ms)
        elif known is not None:
            self.sockets.drop(gateway)

    def conns_of(self, user: str) -> list[str]:
        """The connections of one person."""
        return list(self.by_user.get(user, ()))

    # -- what the room and the time say ------------------------------------------------------------------

    def evict(self, conn: str) -> Diff | None:
        """Removes a connection at once, wherever it is; None where nobody saw it."""
        gone = self.by_conn.get(conn)
        if gone is None:
            return None
        for gateway in self.sockets.gateways_of(conn):
            self.sockets.remove(gateway, conn, self.sockets.replicas[gateway].rows[conn])
        was_hidden = conn in self.hidden
        self._forget(conn)
        return None if was_hidden else Diff(gone.user, [], [gone.meta()])

    def expire(self, now_ms: int, is_dead: Callable[[str], bool]) -> list[Diff]:
        """What time alone changes. `is_dead` says whether a gateway that can't be reached is no more."""
        diffs = []
        for gateway, since_ms in list(self.down.items()):
            down_ms = now_ms - since_ms
            if down_ms >= DROPPED_AFTER_MS or (down_ms >= LINGER_MS and is_dead(gateway)):
                diffs += self._drop(gateway)
            elif down_ms >= HIDDEN_AFTER_MS:
                diffs += self._hide(gateway, now_ms)
        for conn in [conn for conn, at_ms in self.lost.items() if now_ms - at_ms >= LINGER_MS]:
            diff = self.evict(conn)
            if diff is not None:
                diffs.append(diff)
        return diffs

    def _drop(self, gateway: str) -> list[Diff]:
        del self.down[gateway]
        gone = [conn for conn in self.sockets.drop(gateway) if not self.sockets.has(conn)]
        return [diff for conn in gone if (diff := self.evict(conn)) is not None]

    def _hide(self, gateway: str, now_ms: int) -> list[Diff]:
        """Hides whoever has no socket but on gateways that can't be reached for long."""
        diffs = []
        for conn in self.sockets.replicas[gateway].rows.keys() - self.hidden:
            holders = [self.down.get(other, now_ms) for other in self.sockets.gateways_of(conn)]
            if all(now_ms - since_ms >= HIDDEN_AFTER_MS for since_ms in holders):
                self.hidden.add(conn)
                known = self.by_conn[conn]
                diffs.append(Diff(known.user, [], [known.meta()]))
        return diffs

    def _forget(self, conn: str) -> None:
        gone = self.by_conn.pop(conn)
        self.lost.pop(conn, None)
        self.hidden.discard(conn)
        own = self.by_user[gone.user]
        own.remove(conn)
        if not own:
            del self.by_user[gone.user]
