"""Candidates from several sources, hard limits, then both directed models in one batch (MATCH-1, 6, 7, 8)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from matching.answers import BASELINE, NO_SCORE, Recommended, Row
from matching.arrays import Floats, logit, sigmoid
from matching.candidates import LIMIT, Standing, gather
from matching.live import People, Rows
from matching.reciprocal import harmonic
from matching.tally import PRIOR, STRENGTH

Why = list[tuple[str, float]]
FRESH = 400
"""How many of the newest people stand in where the other sources leave room."""


class PairModel(Protocol):
    """A directed, calibrated model on rows of the table."""

    version: str

    def probabilities(self, people: People, raters: Rows, ratees: Rows, distance_m: Floats) -> Floats:
        """Return p(rater likes ratee) of each pair of rows; distance nan: not known."""

    def why(self, people: People, raters: Rows, ratees: Rows, distance_m: Floats) -> list[Why]:
        """Return what each feature truly added to each pair's log-odds, the largest first (MATCH-15)."""


class Baseline:
    """Popularity + selectivity: the log-odds of both rates, each counted from the prior's."""

    version = BASELINE

    def probabilities(self, people: People, raters: Rows, ratees: Rows, distance_m: Floats) -> Floats:  # noqa: ARG002
        gives, receives = _rates(people, raters, ratees)
        return sigmoid(logit(gives) + logit(receives) - float(np.log(PRIOR / (1 - PRIOR))))

    def why(self, people: People, raters: Rows, ratees: Rows, distance_m: Floats) -> list[Why]:  # noqa: ARG002
        return [[] for _ in ratees]  # both rates are a person's own affair


def _rates(people: People, raters: Rows, ratees: Rows) -> tuple[Floats, Floats]:
    gave, got = people.tally[raters], people.tally[ratees]
    return (
        (gave[:, 1] + STRENGTH * PRIOR) / (gave[:, 0] + STRENGTH),
        (got[:, 3] + STRENGTH * PRIOR) / (got[:, 2] + STRENGTH),
    )


@dataclass(frozen=True, slots=True)
class Scored:
    """Both directions and the pair's score (MATCH-1), an entry a row."""

    forward: Floats
    backward: Floats
    pair: Floats


def score(people: People, model: PairModel, viewer: int, rows: Rows, distance_m: Floats) -> Scored:
    """Return both directions of the viewer with each row, in one batch."""
    mine = np.full(len(rows), viewer, np.int64)
    both = model.probabilities(
        people, np.concatenate([mine, rows]), np.concatenate([rows, mine]), np.tile(distance_m, 2)
    )
    forward, backward = both[: len(rows)], both[len(rows) :]
    return Scored(forward, backward, harmonic(forward, backward))


def scores_of(people: People, model: PairModel, viewer: str, users: Sequence[str], today: int) -> list[float]:
    """Return the pair scores of a viewer with people whom they see already, NO_SCORE where there is none.

    How far away these are is the affair of who shows them: a limit on distance parts nobody here.
    """
    me = people.row_of.get(viewer)
    rows = people.rows(users)
    said = np.full(len(rows), NO_SCORE)
    if me is None:
        return said.tolist()
    known = np.flatnonzero(rows >= 0)
    known = known[people.fits(me, rows[known], np.zeros(len(known)), today)]
    if len(known):
        said[known] = score(people, model, me, rows[known], np.full(len(known), np.nan)).pair
    return [float(each) for each in said]


Source = Callable[[int], Sequence[int]]
"""From a viewer's row to rows, the best first."""


def recommend(
    people: People,
    model: PairModel,
    viewer: str,
    near: Sequence[tuple[str, float]],
    *,
    limit: int,
    today: int,
    sources: Mapping[str, Source],
) -> Recommended:
    """Return up to 2 × `limit` people for the viewer, the best first: a caller with later news may have to
    leave some out.

    `near` are those whom the viewer may see nearby, with the distance that they are at the most; of nobody
    else a distance is known.
    """
    me = people.row_of.get(viewer)
    if me is None:
        return Recommended(model.version, [])
    near_rows = people.rows(user for user, _ in near)
    far_m = {int(row): metres for row, (_, metres) in zip(near_rows, near, strict=True) if row >= 0}
    standing = Standing(me, frozenset(people.blocked.get(me, ())), people.decided(me))

    def fit(rows: Sequence[int]) -> list[int]:
        asked = np.asarray([row for row in rows if row not in standing.decided], np.int64)
        distance_m = np.array([far_m.get(row, np.nan) for row in asked.tolist()])
        fits = people.is_shown[asked] & people.fits(me, asked, distance_m, today)
        return list(asked[fits].tolist())

    listed = {"near": fit(list(far_m))} | {name: fit(source(me)) for name, source in sources.items()}
    found = gather(standing, listed, LIMIT)
    if len(found) < LIMIT:
        fresh = range(len(people) - 1, max(-1, len(people) - 1 - FRESH), -1)
        for row in fit(fresh)[: LIMIT - len(found)]:
            found.setdefault(row, "new")
    if not found:
        return Recommended(model.version, [])
    rows = np.fromiter(found, np.int64)
    distance_m = np.array([far_m.get(row, np.nan) for row in found])
    scored = score(people, model, me, rows, distance_m)
    best = np.argsort(-scored.pair, kind="stable")[: 2 * limit]
    mine = np.full(len(best), me, np.int64)
    why = model.why(people, mine, rows[best], distance_m[best])
    return Recommended(
        model.version,
        [
            Row(
                people.ids[rows[place]],
                float(scored.pair[place]),
                float(scored.forward[place]),
                float(scored.backward[place]),
                found[int(rows[place])],
                reasons,
            )
            for place, reasons in zip(best.tolist(), why, strict=True)
        ],
    )
