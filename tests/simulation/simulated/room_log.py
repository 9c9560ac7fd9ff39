"""Rooms' logs in memory, with the semantics of storage/messages.py: fences, compare-and-set, whole batches.

One contract suite runs on both (test_room_log.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from storage.messages import FENCED, MOVED_ON, Advance, RoomRecord, Row


class _FencedError(asyncpg.PostgresError):
    sqlstate = FENCED


class _MovedOnError(asyncpg.PostgresError):
    sqlstate = MOVED_ON


@dataclass
class Room:
    """One room and its log."""

    durable: bool
    epoch: str
    members: dict[str, str]
    rows: list[Row] = field(default_factory=list)


@dataclass
class RoomLog:
    """All rooms. `epoch_of` says which epoch a slot has now; `on_append` sees what was accepted."""

    epoch_of: Callable[[int], int]
    rooms: dict[str, Room] = field(default_factory=dict)
    cids: dict[tuple[str, str, str], Row] = field(default_factory=dict)
    on_append: Callable[[str, Sequence[tuple[int, int]], Sequence[Advance]], None] = lambda *_: None
    checks_fences: bool = True

    def append(
        self,
        who: str,
        fences: Sequence[tuple[int, int]],
        advances: Sequence[Advance],
        rows: Sequence[Row],
    ) -> None:
        """As storage.messages.append; `who` appends."""
        if self.checks_fences and any(self.epoch_of(slot) != epoch for slot, epoch in fences):
            raise _FencedError("slot epoch is not current")
        for each in advances:
            if each.room not in self.rooms or len(self.rooms[each.room].rows) != each.before:
                raise _MovedOnError("a room moved on without its sequencer")
        fresh = [(row.room, row.sender, row.cid) for row in rows if row.cid]
        if len(set(fresh)) < len(fresh) or any(key in self.cids for key in fresh):
            raise asyncpg.UniqueViolationError("message_cids_pkey")
        self.on_append(who, fences, advances)
        for row in rows:
            self.rooms[row.room].rows.append(row)
            if row.cid:
                self.cids[row.room, row.sender, row.cid] = row

    def find_cids(
        self, keys: Sequence[tuple[str, str, str]]
    ) -> dict[tuple[str, str, str], tuple[int, int, str]]:
        """As storage.messages.find_cids."""
        found = {key: self.cids[key] for key in keys if key in self.cids}
        return {key: (row.offset, row.sent_at_ms, row.id) for key, row in found.items()}

    def last_offset(self, room: str) -> int | None:
        """As storage.messages.last_offset."""
        return len(self.rooms[room].rows) if room in self.rooms else None

    def page(self, room: str, *, after: int, before: int, limit: int, newest_first: bool) -> list[Row]:
        """As storage.messages.page."""
        held = [row for row in self.rooms[room].rows if after < row.offset < before]
        return held[::-1][:limit] if newest_first else held[:limit]

    def load_room(self, room: str, newest: int) -> RoomRecord | None:
        """As storage.messages.load_room; nobody blocks anybody here."""
        found = self.rooms.get(room)
        if found is None:
            return None
        rows = found.rows[-newest:] if found.durable else []
        last = len(found.rows)
        return RoomRecord(found.durable, False, found.epoch, last, dict(found.members), {}, list(rows))

    def load_members(self, room: str) -> tuple[dict[str, str], dict[str, frozenset[str]]]:
        """As storage.messages.load_members."""
        return dict(self.rooms[room].members), {}

    def calls(self) -> dict[str, Callable[..., Any]]:
        """What stands in for the functions of storage.messages, by name."""
        return {
            "find_cids": self.find_cids,
            "last_offset": self.last_offset,
            "page": self.page,
            "load_room": self.load_room,
            "load_members": self.load_members,
        }
