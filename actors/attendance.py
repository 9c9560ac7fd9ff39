"""Who hears a room, who watches its presence, who is there. State and pure functions, used by room.py's step.

A connection is present with a `stream` subscription, and only then. `cache` and `passive` ones hear without
being there, watchers see who is.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from actors import messages as wire
from actors.effects import Effect, Fan
from actors.occupancy import Occupancy
from actors.orswot import SocketSet
from actors.presence import Diff, Presence, PresenceSet
from actors.protocol import ErrorCode

SAMPLED_ABOVE = 10_000
"""In a room with more people presence is a sample and a count, and diffs are counts (PRE-4)."""

COMPLETE_BELOW = 0.9
"""It is complete again with so much fewer."""

SAMPLE = 100

EPOCH_BITS = 32
"""See `Attendance.said`."""

METAS_AT_ONCE = 200
"""How many leaves of a dead gateway share a push."""


@dataclass(slots=True)
class Listeners:
    """Connections that hear something without being there."""

    sockets: SocketSet = field(default_factory=SocketSet)
    users: dict[str, str] = field(default_factory=dict)
    """Connection → its user."""
    occupancy: Occupancy = field(default_factory=Occupancy)

    def add(self, gateway: str, message: wire.Subscribe) -> None:
        """A subscription."""
        if self.sockets.add(gateway, message.conn, message.birth, message.settled):
            self.users[message.conn] = message.user
            self.occupancy.occupied(gateway, message.birth)

    def remove(self, gateway: str, message: wire.Unsubscribe) -> None:
        """It ended."""
        if self.sockets.remove(gateway, message.conn, message.birth, message.settled):
            self._forget([message.conn])
            if not message.birth and not self.sockets.holds(gateway):
                self.occupancy.lost(gateway)  # a peer without a clock has no cooldown either

    def told(self, gateway: str, settled: int) -> None:
        """See PresenceSet.told; nobody lingers here."""
        self._forget(self.sockets.void(gateway, settled))
        self.occupancy.vacant(gateway, settled)

    def lost(self, gateway: str) -> None:
        """The gateway can't be reached: its members tell themselves anew."""
        self._forget(self.sockets.drop(gateway))
        self.occupancy.lost(gateway)

    def evict(self, user: str) -> bool:
        """Ends what a user has; whether there was anything."""
        conns = [conn for conn, who in self.users.items() if who == user]
        for conn in conns:
            for gateway in self.sockets.gateways_of(conn):
                self.sockets.remove(gateway, conn, self.sockets.replicas[gateway].rows[conn])
        self._forget(conns)
        return bool(conns)

    def _forget(self, conns: Iterable[str]) -> None:
        for conn in conns:
            if not self.sockets.has(conn):
                self.users.pop(conn, None)


@dataclass(slots=True)
class Attendance:
    """Everybody whom a room knows of through gateways."""

    presence: PresenceSet = field(default_factory=PresenceSet)
    hearing: Occupancy = field(default_factory=Occupancy)
    """Gateways with `stream` or `cache` subscriptions."""
    caching: Listeners = field(default_factory=Listeners)
    passive: Listeners = field(default_factory=Listeners)
    watchers: Listeners = field(default_factory=Listeners)
    counted: tuple[int, int] = (0, 0)
    """What the passive were last told."""
    is_sampled: bool = False
    sampled: list[Presence] = field(default_factory=list)
    """The sample of this second."""
    people_told: tuple[bool, int] = (False, 0)
    """What watchers were last told of sampling and count."""
    said: int = 0
    """The number of the last presence push: the slot's epoch when the room began anew (upper bits), and how
    many pushes since. Two owners' links have no common order: gateways drop what is older, and ask again
    where something is missing (PRE-3).
    """

    @property
    def is_empty(self) -> bool:
        """Nobody hears or sees anything here."""
        return not (self.presence.by_conn or self.caching.users or self.passive.users or self.watchers.users)

    @property
    def subs(self) -> int:
        """Living `stream` and `cache` subscriptions."""
        there = self.presence
        return len(there.by_conn) - len(there.lost) - len(there.hidden) + len(self.caching.users)

    # -- who is there ------------------------------------------------------------------------------------

    def says(self) -> int:
        """The number of the next presence push."""
        self.said += 1
        return self.said

    def reviewed(self) -> bool:
        """Whether presence is a sample, which depends on how many there are."""
        limit = SAMPLED_ABOVE * (COMPLETE_BELOW if self.is_sampled else 1)
        self.is_sampled = self.presence.count > limit
        return self.is_sampled

    def people(self, hidden: frozenset[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Metas of everybody whom a viewer may see, and the count; of a large room a sample."""
        if not self.reviewed():
            metas = self.presence.metas(hidden)
            return metas, {"count": len(metas)}
        if not self.sampled:
            self.sampled = self.presence.sample(SAMPLE)
        metas = [each.meta() for each in self.sampled if each.user not in hidden]
        return metas, {"count": self.presence.count, "sampled": True}

    # -- subscriptions -----------------------------------------------------------------------------------

    def subscribe(self, gateway: str, message: wire.Subscribe) -> Diff | None:
        """A subscription of the room itself, in one of its modes."""
        if message.mode == "passive":
            self.passive.add(gateway, message)
            return None
        if message.mode == "cache":
            self.caching.add(gateway, message)
            self.hearing.occupied(gateway, message.birth)
            return None
        info = None if message.info is None else msgspec.json.decode(message.info)
        presence = Presence(message.conn, message.user, message.device, message.since_ms, info)
        diff = self.presence.join(presence, gateway, message.birth, message.settled)
        self.hearing.occupied(gateway, message.birth)
        return diff

    def unsubscribe(self, gateway: str, message: wire.Unsubscribe, now_ms: int) -> Diff | None:
        """A subscription of the room ended. A goodbye of somebody who is not known here (said while the room
        moved) is passed on: those who watch may still see them.
        """
        conn = message.conn
        was_known = any(
            conn in known for known in (self.presence.by_conn, self.caching.users, self.passive.users)
        )
        self.passive.remove(gateway, message)
        self.caching.remove(gateway, message)
        diff = self.presence.leave(
            conn, gateway, now_ms, clean=message.clean, birth=message.birth, settled=message.settled
        )
        if not message.birth and not (
            self.presence.sockets.holds(gateway) or self.caching.sockets.holds(gateway)
        ):
            self.hearing.lost(gateway)
        if message.clean and not was_known and conn:
            return Diff(message.user, [], [{"u": message.user, "ref": conn}])
        return diff

    def vacant(self, ch: str, gateway: str, clock: int) -> None:
        """Nobody at the gateway has held the channel for a while."""
        if ch.startswith("presence:"):
            self.watchers.occupancy.vacant(gateway, clock)
        else:
            self.hearing.vacant(gateway, clock)
            self.passive.occupancy.vacant(gateway, clock)

    # -- gateways ----------------------------------------------------------------------------------------

    def told(self, gateway: str, settled: int, now_ms: int) -> None:
        """The gateway has told anew all that it holds here."""
        self.presence.told(gateway, settled, now_ms)
        self.hearing.vacant(gateway, settled)
        for listeners in (self.caching, self.passive, self.watchers):
            listeners.told(gateway, settled)

    def gateway_lost(self, gateway: str, now_ms: int) -> None:
        """A gateway's link is gone: its members are not heard, and shown for a while yet (PRE-2)."""
        self.presence.gateway_lost(gateway, now_ms)
        self.hearing.lost(gateway)
        for listeners in (self.caching, self.passive, self.watchers):
            listeners.lost(gateway)

    def moved(self, now_ms: int) -> None:
        """A new owner took this over: every gateway must show that it lives (it tells anew)."""
        for gateway in list(self.presence.sockets.replicas):
            self.presence.gateway_lost(gateway, now_ms)


# -- what is told ------------------------------------------------------------------------------------------


def announced(
    attendance: Attendance, ch: str, slot: int, diffs: Iterable[Diff], blocked: dict[str, frozenset[str]]
) -> list[Effect]:
    """Diffs to everybody who watches; those that nobody is hidden from share a push. Of a large room only
    the count is told, once a second.
    """
    if attendance.reviewed():
        return []
    effects: list[Effect] = []
    targets = attendance.watchers.occupancy.gateways
    joins: list[Any] = []
    leaves: list[Any] = []

    def flush() -> None:
        if joins or leaves:
            together = msgspec.json.encode(joins), msgspec.json.encode(leaves)
            push = wire.PushPresence(ch, "", *together, None, attendance.says())
            effects.append(Fan(targets, push, slot))
            joins.clear()
            leaves.clear()

    for diff in diffs:
        hide = blocked.get(diff.user)
        if hide:
            push = wire.PushPresence(ch, diff.user, *diff.wire(), list(hide), attendance.says())
            effects.append(Fan(targets, push, slot))
            continue
        joins += diff.joins
        leaves += diff.leaves
        if len(joins) + len(leaves) >= METAS_AT_ONCE:
            flush()
    flush()
    return effects


def counts(attendance: Attendance, ch: str, slot: int, offset: int) -> list[Effect]:
    """Counters for the passive, where they changed since they were told."""
    now = (attendance.subs, offset)
    if now == attendance.counted or not attendance.passive.users:
        return []
    attendance.counted = now
    return [Fan(attendance.passive.occupancy.gateways, wire.PushCounts(ch, *now), slot)]


def people_counted(attendance: Attendance, ch: str, slot: int) -> list[Effect]:
    """Once a second: how many are in a large room, where that changed; or that it is large no more."""
    attendance.sampled = []
    now = (attendance.reviewed(), attendance.presence.count if attendance.is_sampled else 0)
    if now == attendance.people_told:
        return []
    attendance.people_told = now
    push = wire.PushPeople(ch, attendance.presence.count, now[0], attendance.says())
    return [Fan(attendance.watchers.occupancy.gateways, push, slot)]


def evicted(
    attendance: Attendance,
    channels: tuple[str, str],
    slot: int,
    user: str,
    blocked: dict[str, frozenset[str]],
) -> list[Effect]:
    """The user is no member any more: what they have here ends. `channels`: the room's and its presence's."""
    effects: list[Effect] = []
    room, presence = channels
    conns = attendance.presence.conns_of(user)
    hears = bool(conns)
    diffs = [diff for conn in conns if (diff := attendance.presence.evict(conn)) is not None]
    effects += announced(attendance, presence, slot, diffs, blocked)
    hears |= attendance.caching.evict(user)
    counting = attendance.passive.evict(user)
    reason = "no longer a member"
    for ch, targets in (
        (room, (attendance.hearing.gateways if hears else ()) + (
            attendance.passive.occupancy.gateways if counting else ())),
        (presence, attendance.watchers.occupancy.gateways if attendance.watchers.evict(user) else ()),
    ):  # fmt: skip
        if targets:
            push = wire.Unsubscribed(ch, user, ErrorCode.DENIED, reason)
            effects.append(Fan(tuple(dict.fromkeys(targets)), push, slot))
    return effects


def vanished(attendance: Attendance, ch: str, slot: int, user: str, others: frozenset[str]) -> list[Effect]:
    """`user` disappears from the presence that `others` see."""
    own = [attendance.presence.by_conn[conn] for conn in attendance.presence.conns_of(user)]
    leaves = msgspec.json.encode([p.meta() for p in own])
    if not others or not own:
        return []
    everybody_else = [who for who in attendance.watchers.users.values() if who not in others]
    push = wire.PushPresence(ch, user, b"[]", leaves, everybody_else or None, attendance.says())
    return [Fan(attendance.watchers.occupancy.gateways, push, slot)]
