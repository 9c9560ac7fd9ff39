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
        """Rows to be stored of what was logged: one a person."""
        order = np.argsort(logged["user"], kind="stable")
        ordered = logged[order]
        begins = np.flatnonzero(np.concatenate([[True], ordered["user"][1:] != ordered["user"][:-1]]))
        for begin, end in zip(begins.tolist(), [*begins[1:].tolist(), ordered.size], strict=True):
            own = ordered[begin:end]
            fixes = np.empty(own.size, dtype=TRAIL)
            for name in TRAIL.names or ():
                fixes[name] = own[name]
            user, trail = own["user"][0].decode(), new_id()
            if not is_id(user):
                continue  # one row that is nobody's must not keep all others waiting
            sealed = self._seal.close(_TABLE, f"{user}|{trail}", fixes.tobytes())
            times_ms = own["t_ms"]
            yield TrailRow(
                trail, user, int(times_ms.min()), int(times_ms.max()), int(own["at_ms"].max()), sealed
            )

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


def _ordered(found: list[TrailFixes], from_ms: int, to_ms: int, after: tuple[int, int]) -> TrailFixes:
    fixes = np.concatenate(found) if found else np.empty(0, dtype=TRAIL)
    t_ms, seqs = fixes["t_ms"], fixes["seq"]
    behind = (t_ms > after[0]) | ((t_ms == after[0]) & (seqs > after[1]))
    fixes = fixes[(t_ms >= from_ms) & (t_ms <= to_ms) & behind]
    _, first = np.unique(fixes["seq"], return_index=True)
    fixes = fixes[first]
    ordered: TrailFixes = fixes[np.lexsort((fixes["seq"], fixes["t_ms"]))]
    return ordered
