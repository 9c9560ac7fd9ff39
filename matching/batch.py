"""Lists for everybody at once: candidates, both directions by the model, caps, the daily pick (ML-9).

A shard of viewers needs the columns and nothing of other shards; what joins the shards is `show` and `pick`,
on the short lists alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from matching import caps, pair_features
from matching.arrays import Booleans, Floats, Integers
from matching.artefact import PeopleModel
from matching.explain import contributions
from matching.pair_features import Profiles
from matching.pick import LIST
from matching.population import Population
from matching.reciprocal import harmonic
from matching.shortlist import Sources, shortlist
from matching.tally import RATES
from matching.trained import MOST_TOLD, SMALLEST_TOLD, TOLD

BLOCK = 256
"""Viewers who share a pool."""
REASONS = tuple(sorted(TOLD))
"""What a viewer may be told of why, numbered."""


@dataclass(frozen=True)
class World:
    """All that a shard needs to make lists."""

    population: Population
    profiles: Profiles
    rates: Floats
    """People × RATES."""
    sources: Sources
    model: PeopleModel | None
    """None is the baseline."""


@dataclass(frozen=True)
class Edges:
    """Scored pairs, a viewer's together."""

    viewer: Integers
    shown: Integers
    forward: Floats
    """p(viewer → shown), calibrated."""
    backward: Floats
    source: Integers

    def __len__(self) -> int:
        return len(self.viewer)

    @property
    def score(self) -> Floats:
        """Return the pair's score, the same both ways (MATCH-1)."""
        return harmonic(self.forward, self.backward)

    def take(self, rows: Integers | Booleans) -> Self:
        """Return some rows, in that order."""
        return type(self)(
            self.viewer[rows], self.shown[rows], self.forward[rows], self.backward[rows], self.source[rows]
        )

    @classmethod
    def none(cls) -> Self:
        """No pairs."""
        nobody = np.empty(0, dtype=np.int64)
        return cls(nobody, nobody, np.empty(0), np.empty(0), nobody)

    @classmethod
    def together(cls, parts: "list[Edges]") -> Self:
        """Return the rows of all, one after the other."""
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("viewer", "shown", "forward", "backward", "source")
            )
        )


def by_place(population: Population) -> Integers:
    """Return all who take part so that neighbours stand together: along a Z-curve; who is nowhere is last."""
    there = np.flatnonzero(population.is_active)
    lat, lon = population.lat[there], population.lon[there]
    grid = [
        np.nan_to_num((values + shift) / (2 * shift) * (1 << 20), nan=float((1 << 20) - 1)).astype(np.int64)
        for values, shift in ((lat, 90.0), (lon, 180.0))
    ]
    code = np.zeros(len(there), dtype=np.int64)
    for bit in range(20):
        for side, values in enumerate(grid):
            code |= ((values >> bit) & 1) << (2 * bit + side)
    return np.asarray(there[np.argsort(code, kind="stable")], dtype=np.int64)


def scored(world: World, viewers: Integers, seed: int, length: int = LIST) -> Iterator[Edges]:
    """Yield the `length` best of each viewer's candidates, a block of viewers after the other."""
    for start in range(0, len(viewers), BLOCK):
        block = viewers[start : start + BLOCK]
        chance = np.random.default_rng([seed, int(block[0])])
        found = shortlist(world.population, world.sources, block, chance)
        forward = probabilities(world, found.viewer, found.shown)
        backward = probabilities(world, found.shown, found.viewer)
        edges = Edges(found.viewer, found.shown, forward, backward, found.source)
        order = np.lexsort((edges.shown, -edges.score, edges.viewer))
        edges = edges.take(order)
        yield edges.take(_place(edges.viewer) < length)


def probabilities(world: World, rater: Integers, ratee: Integers) -> Floats:
    """Return p(rater likes ratee) of pairs."""
    if not len(rater):
        return np.empty(0)
    features = pair_features.pair_features(
        world.rates[rater], world.rates[ratee], world.profiles.take(rater), world.profiles.take(ratee)
    )
    return pair_features.baseline(features) if world.model is None else world.model.probabilities(features)


def _place(viewer: Integers) -> Integers:
    """Return each row's place in its viewer's run of rows, from 0."""
    starts = np.flatnonzero(np.diff(viewer, prepend=-1))
    lengths = np.diff(np.append(starts, len(viewer)))
    return np.arange(len(viewer)) - np.repeat(starts, lengths)


@dataclass(frozen=True)
class Shown:
    """Which edges are shown, and that it is stable."""

    edges: Edges
    """In viewers' order, each one's best first."""
    unstable: int
    """Pairs who would rather have each other: 0."""


def show(edges: Edges, people: int, slots: int, cap: int) -> Shown:
    """Return each viewer's list when nobody is shown to more than `cap`: both rank by the pair's score
    (MATCH-9).
    """
    order, lists = _listed(edges, people)
    shown = caps.capped(lists, slots, cap)
    return Shown(edges.take(order[shown]), len(caps.blocking(lists, shown, slots, cap)))


def show_best(edges: Edges, people: int, slots: int) -> Edges:
    """Return lists by score alone: what the caps are measured against."""
    return edges.take(best(edges, people, slots))


def best(edges: Edges, people: int, slots: int) -> Integers:
    """Return which rows `show_best` shows."""
    order, lists = _listed(edges, people)
    return order[caps.top(lists, slots)]


def _listed(edges: Edges, people: int) -> tuple[Integers, caps.Lists]:
    score = edges.score
    order = np.lexsort((edges.shown, -score, edges.viewer))
    first = np.concatenate([[0], np.cumsum(np.bincount(edges.viewer, minlength=people))])
    return order, caps.Lists(first.astype(np.int64), edges.shown[order], score[order])


def pick(edges: Edges) -> Shown:
    """Return for each who has one the pick of the day, both directions as edges (MATCH-10)."""
    if not len(edges):
        return Shown(edges, 0)
    partner, lists, taken = caps.picks(edges.viewer, edges.shown, edges.score)
    return Shown(
        edges.take(partner[edges.viewer] == edges.shown), len(caps.blocking(lists, taken, slots=1, cap=1))
    )


def worth(edges: Edges, people: int, attention: int) -> dict[str, float]:
    """Return what lists are worth by the model's own probabilities."""
    found = caps.worth(edges.shown, edges.forward, edges.backward, people, attention)
    return {
        "slots": len(edges),
        "effective_matches": round(found.effective_matches, 2),
        "matches": round(found.matches, 2),
        "gini": round(found.gini, 4),
    }


def by_popularity(edges: Edges, rates: Floats) -> Edges:
    """Return the edges with a score that is how often the shown is liked: what recommenders are measured
    against.
    """
    liked = rates[edges.shown, RATES.index("received_rate")]
    return replace(edges, forward=liked, backward=liked)


def why(world: World, edges: Edges) -> tuple[Integers, Floats]:
    """Return edges × MOST_TOLD: indices of REASONS (−1 is none) and what these truly added to the log-odds of
    `forward`, largest first (MATCH-15).
    """
    features, effects = np.full((len(edges), MOST_TOLD), -1), np.zeros((len(edges), MOST_TOLD))
    if world.model is None or not len(edges):
        return features, effects
    told = [
        (world.model.names.index(name), at) for at, name in enumerate(REASONS) if name in world.model.names
    ]
    rater, ratee = edges.viewer, edges.shown
    asked = pair_features.pair_features(
        world.rates[rater], world.rates[ratee], world.profiles.take(rater), world.profiles.take(ratee)
    )
    parts = contributions(world.model.model, world.model.inputs(asked))[:, [place for place, _ in told]]
    order = np.argsort(-np.abs(parts), axis=1, kind="stable")[:, :MOST_TOLD]
    added = np.take_along_axis(parts, order, axis=1)
    names = np.array([at for _, at in told])[order]
    worth_telling = np.abs(added) >= SMALLEST_TOLD
    features[:, : order.shape[1]] = np.where(worth_telling, names, -1)
    effects[:, : order.shape[1]] = np.where(worth_telling, added, 0.0)
    return features, effects
