"""A batch of fixes against the table: `geo.fixes.admit` and `geo.privacy.stick` on arrays (GEO-1, 2, 3, 21).

Almost every fix moves somebody a little within the cell that is shown; those are judged as columns. A jump, a
held fix, a pole, a step over an edge take the way of one. Both ways give the same answer.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geo.coordinates import LATITUDE_MAX_DEG, normalise_lon
from geo.distance import LOCAL_LAT_MAX_DEG, LOCAL_REACH_M, local_distances_m
from geo.fixes import (
    ACCURACY_MAX_M,
    FUTURE_MAX_MS,
    PAST_MAX_MS,
    SPEED_MAX_MPS,
    SPEED_OVER_AT_LEAST_MS,
    Fix,
    Verdict,
    admit,
)
from geo.fixes import Reason as Why
from geo.privacy import STICKY_MS, stick
from geo.table import HELD, LAST, LOOK, NO_CELL, OUTSIDE, PositionTable

FIXES = np.dtype(
    [
        ("lat", "f8"), ("lon", "f8"), ("acc_m", "f8"), ("t_ms", "i8"), ("seq", "i8"),
        ("speed_mps", "f4"), ("heading_deg", "f4"), ("is_first", "?"),
    ]
)  # fmt: skip
"""Fixes as rows: WGS84 degrees, metres, Unix ms; NaN where speed or heading is not known. `is_first` is for
accepted ones: no fix of the person was accepted before."""

FIX_FIELDS = [name for name in FIXES.names or () if name != "is_first"]

Rows = npt.NDArray[np.void]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

LIVE, DUPLICATE, STALE, JUMP, ACCURACY, COORDINATES = range(6)
"""What became of a fix; the first two are told as ok."""

OUTCOMES: tuple[tuple[Verdict, Why | None], ...] = (
    (Verdict.LIVE, None),
    (Verdict.DUPLICATE, Why.REPEATED),
    (Verdict.HISTORY, Why.STALE),
    (Verdict.HELD, Why.JUMP),
    (Verdict.REFUSED, Why.ACCURACY),
    (Verdict.REFUSED, Why.COORDINATES),
)
OUTCOME_OF = {outcome: number for number, outcome in enumerate(OUTCOMES)}
_NAN = float("nan")
_ROUNDS = 4
"""Fixes of one person in a batch that are judged as columns; what is more goes one by one."""

_NEARLY = 1e-9
"""Closer than that to the limit, relatively, the scalar arithmetic decides."""

_WRAP = 2**32


@dataclass(slots=True)
class Intake:
    """What became of a batch. `fixes` are as they were taken: longitude normalised, time clamped."""

    fixes: Rows
    outcomes: npt.NDArray[np.uint8]
    """One a fix."""
    accepted: Rows
    """The fixes that now count, each person's oldest first; a held one may be among them."""
    accepted_by: Indices
    """With which fix of the batch each of them was accepted."""
    looks: list[int]
    """Fixes of the batch after which the shown cell is another, or is to be told again."""


class _Batch:
    """One call of `take_in`."""

    def __init__(self, table: PositionTable, rows: Indices, fixes: Rows, now_ms: int, ttl_ms: int) -> None:
        self.table, self.rows, self.fixes = table, rows, fixes
        self.now_ms, self.fresh_from_ms = now_ms, now_ms - ttl_ms
        self.outcomes = np.full(rows.size, LIVE, dtype=np.uint8)
        self.taken: list[Rows] = []
        self.taken_by: list[Indices] = []
        self.looks: list[int] = []

    def tidy(self) -> Indices:
        """Refuses what is no fix and puts the others in order; returns which those are."""
        fixes = self.fixes
        accurate = (fixes["acc_m"] > 0.0) & (fixes["acc_m"] <= ACCURACY_MAX_M)
        placed = (np.abs(fixes["lat"]) <= LATITUDE_MAX_DEG) & np.isfinite(fixes["lon"])
        self.outcomes[~placed] = COORDINATES
        self.outcomes[~accurate] = ACCURACY
        turned = placed & ~((fixes["lon"] >= -180.0) & (fixes["lon"] < 180.0))
        for index in np.flatnonzero(turned):
            fixes["lon"][index] = normalise_lon(float(fixes["lon"][index]))
        np.clip(fixes["t_ms"], self.now_ms - PAST_MAX_MS, self.now_ms + FUTURE_MAX_MS, out=fixes["t_ms"])
        for name in ("speed_mps", "heading_deg"):
            unknown = ~(np.isfinite(fixes[name]) & (fixes[name] >= 0.0))
            if unknown.any():
                fixes[name][unknown] = _NAN
        fixes["heading_deg"] %= np.float32(360.0)
        return np.flatnonzero(accurate & placed)

    def round(self, own: Indices) -> None:
        """Judges fixes of different people: `own` are their places in the batch."""
        table, rows, fixes = self.table, self.rows[own], self.fixes[own]
        flags = table.flags[rows]
        known = (flags & LAST) != 0
        last_ms = table.times_ms[rows]
        repeated = known & (fixes["seq"] == table.seqs[rows])
        stale = known & ~repeated & (fixes["t_ms"] <= last_ms)
        single = (flags & HELD) != 0
        lats, lons = table.lats[rows], table.lons[rows]
        metres = local_distances_m(lats, lons, fixes["lat"], fixes["lon"])
        limit_m = np.maximum(fixes["t_ms"] - last_ms, SPEED_OVER_AT_LEAST_MS) * (SPEED_MAX_MPS / 1_000)
        polar = np.maximum(np.abs(lats), np.abs(fixes["lat"])) >= LOCAL_LAT_MAX_DEG
        unclear = polar | (metres > LOCAL_REACH_M) | (metres > limit_m * (1 - _NEARLY))
        single |= known & ~repeated & ~stale & unclear
        self.outcomes[own[repeated & ~single]] = DUPLICATE
        self.outcomes[own[stale & ~single]] = STALE
        live = ~(single | repeated | stale)
        if live.any():
            self._move(own[live], rows[live], fixes[live], known[live], polar[live])
        for index in own[single].tolist():
            self.one(index)

    def _move(self, own: Indices, rows: Indices, fixes: Rows, known: Mask, polar: Mask) -> None:
        """These fixes count."""
        table = self.table
        table.lats[rows], table.lons[rows] = fixes["lat"], fixes["lon"]
        table.accs_m[rows], table.times_ms[rows], table.seqs[rows] = (
            fixes["acc_m"],
            fixes["t_ms"],
            fixes["seq"],
        )
        table.flags[rows] |= LAST
        fixes["is_first"] = ~known
        self.taken.append(fixes)
        self.taken_by.append(own)
        self._stick(own, rows, fixes, polar)

    def _stick(self, own: Indices, rows: Indices, fixes: Rows, polar: Mask) -> None:
        table, t_ms = self.table, fixes["t_ms"]
        flags = table.flags[rows]
        fresh = t_ms >= self.fresh_from_ms
        metres = local_distances_m(
            fixes["lat"], fixes["lon"],
            table.centre_lats[rows].astype(np.float64), table.centre_lons[rows].astype(np.float64),
        )  # fmt: skip
        simple = fresh & ~polar & (table.cells[rows] != NO_CELL) & ((flags & LOOK) == 0)
        stays = simple & (metres <= table.keeps_m[rows])
        left = simple & (metres >= table.leaves_m[rows])
        was_outside = (flags & OUTSIDE) != 0
        back = rows[stays & was_outside]
        table.flags[back] &= 0xFF ^ OUTSIDE
        new = left & ~was_outside
        table.outside_since[rows[new]] = (t_ms[new] % _WRAP).astype(np.uint32)
        table.flags[rows[new]] |= OUTSIDE
        for_ms = (t_ms - table.outside_since[rows].astype(np.int64)) % _WRAP
        waits = left & was_outside & (for_ms < STICKY_MS)
        for index in own[fresh & ~(stays | new | waits)].tolist():
            self._stick_one(index)

    def _stick_one(self, index: int) -> None:
        table, row = self.table, int(self.rows[index])
        t_ms = int(table.times_ms[row])
        if t_ms < self.fresh_from_ms:
            return
        shown = table.shown(row)
        then = stick(shown, table.at(row), int(table.resolutions[row]), t_ms)
        if then is not shown:
            table.set_shown(row, then)
        if shown is None or then.cell != shown.cell or table.flags[row] & LOOK:
            table.flags[row] &= 0xFF ^ LOOK
            self.looks.append(index)

    def one(self, index: int) -> None:
        """Judges one fix by itself."""
        table, row = self.table, int(self.rows[index])
        last = table.last(row)
        admission = admit(fix_of(self.fixes[index]), last, table.held.get(row), self.now_ms)
        table.set_held(row, admission.held)
        self.outcomes[index] = OUTCOME_OF[admission.verdict, admission.reason]
        if not admission.accepted:
            return
        table.set_last(row, admission.last)
        self.taken.append(rows_of(admission.accepted, is_first=last is None))
        self.taken_by.append(np.full(len(admission.accepted), index, dtype=np.intp))
        self._stick_one(index)


def take_in(table: PositionTable, rows: Indices, fixes: Rows, now_ms: int, ttl_ms: int) -> Intake:
    """Judge fixes in order, each against its person's row, and move those who moved.

    `rows` (n) are rows of the table, `fixes` (n) are of type FIXES and are put in order in place: longitude
    in [-180, 180), time within [now - 24 h, now + 30 s]. A fix older than `ttl_ms` changes no shown cell.
    """
    batch = _Batch(table, rows, fixes, now_ms, ttl_ms)
    good = batch.tidy()
    if good.size:
        turns = _turns(rows[good])
        last = int(turns.max())
        for turn in range(min(last + 1, _ROUNDS)):
            batch.round(good[turns == turn] if last else good)
        if last >= _ROUNDS:
            for index in good[turns >= _ROUNDS].tolist():
                batch.one(index)
    if batch.taken:
        accepted, by = np.concatenate(batch.taken), np.concatenate(batch.taken_by)
    else:
        accepted, by = np.empty(0, dtype=FIXES), np.empty(0, dtype=np.intp)
    return Intake(fixes, batch.outcomes, accepted, by, batch.looks)


def _turns(rows: Indices) -> Indices:
    """Return for each place how often its row came before."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    turns = np.empty(rows.size, dtype=np.intp)
    lengths = np.diff(np.concatenate([begins, [rows.size]]))
    turns[order] = np.arange(rows.size) - np.repeat(begins, lengths)
    return turns


def copy_fixes(source: Rows, target: Rows) -> None:
    """Copy what a fix itself is from rows to others that have these fields too, whatever else they have."""
    for name in FIX_FIELDS:
        target[name] = source[name]


def fixes_of(rows: Rows) -> Rows:
    """Return the fixes of rows that have their fields among others, as FIXES."""
    fixes = np.zeros(rows.size, dtype=FIXES)
    copy_fixes(rows, fixes)
    return fixes


def fix_of(row: np.void) -> Fix:
    """Return a row as an object."""
    lat, lon, acc_m, t_ms, seq, speed_mps, heading_deg, _ = row.item()
    return Fix(lat, lon, acc_m, t_ms, seq, _known(speed_mps), _known(heading_deg))


def rows_of(fixes: tuple[Fix, ...], *, is_first: bool = False) -> Rows:
    """Return fixes as rows; of `is_first` ones only the first is."""
    rows = np.empty(len(fixes), dtype=FIXES)
    for index, fix in enumerate(fixes):
        speed_mps = _NAN if fix.speed_mps is None else fix.speed_mps
        heading_deg = _NAN if fix.heading_deg is None else fix.heading_deg
        rows[index] = (
            fix.lat, fix.lon, fix.acc_m, fix.t_ms, fix.seq, speed_mps, heading_deg, is_first and index == 0,
        )  # fmt: skip
    return rows


def _known(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124 - NaN is no value
