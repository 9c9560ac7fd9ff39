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
from geo.intake import FIXES, Rows, fix_of, rows_of

_LEAST = 64


class Moves:
    """Fixes that count, in the order in which they were accepted: one index each. Several of one person are
    possible, oldest first.
    """

    __slots__ = ("_count", "_rows", "activations", "since_ms")

    def __init__(self) -> None:
        self.activations: list[Activation] = []
        """Whose fix it is."""
        self.since_ms = 0
        """When the first of them came, by our clock: the moment at which the tick's fixes are followed."""
        self._rows: Rows = np.empty(_LEAST, dtype=FIXES)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, activation: Activation, fix: Fix, *, is_first: bool) -> None:
        """One more. `is_first`: no fix of the person was accepted before."""
        self.extend([activation], rows_of((fix,), is_first=is_first))

    def extend(self, activations: Iterable[Activation], rows: Rows) -> None:
        """Many more, in order; `rows` of type FIXES."""
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
        own.since_ms = self.since_ms
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
        return fix_of(self._rows[: self._count][index])

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
            rows: Rows = np.empty(max(wanted, 2 * self._rows.size), dtype=FIXES)
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
