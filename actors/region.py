"""A region (an H3 res-5 cell): who is within reach of it, and who wants to know. State and pure step.

It knows snapped places only, so no query can reach a true one (GEO-20). Users whose place lies within
5 km of the region are in it as well (GEO-7), so a viewer asks one region only.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from actors import messages as wire
from actors.effects import Answer, Asker, Effect
from actors.messages import CandidateRow
from geo.cells import Cell, parent_of, resolution_of
from geo.distance import distances_m
from geo.privacy import RES_ANONYMITY_COARSEST, coarse, coarsen_to_k

CANDIDATES_LIMIT = 500
"""Rows for one viewer, before the viewer's own filters."""

RATE_OVER_MS = 5_000
CHANGE_OVER_MS = 10_000
"""After a split everybody has told the children by then."""

POSITION_TTL_MS = 15 * 60_000
"""A place without a newer fix is not shown any longer."""


@dataclass(slots=True)
class Watch:
    """One viewer: where (snapped), how far, and what they were told last."""

    lat: float
    lon: float
    radius_m: float
    told: list[CandidateRow] | None = None


@dataclass(slots=True)
class RegionState:
    """Who is in reach, by user."""

    region: str
    k: int
    places: dict[str, wire.RegionEnter] = field(default_factory=dict)
    watches: dict[str, Watch] = field(default_factory=dict)
    changed: bool = False
    entered: int = 0
    """Announcements since `counted_at_ms`."""
    counted_at_ms: int = 0
    position_ttl_ms: int = POSITION_TTL_MS
    split_at_ms: int = 0
    """Its children stand in for it since then: it forgets nobody until all have changed over, then all."""
    unsaved: set[str] = field(default_factory=set)
    """Whose rows the snapshot does not have yet, as they are now."""
    _cells: Counter[str] = field(default_factory=Counter)

    @property
    def is_idle(self) -> bool:
        """Nobody is here and nobody asks."""
        return not self.places and not self.watches

    def crowd(self, cell: Cell) -> int:
        """Users in a cell, at any resolution."""
        if cell in self._cells:
            return self._cells[cell]
        return 0

    def count(self) -> None:
        """Counts the users of each cell and of its ancestors up to res 6 (GEO-21)."""
        self._cells = Counter()
        for place in self.places.values():
            cell = Cell(place.cell)
            self._cells[cell] += 1
            for res in range(resolution_of(cell) - 1, RES_ANONYMITY_COARSEST - 1, -1):
                self._cells[parent_of(cell, res)] += 1


def step(state: RegionState, message: wire.Request, asker: Asker) -> list[Effect]:
    """One message to the region. What it changes is told at the next `tick`."""
    if isinstance(message, wire.RegionEnter):
        state.entered += 1
        known = state.places.get(message.user)
        if message.online is None and known is not None:
            message.online = known.online
        state.places[message.user] = message
        state.unsaved.add(message.user)
        if known is None or (known.cell, known.audience, known.precision, known.online) != (
            message.cell,
            message.audience,
            message.precision,
            message.online,
        ):
            state.changed = True
    elif isinstance(message, wire.RegionLeave) and not state.split_at_ms:
        _forget(state, [message.user])
    elif isinstance(message, wire.RegionWatch):
        if message.radius_m <= 0:
            state.watches.pop(message.viewer, None)
            return [Answer(asker, [])]
        watch = Watch(message.lat, message.lon, message.radius_m)
        if state.changed:
            state.count()
        rows = _Places(state).around(message.viewer, watch)
        if message.keep:
            watch.told = rows
            state.watches[message.viewer] = watch
        return [Answer(asker, rows)]
    return [Answer(asker, {})]


def is_too_much(state: RegionState, now_ms: int, users: int, updates_per_s: float) -> bool:
    """Whether the region has more than so many users, or had more updates over the last 5 s (ACT-10)."""
    passed_ms = now_ms - state.counted_at_ms
    if passed_ms < RATE_OVER_MS:
        return len(state.places) > users
    rate = state.entered * 1000 / passed_ms if state.counted_at_ms else 0.0
    state.entered, state.counted_at_ms = 0, now_ms
    return rate > updates_per_s or len(state.places) > users


def tick(state: RegionState, now_ms: int) -> list[wire.RegionCandidates]:
    """Who must be told what, since the last tick."""
    if state.split_at_ms and now_ms - state.split_at_ms > CHANGE_OVER_MS:
        _forget(state, list(state.places))
        state.watches.clear()
        state.changed = False
        return []
    stale = [user for user, place in state.places.items() if now_ms - place.t_ms > state.position_ttl_ms]
    _forget(state, stale)
    if not state.changed or not state.watches:
        return []  # what changed while nobody asks is counted when somebody does
    state.changed = False
    state.count()
    places = _Places(state)
    told = []
    for viewer, watch in state.watches.items():
        rows = places.around(viewer, watch)
        if rows != watch.told:
            watch.told = rows
            told.append(wire.RegionCandidates(0, viewer, state.region, rows))
    return told


def _forget(state: RegionState, users: list[str]) -> None:
    for user in users:
        if state.places.pop(user, None) is not None:
            state.unsaved.add(user)
            state.changed = True


class _Places:
    """The region's places as arrays, each in the cell that enough people share."""

    def __init__(self, state: RegionState) -> None:
        shown = []
        for user, place in state.places.items():
            cell = Cell(place.cell) if state.k <= 1 else coarsen_to_k(Cell(place.cell), state.crowd, state.k)
            if cell is not None:
                shown.append((user, cell, place))
        self._shown = shown
        centres = [coarse(cell) if cell != p.cell else p for _, cell, p in shown]
        self._lats = np.array([c.lat for c in centres], dtype=np.float64)
        self._lons = np.array([c.lon for c in centres], dtype=np.float64)

    def around(self, viewer: str, watch: Watch) -> list[CandidateRow]:
        """Everybody but the viewer within the radius by snapped distance, nearest first, ties by user."""
        if not self._shown:
            return []
        # To the millimetre, so that rounding in the arithmetic cannot order two equal distances.
        metres = np.round(distances_m(watch.lat, watch.lon, self._lats, self._lons), 3)
        within = np.flatnonzero(metres <= watch.radius_m)
        rows = [
            CandidateRow(user, cell, place.audience, place.precision, float(metres[i]), bool(place.online))
            for i in within
            for user, cell, place in (self._shown[i],)
            if user != viewer
        ]
        rows.sort(key=lambda row: (row.distance_m, row.user))
        return rows[:CANDIDATES_LIMIT]
