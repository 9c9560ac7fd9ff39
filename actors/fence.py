"""All fences as a shard sees them: one index for everybody's fixes, one rule book (GEO-13, GEO-15).

Fences are few and change seldom, people many: so each shard keeps the whole index, and a person's crossings
are decided where the person is, in the order of their fixes (PRE-5).
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from geo.crossings import Crossing, Rules, Standing, close, rules_of
from geo.distance import Floats
from geo.fences import FenceIndex
from geo.geojson import ShapeError, parse_shape
from geo.shapes import Shape
from storage.fences import FenceRow

log = logging.getLogger("hereabouts.fence")

REMOVED = "fence_removed"


@dataclass(frozen=True, slots=True)
class Fence:
    """One live fence. `room` is empty where the fence moves nobody."""

    fence: str
    shape: Shape
    rules: Rules
    room: str


@dataclass(slots=True)
class FenceBook:
    """The fences of one version of the table."""

    fences: dict[str, Fence] = field(default_factory=dict)
    rules: dict[str, Rules] = field(default_factory=dict)
    index: FenceIndex = field(default_factory=lambda: FenceIndex([]))

    @classmethod
    def of(cls, rows: Sequence[FenceRow]) -> "FenceBook":
        """Builds the index. A shape that can't be read is left out, and said so."""
        fences: dict[str, Fence] = {}
        for row in rows:
            try:
                shape = parse_shape(json.loads(row.shape))
            except ShapeError as error:
                log.warning("fence %s is left out: %s", row.fence, error)
                continue
            judged = rules_of(shape, row.confirm_fixes, row.dwell_s)
            fences[row.fence] = Fence(row.fence, shape, judged, row.room or "")
        rules = {f.fence: f.rules for f in fences.values()}
        return cls(fences, rules, FenceIndex((f.fence, f.shape) for f in fences.values()))

    def holding(self, lats: Floats, lons: Floats) -> list[set[str]]:
        """For each position the fences that hold it, in one batch."""
        held: list[set[str]] = [set() for _ in range(lats.size)]
        if not self.fences or not held:
            return held
        positions, fences = self.index.hits(lats, lons)
        for position, fence in zip(positions.tolist(), fences.tolist(), strict=True):
            held[position].add(self.index.ids[fence])
        return held

    def closed(self, standings: dict[str, Standing], at_ms: int) -> list[tuple[str, Crossing]]:
        """Ends the visits to fences that are gone: one exit each (GEO-17)."""
        ended = []
        for fence_id in [f for f in standings if f not in self.fences]:
            _, crossing = close(standings.pop(fence_id), at_ms, REMOVED)
            if crossing is not None:
                ended.append((fence_id, crossing))
        return ended
