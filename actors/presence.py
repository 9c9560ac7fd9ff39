"""Who is in a room: one meta per subscription, with a grace for sockets that were lost (PRE-2).

Pure. A person may be there with several devices; each subscription has its own `ref`. One that comes back
on the same device replaces the lost one in one step: a join with `prev` and the old one's leave.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

LINGER_MS = 15_000
"""How long a lost socket's owner is still shown."""


@dataclass(slots=True)
class Presence:
    """One subscription. `lost_at_ms` is set while its socket is gone and it is still shown."""

    conn: str
    gateway: str
    user: str
    device: str
    since_ms: int
    info: Any = None
    prev: str = ""
    lost_at_ms: int | None = None

    def meta(self) -> dict[str, Any]:
        """The meta as it goes to clients."""
        meta: dict[str, Any] = {
            "u": self.user,
            "ref": self.conn,
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
    """The subscriptions of a room by connection."""

    by_conn: dict[str, Presence] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)

    def metas(self, hidden: Iterable[str] = ()) -> list[dict[str, Any]]:
        """Everybody shown, but for the hidden."""
        unseen = set(hidden)
        return [p.meta() for p in self.by_conn.values() if p.user not in unseen]

    def join(self, presence: Presence) -> Diff | None:
        """Adds a subscription; None where it only came back unchanged."""
        known = self.by_conn.get(presence.conn)
        if known is not None:
            known.gateway = presence.gateway
            known.lost_at_ms = None
            self.lost.discard(presence.conn)
            return None
        left = []
        for conn in self.lost:
            old = self.by_conn[conn]
            if old.user == presence.user and old.device == presence.device:
                left.append(old)
        for old in left:
            presence.prev = old.conn
            del self.by_conn[old.conn]
            self.lost.discard(old.conn)
        self.by_conn[presence.conn] = presence
        return Diff(presence.user, [presence.meta()], [old.meta() for old in left])

    def leave(self, conn: str) -> Diff | None:
        """Removes a subscription at once; None where there was none."""
        gone = self.by_conn.pop(conn, None)
        self.lost.discard(conn)
        return None if gone is None else Diff(gone.user, [], [gone.meta()])

    def lose(self, conn: str, now_ms: int) -> None:
        """The socket went away without a word: shown for a while yet."""
        presence = self.by_conn.get(conn)
        if presence is not None and presence.lost_at_ms is None:
            presence.lost_at_ms = now_ms
            self.lost.add(conn)

    def lose_gateway(self, gateway: str, now_ms: int) -> None:
        """A gateway died with all its sockets."""
        for presence in self.by_conn.values():
            if presence.gateway == gateway:
                self.lose(presence.conn, now_ms)

    def expire(self, now_ms: int) -> list[Diff]:
        """Drops those whose grace is over."""
        due = [c for c in self.lost if now_ms - (self.by_conn[c].lost_at_ms or 0) >= LINGER_MS]
        return [diff for conn in due if (diff := self.leave(conn)) is not None]
