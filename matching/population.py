"""Everybody as columns, and who may be shown to whom: the hard limits for a whole batch (MATCH-6, MATCH-8).

What `live.People` is for one viewer at a time this is for arrays of pairs; both say the same of the same
people. It holds nothing but arrays, so that many processes read one copy of it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from matching.arrays import Booleans, Floats, Integers

METRES_A_DEGREE = 111_195.0
Bits = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Population:
    """Columns of one length; people are numbered by their rows."""

    is_active: Booleans
    """Takes part: not paused, suspended or leaving."""
    is_listed: Booleans
    """May be recommended."""
    age: Floats
    age_from: Floats
    age_to: Floats
    gender: Bits
    """One bit; 0 is not said."""
    seeks: Bits
    """0 is any."""
    goals: Bits
    """0 is any."""
    within_m: Floats
    """inf is any distance."""
    lat: Floats
    """Middle of the cell that strangers may see, degrees; nan is not known."""
    lon: Floats
    blur_m: Floats
    """At most so far are they from there."""
    is_seen: Booleans
    """Strangers may see the cell; else it is used for the person's own list alone."""
    never: Integers
    """Sorted keys (viewer · len + shown) of pairs that are out whatever they wish: blocked either way,
    decided on, passed by the other, matched.
    """

    def __len__(self) -> int:
        return len(self.age)

    def most_m(self, viewer: Integers, shown: Integers) -> Floats:
        """Return how far apart these are at the most; nan where that may not be known.

        A bound, so that a limit that it keeps is kept (and cells alone go into it). Flat earth: within a
        part in a thousand up to 100 km, which is added.
        """
        middle = np.radians((self.lat[viewer] + self.lat[shown]) / 2)
        up = self.lat[shown] - self.lat[viewer]
        right = np.abs(self.lon[shown] - self.lon[viewer])
        right = np.minimum(right, 360 - right) * np.cos(middle)
        apart_m = np.hypot(up, right) * METRES_A_DEGREE * 1.006
        found = apart_m + self.blur_m[viewer] + self.blur_m[shown]
        return np.where(self.is_seen[shown], found, np.nan)

    def fit(self, viewer: Integers, shown: Integers) -> Booleans:
        """Return whether each meets the other's limits; a distance that is not known passes no limit.

        The two arrays are broadcast against each other.
        """
        reach_m = np.minimum(self.within_m[viewer], self.within_m[shown])
        found = self.is_active[viewer] & self.is_active[shown] & self.is_listed[shown] & (viewer != shown)
        for asker, asked in ((viewer, shown), (shown, viewer)):
            found &= (self.age_from[asker] <= self.age[asked]) & (self.age[asked] <= self.age_to[asker])
            found &= (self.seeks[asker] == 0) | ((self.seeks[asker] & self.gender[asked]) != 0)
        found &= (self.goals[viewer] == 0) | (self.goals[shown] == 0) | self._meet(viewer, shown)
        at = np.nonzero(found & np.isfinite(reach_m))
        one, other = (np.broadcast_to(side, found.shape)[at] for side in (viewer, shown))
        found[at] = self.most_m(one, other) <= reach_m[at]  # nan is not
        return np.asarray(found, dtype=np.bool_)

    def may_show(self, viewer: Integers, shown: Integers) -> Booleans:
        """Return who may be shown to whom: `fit`, and nothing stands between them."""
        found = self.fit(viewer, shown)
        at = np.nonzero(found)
        one, other = (np.broadcast_to(side, found.shape)[at] for side in (viewer, shown))
        found[at] = ~self.is_never(one, other)
        return found

    def is_never(self, viewer: Integers, shown: Integers) -> Booleans:
        """Return which pairs are out whatever they wish."""
        if not len(self.never):
            return np.zeros(len(viewer), dtype=np.bool_)
        key = viewer * len(self) + shown
        place = np.minimum(np.searchsorted(self.never, key), len(self.never) - 1)
        return np.asarray(self.never[place] == key, dtype=np.bool_)

    def _meet(self, viewer: Integers, shown: Integers) -> Booleans:
        return np.asarray((self.goals[viewer] & self.goals[shown]) != 0, dtype=np.bool_)


def never_shown(
    people: int,
    *,
    blocked: tuple[Integers, Integers],
    matched: tuple[Integers, Integers],
    decided: tuple[Integers, Integers, Booleans],
) -> Integers:
    """Return the keys of `Population.never`. `blocked` and `matched` are pairs in either order, `decided` are
    rater, ratee, likes.
    """
    rater, ratee, likes = decided
    one, other = (np.concatenate([blocked[side], matched[side]]) for side in (0, 1))
    viewer = np.concatenate([one, other, rater, ratee[~likes]])
    shown = np.concatenate([other, one, ratee, rater[~likes]])
    return np.unique(viewer.astype(np.int64) * people + shown)
