"""Everybody who may be shown to somebody, as columns in memory (MATCH-6, MATCH-8, ML-12).

A person has a row number for as long as the table lives; it is not given out again, so what others hold about
somebody who was removed leads nowhere. Changes cost O(1), and a table that was fed in any batches equals one
that was filled at once.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from sys import getsizeof
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from geo.distance import distances_m
from matching.arrays import Booleans, Floats
from matching.tastes import Numbers, Rows, Tastes

GENDERS = {"woman": 1, "man": 2, "other": 4}
MOST_GOALS = 63
"""Kinds of goals that the table tells apart; a further kind counts as one, the last bit."""
ROUNDING_M = 4.0
"""Degrees are kept in four bytes."""
_TALLY = 5


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a person is and wants, as the `preferences` and `users` tables say it."""

    user: str
    status: str = "active"
    birth_date: date
    is_listed: bool = True
    is_seen: bool = False
    """Everybody may see where they are, as finely as `precision` says."""
    precision: str = "hidden"
    gender: str | None = None
    seeks: Sequence[str] = ()
    goals: Sequence[str] = ()
    age_from: int = 18
    age_to: int = 150
    within_m: int | None = None
    interests: Sequence[str] = ()
    answers: Mapping[str, Mapping[str, Any]] = {}
    values_21: Sequence[float] | None = None


class People:
    """The table. Rows are numbers from 0; all columns have at least `len(people)` of them."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.precision: list[str] = []
        self.row_of: dict[str, int] = {}
        self.tastes = Tastes()
        self._capacity = 0
        self.born: npt.NDArray[np.int32]
        """Birth date as yyyymmdd, so that an age is (today − born) // 10000."""
        self.is_shown: Booleans
        """Active, listed, not removed: may be recommended."""
        self.is_active: Booleans
        self.is_seen: Booleans
        self.place: npt.NDArray[np.float32]
        """Latitude and longitude of the middle of the cell that everybody may know of (degrees), and how many
        metres from it the person can be; 0 metres: no place.
        """
        self.gender: npt.NDArray[np.uint8]
        self.seeks: npt.NDArray[np.uint8]
        self.goals: npt.NDArray[np.uint64]
        self.age_from: npt.NDArray[np.int16]
        self.age_to: npt.NDArray[np.int16]
        self.within_m: npt.NDArray[np.float32]
        self.tally: Floats
        """given, given_yes, received, received_yes, surprise."""
        self._columns: dict[str, npt.NDArray[Any]] = {
            "born": np.zeros(0, np.int32),
            "is_shown": np.zeros(0, np.bool_),
            "is_active": np.zeros(0, np.bool_),
            "is_seen": np.zeros(0, np.bool_),
            "place": np.zeros((0, 3), np.float32),
            "gender": np.zeros(0, np.uint8),
            "seeks": np.zeros(0, np.uint8),
            "goals": np.zeros(0, np.uint64),
            "age_from": np.zeros(0, np.int16),
            "age_to": np.zeros(0, np.int16),
            "within_m": np.zeros(0, np.float32),
            "tally": np.zeros((0, _TALLY), np.float64),
        }
        self._publish()
        self.given: list[Numbers | None] = []
        """By row, decisions in order: the other's row × 2 + likes."""
        self.received: list[Numbers | None] = []
        self.decisions = 0
        """That are here."""
        self.blocked: dict[int, set[int]] = {}
        self.matched: dict[int, set[int]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    # -- changes -----------------------------------------------------------------------------------------

    def put(self, profile: Profile) -> int:
        """Add a person or take over what is new about them; return the row."""
        row = self._row(profile.user)
        self.is_active[row] = profile.status == "active"
        self.is_shown[row] = profile.status == "active" and profile.is_listed
        self.is_seen[row] = profile.is_seen
        if not profile.is_seen or profile.precision != self.precision[row]:
            self.place[row] = 0
        self.precision[row] = profile.precision
        self.born[row] = yyyymmdd(profile.birth_date)
        self.gender[row] = GENDERS.get(profile.gender or "", 0)
        self.seeks[row] = sum({GENDERS[gender] for gender in profile.seeks})
        self.tastes.put(row, profile.interests, profile.goals, profile.answers, profile.values_21)
        self.goals[row] = self._goal_bits(row)
        self.age_from[row], self.age_to[row] = profile.age_from, profile.age_to
        self.within_m[row] = np.inf if profile.within_m is None else profile.within_m
        return row

    def count(self, user: str, tally: Sequence[float]) -> None:
        """Take over a person's tally: given, given_yes, received, received_yes, surprise."""
        row = self.row_of.get(user)
        if row is not None:
            self.tally[row] = tally

    @contextmanager
    def counting(self, user: str, tally: Sequence[float] | None) -> Iterator[None]:
        """Within it a person's tally is this one, whatever the table has. None: as the table has it."""
        row = self.row_of.get(user)
        if row is None or tally is None:
            yield
            return
        before = self.tally[row].copy()
        self.tally[row] = tally
        try:
            yield
        finally:
            self.tally[row] = before

    def decide(self, rater: str, ratee: str, likes: bool) -> None:
        """Append a decision; of several about one person the last holds. Says nothing of strangers."""
        one, other = self.row_of.get(rater), self.row_of.get(ratee)
        if one is None or other is None:
            return
        self.decisions += 1
        _append(self.given, one, other * 2 + likes)
        _append(self.received, other, one * 2 + likes)

    def decide_all(self, rater: Rows, ratee: Rows, likes: Booleans) -> None:
        """Append many decisions at once, in order: as `decide` of each, but rows instead of ids, −1 for
        strangers.
        """
        known = (rater >= 0) & (ratee >= 0)
        self.decisions += int(known.sum())
        for column, of, other in ((self.given, rater, ratee), (self.received, ratee, rater)):
            rows, pairs = of[known], (other[known] * 2 + likes[known]).astype(np.int32)
            order = np.argsort(rows, kind="stable")
            people, starts = np.unique(rows[order], return_index=True)
            parts = np.split(pairs[order], starts[1:]) if len(people) else []
            for row, part in zip(people.tolist(), parts, strict=True):
                kept = column[row]
                if kept is None:
                    kept = column[row] = array("i")
                kept.frombytes(part.tobytes())

    def relate(self, low: str, high: str, *, blocked: bool, matched: bool) -> None:
        """Take over what stands between two."""
        one, other = self.row_of.get(low), self.row_of.get(high)
        if one is None or other is None:
            return
        for table, holds in ((self.blocked, blocked), (self.matched, matched)):
            for mine, theirs in ((one, other), (other, one)):
                if holds:
                    table.setdefault(mine, set()).add(theirs)
                elif mine in table:
                    table[mine].discard(theirs)

    def remove(self, user: str) -> int | None:
        """Forget a person: nothing that was known about them stays (ML-11). Return the row they had."""
        row = self.row_of.pop(user, None)
        if row is None:
            return None
        self.ids[row], self.precision[row] = "", "hidden"
        for column in self._columns.values():
            column[row] = 0
        self.tastes.put(row)
        self.given[row] = self.received[row] = None
        for table in (self.blocked, self.matched):
            for other in table.pop(row, ()):
                table[other].discard(row)
        return row

    # -- questions ---------------------------------------------------------------------------------------

    def rows(self, users: Iterable[str]) -> Rows:
        """Return a row for each, −1 for those who are not here."""
        return np.fromiter((self.row_of.get(user, -1) for user in users), np.int64)

    def rows_of(self, packed: npt.NDArray[np.bytes_]) -> Rows:
        """Return a row for each id given as the 16 bytes of a UUID (S16), −1 for those who are not here."""
        own = np.frombuffer(bytes.fromhex("".join(self.row_of).replace("-", "")), "S16")
        if not len(own):
            return np.full(len(packed), -1, np.int64)
        rows = np.fromiter(self.row_of.values(), np.int64)
        order = np.argsort(own)
        place = np.minimum(np.searchsorted(own[order], packed), len(own) - 1)
        found: Rows = np.where(own[order][place] == packed, rows[order][place], -1)
        return found

    def ages(self, rows: Rows, today: int) -> npt.NDArray[np.int32]:
        """Return full years on `today` (yyyymmdd)."""
        return (np.int32(today) - self.born[rows]) // np.int32(10_000)

    def fits(self, viewer: int, rows: Rows, distance_m: Floats, today: int) -> Booleans:
        """Return whose limits the viewer meets and who meets the viewer's (MATCH-6): activity, age, gender,
        goals, distance (nan: not known, which no limit lets pass), blocks. Symmetric, but that the viewer
        need not be listed.
        """
        me = np.array([viewer])
        ages, my_age = self.ages(rows, today), self.ages(me, today)[0]
        reach_m = np.minimum(self.within_m[rows], self.within_m[viewer])
        seeks, gender = self.seeks[rows], self.gender[rows]
        goals, my_goals = self.goals[rows], self.goals[viewer]
        fit: Booleans = (
            self.is_active[rows]
            & (rows != viewer)
            & (self.age_from[rows] <= my_age)
            & (my_age <= self.age_to[rows])
            & (self.age_from[viewer] <= ages)
            & (ages <= self.age_to[viewer])
            & ((seeks == 0) | ((seeks & self.gender[viewer]) != 0))
            & ((goals == 0) | (my_goals == 0) | ((goals & my_goals) != 0))
            & (np.isinf(reach_m) | (distance_m <= reach_m))
        )
        if self.seeks[viewer]:
            fit &= (gender & self.seeks[viewer]) != 0
        blocked = self.blocked.get(viewer)
        if blocked:
            fit &= ~np.isin(rows, np.fromiter(blocked, np.int64))
        return fit if self.is_active[viewer] else np.zeros(len(rows), np.bool_)

    def apart_m(self, viewer: int, rows: Rows) -> Floats:
        """Return how far the viewer and each row are apart at the most (metres), by what each shows to
        everybody; nan where one of them shows nothing. A bound, so that a limit that it keeps is kept.
        """
        found = np.full(len(rows), np.nan)
        mine, theirs = self.place[viewer].astype(np.float64), self.place[rows].astype(np.float64)
        if self.is_seen[viewer] and mine[2]:
            at = np.flatnonzero(self.is_seen[rows] & (theirs[:, 2] > 0))
            found[at] = distances_m(mine[0], mine[1], theirs[at, 0], theirs[at, 1])
            found[at] += mine[2] + theirs[at, 2] + ROUNDING_M
        return found

    def decided(self, row: int) -> Rows:
        """Return whom this person has decided on or matched with: none of them is to be shown (MATCH-8). Who
        passed on this person is: to see them vanish would tell it (docs/decisions/0264).
        """
        given = np.array(self.given[row] or (), np.int64) >> 1
        return np.concatenate([given, np.fromiter(self.matched.get(row, ()), np.int64)])

    def size_bytes(self) -> int:
        """Return what the table holds, about: columns, decisions, ids and where they stand."""
        columns = sum(column.nbytes for column in self._columns.values())
        decisions = sum(getsizeof(pairs) for side in (self.given, self.received) for pairs in side if pairs)
        ids = 2 * getsizeof(self.ids) + getsizeof(self.row_of) + sum(map(getsizeof, self.row_of))
        return columns + decisions + ids + self.tastes.size_bytes()

    # -- inside ------------------------------------------------------------------------------------------

    def _row(self, user: str) -> int:
        row = self.row_of.get(user)
        if row is None:
            row = self.row_of[user] = len(self.ids)
            self.ids.append(user)
            self.precision.append("hidden")
            self.given.append(None)
            self.received.append(None)
            if row >= self._capacity:
                self._grow(max(1024, self._capacity + self._capacity // 2))
        return row

    def _grow(self, capacity: int) -> None:
        for name, column in self._columns.items():
            grown = np.zeros((capacity, *column.shape[1:]), column.dtype)
            grown[: len(column)] = column
            self._columns[name] = grown
        self.tastes.grow(capacity)
        self._capacity = capacity
        self._publish()

    def _publish(self) -> None:
        for name, column in self._columns.items():
            setattr(self, name, column)

    def _goal_bits(self, row: int) -> np.uint64:
        return np.uint64(sum(1 << at for at in {min(goal, MOST_GOALS) for goal in self.tastes.goals.of(row)}))


def yyyymmdd(day: date) -> int:
    """Return a date as a number whose differences count years: 20261126."""
    return day.year * 10_000 + day.month * 100 + day.day


def _append(column: "list[Numbers | None]", row: int, pair: int) -> None:
    kept = column[row]
    if kept is None:
        column[row] = array("i", (pair,))
    else:
        kept.append(pair)
