"""Reading an append-only table in commit order: nothing missed, nothing twice (ML-12).

A row's sequence number is given out before its transaction commits, so a reader that only remembers the
highest one misses what commits late. Here a row's offset is (transaction id, sequence number), and a reader
stops before the oldest transaction that still runs: whatever commits later has a higher offset.
"""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True, order=True)
class Offset:
    """A place in a log. The first is `Offset()`; as text `xid.seq`."""

    xid: int = 0
    seq: int = 0

    def __str__(self) -> str:
        return f"{self.xid}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for anything that `str` does not give."""
        xid, seq = text.split(".")
        return cls(int(xid), int(seq))


AFTER = "(xid, seq) > (({0}::text)::xid8, {1}::bigint) AND xid < pg_snapshot_xmin(pg_current_snapshot())"
"""SQL condition on a table with `xid` and `seq`: past an offset and sure to be complete. Format with the two
parameters of the offset; order by xid, seq.
"""
