"""Who of a shard's people is online, and who wants to know. Pure (PRE-1, PRE-2, PRE-5).

The mechanics are a room's (presence.py, orswot.py): a person's connections are rows that gateways tell, with
births, a grace for lost sockets, and gateways that can't be reached. What is different is that nearly
everybody has one connection that nobody asks about. So this is a part of a person's actor that needs no
activation, and a row is a tuple until there is more to say.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from actors import messages as wire
from actors.orswot import Replica
from actors.presence import LINGER_MS, Diff, Presence, PresenceSet


class Row(NamedTuple):
    """The one living connection of somebody whom nobody watches."""

    conn: str
    device: str
    since_ms: int
    gateway: str
    birth: int


@dataclass(slots=True)
class Online:
    """One person, where there is more to say."""

    presence: PresenceSet = field(default_factory=PresenceSet)
    watchers: set[str] = field(default_factory=set)
    """Those of their matches who want to know."""
    left: set[str] = field(default_factory=set)
    """Refs that left since the watchers were told."""
    is_untold: bool = False


Entry = Row | Online


@dataclass(slots=True)
class OnlineTable:
    """The people of a shard, by slot."""

    slots: dict[int, dict[str, Entry]] = field(default_factory=dict)
    replicas: dict[str, Replica] = field(default_factory=dict)
    """Of each gateway what has ended: its births rise over all of its channels, so one is enough."""
    waiting: set[tuple[int, str]] = field(default_factory=set)
    """Those for whom time alone will change something."""
    begun_ms: dict[int, int] = field(default_factory=dict)
    """Slots that began with nothing: gateways may not have told everybody yet."""

    # -- who is there -------------------------------------------------------------------------------------

    def metas(self, slot: int, user: str) -> list[dict[str, Any]]:
        """A person's connections, as presence shows them."""
        known = self.slots.get(slot, {}).get(user)
        if known is None:
            return []
        if isinstance(known, Row):
            return [Presence(known.conn, user, known.device, known.since_ms).meta()]
        return known.presence.metas()

    def is_online(self, slot: int, user: str) -> bool:
        """Whether a person is shown as online."""
        known = self.slots.get(slot, {}).get(user)
        return known is not None and (isinstance(known, Row) or known.presence.count > 0)

    def is_complete(self, slot: int, now_ms: int) -> bool:
        """Whether gateways had the time to tell of everybody."""
        return now_ms - self.begun_ms.get(slot, -LINGER_MS) >= LINGER_MS

    def known(self, slot: int, user: str) -> Online | None:
        """The person, where there is more to say than a row."""
        known = self.slots.get(slot, {}).get(user)
        return known if isinstance(known, Online) else None

    # -- what gateways say ----------------------------------------------------------------------------------

    def here(self, slot: int, message: wire.Here, gateway: str) -> None:
        """A connection is open. A late copy of one that has ended changes nothing."""
        people = self.slots.setdefault(slot, {})
        user, conn = message.user, message.conn
        replica = self._replica(gateway)
        known = people.get(user)
        has = known is not None and self._has(known, conn, gateway)
        is_late = message.birth <= max(replica.settled, replica.tombs.get(conn, 0))
        if not (is_late and not has):
            row = Row(conn, message.device, message.since_ms, gateway, message.birth)
            if known is None or (isinstance(known, Row) and has and known.device == row.device):
                people[user] = row
            else:
                online = self._open(slot, user)
                presence = Presence(conn, user, message.device, message.since_ms)
                _note(online, online.presence.join(presence, gateway, message.birth))
                self._close(slot, user)
        replica.settle(message.settled)

    def away(self, slot: int, message: wire.Away, gateway: str, now_ms: int) -> None:
        """A connection has ended, cleanly or not."""
        people = self.slots.get(slot, {})
        user, conn = message.user, message.conn
        replica = self._replica(gateway)
        known = people.get(user)
        if isinstance(known, Row) and self._has(known, conn, gateway) and known.birth <= message.birth:
            if message.clean:
                del people[user]
                known = None
        elif isinstance(known, Row):
            known = None
        if known is not None:
            online = self._open(slot, user)
            _note(
                online, online.presence.leave(conn, gateway, now_ms, clean=message.clean, birth=message.birth)
            )
            if (
                message.clean and conn not in online.presence.by_conn
            ):  # said while the slot moved, it may be news
                _note(online, Diff(user, [], [{"ref": conn}]))
            self._close(slot, user)
        if message.birth > max(replica.settled, replica.tombs.get(conn, 0)):
            replica.tombs[conn] = message.birth
        replica.settle(message.settled)

    def told(self, gateway: str, slots: Iterable[int], settled: int, now_ms: int) -> None:
        """The gateway has told all its connections of these slots anew: who is missing lost the socket."""
        for slot in slots:
            for user, known in list(self.slots.get(slot, {}).items()):
                if isinstance(known, Row) and (known.gateway != gateway or known.birth > settled):
                    continue
                self._open(slot, user).presence.told(gateway, settled, now_ms)
                self._close(slot, user)
        self._replica(gateway).settle(settled)

    def gateway_lost(self, gateway: str, now_ms: int, slots: Iterable[int]) -> None:
        """It can't be reached, said of these slots."""
        self.replicas.pop(gateway, None)
        for slot in slots:
            for user, known in list(self.slots.get(slot, {}).items()):
                if isinstance(known, Row) and known.gateway != gateway:
                    continue
                self._open(slot, user).presence.gateway_lost(gateway, now_ms)
                self._close(slot, user)

    def expire(self, slot: int, user: str, now_ms: int, is_dead: Callable[[str], bool]) -> None:
        """What time alone changes for one of those who wait."""
        online = self.known(slot, user)
        if online is None:
            self.waiting.discard((slot, user))
            return
        for diff in online.presence.expire(now_ms, is_dead):
            _note(online, diff)
        self._close(slot, user)

    # -- who wants to know ----------------------------------------------------------------------------------

    def watch(self, slot: int, user: str, viewer: str, *, on: bool) -> None:
        """`viewer` is to be told of `user`, or not any more."""
        if on:
            self.slots.setdefault(slot, {})
            self._open(slot, user).watchers.add(viewer)
        else:
            online = self.known(slot, user)
            if online is not None:
                online.watchers.discard(viewer)
                self._close(slot, user)

    def watched(self) -> list[tuple[int, str]]:
        """All whom somebody watches."""
        return [
            (slot, user)
            for slot, people in self.slots.items()
            for user, known in people.items()
            if isinstance(known, Online) and known.watchers
        ]

    def retell(self, slot: int, user: str) -> None:
        """What watchers may see has changed: they are to be told all there is."""
        online = self.known(slot, user)
        if online is not None:
            online.is_untold = True

    def untold(self, slot: int, user: str) -> bool:
        """Whether somebody waits to be told of this person."""
        online = self.known(slot, user)
        return online is not None and online.is_untold and bool(online.watchers)

    # -- slots that move ------------------------------------------------------------------------------------

    def begins(self, slots: Iterable[int], now_ms: int) -> None:
        """These slots came without what is known of their people."""
        self.begun_ms |= dict.fromkeys(slots, now_ms)

    def completed(self, now_ms: int) -> list[tuple[int, str]]:
        """Slots where everybody has been told of by now: whoever is watched there is told again."""
        complete = {slot for slot in self.begun_ms if self.is_complete(slot, now_ms)}
        if not complete:
            return []
        self.begun_ms = {slot: at_ms for slot, at_ms in self.begun_ms.items() if slot not in complete}
        due = [each for each in self.watched() if each[0] in complete]
        for slot, user in due:
            self.retell(slot, user)
        return due

    def take(self, slot: int, people: dict[str, Entry]) -> None:
        """What another shard knew."""
        self.slots[slot] = people
        for user in list(people):
            self._close(slot, user)

    def drop(self, slots: set[int]) -> None:
        """These slots are another shard's, or begin anew."""
        for slot in slots:
            self.slots.pop(slot, None)
            self.begun_ms.pop(slot, None)
        self.waiting = {each for each in self.waiting if each[0] not in slots}

    # -- rows -----------------------------------------------------------------------------------------------

    def _replica(self, gateway: str) -> Replica:
        replica = self.replicas.get(gateway)
        if replica is None:
            replica = self.replicas[gateway] = Replica()
        return replica

    @staticmethod
    def _has(known: Entry, conn: str, gateway: str) -> bool:
        if isinstance(known, Row):
            return known.conn == conn and known.gateway == gateway
        replica = known.presence.sockets.replicas.get(gateway)
        return replica is not None and conn in replica.rows

    def _open(self, slot: int, user: str) -> Online:
        """The person as a set; `_close` goes back to a row where that says it all."""
        known = self.slots[slot].get(user)
        if isinstance(known, Online):
            return known
        online = self.slots[slot][user] = Online()
        if known is not None:
            presence = Presence(known.conn, user, known.device, known.since_ms)
            online.presence.join(presence, known.gateway, known.birth)
        return online

    def _close(self, slot: int, user: str) -> None:
        online = self.known(slot, user)
        if online is None:
            return
        there = online.presence
        if there.waits:
            self.waiting.add((slot, user))
            return
        self.waiting.discard((slot, user))
        if online.watchers:
            return
        if not there.by_conn:
            del self.slots[slot][user]
            return
        row = _as_row(there)
        if row is not None:
            self.slots[slot][user] = row


def _as_row(there: PresenceSet) -> Row | None:
    """A single connection at a single gateway, with nothing more to say."""
    (one, *others) = there.by_conn.values()
    gateways = there.sockets.gateways_of(one.conn)
    if others or len(gateways) != 1 or there.hidden or one.ref or one.prev:
        return None
    birth = there.sockets.replicas[gateways[0]].rows[one.conn]
    return Row(one.conn, one.device, one.since_ms, gateways[0], birth)


def _note(online: Online, diff: Diff | None) -> None:
    if diff is not None:
        online.is_untold = True
        online.left |= {meta["ref"] for meta in diff.leaves}
        online.left -= {meta["ref"] for meta in diff.joins}
