"""Who of two people that know each other is near, with hysteresis: matches near (GEO-10, GEO-26).

Friends need no spatial index. Each row has an anchor, where it was last looked at, and metres that it may
move from there before anything can change: while both ends of an edge keep to theirs, no distance is
computed. An edge's margin (d - r_in apart, r_out - d together) is split between its ends, so a pair that is
20 km apart is not looked at until one of them has moved 10 km. Who leaves their circle is looked at: all
their edges, exactly.

A row may be remote: somebody else holds its position, and tells it only when it leaves its circle. What is
known of it then is its anchor, and that it is no farther from there than its free metres; where that is not
enough to decide, `Changes.recalled` says that its position is wanted.

Distances are straight lines through the ellipsoid, which at 250 m are the ellipsoid's own to a micrometre;
what lies within a metre of a threshold is measured by `distance_m` (GEO-9).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from geo.distance import Floats, distances_m
from geo.earth import cartesian

R_IN_M, R_OUT_M = 200.0, 250.0

Rows = npt.NDArray[np.int32]

_EXACT_WITHIN_M = 1.0
_MUST_LOOK = -1.0
_SLACK_M = 2e-3  # lines and distances agree to far less
_LEAST = 64


class Changes(NamedTuple):
    """Edges that changed, once each, as rows (low, high); and remote rows whose position is wanted."""

    entered: Rows
    left: Rows
    recalled: Rows


class Friends:
    """Rows with positions, and edges between them with one state byte at each end. Rows are numbered by the
    caller.
    """

    def __init__(self, rows: int = _LEAST, r_in_m: float = R_IN_M, r_out_m: float = R_OUT_M) -> None:
        self._r_in_m, self._r_out_m = r_in_m, r_out_m
        self._lats, self._lons = np.full(rows, np.nan), np.full(rows, np.nan)
        self._at, self._anchors = np.full((rows, 3), np.nan), np.full((rows, 3), np.nan)
        self.free_m: Floats = np.full(rows, _MUST_LOOK)
        """How far each row may be from its anchor; negative: it is looked at whenever it moves."""
        self._remote = np.zeros(rows, dtype=bool)
        self._called = np.zeros(rows, dtype=bool)
        self._looked = np.zeros(rows, dtype=bool)
        self._starts, self._counts = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        self._room = np.zeros(rows, np.int64)
        self._others: Rows = np.zeros(_LEAST, dtype=np.int32)
        self._inside = np.zeros(_LEAST, dtype=np.uint8)
        self._used = 0
        self.looks = 0
        """Rows looked at so far."""

    # -- edges ----------------------------------------------------------------------------------------

    def load(self, lows: Rows, highs: Rows, rows: int) -> None:
        """Replaces all edges at once: the i-th is between `lows[i]` and `highs[i]`, apart. Rows are kept."""
        self.reserve(rows)
        ends, others = np.concatenate([lows, highs]), np.concatenate([highs, lows])
        order = np.argsort(ends, kind="stable")
        self._counts[:] = np.bincount(ends, minlength=self._counts.size)
        self._room[:] = self._counts
        self._starts[1:] = np.cumsum(self._counts)[:-1]
        self._others = others[order].astype(np.int32)
        self._inside = np.zeros(self._others.size, dtype=np.uint8)
        self._used = self._others.size
        self.free_m[:] = _MUST_LOOK

    def link(self, one: int, other: int, *, inside: bool) -> None:
        """Two rows know each other; `inside`: they were near before. No effect where they do already."""
        self.reserve(max(one, other) + 1)
        if other in self._others[self._edges(one)]:
            return
        self._append(one, other, inside=inside)
        self._append(other, one, inside=inside)
        self.free_m[[one, other]] = _MUST_LOOK

    def unlink(self, one: int, other: int) -> None:
        """They do not any more."""
        self._drop(one, other)
        self._drop(other, one)

    def known_by(self, row: int) -> list[int]:
        """The rows that it has edges with."""
        found: list[int] = self._others[self._edges(row)].tolist()
        return found

    def is_inside(self, one: int, other: int) -> bool:
        """Whether the two are near, as far as was decided."""
        edges = self._edges(one)
        return bool(self._inside[edges][self._others[edges] == other].any())

    # -- positions ------------------------------------------------------------------------------------

    def reserve(self, rows: int) -> None:
        """Makes room for so many rows."""
        have = self._lats.size
        if rows <= have:
            return
        more = max(rows, 2 * have) - have
        for name, value in _EMPTY.items():
            column = getattr(self, name)
            shape = (more, *column.shape[1:])
            setattr(self, name, np.concatenate([column, np.full(shape, value, dtype=column.dtype)]))

    def forget(self, row: int) -> None:
        """It is nowhere: its edges neither enter nor leave until it is somewhere again."""
        self._lats[row] = self._lons[row] = np.nan
        self._at[row] = self._anchors[row] = np.nan
        self.free_m[row], self._remote[row], self._called[row] = _MUST_LOOK, False, False

    def part(self, row: int) -> None:
        """It is near nobody any more, whoever it was near to: as `forget`, and who meets it again enters."""
        self.forget(row)
        for other in self.known_by(row):
            edges = self._edges(other)
            self._inside[edges][self._others[edges] == row] = 0
        self._inside[self._edges(row)] = 0

    def is_placed(self, row: int) -> bool:
        """Whether it is somewhere."""
        return not np.isnan(self._lats[row])

    def move(self, rows: Rows, lats: Floats, lons: Floats, *, remote: bool = False) -> Changes:
        """Places rows (of several entries for one row the last counts) and decides what comes of it."""
        at = np.stack(cartesian(lats, lons), axis=-1)
        self._lats[rows], self._lons[rows], self._at[rows] = lats, lons, at
        self._remote[rows], self._called[rows] = remote, False
        if remote:
            self.free_m[rows] = _MUST_LOOK
            return self.look(np.unique(rows))
        moved = at - self._anchors[rows]
        within = np.einsum("ij,ij->i", moved, moved) <= np.square(np.maximum(self.free_m[rows], 0.0))
        leaving = ~(within & (self.free_m[rows] >= 0.0))
        if not leaving.any():
            return _NONE
        return self.look(np.unique(rows[leaving]))

    def look(self, rows: Rows) -> Changes:
        """Decides all edges of these different rows by where everybody is now."""
        looked, free_m = self._looked, self.free_m
        self.looks += rows.size
        looked[rows] = True
        self._anchors[rows], free_m[rows] = self._at[rows], 0.0
        counts = self._counts[rows]
        firsts = np.cumsum(counts) - counts
        edges = _ranges(self._starts[rows], counts)
        owners, others = np.repeat(rows, counts), self._others[edges]
        inside = self._inside[edges].astype(bool)
        metres = _metres(self._at[owners], self._at[others])
        self._measure(metres, owners, others)
        # What is known of a remote row is where it may be: so far from its anchor, and no farther.
        doubt_m = np.where(self._remote[others], np.maximum(free_m[others], 0.0), 0.0)
        margin = np.where(inside, self._r_out_m - metres, metres - self._r_in_m)
        margin[np.isnan(margin)] = np.inf  # whoever is nowhere holds nobody
        crosses = np.where(inside, margin < 0.0, margin <= 0.0) & (doubt_m <= 0.0)
        # An edge that changes is from now on held by the other threshold.
        after = np.where(crosses, np.where(inside, metres - self._r_in_m, self._r_out_m - metres), margin)
        share = self._shares(owners, others, after, inside ^ crosses, doubt_m)
        recalled = self._recall(others, share)
        looked[rows] = False
        least = np.full(rows.size, np.inf)
        if edges.size:
            filled = counts > 0
            least[filled] = np.minimum.reduceat(share, firsts[filled])
        free_m[rows] = np.where(least > _SLACK_M, least - _SLACK_M, _MUST_LOOK)
        free_m[rows[np.isnan(self._lats[rows])]] = _MUST_LOOK
        return self._changed(owners[crosses], others[crosses], inside[crosses], recalled)

    # -- inner parts ----------------------------------------------------------------------------------

    def _measure(self, metres: Floats, owners: Rows, others: Rows) -> None:
        """Replaces straight lines by distances where that may decide."""
        near = np.abs(metres - self._r_in_m) < _EXACT_WITHIN_M
        close = np.flatnonzero(near | (np.abs(metres - self._r_out_m) < _EXACT_WITHIN_M))
        if close.size:
            one, other = owners[close], others[close]
            metres[close] = distances_m(
                self._lats[one], self._lons[one], self._lats[other], self._lons[other]
            )

    def _shares(
        self,
        owners: Rows,
        others: Rows,
        margin: Floats,
        inside: npt.NDArray[np.bool_],
        doubt_m: Floats,
    ) -> Floats:
        """Of each edge what its owner may move. The other end keeps what it has where half is left; else it
        must look when it next moves, and then finds its half.
        """
        anchored = _metres(self._at[owners], self._anchors[others])
        held = np.where(inside, self._r_out_m - anchored, anchored - self._r_in_m)
        rest = held - np.maximum(self.free_m[others], 0.0)
        half = margin / 2
        known = np.isfinite(margin)
        share = np.where(known, half, np.inf)
        free = known & ~self._looked[others] & (self.free_m[others] >= 0.0)
        kept = free & (rest >= half)
        share[kept] = rest[kept]
        taken = free & ~kept
        self.free_m[others[taken & (doubt_m <= 0.0)]] = _MUST_LOOK
        share[taken & (doubt_m > 0.0)] = _MUST_LOOK
        return share

    def _recall(self, others: Rows, share: Floats) -> Rows:
        """Remote rows that are in the way: asked for once."""
        wanted = np.unique(others[(share <= 0.0) & self._remote[others] & (self.free_m[others] > 0.0)])
        wanted = wanted[~self._called[wanted] & ~self._looked[wanted]]
        if wanted.size:
            self._called[wanted] = True
        return wanted.astype(np.int32)

    def _changed(
        self, owners: Rows, others: Rows, was_inside: npt.NDArray[np.bool_], recalled: Rows
    ) -> Changes:
        entered, left = set[tuple[int, int]](), set[tuple[int, int]]()
        for one, other, leaves in zip(owners.tolist(), others.tolist(), was_inside.tolist(), strict=True):
            (left if leaves else entered).add((min(one, other), max(one, other)))
            for end, far in ((one, other), (other, one)):
                edges = self._edges(end)
                self._inside[edges][self._others[edges] == far] = not leaves
        return Changes(_pairs(entered), _pairs(left), recalled)

    def _edges(self, row: int) -> slice:
        if row >= self._starts.size:
            return slice(0, 0)
        start = int(self._starts[row])
        return slice(start, start + int(self._counts[row]))

    def _append(self, row: int, other: int, *, inside: bool) -> None:
        count = int(self._counts[row])
        if count == self._room[row]:
            room = max(4, 2 * count)
            if self._used + room > self._others.size:
                self._compact(room)
            old = self._edges(row)
            new = slice(self._used, self._used + count)
            self._others[new], self._inside[new] = self._others[old], self._inside[old]
            self._starts[row], self._room[row] = self._used, room
            self._used += room
        at = int(self._starts[row]) + count
        self._others[at], self._inside[at] = other, inside
        self._counts[row] += 1

    def _drop(self, row: int, other: int) -> None:
        edges = self._edges(row)
        found = np.flatnonzero(self._others[edges] == other)
        if found.size:
            at, last = edges.start + int(found[0]), edges.stop - 1
            self._others[at], self._inside[at] = self._others[last], self._inside[last]
            self._counts[row] -= 1

    def _compact(self, room: int) -> None:
        """Edges one row after the other again, each with the room that it had, and as much behind them."""
        self._room[self._counts == 0] = 0
        total = int(self._room.sum())
        starts = np.cumsum(self._room) - self._room
        others: Rows = np.zeros(2 * (total + room) + _LEAST, dtype=np.int32)
        inside = np.zeros(others.size, dtype=np.uint8)
        to, edges = _ranges(starts, self._counts), _ranges(self._starts, self._counts)
        others[to], inside[to] = self._others[edges], self._inside[edges]
        self._others, self._inside, self._starts, self._used = others, inside, starts, total


_EMPTY = {
    "_lats": np.nan, "_lons": np.nan, "_at": np.nan, "_anchors": np.nan, "free_m": _MUST_LOOK,
    "_remote": False, "_called": False, "_looked": False, "_starts": 0, "_counts": 0, "_room": 0,
}  # fmt: skip
"""The columns of a row, and what stands in an empty one."""

_NONE = Changes(*(np.empty(shape, dtype=np.int32) for shape in ((0, 2), (0, 2), 0)))


def _metres(one: Floats, other: Floats) -> Floats:
    apart = one - other
    metres: Floats = np.sqrt(np.einsum("ij,ij->i", apart, apart))
    return metres


def _ranges(starts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """From each start so many numbers on, one range behind the other."""
    firsts = np.cumsum(counts) - counts
    found: npt.NDArray[np.int64] = np.arange(int(counts.sum())) + np.repeat(starts - firsts, counts)
    return found


def _pairs(found: set[tuple[int, int]]) -> Rows:
    return np.array(sorted(found), dtype=np.int32).reshape(-1, 2)
