"""Who said yes to whom: decisions as columns, with those labels that a model may not see taken out."""

from dataclasses import dataclass, replace

import numpy as np

from matching.arrays import Booleans, Floats, Integers


class LeakError(ValueError):
    """A feature knows what it cannot know before the decision."""


@dataclass(frozen=True)
class Decisions:
    """Directed decisions, a row each, all arrays of one length; both directions of a pair are rows.

    People are numbered from 0 over all cohorts.
    """

    cohort: Integers
    """Who could meet whom: an evening, a city; nobody is in two."""
    rater: Integers
    ratee: Integers
    moment: Integers
    """When, counted in rounds; a round's decisions cannot know each other."""
    label: Floats
    """1 yes, 0 no, nan unknown or hidden."""
    reverse: Integers
    """The row of the same pair's other direction."""

    def __len__(self) -> int:
        return len(self.label)

    @property
    def people(self) -> int:
        return int(max(self.rater.max(), self.ratee.max())) + 1

    @property
    def known(self) -> Booleans:
        return ~np.isnan(self.label)

    @property
    def pair(self) -> Integers:
        """Return the same number for both directions of a pair: the lower of the two rows."""
        return np.minimum(np.arange(len(self)), self.reverse)

    def seen_at(self, seen: Booleans) -> "Decisions":
        """Return the same rows with the labels of all others gone (nan).

        This is how every model here is asked: what it must not know is not there, so that a feature made of
        it becomes nan and shows, whoever wrote it (MATCH-3).
        """
        return replace(self, label=np.where(seen, self.label, np.nan))

    def take(self, rows: Booleans) -> "Decisions":
        """Return some rows; both directions of a pair, or neither."""
        if not np.array_equal(rows, rows[self.reverse]):
            raise ValueError("a pair's two directions go together")
        place = np.cumsum(rows) - 1
        return Decisions(
            self.cohort[rows],
            self.rater[rows],
            self.ratee[rows],
            self.moment[rows],
            self.label[rows],
            place[self.reverse[rows]],
        )


def deal(groups: Integers, folds: int, seed: int) -> Integers:
    """Return a fold per row, whole groups together, folds of equal numbers of groups (± 1), dealt by the
    seed.
    """
    kinds, place = np.unique(groups, return_inverse=True)
    hands = np.random.default_rng(seed).permutation(np.arange(len(kinds)) % folds)
    return np.asarray(hands[place], dtype=np.int64)
