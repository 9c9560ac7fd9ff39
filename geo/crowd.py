"""How many people a cell has seen in a day, as far as k-anonymity asks (GEO-21).

A cell is open, that is, shown to strangers, while at least k distinct people were active in it within 24 h.
Exactly that is known from the k who were there last, so no more are kept of a cell. Someone who comes and
goes opens a cell once and closes nothing for a day; so nobody's steps flip what is shown of the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from geo.cells import RES_REGION, Cell, parent_of, resolution_of
from geo.privacy import coarsen_to_k

ACTIVE_MS = 24 * 3_600_000
AGAIN_MS = 10 * 60_000
"""Somebody who stays is noted this often; they count for up to so much less than a day."""

CELLS_A_PERSON = 16
"""Cells that one person counts in within a day: so few accounts can't open a city's cells one by one."""


@dataclass(slots=True)
class Crowd:
    """Of the cells of one region, at the resolutions that are announced and coarser."""

    k: int
    seen: dict[Cell, dict[int, int]] = field(default_factory=dict)
    """Cell → the at most k people who were there last, each by a number, and when; oldest first."""
    cells: dict[int, dict[Cell, int]] = field(default_factory=dict)
    """Person → the cells they count in, and when they were noted there last."""
    unsaved: set[Cell] = field(default_factory=set)
    """Cells of which a snapshot does not know what is here."""
    _open: set[Cell] = field(default_factory=set)

    def note(self, person: int, cell: Cell, now_ms: int) -> list[Cell]:
        """Somebody is in a cell, and in its ancestors; returns those that this opens."""
        if self.k <= 1:
            return []
        own = self.cells.setdefault(person, {})
        last_ms = own.get(cell)
        if last_ms is not None and now_ms - last_ms < AGAIN_MS:
            return []
        if last_ms is None and len(own) >= CELLS_A_PERSON:
            for old in [each for each, at_ms in own.items() if now_ms - at_ms > ACTIVE_MS]:
                del own[old]
            if len(own) >= CELLS_A_PERSON:
                return []
        own[cell] = now_ms
        opened = []
        for res in range(resolution_of(cell), RES_REGION - 1, -1):
            each = parent_of(cell, res)
            people = self.seen.setdefault(each, {})
            people.pop(person, None)
            people[person] = now_ms
            if len(people) > self.k:
                del people[next(iter(people))]
            self.unsaved.add(each)
            if len(people) >= self.k and each not in self._open:
                self._open.add(each)
                opened.append(each)
        return opened

    def expire(self, now_ms: int) -> list[Cell]:
        """Forgets what is older than a day; returns the cells that this closes."""
        for cell, people in list(self.seen.items()):
            old = [person for person, at_ms in people.items() if now_ms - at_ms > ACTIVE_MS]
            for person in old:
                del people[person]
            if old:
                self.unsaved.add(cell)
            if not people:
                del self.seen[cell]
        for person, own in list(self.cells.items()):
            for cell in [cell for cell, at_ms in own.items() if now_ms - at_ms > ACTIVE_MS]:
                del own[cell]
            if not own:
                del self.cells[person]
        closed = [cell for cell in self._open if len(self.seen.get(cell, ())) < self.k]
        self._open.difference_update(closed)
        return closed

    def under(self, ancestor: Cell) -> dict[Cell, dict[int, int]]:
        """What is known of a cell and of all within it."""
        res = resolution_of(ancestor)
        return {
            cell: dict(people)
            for cell, people in self.seen.items()
            if resolution_of(cell) >= res and parent_of(cell, res) == ancestor
        }

    def join(self, seen: Mapping[Cell, Mapping[int, int]]) -> list[Cell]:
        """Takes what another one knew; returns the cells that this opens."""
        for cell, people in seen.items():
            own = self.seen.get(cell, {})
            both = {**people, **{one: max(at_ms, people.get(one, 0)) for one, at_ms in own.items()}}
            last = sorted(both.items(), key=lambda one: one[1])[-self.k :]
            self.seen[cell] = dict(last)
            self.unsaved.add(cell)
        opened = [cell for cell in seen if len(self.seen[cell]) >= self.k and cell not in self._open]
        self._open.update(opened)
        return opened

    def forget(self) -> None:
        """Others know it now."""
        self.unsaved |= self.seen.keys()
        self.seen, self.cells, self._open = {}, {}, set()

    def restore(self, seen: Mapping[Cell, Mapping[int, int]], now_ms: int) -> None:
        """Starts from a snapshot."""
        self.join(seen)
        self.unsaved.clear()
        self.expire(now_ms)

    def shown(self, cell: Cell) -> Cell | None:
        """The cell that strangers may see of somebody in this one; None: they are hidden from them."""
        return cell if self.k <= 1 else coarsen_to_k(cell, self._count, self.k)

    def _count(self, cell: Cell) -> int:
        return self.k if cell in self._open else 0
