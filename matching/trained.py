"""A trained model on rows of the live table (MATCH-1, MATCH-5, MATCH-15, ML-6)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from matching.arrays import Floats
from matching.artefact import PeopleModel
from matching.explain import Explainer
from matching.live import People
from matching.pair_features import pair_features, turned
from matching.tally import RATES, STRENGTH
from matching.tastes import Rows
from matching.telling import Why
from matching.two_stage import Scored

TOLD = frozenset(
    {"shared_interests", "interests_jaccard", "shared_goals", "value_alignment", "value_likeness"}
)
"""What a viewer may be told of why: what they have in common. Rates and ages are the other's own affair:
their part in a score would say how often somebody was passed.
"""
MOST_TOLD = 3
SMALLEST_TOLD = 0.005
"""Log-odds; less than that is nothing to tell."""


@dataclass(frozen=True)
class Trained:
    """One version of the registry's `people`."""

    version: str
    model: PeopleModel

    def score(self, people: People, viewer: int, rows: Rows, today: int) -> Scored:
        """See two_stage.PairModel."""
        forward = features(people, viewer, rows, today, self.model.prior)
        both = self.model.probabilities(np.vstack([forward, turned(forward)]))
        return Scored(both[: len(rows)], both[len(rows) :], lambda places: self.why(forward[places]))

    def why(self, forward: Floats) -> list[Why]:
        """Return what each of TOLD truly added to the log-odds of each row, the largest first.

        That something is not known counts in a score, but is no reason to tell.
        """
        inputs = self.model.inputs(forward)
        parts = self._explainer.added(inputs).round(3)
        parts[np.isnan(inputs[:, self._told])] = 0.0
        order = np.argsort(-np.abs(parts), axis=1, kind="stable")[:, :MOST_TOLD]
        names = [self.model.names[place] for place in self._told]
        return [
            [(names[at], row[at]) for at in places if abs(row[at]) >= SMALLEST_TOLD]
            for row, places in zip(parts.tolist(), order.tolist(), strict=True)
        ]

    @cached_property
    def _told(self) -> list[int]:
        return [place for place, name in enumerate(self.model.names) if name in TOLD]

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.model.model, self._told)


def features(people: People, viewer: int, rows: Rows, today: int, prior: float) -> Floats:
    """Return rows × pair_features.FEATURES of the viewer deciding on each row."""
    everybody = np.concatenate([np.array([viewer]), rows])
    profiles = people.tastes.profiles(viewer, everybody, people.ages(everybody, today).astype(np.float64))
    rates = rates_of(people.tally[everybody], prior)
    mine, theirs = np.zeros(len(rows), np.int64), np.arange(1, len(everybody))
    return pair_features(rates[mine], rates[theirs], profiles.take(mine), profiles.take(theirs))


def rates_of(tally: Floats, prior: float) -> Floats:
    """Return rows × RATES of tallies (given, given_yes, received, received_yes, surprise)."""
    given, given_yes, received, received_yes, surprise = tally.T
    columns = {
        "received_rate": (received_yes + STRENGTH * prior) / (received + STRENGTH),
        "give_rate": (given_yes + STRENGTH * prior) / (given + STRENGTH),
        "residual": surprise / (received + STRENGTH),
        "received": received,
        "given": given,
    }
    return np.column_stack([columns[name] for name in RATES])
