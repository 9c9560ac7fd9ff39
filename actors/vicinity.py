"""Who is in the regions that a shard follows, and in which cells: what the views of its people show. Pure.

Rows of several regions meet here. Each person's latest word counts, whichever region passes it on; whoever
moves from one region to the next stays until that one has told of them, so nobody flickers at a border.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple

from actors import messages as wire
from geo.cells import Cell
from geo.privacy import Audience, Precision, Relation, Visibility, view
from geo.proximity import band_of
from geo.rings import rings_around

MOVING_MS = 2_000
"""Whoever has left one region for another is shown where they were for so long, at the most."""

GONE_MS = 30_000
"""So long it is remembered that somebody left: what is older comes too late."""

_STRANGER = Relation()


class Seen(NamedTuple):
    """Somebody whom strangers at one cell may see."""

    distance_m: float
    user: str
    data: dict[str, Any]
    online: bool


class Walk:
    """All whom strangers at one cell may see, nearest first, ties by user; made as far as it is looked at,
    once for everybody there.
    """

    def __init__(self, rest: Iterator[Seen]) -> None:
        self._found: list[Seen] = []
        self._rest = rest

    def __iter__(self) -> Iterator[Seen]:
        yield from self._found
        for each in self._rest:
            self._found.append(each)
            yield each

    def first(self, count: int) -> list[Seen]:
        """The nearest ones, as many as there are up to `count`."""
        if len(self._found) < count:
            self._found.extend(islice(self._rest, count - len(self._found)))
        return self._found[:count]


@dataclass(slots=True)
class Vicinity:
    """The people of the regions that are followed."""

    people: dict[str, wire.RegionRow] = field(default_factory=dict)
    for_mates: set[str] = field(default_factory=set)
    """Those whom only matches and members of their groups may see."""
    changed: set[str] = field(default_factory=set)
    """Whose rows are others since `take_changes`."""
    changed_cells: set[Cell] = field(default_factory=set)
    """Cells in which strangers may see something else since then."""
    _homes: dict[str, str] = field(default_factory=dict)
    _open: dict[Cell, list[str]] = field(default_factory=dict)
    """Cell → whom strangers may see there, sorted."""
    _moving: dict[str, int] = field(default_factory=dict)
    _gone: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Who left for good: stamp, and when."""
    _walks: dict[Cell, Walk] = field(default_factory=dict)

    def apply(self, news: wire.RegionNews, now_ms: int) -> None:
        """Takes what a region tells."""
        region = news.region
        if news.since < 0:
            rows = {row.user for row in news.rows}
            for user in [user for user, home in self._homes.items() if home == region and user not in rows]:
                self._moving.setdefault(user, now_ms + MOVING_MS)
        for row in news.rows:
            self._put(region, row)
        for user, stamp, moved in news.gone:
            known = self.people.get(user)
            if moved:
                if known is not None and self._homes[user] == region and known.stamp <= stamp:
                    self._moving.setdefault(user, now_ms + MOVING_MS)
                continue
            self._gone[user] = (max(stamp, self._gone.get(user, (0, 0))[0]), now_ms)
            if known is not None and known.stamp <= stamp:
                self._remove(user)

    def forget(self, region: str) -> None:
        """The region is not followed any more."""
        for user in [user for user, home in self._homes.items() if home == region]:
            self._remove(user)

    def expire(self, now_ms: int) -> None:
        """Whoever moved to where nobody looks is gone by now."""
        for user in [user for user, until_ms in self._moving.items() if until_ms <= now_ms]:
            self._remove(user)
        for user in [user for user, (_, at_ms) in self._gone.items() if now_ms - at_ms > GONE_MS]:
            del self._gone[user]

    def take_changes(self) -> tuple[set[Cell], set[str]]:
        """Cells and people that changed since the last time."""
        cells, people = self.changed_cells, self.changed
        self.changed_cells, self.changed = set(), set()
        return cells, people

    def strangers(self, cell: Cell) -> Walk:
        """Whom strangers at a cell may see."""
        walk = self._walks.get(cell)
        if walk is None:
            walk = self._walks[cell] = Walk(self._nearest(cell))
        return walk

    def all_strangers(self) -> Iterator[Seen]:
        """Everybody whom strangers may see somewhere, in no order, with no distance."""
        for cell, users in self._open.items():
            for user in users:
                yield Seen(0.0, user, {"user": user, "cell": cell}, self.people[user].online)

    def _nearest(self, centre: Cell) -> Iterator[Seen]:
        for distance_m, cells in rings_around(centre).rings:
            here = [[(user, cell) for user in self._open[cell]] for cell in cells if cell in self._open]
            if not here:
                continue
            band = band_of(distance_m)
            for user, at in merge(*here) if len(here) > 1 else here[0]:
                data = {"user": user, "cell": at, "band": band}
                yield Seen(distance_m, user, data, self.people[user].online)

    def _put(self, region: str, row: wire.RegionRow) -> None:
        user, known = row.user, self.people.get(row.user)
        if known is not None and row.stamp <= known.stamp and region != self._homes[user]:
            return
        if row.stamp <= self._gone.get(user, (-1, 0))[0]:
            return
        self._moving.pop(user, None)
        self.people[user] = row
        self._homes[user] = region
        self.changed.add(user)
        if row.audience == Audience.GROUP:
            self.for_mates.add(user)
        else:
            self.for_mates.discard(user)
        before, cell = None if known is None else strangers_cell(known), strangers_cell(row)
        if known is not None and before == cell and known.online == row.online:
            return
        if before is not None:
            self._hide(user, before)
        if cell is not None:
            insort(self._open.setdefault(cell, []), user)
            self._touch(cell)

    def _remove(self, user: str) -> None:
        self._moving.pop(user, None)
        row = self.people.pop(user, None)
        if row is not None:
            del self._homes[user]
            self.changed.add(user)
            self.for_mates.discard(user)
            cell = strangers_cell(row)
            if cell is not None:
                self._hide(user, cell)

    def _hide(self, user: str, cell: Cell) -> None:
        here = self._open[cell]
        del here[bisect_left(here, user)]
        if not here:
            del self._open[cell]
        self._touch(cell)

    def _touch(self, cell: Cell) -> None:
        self.changed_cells.add(cell)
        self._walks.clear()


def strangers_cell(row: wire.RegionRow) -> Cell | None:
    """Where strangers see somebody, by the one policy; the region has seen to k."""
    if row.audience != Audience.EVERYONE or not row.open:
        return None
    visibility = Visibility(Audience.EVERYONE, Precision(row.precision))
    seen = view(Cell(row.open), visibility, _STRANGER, k=1, active_users_in=lambda _: 1)
    return None if seen is None else seen.cell
