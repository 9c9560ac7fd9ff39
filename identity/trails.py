"""A person's trail: where they were in the last hours, sealed, read by that person alone (GEO-24, PRIV-4)."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from identity.seals import Seal
from storage import trails
from storage.ids import is_id, new_id
from storage.positions import LoggedRows
from storage.trails import TrailRow

_TABLE = "trails"
_PAGE = 100
_ODD = np.random.default_rng(24).integers(2**63, size=9, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
"""Factors of the words of a name, for a number that names hardly share."""

TRAIL = np.dtype(
    [
        ("lat", "<f8"), ("lon", "<f8"), ("acc_m", "<f4"), ("t_ms", "<i8"), ("seq", "<i8"),
        ("speed_mps", "<f4"), ("heading_deg", "<f4"),
    ]
)  # fmt: skip
"""A fix, 44 bytes: WGS84 degrees, metres, Unix ms; NaN where speed or heading is not known."""

TrailFixes = npt.NDArray[np.void]


class TrailBook:
    """All trails, under the engine's key."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def rows(self, logged: LoggedRows) -> Iterator[TrailRow]:
        """Rows to be stored of what was logged, `by_person`: one a person."""
        if not logged.size:
            return
        users = logged["user"]
        begins = np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1]]))
        fixes = np.empty(logged.size, dtype=TRAIL)
        for name in TRAIL.names or ():
            fixes[name] = logged[name]
        packed, size = fixes.tobytes(), TRAIL.itemsize
        for name, begin, end, from_ms, to_ms, taken_ms in zip(
            users[begins].tolist(),
            begins.tolist(),
            [*begins[1:].tolist(), logged.size],
            np.minimum.reduceat(logged["t_ms"], begins).tolist(),
            np.maximum.reduceat(logged["t_ms"], begins).tolist(),
            np.maximum.reduceat(logged["at_ms"], begins).tolist(),
            strict=True,
        ):
            user, trail = name.decode(), new_id()
            if not is_id(user):
                continue  # one row that is nobody's must not keep all others waiting
            sealed = self._seal.close(_TABLE, f"{user}|{trail}", packed[begin * size : end * size])
            yield TrailRow(trail, user, from_ms, to_ms, taken_ms, sealed)

    async def read(  # noqa: PLR0917 - a page of one person
        self, connection: Any, user: str, from_ms: int, to_ms: int, after: tuple[int, int], limit: int
    ) -> TrailFixes:
        """Up to `limit` fixes with from <= time <= to and (time, seq) > after, by (time, seq), each once.

        Raises SealBrokenError.
        """
        found: list[TrailFixes] = []
        begun: tuple[datetime, str] | None = None
        while True:
            rows = await trails.page(connection, user, max(from_ms, after[0]), to_ms, begun, _PAGE)
            for trail, _, sealed in rows:
                plain = self._seal.open(_TABLE, f"{user}|{trail}", sealed)
                found.append(np.frombuffer(plain, dtype=TRAIL))
            fixes = _ordered(found, from_ms, to_ms, after)
            if len(rows) < _PAGE:
                return fixes[:limit]
            begun = (rows[-1][1], rows[-1][0])
            # Rows that follow begin no earlier: what lies before is complete.
            complete = int((fixes["t_ms"] < begun[0].timestamp() * 1_000).sum())
            if complete >= limit:
                return fixes[:limit]


def by_person(logged: LoggedRows) -> LoggedRows:
    """Return the rows of each person one after the other, in their order.

    Sorted by a number made of the name, in half of the time: where two names had the same one, a person
    would have a few rows more, not others.
    """
    words = np.ascontiguousarray(logged["user"]).view("<u4").reshape(-1, _ODD.size).astype(np.uint64)
    return logged[np.argsort((words * _ODD).sum(axis=1, dtype=np.uint64), kind="stable")]


def _ordered(found: list[TrailFixes], from_ms: int, to_ms: int, after: tuple[int, int]) -> TrailFixes:
    fixes = np.concatenate(found) if found else np.empty(0, dtype=TRAIL)
    t_ms, seqs = fixes["t_ms"], fixes["seq"]
    behind = (t_ms > after[0]) | ((t_ms == after[0]) & (seqs > after[1]))
    fixes = fixes[(t_ms >= from_ms) & (t_ms <= to_ms) & behind]
    _, first = np.unique(fixes["seq"], return_index=True)
    fixes = fixes[first]
    ordered: TrailFixes = fixes[np.lexsort((fixes["seq"], fixes["t_ms"]))]
    return ordered
