"""Which fences hold which positions: an immutable index, asked in batches (GEO-13).

A large base with an index of its own, a small one of what came since, and marks on what went: a change costs
the small one. When that has grown, base and changes become one base again.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt
import shapely

from geo.boxes import BoxIndex
from geo.distance import Floats, distances_m
from geo.shapes import Area, Circle, Flags, Shape

Indexes = npt.NDArray[np.intp]
Admits = Callable[[Indexes, Indexes], Flags]
"""(position indexes, fence indexes), pairs that are near each other → which are to be tested at all."""

_CHANGES_AT_LEAST = 256


class _Forest:
    """Some fences with one index of their boxes: never changed once made."""

    __slots__ = (
        "box_of",
        "boxes",
        "centres",
        "ids",
        "index_of",
        "is_circle",
        "is_plain",
        "marked",
        "parts",
        "shapes",
    )

    def __init__(self, ids: Sequence[str], shapes: Sequence[Shape], marked: Collection[str]) -> None:
        self.ids: tuple[str, ...] = tuple(ids)
        self.shapes: tuple[Shape, ...] = tuple(shapes)
        self.index_of = {fence_id: index for index, fence_id in enumerate(self.ids)}
        self.marked: Flags = np.array([fence_id in marked for fence_id in self.ids], dtype=np.bool_)
        boxes = [(index, *box) for index, shape in enumerate(self.shapes) for box in shape.boxes()]
        table = np.array(boxes, dtype=np.float64).reshape(-1, 5)
        self.box_of: Indexes = table[:, 0].astype(np.intp)
        self.boxes = BoxIndex(table[:, 1:])
        self.centres: Floats = np.full((len(self.ids), 3), np.nan)
        """Latitude, longitude, radius_m of circles."""
        self.parts: npt.NDArray[np.object_] = np.full(len(self.ids), None, dtype=object)
        """The polygon of areas that are one, away from poles and ±180."""
        for index, shape in enumerate(self.shapes):
            if isinstance(shape, Circle):
                self.centres[index] = shape.centre.lat, shape.centre.lon, shape.radius_m
            elif isinstance(shape, Area):
                self.parts[index] = shape.plain_polygon
        self.is_circle: Flags = ~np.isnan(self.centres[:, 2])
        self.is_plain: Flags = np.array([part is not None for part in self.parts], dtype=np.bool_)

    def near(self, lats: Floats, lons: Floats) -> tuple[Indexes, Indexes]:
        """(position indexes, fence indexes) whose box holds the position, by fence."""
        at, boxes = self.boxes.holding(lats, lons)
        fences = self.box_of[boxes]
        order = np.lexsort([at, fences])
        at, fences = at[order], fences[order]
        if self.box_of.size > len(self.ids):  # several boxes of one fence may touch
            fresh = np.ones(at.size, dtype=np.bool_)
            fresh[1:] = (np.diff(at) != 0) | (np.diff(fences) != 0)
            at, fences = at[fresh], fences[fresh]
        return at, fences

    def covers(self, fences: Indexes, lats: Floats, lons: Floats) -> Flags:
        """Whether fence i covers position i, of many, by fence."""
        covered: Flags = np.zeros(fences.size, dtype=np.bool_)
        is_circle, is_plain = self.is_circle[fences], self.is_plain[fences]
        if is_circle.any():
            lat, lon, radius_m = self.centres[fences[is_circle]].T
            covered[is_circle] = distances_m(lat, lon, lats[is_circle], lons[is_circle]) <= radius_m
        if is_plain.any():
            parts = self.parts[fences[is_plain]]
            covered[is_plain] = shapely.intersects_xy(parts, lons[is_plain], lats[is_plain])
        others = np.flatnonzero(~is_circle & ~is_plain)
        starts = others[np.flatnonzero(np.diff(fences[others], prepend=-1))].tolist()
        for start, end in pairwise([*starts, fences.size]):
            asked = others[(others >= start) & (others < end)]
            covered[asked] = self.shapes[fences[start]].covers_each(lats[asked], lons[asked])
        return covered


class FenceIndex:
    """Fences by place. Never changed: `changed` makes another one, which shares what stayed."""

    __slots__ = ("_base", "_delta", "_gone", "_is_gone", "ids", "marked")

    def __init__(
        self,
        fences: Iterable[tuple[str, Shape]],
        *,
        marked: Collection[str] = (),
        base: _Forest | None = None,
        gone: frozenset[str] = frozenset(),
    ) -> None:
        """Take fences by id, and which of them are marked, for whatever that means to the caller. `base` and
        those of it that are `gone` are for `changed`.
        """
        pairs = dict(fences)
        forest = _Forest(list(pairs), list(pairs.values()), marked)
        self._base = forest if base is None else base
        self._delta = _Forest([], [], ()) if base is None else forest
        self._gone = gone
        self._is_gone: Flags = np.zeros(len(self._base.ids), dtype=np.bool_)
        self._is_gone[[self._base.index_of[fence_id] for fence_id in gone]] = True
        self.ids: tuple[str, ...] = self._base.ids + self._delta.ids
        """By fence index, with those that are gone."""
        self.marked: Flags = np.concatenate([self._base.marked, self._delta.marked])
        """By fence index."""

    def __len__(self) -> int:
        return len(self.ids) - len(self._gone)

    def changed(
        self, added: Iterable[tuple[str, Shape]], removed: Collection[str], marked: Collection[str] = ()
    ) -> "FenceIndex":
        """Return the index with these removed, then those added, some of them marked. An id that is added
        anew replaces.
        """
        came = dict(added)
        out = frozenset([*removed, *came])
        delta = {i: s for i, s in self._delta_pairs() if i not in out} | came
        gone = self._gone | (out & self._base.index_of.keys())
        if len(delta) + len(gone) > max(_CHANGES_AT_LEAST, 2 * math.isqrt(len(self._base.ids))):
            base = zip(self._base.ids, self._base.shapes, strict=True)
            stands = chain(((i, s) for i, s in base if i not in gone), delta.items())
            return FenceIndex(stands, marked=self._still_marked(out, marked))
        return FenceIndex(delta.items(), marked=self._still_marked(out, marked), base=self._base, gone=gone)

    def _still_marked(self, out: frozenset[str], marked: Collection[str]) -> set[str]:
        before = {self.ids[index] for index in np.flatnonzero(self.marked).tolist()}
        return (before - out) | set(marked)

    def _delta_pairs(self) -> Iterable[tuple[str, Shape]]:
        return zip(self._delta.ids, self._delta.shapes, strict=True)

    def shape_of(self, fence_id: str) -> Shape | None:
        """Return a fence's shape; None if it is not in the index."""
        index = self._delta.index_of.get(fence_id)
        if index is not None:
            return self._delta.shapes[index]
        index = self._base.index_of.get(fence_id)
        return None if index is None or self._is_gone[index] else self._base.shapes[index]

    def hits(self, lats: Floats, lons: Floats, admits: Admits | None = None) -> tuple[Indexes, Indexes]:
        """Return (position indexes, fence indexes) of the positions covered, by position, then fence.

        Positions are normalised (longitude in [-180, 180)); `ids[i]` is fence i's. `admits` may say of pairs
        that are near each other that they need no test.
        """
        found: list[tuple[Indexes, Indexes]] = []
        for forest, first in ((self._base, 0), (self._delta, len(self._base.ids))):
            if not forest.ids:
                continue
            positions, fences = forest.near(lats, lons)
            if first == 0 and self._gone:
                stands = ~self._is_gone[fences]
                positions, fences = positions[stands], fences[stands]
            if admits is not None and positions.size:
                admitted = admits(positions, fences + first)
                positions, fences = positions[admitted], fences[admitted]
            covered = forest.covers(fences, lats[positions], lons[positions])
            found.append((positions[covered], fences[covered] + first))
        positions = np.concatenate([np.empty(0, np.intp), *(pair[0] for pair in found)])
        fences = np.concatenate([np.empty(0, np.intp), *(pair[1] for pair in found)])
        order = np.lexsort([fences, positions])
        return positions[order], fences[order]
