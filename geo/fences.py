"""Which fences hold which positions: an immutable index, asked in batches (GEO-13)."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import shapely
from shapely import STRtree

from geo.distance import Floats
from geo.shapes import Shape

Indexes = npt.NDArray[np.intp]


class FenceIndex:
    """Fences by place."""

    __slots__ = ("_boxed", "_index_of", "_tree", "ids", "shapes")

    def __init__(self, fences: Iterable[tuple[str, Shape]]) -> None:
        pairs = list(fences)
        self.ids: tuple[str, ...] = tuple(fence_id for fence_id, _ in pairs)
        self.shapes: tuple[Shape, ...] = tuple(shape for _, shape in pairs)
        self._index_of = {fence_id: index for index, fence_id in enumerate(self.ids)}
        boxes = [(index, box) for index, shape in enumerate(self.shapes) for box in shape.boxes()]
        self._boxed: Indexes = np.array([index for index, _ in boxes], dtype=np.intp)
        self._tree = STRtree([shapely.box(*box) for _, box in boxes])

    def __len__(self) -> int:
        return len(self.ids)

    def shape_of(self, fence_id: str) -> Shape | None:
        """Return a fence's shape; None if it is not in the index."""
        index = self._index_of.get(fence_id)
        return None if index is None else self.shapes[index]

    def hits(self, lats: Floats, lons: Floats) -> tuple[Indexes, Indexes]:
        """Return (position indexes, fence indexes) of the positions covered, by position, then fence.

        Positions are normalised (longitude in [-180, 180)); `ids[i]` and `shapes[i]` are fence i's.
        """
        positions, boxes = self._tree.query(shapely.points(lons, lats))
        # By fence first, so that each fence is asked once for all of its positions.
        pairs = np.unique(np.column_stack([self._boxed[boxes], positions]), axis=0)
        fences, positions = pairs[:, 0], pairs[:, 1]
        covered = np.zeros(len(pairs), dtype=np.bool_)
        starts = np.flatnonzero(np.diff(fences, prepend=-1)).tolist()
        for start, end in pairwise([*starts, len(pairs)]):
            asked = positions[start:end]
            covered[start:end] = self.shapes[fences[start]].covers_each(lats[asked], lons[asked])
        fences, positions = fences[covered], positions[covered]
        order = np.lexsort([fences, positions])
        return positions[order], fences[order]
