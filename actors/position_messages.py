"""Fixes on their way from a gateway to a shard: a tick's in one message, as packed rows (GEO-4, D3).

The rows are packed one by one where they come in and read as columns where they are judged, so the shard
makes no object for a fix.
"""

import struct
from array import array
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from actors.protocol import EngineError, ErrorCode
from actors.slot_messages import Framed
from geo.fixes import Verdict
from geo.intake import DUPLICATE, OUTCOMES

USER_BYTES = 36

OK = {"ok": True}
"""What the sender of a fix is told that counts, or did before."""

RECORD = np.dtype(
    [
        ("user", f"S{USER_BYTES}"), ("rid", "<i8"), ("lat", "<f8"), ("lon", "<f8"),
        ("acc_m", "<f8"), ("t_ms", "<i8"), ("seq", "<i8"), ("speed_mps", "<f4"), ("heading_deg", "<f4"),
    ]
)  # fmt: skip
"""One fix: the user's id in ASCII, `rid` 0 where no answer is wanted; the rest as in Position,
NaN for what is not known."""

RECORD_BYTES = RECORD.itemsize

Records = npt.NDArray[np.void]

_PACK = struct.Struct(f"<{USER_BYTES}sqdddqqff").pack
_NAN = float("nan")


class Position(Framed, tag=5):
    """A fix of a user (WGS84 degrees, metres, Unix ms). Replied with {"ok": true} or error 124."""

    rid: int
    user: str
    lat: float
    lon: float
    acc_m: float
    t_ms: int
    speed_mps: float | None = None
    heading_deg: float | None = None
    seq: int | None = None


class Positions(Framed, tag=130):
    """Gateway to shard: fixes as packed RECORDs, in order. Answered by one or more `PositionsTaken`, by
    `Reply` and `Failure`, or given back one by one as `Bounced`.
    """

    records: bytearray

    def add(self, position: Position) -> None:
        """One more."""
        speed_mps, heading_deg = position.speed_mps, position.heading_deg
        self.records += _PACK(
            position.user.encode(), position.rid, position.lat, position.lon, position.acc_m,
            position.t_ms, position.t_ms if position.seq is None else position.seq,
            _NAN if speed_mps is None else speed_mps, _NAN if heading_deg is None else heading_deg,
        )  # fmt: skip

    def rows(self) -> Records:
        """All of them as columns; a view of the message."""
        return np.frombuffer(self.records, dtype=RECORD)


class PositionsTaken(Framed, tag=131):
    """Shard to gateway: what became of fixes with these `rids` (int64, native order within a machine's kind,
    little-endian): one byte each, an index of `geo.intake.OUTCOMES`.
    """

    rids: bytes
    outcomes: bytes

    def each(self) -> Iterable[tuple[int, int]]:
        """(rid, outcome) of all."""
        rids = array("q")
        rids.frombytes(self.rids)
        return zip(rids, self.outcomes, strict=True)


class TrailQuery(Framed, tag=132):
    """To a person's actor: store what is not stored yet of their history. Replied {} when it is."""

    rid: int
    user: str


class ForgetPositions(Framed, tag=133):
    """To a person's actor: forget where they are and were. Replied {} when nothing is left."""

    rid: int
    user: str


def fits(position: Position) -> bool:
    """Whether a fix can travel as a row; the ids of people always can."""
    return len(position.user) <= USER_BYTES and position.user.isascii()


def unpacked(record: np.void) -> Position:
    """A row as a message of its own."""
    user, rid, lat, lon, acc_m, t_ms, seq, speed_mps, heading_deg = cast(Any, record.item())
    return Position(rid, user.decode(), lat, lon, acc_m, t_ms, _known(speed_mps), _known(heading_deg), seq)


def is_ok(outcome: int) -> bool:
    """Whether a fix counts, or did before."""
    return outcome <= DUPLICATE


def refusal(outcome: int) -> EngineError | None:
    """The error that a sender is told of a fix, None where it is ok."""
    if is_ok(outcome):
        return None
    verdict, reason = OUTCOMES[outcome]
    if verdict is Verdict.REFUSED:
        return EngineError(ErrorCode.BAD_REQUEST, f"this is not a fix: {reason}")
    return EngineError(ErrorCode.STALE_POSITION, f"this fix does not count: {reason}")


def _known(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124 - NaN is no value
