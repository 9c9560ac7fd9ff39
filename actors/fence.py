"""All fences as a shard sees them: one index for everybody's fixes, one rule book (GEO-13, GEO-15).

Fences are few and change seldom, people many: so each shard keeps the whole index, and a person's crossings
are decided where the person is, in the order of their fixes (PRE-5).
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from geo.crossings import NEVER_SEEN, OUTSIDE, Crossing, Rules, Standing, close, observe, rules_of, step
from geo.fences import FenceIndex
from geo.fixes import Fix
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
            rules = rules_of(shape, row.confirm_fixes, row.dwell_s)
            fences[row.fence] = Fence(row.fence, shape, rules, row.room or "")
        return cls(fences, FenceIndex((f.fence, f.shape) for f in fences.values()))

    def holding(self, fixes: Sequence[Fix]) -> list[set[str]]:
        """For each fix the fences that hold it, in one batch."""
        held: list[set[str]] = [set() for _ in fixes]
        if not self.fences or not fixes:
            return held
        lats = np.array([fix.lat for fix in fixes], dtype=np.float64)
        lons = np.array([fix.lon for fix in fixes], dtype=np.float64)
        positions, fences = self.index.hits(lats, lons)
        for position, fence in zip(positions.tolist(), fences.tolist(), strict=True):
            held[position].add(self.index.ids[fence])
        return held

    def cross(
        self, standings: dict[str, Standing], fix: Fix, held: set[str], *, first: bool
    ) -> list[tuple[Fence, Crossing]]:
        """Moves a person's standings by one fix; the crossings that this completes.

        `first`: no fix of this person counted before, so inside is where they began.
        """
        crossings = []
        for fence_id in held | standings.keys():
            fence = self.fences.get(fence_id)
            if fence is None:
                continue
            seen = observe(fence.shape, fix, inside=fence_id in held)
            before = standings.get(fence_id, NEVER_SEEN if first else OUTSIDE)
            after, crossing = step(before, seen, fence.rules)
            if after.is_idle:
                standings.pop(fence_id, None)
            else:
                standings[fence_id] = after
            if crossing is not None:
                crossings.append((fence, crossing))
        return crossings

    def closed(self, standings: dict[str, Standing], at_ms: int) -> list[tuple[str, Crossing]]:
        """Ends the visits to fences that are gone: one exit each (GEO-17)."""
        ended = []
        for fence_id in [f for f in standings if f not in self.fences]:
            _, crossing = close(standings.pop(fence_id), at_ms, REMOVED)
            if crossing is not None:
                ended.append((fence_id, crossing))
        return ended
