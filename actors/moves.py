"""A tick's accepted fixes, and who follows them (GEO-4): fences, the snapshot, whatever looks at movement.

Columns, one index a fix: a follower works on the arrays first, and touches an activation or a `Fix` only for
the few rows that need it (GEO-5).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from actors.activation import Activation
from geo.distance import Floats
from geo.fixes import Fix

ROW = np.dtype(
    [
        ("lat", "f8"), ("lon", "f8"), ("acc_m", "f8"), ("t_ms", "i8"), ("seq", "i8"),
        ("speed_mps", "f4"), ("heading_deg", "f4"), ("is_first", "?"),
    ]
)  # fmt: skip
"""WGS84 degrees, longitude in [-180, 180); metres; Unix ms; NaN where speed or heading is not known."""

Rows = npt.NDArray[np.void]
_NONE = float("nan")
_LEAST = 64


class Moves:
    """Fixes that count, in the order in which they were accepted: one index each. Several of one person are
    possible, oldest first.
    """

    __slots__ = ("_count", "_rows", "activations")

    def __init__(self) -> None:
        self.activations: list[Activation] = []
        """Whose fix it is."""
        self._rows: Rows = np.empty(_LEAST, dtype=ROW)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, activation: Activation, fix: Fix, *, is_first: bool) -> None:
        """One more. `is_first`: no fix of the person was accepted before."""
        speed_mps = _NONE if fix.speed_mps is None else fix.speed_mps
        heading_deg = _NONE if fix.heading_deg is None else fix.heading_deg
        self._room_for(1)
        self._rows[self._count] = (
            fix.lat, fix.lon, fix.acc_m, fix.t_ms, fix.seq, speed_mps, heading_deg, is_first,
        )  # fmt: skip
        self.activations.append(activation)
        self._count += 1

    def extend(self, activations: Iterable[Activation], rows: Rows) -> None:
        """Many more, in order; `rows` of type ROW."""
        self._room_for(len(rows))
        self._rows[self._count : self._count + len(rows)] = rows
        self.activations.extend(activations)
        self._count += len(rows)

    def has(self, activation: Activation) -> bool:
        """Whether a fix of this person is among them."""
        return any(moving is activation for moving in self.activations)

    def take(self, activation: Activation) -> "Moves":
        """Takes this person's fixes out."""
        own, others = Moves(), Moves()
        is_own = np.fromiter((moving is activation for moving in self.activations), bool, self._count)
        if not is_own.any():
            return own
        rows = self._rows[: self._count]
        own.extend([activation] * int(is_own.sum()), rows[is_own])
        others.extend((moving for moving in self.activations if moving is not activation), rows[~is_own])
        self.activations, self._rows, self._count = others.activations, others._rows, others._count
        return own

    def fix(self, index: int) -> Fix:
        """One of them as an object."""
        lat, lon, acc_m, t_ms, seq, speed_mps, heading_deg, _ = self._rows[: self._count][index].item()
        return Fix(lat, lon, acc_m, t_ms, seq, _known(speed_mps), _known(heading_deg))

    @property
    def fixes(self) -> "Fixes":
        """All of them as objects, each made when it is asked for."""
        return Fixes(self)

    @property
    def is_first(self) -> npt.NDArray[np.bool_]:
        """No fix of the person was accepted before."""
        column: npt.NDArray[np.bool_] = self._column("is_first")
        return column

    def lats(self) -> Floats:
        """WGS84 degrees, one a fix."""
        column: Floats = self._column("lat")
        return column

    def lons(self) -> Floats:
        """WGS84 degrees in [-180, 180), one a fix."""
        column: Floats = self._column("lon")
        return column

    def accs_m(self) -> Floats:
        """68 % radius in metres, one a fix."""
        column: Floats = self._column("acc_m")
        return column

    def times_ms(self) -> npt.NDArray[np.int64]:
        """Device time in Unix ms as the engine took it, one a fix."""
        column: npt.NDArray[np.int64] = self._column("t_ms")
        return column

    def _column(self, name: str) -> Any:
        return np.ascontiguousarray(self._rows[name][: self._count])

    def _room_for(self, more: int) -> None:
        wanted = self._count + more
        if wanted > self._rows.size:
            rows: Rows = np.empty(max(wanted, 2 * self._rows.size), dtype=ROW)
            rows[: self._count] = self._rows[: self._count]
            self._rows = rows


class Fixes(Sequence[Fix]):
    """The fixes of `Moves` as objects."""

    __slots__ = ("_moves",)

    def __init__(self, moves: Moves) -> None:
        self._moves = moves

    def __len__(self) -> int:
        return len(self._moves)

    @overload
    def __getitem__(self, index: int) -> Fix: ...

    @overload
    def __getitem__(self, index: slice) -> list[Fix]: ...

    def __getitem__(self, index: int | slice) -> Fix | list[Fix]:
        if isinstance(index, slice):
            return [self._moves.fix(each) for each in range(*index.indices(len(self)))]
        return self._moves.fix(index)

    def __iter__(self) -> Iterator[Fix]:
        return (self._moves.fix(index) for index in range(len(self)))


class Follower(Protocol):
    """Takes the fixes of a tick."""

    def follow(self, moves: Moves, now_ms: int) -> None:
        """All fixes of the tick, in one batch; no work that awaits is done here."""


def _known(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124 - NaN is no value
