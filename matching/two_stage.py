"""Candidates from several sources, hard limits, then both directed models in one batch (MATCH-1, 6, 7, 8)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from matching.answers import BASELINE, NO_SCORE, Recommended, Row
from matching.arrays import Booleans, Floats, logit, sigmoid
from matching.candidates import LIMIT, Standing, gather
from matching.live import People
from matching.reciprocal import harmonic
from matching.tally import PRIOR, STRENGTH
from matching.tastes import Rows
from matching.telling import DIGITS, Telling, Why

FRESH = 400
"""How many of the newest people stand in where the other sources leave room."""


@dataclass(frozen=True, slots=True)
class Scored:
    """p(viewer likes row) and p(row likes viewer), an entry a row, and why of some of them: what each feature
    that may be told added to the log-odds of the first, the largest first (MATCH-15).
    """

    forward: Floats
    backward: Floats
    why: Callable[[Rows], list[Why]]

    @property
    def pair(self) -> Floats:
        """Return the pairs' scores (MATCH-1)."""
        return harmonic(self.forward, self.backward)


class PairModel(Protocol):
    """A directed, calibrated model on rows of the table."""

    @property
    def version(self) -> str:
        """As stands on each answer."""

    def score(self, people: People, viewer: int, rows: Rows, today: int) -> Scored:
        """Return both directions of a viewer with rows, from one batch. `today` is yyyymmdd."""


class Baseline:
    """Popularity + selectivity: the log-odds of both rates, each counted from the prior's."""

    version = BASELINE

    def score(self, people: People, viewer: int, rows: Rows, today: int) -> Scored:  # noqa: ARG002
        """See PairModel. Nothing is told: both rates are a person's own affair."""
        gives, receives = _rates(people.tally[np.append(rows, viewer)])
        return Scored(
            sigmoid(gives[-1] + receives[:-1] - _PRIOR_LOGIT),
            sigmoid(gives[:-1] + receives[-1] - _PRIOR_LOGIT),
            lambda places: [[] for _ in places],
        )


_PRIOR_LOGIT = float(np.log(PRIOR / (1 - PRIOR)))


def _rates(tally: Floats) -> tuple[Floats, Floats]:
    given, given_yes, received, received_yes, _ = tally.T
    return (
        logit((given_yes + STRENGTH * PRIOR) / (given + STRENGTH)),
        logit((received_yes + STRENGTH * PRIOR) / (received + STRENGTH)),
    )


def scores_of(people: People, model: PairModel, viewer: str, users: Sequence[str], today: int) -> list[float]:
    """Return the pair scores of a viewer with people whom they see already, NO_SCORE where there is none.

    How far away these are is the affair of who shows them: a limit on distance parts nobody here.
    """
    me = people.row_of.get(viewer)
    rows = people.rows(users)
    said = np.full(len(rows), NO_SCORE)
    if me is None:
        return list(said.tolist())
    known = np.flatnonzero(rows >= 0)
    known = known[people.fits(me, rows[known], np.zeros(len(known)), today)]
    if len(known):
        said[known] = model.score(people, me, rows[known], today).pair
    return [float(each) for each in said]


Source = Callable[[int], Sequence[int] | Rows]
"""From a viewer's row to rows, the best first."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: `near` are those whom the viewer may see nearby, with the distance that they are at
    the most; of others it is what the table knows. `limit` is what is to be shown; `today` is yyyymmdd.
    """

    viewer: str
    near: Sequence[tuple[str, float]]
    limit: int
    today: int
    now_s: float
    """By any clock, but always the same one."""


def recommend(
    people: People, model: PairModel, wish: Wish, sources: Mapping[str, Source], telling: Telling
) -> tuple[Recommended, Rows]:
    """Return up to 2 × `limit` people for the viewer, the best first: a caller with later news may have to
    leave some out; and the candidates they were chosen from. Those behind `limit` come without a why.
    Scores, their order and reasons are as they may be told.
    """
    me = people.row_of.get(wish.viewer)
    found = {} if me is None else candidates(people, me, wish, sources)
    rows = np.fromiter(found, np.int64)
    if me is None or not len(rows):
        return Recommended(model.version, []), rows
    viewer = (me, model.version)
    with people.counting(wish.viewer, telling.counts(viewer, people.tally[me].tolist(), wish.now_s)):
        scored = model.score(people, me, rows, wish.today)
    told = telling.tells(viewer, rows, scored.pair, wish.now_s)
    best = np.argsort(-told, kind="stable")[: 2 * wish.limit]
    first = best[: wish.limit]
    why = telling.reasons(viewer, rows[first], lambda places: scored.why(first[places]))
    why += [[]] * (len(best) - len(why))
    columns = (
        rows[best].tolist(),
        *(each[best].round(DIGITS).tolist() for each in (told, scored.forward, scored.backward)),
        why,
    )
    shown = [
        Row(people.ids[row], both, forth, back, found[row], reasons)
        for row, both, forth, back, reasons in zip(*columns, strict=True)
    ]
    return Recommended(model.version, shown), rows


def candidates(people: People, me: int, wish: Wish, sources: Mapping[str, Source]) -> dict[int, str]:
    """Return at most LIMIT rows that may be shown to `me`, and the source of each, in turns over the sources;
    where these leave room, the newest.
    """
    near = people.rows(user for user, _ in wish.near)
    far_m = {int(row): metres for row, (_, metres) in zip(near, wish.near, strict=True) if row >= 0}
    named = {"near": near[near >= 0]}
    named |= {name: np.asarray(source(me), np.int64) for name, source in sources.items()}
    may_be_shown = np.zeros(len(people), np.bool_)
    rows = np.concatenate(list(named.values()))
    may_be_shown[rows] = _fit(people, me, rows, far_m, wish.today)
    may_be_shown[people.decided(me)] = False
    found = gather(
        Standing(me), {name: rows[may_be_shown[rows]][:LIMIT].tolist() for name, rows in named.items()}
    )
    if len(found) < LIMIT:
        newest = np.arange(len(people) - 1, max(-1, len(people) - 1 - FRESH), -1)
        may_be_shown[newest] = _fit(people, me, newest, far_m, wish.today)
        may_be_shown[people.decided(me)] = False
        may_be_shown[list(found)] = False
        found |= dict.fromkeys(newest[may_be_shown[newest]][: LIMIT - len(found)].tolist(), "new")
    return found


def _fit(people: People, me: int, rows: Rows, far_m: Mapping[int, float], today: int) -> Booleans:
    distance_m = people.apart_m(me, rows)
    if far_m:
        at = np.flatnonzero(np.isin(rows, np.fromiter(far_m, np.int64)))
        distance_m[at] = [far_m[row] for row in rows[at].tolist()]
    fits: Booleans = people.is_shown[rows] & people.fits(me, rows, distance_m, today)
    return fits
