"""All fences as a shard sees them: one index for everybody's fixes, one rule book (GEO-13, GEO-15).

Fences are few and change seldom, people many: so each shard keeps the whole index, and a person's crossings
are decided where the person is, in the order of their fixes (PRE-5).
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np

from geo.crossings import Rules, rules_of
from geo.distance import Floats
from geo.fences import FenceIndex, Indexes
from geo.geojson import ShapeError, parse_shape
from geo.shapes import Flags, Shape
from identity.audience import Relation, allows
from storage.fences import FenceRow
from storage.streams import UserRecord

log = logging.getLogger("hereabouts.fence")

REMOVED = "fence_removed"
EXPIRED = "fence_expired"
NOT_IN_AUDIENCE = "not_in_audience"
HIDDEN = "hidden"

NEVER_MS = 2**53


@dataclass(frozen=True, slots=True)
class Fence:
    """One live fence. `room` is empty where the fence moves nobody."""

    fence: str
    owner: str
    audience: str
    room: str
    by_app: bool


def why_not(fence: Fence, user: str, record: UserRecord) -> str:
    """Why the fence may not notice this person; empty where it may (GEO-14).

    Who hides from everybody is noticed by no fence but their own.
    """
    if user == fence.owner:
        return ""
    relation = Relation(
        blocked=fence.owner in record.blocked,
        matched=fence.owner in record.matched,
        shares_group=fence.owner in record.group_mates,
    )
    if not allows(fence.audience, relation):
        return NOT_IN_AUDIENCE
    return HIDDEN if is_hidden(record) else ""


def is_hidden(record: UserRecord) -> bool:
    """Whether nobody may see where this person is now; a ghost, frozen or not, is to be seen elsewhere."""
    nobody = record.visibility_audience == "nobody" or record.visibility_precision == "hidden"
    return nobody or record.ghost is not None


class People(Protocol):
    """Who is at the positions of a batch."""

    def is_particular(self, index: int) -> bool:
        """Whether a fence for everyone may not be for this person."""

    def person(self, index: int) -> tuple[str, UserRecord]:
        """Who it is, and what stands between them and others."""


@dataclass(slots=True)
class FenceBook:
    """The fences that stand."""

    ttl_s: float
    fences: dict[str, Fence] = field(default_factory=dict)
    rules: dict[str, Rules] = field(default_factory=dict)
    index: FenceIndex = field(default_factory=lambda: FenceIndex([]))
    ended: dict[str, str] = field(default_factory=dict)
    """Fences that are no more → why, as far as that is known here."""
    expiring: dict[str, int] = field(default_factory=dict)
    """Fences that have an end → when."""
    expires_at_ms: int = NEVER_MS
    """When the first one expires."""

    def replace_all(self, rows: Iterable[FenceRow], ended: dict[str, str]) -> None:
        """Takes what stands for all there is."""
        self.fences, self.rules, self.expiring = {}, {}, {}
        self.ended = ended
        self.index = FenceIndex(self._read(rows), marked=self._particular(self.fences))
        self._find_first_to_expire()

    def change(
        self, fences: Iterable[str], rows: Iterable[FenceRow], ended: dict[str, str]
    ) -> frozenset[str]:
        """These fences changed: `rows` are those of them that stand. Returns those that were known before."""
        gone = frozenset(fence for fence in fences if fence in self.fences)
        for fence in gone:
            del self.fences[fence], self.rules[fence]
            self.expiring.pop(fence, None)
        self.ended |= ended
        came = self._read(rows)
        self.index = self.index.changed(came, gone, self._particular(fence for fence, _ in came))
        self._find_first_to_expire()
        return gone

    def expire(self, now_ms: int) -> frozenset[str]:
        """Takes out what has expired; returns it."""
        if now_ms < self.expires_at_ms:
            return frozenset()
        over = [fence for fence, at_ms in self.expiring.items() if at_ms <= now_ms]
        return self.change(over, [], dict.fromkeys(over, EXPIRED))

    def _particular(self, fences: Iterable[str]) -> set[str]:
        """Those that are not for everyone."""
        return {fence for fence in fences if self.fences[fence].audience != "everyone"}

    def _find_first_to_expire(self) -> None:
        self.expires_at_ms = min(self.expiring.values(), default=NEVER_MS)

    def _read(self, rows: Iterable[FenceRow]) -> list[tuple[str, Shape]]:
        """Notes the rows. A shape that can't be read is left out, and said so."""
        read: list[tuple[str, Shape]] = []
        for row in rows:
            try:
                # A fence's shape never changes: one that is known need not be read again.
                shape = self.index.shape_of(row.fence) or parse_shape(json.loads(row.shape))
            except ShapeError as error:
                log.warning("fence %s is left out: %s", row.fence, error)
                continue
            shape.geometry = {}  # a few hundred bytes that nobody asks a shard for
            if row.expires_at is not None:
                self.expiring[row.fence] = round(row.expires_at.timestamp() * 1000)
            self.rules[row.fence] = rules_of(shape, row.confirm_fixes, row.dwell_s, row.gap_s, self.ttl_s)
            self.fences[row.fence] = Fence(row.fence, row.owner, row.audience, row.room or "", row.by_app)
            read.append((row.fence, shape))
        return read

    def holding(self, lats: Floats, lons: Floats, people: People) -> dict[int, tuple[str, ...]]:
        """The fences that hold each position and may notice whose it is, sorted; positions in none are left
        out. `people` are asked only where a fence is near.
        """
        if not self.fences or not lats.size:
            return {}
        index = self.index

        def admits(positions: Indexes, fences: Indexes) -> Flags:
            """Before the exact test. Most fences are for everyone, and most people block nobody."""
            is_particular: Flags = np.zeros(lats.size, dtype=np.bool_)
            near = np.unique(positions)
            is_particular[near] = [people.is_particular(each) for each in near.tolist()]
            doubtful = np.flatnonzero(index.marked[fences] | is_particular[positions])
            found: Flags = np.ones(positions.size, dtype=np.bool_)
            for at in doubtful.tolist():
                fence = self.fences[index.ids[fences[at]]]
                found[at] = not why_not(fence, *people.person(int(positions[at])))
            return found

        positions, fences = index.hits(lats, lons, admits)
        if not positions.size:
            return {}
        ids = [index.ids[fence] for fence in fences.tolist()]
        starts = np.flatnonzero(np.diff(positions, prepend=-1))
        bounds = [*starts.tolist(), len(ids)]
        at = positions[starts].tolist()
        return {
            position: (ids[start],) if end - start == 1 else tuple(sorted(ids[start:end]))
            for position, (start, end) in zip(at, pairwise(bounds), strict=True)
        }
