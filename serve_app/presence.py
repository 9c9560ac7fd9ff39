"""A presence channel on this gateway: who the members here were told is there (PRE-1, PRE-3).

The room's actor decides who may see whom and says so with each push (`hide`). This picture remembers what
was shown to whom, so that a new activation, which learns everything anew, changes nothing for anybody
unless somebody really came or went.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from actors import messages as wire
from actors.attendance import EPOCH_BITS, METAS_AT_ONCE
from serve_app.channel import Channel
from serve_app.connection import Connection

Meta = dict[str, Any]

_to_json = msgspec.json.Encoder().encode
_metas_of = msgspec.json.Decoder(list[dict[str, Any]]).decode


@dataclass(slots=True)
class Shown:
    """One meta, and the users here who do not see it."""

    meta: Meta
    hidden: set[str]


class PresenceChannel(Channel):
    """Pushes joins and leaves of metas (`j`, `l`)."""

    __slots__ = ("said", "shown")

    def __init__(self, name: str, n: int) -> None:
        super().__init__(name, n)
        self.shown: dict[str, Shown] = {}
        """By `ref`."""
        self.said = 0
        """The number of the last push that was taken, or that a reply knew of."""

    def takes(self, said: int) -> bool:
        """Whether a push is news: not one of an owner before, which came late."""
        if 0 < said <= self.said:
            return False
        self.said = max(self.said, said)
        return True

    def lacks(self, said: int) -> bool:
        """Whether a push comes after one that has not come, of the same life of the room."""
        return said > self.said + 1 and said >> EPOCH_BITS == self.said >> EPOCH_BITS

    def begins(self, connection: Connection, state: list[Meta]) -> None:
        """A new member was given `state` with its reply."""
        user = connection.user
        others = self.users.keys() - {user}
        given = {meta["ref"] for meta in state}
        for meta in state:
            shown = self.shown.get(meta["ref"])
            if shown is None:
                self.shown[meta["ref"]] = Shown(meta, set(others))
            else:
                shown.hidden.discard(user)
        for ref, shown in self.shown.items():
            if ref not in given:
                shown.hidden.add(user)

    def resumes(self, connection: Connection, state: list[Meta]) -> None:
        """A new activation gave `state` to a member again: what it has not seen yet has joined. Who is
        missing may only not have been announced yet; see `absent`.
        """
        user = connection.user
        joins = []
        for meta in state:
            shown = self.shown.get(meta["ref"])
            if shown is None:
                self.shown[meta["ref"]] = Shown(meta, self.users.keys() - {user})
                joins.append(meta)
            elif user in shown.hidden:
                shown.hidden.discard(user)
                joins.append(meta)
        for start in range(0, len(joins), METAS_AT_ONCE):
            self._tell(joins[start : start + METAS_AT_ONCE], [], {user})

    def people(self, push: wire.PushPeople) -> None:
        """The room is large: from now on there is a count. Or it is no more, and all begin from nothing."""
        self.shown = {}
        sampled = b"true" if push.sampled else b"false"
        self.put(self.head + b'"count":%d,"sampled":%s}' % (push.count, sampled))

    def change(self, push: wire.PushPresence) -> None:
        """A diff of one user."""
        hide = set(push.hide or ())
        seers = self.users.keys() - hide
        leaves = [meta for meta in _metas_of(push.leaves) if self._vanishes(meta["ref"], seers)]
        joins = []
        for meta in _metas_of(push.joins):
            shown = self.shown.get(meta["ref"])
            if shown is None:
                self.shown[meta["ref"]] = Shown(meta, hide)
                joins.append(meta)
            elif shown.hidden & seers or shown.meta.get("info") != meta.get("info"):
                shown.hidden -= seers
                shown.meta = meta
                joins.append(meta)
        self._tell(joins, leaves, seers)

    def absent(self, refs: set[str], viewer: str) -> None:
        """All that `viewer` may see now is `refs`: shown to it and not among them has left."""
        gone = [ref for ref, shown in self.shown.items() if viewer not in shown.hidden and ref not in refs]
        for ref in gone:
            shown = self.shown.pop(ref)
            self._tell([], [shown.meta], self.users.keys() - shown.hidden)

    def unchecked(self, viewers: set[str]) -> str | None:
        """A user here who sees something that none of `viewers` does; None when all has been checked."""
        for shown in self.shown.values():
            if viewers <= shown.hidden:
                for user in self.users:
                    if user not in shown.hidden:
                        return user
        return None

    def _vanishes(self, ref: str, seers: set[str]) -> bool:
        shown = self.shown.get(ref)
        if shown is None:
            return False
        was_seen = not seers <= shown.hidden
        shown.hidden |= seers
        if self.users.keys() <= shown.hidden:
            del self.shown[ref]
        return was_seen

    def _tell(self, joins: list[Meta], leaves: list[Meta], seers: set[str]) -> None:
        if not joins and not leaves:
            return
        parts = []
        if joins:
            parts.append(b'"j":' + _to_json(joins))
        if leaves:
            parts.append(b'"l":' + _to_json(leaves))
        index = self.put(self.head + b",".join(parts) + b"}")
        for user in self.users.keys() - seers:
            for connection in self.users[user]:
                self.instead(connection, index, b"")
