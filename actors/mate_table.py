"""The rows of one shard's matched people in the kernel: its own, and those of other shards (GEO-10).

A person of this shard has also a circle for the other shards: while they are in it, none of these needs to
know more. Pure.
"""

import numpy as np
import numpy.typing as npt

from geo.distance import Floats
from geo.earth import cartesian
from geo.friends import Friends, Rows

_LEAST = 64
_NOWHERE = -1.0


class MateTable:
    """Rows by user id."""

    def __init__(self) -> None:
        self.friends = Friends(_LEAST)
        self.rows: dict[str, int] = {}
        self.users: list[str] = []
        self.is_shown: npt.NDArray[np.bool_] = np.zeros(_LEAST, dtype=bool)
        """People of this shard who show themselves to matches now."""
        self.times_ms: npt.NDArray[np.int64] = np.zeros(_LEAST, dtype=np.int64)
        """Of the last fix of those."""
        self._anchors: Floats = np.zeros((_LEAST, 3))
        self._free_m: Floats = np.full(_LEAST, np.inf)
        self._free: list[int] = []

    def row_of(self, user: str) -> int:
        """The user's row, a new one if there is none."""
        row = self.rows.get(user)
        if row is not None:
            return row
        if self._free:
            row = self._free.pop()
            self.users[row] = user
        else:
            row = len(self.users)
            self.users.append(user)
            if row >= self.is_shown.size:
                self._grow()
            self.friends.reserve(row + 1)
        self.rows[user] = row
        return row

    def drop(self, user: str) -> None:
        """The row is nobody's any more. It has no edges."""
        row = self.rows.pop(user)
        self.friends.forget(row)
        self.is_shown[row], self._free_m[row] = False, np.inf
        self.users[row] = ""
        self._free.append(row)

    def grant(self, row: int, free_m: float) -> None:
        """Other shards need to know nothing while the row is so near to where it was reported."""
        self._free_m[row] = free_m

    def reported(self, row: int, lat: float, lon: float) -> None:
        """Other shards know where it is; no more is granted yet."""
        self._anchors[row] = np.concatenate(cartesian(np.array([lat]), np.array([lon])))
        self._free_m[row] = _NOWHERE

    def leaving(self, rows: Rows, lats: Floats, lons: Floats) -> npt.NDArray[np.bool_]:
        """Which of these rows have left what other shards granted them."""
        free_m = self._free_m[rows]
        leaving = free_m < np.inf
        if leaving.any():
            away = np.stack(cartesian(lats[leaving], lons[leaving]), axis=-1) - self._anchors[rows[leaving]]
            leaving[leaving] = np.sqrt(np.einsum("ij,ij->i", away, away)) > free_m[leaving]
        return leaving

    def aged(self, since_ms: int) -> list[str]:
        """Those who are shown by a fix that is older."""
        rows = np.flatnonzero(self.is_shown & (self.times_ms < since_ms))
        return [self.users[row] for row in rows.tolist()]

    def _grow(self) -> None:
        more = self.is_shown.size
        self.is_shown = np.concatenate([self.is_shown, np.zeros(more, dtype=bool)])
        self.times_ms = np.concatenate([self.times_ms, np.zeros(more, dtype=np.int64)])
        self._anchors = np.concatenate([self._anchors, np.zeros((more, 3))])
        self._free_m = np.concatenate([self._free_m, np.full(more, np.inf)])
