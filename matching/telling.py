"""What viewers are told of scores, so that none says that somebody has just decided (docs/decisions/0230,
0264).

A score holds both directions, so it moves with what the other one decides. What is told is rounded, changes
only by NOTICED or more and only at times that nobody knows beforehand, and what others decided about the
viewer counts by RECEIVED_STEP. Shards keep it for live maps (actors/score_book.py); `Telling` is the same for
who asks the recommender.
"""

import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from matching.arrays import Floats
from matching.tastes import Rows

Why = list[tuple[str, float]]
Counts = tuple[float, ...]
"""given, given_yes, received, received_yes, surprise."""
Viewer = tuple[int, str]
"""Whose row, and by which version: in an experiment one person may be served by two."""

DIGITS = 2
NOTICED = 0.05
"""A change of less is not told."""
RECEIVED_STEP = 5
"""So many more decisions about a person are taken into account together, once there are so many."""
RENEW_S = 600.0
"""After this, on average, all are looked at anew; the least is half of it and the most one and a half."""

PAIRS = 1_000_000
"""That are remembered in all, ten bytes each and their reasons: whoever asked longest ago is forgotten."""
PAIRS_EACH = 500
"""Of one viewer; those asked about last stay."""

_NOTICED = round(NOTICED * 10**DIGITS)


def is_step(before: float, now: float) -> bool:
    """Return whether so many decisions were received since that they count (fewer: an erasure)."""
    return not 0 <= now - before < RECEIVED_STEP


@dataclass(slots=True)
class _Told:
    """One viewer's: rows in order, hundredths, and reasons as MessagePack of row → why."""

    counted: Counts
    due_s: float
    rows: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    hundredths: npt.NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))
    whys: bytes = b"\x80"


class Telling:
    """For the viewers of one table. `chance` says when a viewer's scores are looked at anew."""

    def __init__(self, chance: random.Random, pairs: int = PAIRS) -> None:
        self._chance = chance
        self._limit = pairs
        self._of: OrderedDict[Viewer, _Told] = OrderedDict()
        self._pairs = 0

    def __len__(self) -> int:
        return self._pairs

    def counts(self, viewer: Viewer, tally: Sequence[float], now_s: float) -> Counts:
        """Return the tally that the viewer's scores are made with: their own decisions at once, those of
        others by the step. To be called before `tells`.
        """
        now: Counts = tuple(tally)
        told = self._of.get(viewer)
        if told is None:
            told = self._of[viewer] = _Told(now, self._due_s(now_s))
        if now[0] != told.counted[0]:
            told.due_s = now_s
        is_all = is_step(told.counted[2], now[2])
        told.counted = now if is_all else (*now[:2], *told.counted[2:])
        self._of.move_to_end(viewer)
        return told.counted

    def tells(self, viewer: Viewer, rows: Rows, pair: Floats, now_s: float) -> Floats:
        """Return what is told of each row's score, where `pair` is true now."""
        told = self._of[viewer]
        now = np.rint(np.clip(pair, 0.0, 1.0) * 10**DIGITS).astype(np.int16)
        at = np.minimum(np.searchsorted(told.rows, rows), max(len(told.rows) - 1, 0))
        is_known = told.rows[at] == rows if len(told.rows) else np.zeros(len(rows), np.bool_)
        is_due = now_s >= told.due_s
        shown, is_moved = now, ~is_known
        if is_known.any():
            before = told.hundredths[at]
            is_held = is_known if not is_due else is_known & (np.abs(now - before) < _NOTICED)
            shown, is_moved = np.where(is_held, before, now), ~is_held
        if is_due:
            told.due_s = self._due_s(now_s)
        if is_moved.any():
            self._keep(told, rows, shown, rows[is_moved & is_known])
        return np.asarray(shown / 10**DIGITS, dtype=np.float64)

    def reasons(self, viewer: Viewer, rows: Rows, why: Callable[[Rows], list[Why]]) -> list[Why]:
        """Return why of these rows, as it was when their score was told first; `why` makes that of places in
        `rows`. It is made of what the other one gave and got, too.
        """
        told = self._of[viewer]
        known = _whys.decode(told.whys)
        new = [place for place, row in enumerate(rows.tolist()) if row not in known]
        if new:
            made = dict(zip(rows[new].tolist(), why(np.array(new)), strict=True))
            known = {row: each for row, each in known.items() if row in told.rows} | made
            told.whys = msgspec.msgpack.encode(known)
        return [known[row] for row in rows.tolist()]

    def forgets(self, row: int) -> None:
        """Somebody was erased: nothing that they were told, and nothing that others were told of them."""
        for viewer in [each for each in self._of if each[0] == row]:
            self._drop(viewer)
        for told in self._of.values():
            if row in told.rows:
                is_kept = told.rows != row
                told.rows, told.hundredths = told.rows[is_kept], told.hundredths[is_kept]
                told.whys = _without(told.whys, [row])
                self._pairs -= 1

    def _drop(self, viewer: Viewer) -> None:
        self._pairs -= len(self._of.pop(viewer).rows)

    def _due_s(self, now_s: float) -> float:
        return now_s + RENEW_S * self._chance.uniform(0.5, 1.5)

    def _keep(self, told: _Told, rows: Rows, shown: npt.NDArray[np.int16], moved: Rows) -> None:
        if len(moved):
            told.whys = _without(told.whys, moved.tolist())
        is_other = ~np.isin(told.rows, rows)
        others = np.flatnonzero(is_other)[: max(0, PAIRS_EACH - len(rows))]
        self._pairs -= len(told.rows)
        every = np.concatenate([rows, told.rows[others]])
        order = np.argsort(every)
        told.rows = every[order]
        told.hundredths = np.concatenate([shown, told.hundredths[others]]).astype(np.int16)[order]
        self._pairs += len(told.rows)
        while self._pairs > self._limit and len(self._of) > 1:
            self._drop(next(iter(self._of)))


_whys = msgspec.msgpack.Decoder(dict[int, Why])


def _without(whys: bytes, rows: list[int]) -> bytes:
    known = _whys.decode(whys)
    return msgspec.msgpack.encode({row: why for row, why in known.items() if row not in rows})
