"""The cells that an index of positions uses, with their disks, as arrays by dense number.

A disk is kept as the numbers of those of its cells that are in the table, so a new cell enters the disks of
all cells around it. Pentagons have smaller disks: rows are padded with -1.
"""

import h3.api.basic_int as h3
import numpy as np
import numpy.typing as npt

from geo.distance import Floats
from geo.earth import cartesian
from geo.grid import CellIds, CellIndexes, CellNumbers
from geo.reach import Disk, disk_size

_CORNERS_MAX = 10
"""Of a pentagon that crosses the edges of the icosahedron."""


class CellTable:
    """Grows by what is asked for; rows are never moved."""

    __slots__ = ("_filled", "_slack_m", "centres", "disk", "disks", "hold_m", "ids", "rim_m")

    def __init__(self, disk: Disk, radius_m: float) -> None:
        self.disk = disk
        self.ids = CellIds()
        # What the disk reaches beyond the radius is shared by the two ends of a pair.
        self._slack_m = (disk.reach_m - radius_m) / 2
        self.centres: Floats = np.empty((0, 3))
        """x, y, z in metres (`geo.earth`)."""
        self.rim_m: npt.NDArray[np.float32] = np.empty(0, dtype=np.float32)
        """From the centre to the farthest corner."""
        self.hold_m: npt.NDArray[np.float32] = np.empty(0, dtype=np.float32)
        """A position at most this far from the centre may count as the cell's: none is farther than half the
        slack outside it, so the disk still misses nobody within the radius. At most `rim_m`.
        """
        self.disks: CellNumbers = np.empty((0, disk_size(disk.rings)), dtype=np.int32)
        self._filled: npt.NDArray[np.int8] = np.empty(0, dtype=np.int8)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """The memory that the table's rows take."""
        arrays = (self.centres, self.rim_m, self.hold_m, self.disks, self._filled)
        return self.ids.nbytes + sum(each.nbytes for each in arrays)

    def number(self, cells: CellIndexes) -> CellNumbers:
        """Return each cell's number, adding new cells with their disks."""
        before = len(self.ids)
        numbers = self.ids.number(cells)
        if len(self.ids) > before:
            self._grow(len(self.ids))
            self._draw(before)
            self._link(before)
        return numbers

    def _grow(self, size: int) -> None:
        room = len(self.rim_m)
        if size <= room:
            return
        more = max(size, room + room // 8) - room
        self.centres = np.concatenate([self.centres, np.empty((more, 3))])
        self.rim_m = np.concatenate([self.rim_m, np.zeros(more, dtype=np.float32)])
        self.hold_m = np.concatenate([self.hold_m, np.zeros(more, dtype=np.float32)])
        self.disks = np.concatenate([self.disks, np.full((more, self.disks.shape[1]), -1, dtype=np.int32)])
        self._filled = np.concatenate([self._filled, np.zeros(more, dtype=np.int8)])

    def _draw(self, first: int) -> None:
        """Fill in the sizes of the cells from number `first` on."""
        cells = self.ids.cells[first:].tolist()
        corners = np.empty((len(cells), _CORNERS_MAX, 2))
        for at, cell in enumerate(cells):
            drawn = h3.cell_to_boundary(cell)
            corners[at, : len(drawn)] = drawn
            corners[at, len(drawn) :] = drawn[0]
        middles = np.array([h3.cell_to_latlng(cell) for cell in cells])
        centres = np.column_stack(cartesian(middles[:, 0], middles[:, 1]))
        ends = np.stack(cartesian(corners[..., 0], corners[..., 1]), axis=-1) - centres[:, None, :]
        self.centres[first : len(self.ids)] = centres
        rim_m = np.linalg.norm(ends, axis=-1).max(axis=1)
        edges = np.roll(ends, -1, axis=1) - ends
        squared = (edges**2).sum(axis=-1)
        along = np.clip(-(ends * edges).sum(axis=-1) / np.where(squared > 0.0, squared, 1.0), 0.0, 1.0)
        inner_m = np.linalg.norm(ends + along[..., None] * edges, axis=-1).min(axis=1)
        self.rim_m[first : len(self.ids)] = rim_m
        self.hold_m[first : len(self.ids)] = np.minimum(inner_m + self._slack_m, rim_m)

    def _link(self, first: int) -> None:
        """Enter the cells from number `first` on in the disks of all, and all in theirs."""
        disks = [h3.grid_disk(cell, self.disk.rings) for cell in self.ids.cells[first:].tolist()]
        owners = np.repeat(np.arange(first, len(self.ids), dtype=np.int32), [len(each) for each in disks])
        members = self.ids.find(
            np.fromiter((cell for each in disks for cell in each), dtype=np.uint64, count=owners.size)
        )
        owners, members = owners[members >= 0], members[members >= 0]
        # To be in another's disk goes both ways.
        older = members < first
        targets = np.concatenate([owners, members[older]])
        entries = np.concatenate([members, owners[older]])
        order = np.argsort(targets, kind="stable")
        targets, entries = targets[order], entries[order]
        begins = np.flatnonzero(np.diff(targets, prepend=-1))
        counts = np.diff(begins, append=targets.size)
        ranks = np.arange(targets.size) - np.repeat(begins, counts)
        self.disks[targets, self._filled[targets] + ranks] = entries
        self._filled[targets[begins]] += counts.astype(np.int8)
