"""Whom to look at, for many viewers at once: candidates by source from a pool about them (MATCH-7, ML-9).

A block of viewers who live about one place shares a pool of at most POOL people: the nearest, a sample of
everybody, and whom the network names. Within it every source ranks everybody for everybody, so the cost a
viewer is O(POOL) however many people there are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from matching.arrays import Booleans, Floats, Integers
from matching.population import Population
from matching.reciprocal import harmonic

POOL, SAMPLED = 3_000, 600
SOURCES = ("near", "interests", "collaborative", "popular", "network", "encounters")
QUOTAS = (16, 16, 16, 24, 8, 8)
"""How many of each source; whoever several name counts for the first in this order."""
_NEVER = -1e9

Singles = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sources:
    """What ranks people, rows as in the population."""

    tastes: Singles
    """People × factors: by what they liked (collaborative)."""
    charms: Singles
    """People × factors: by who liked them; tastes[i] · charms[j] is how much i would like j."""
    tags: csr_array
    """People × tags, rare ones weigh more."""
    likes_given: Floats
    """Rate of likes that one gives, and that one gets (shrunk)."""
    likes_received: Floats
    network: csr_array
    """Ways from a person over matches: matches of matches."""
    encounters: csr_array
    """Recent contacts, and shared acquaintances (MATCH-14)."""


@dataclass(frozen=True)
class Candidates:
    """An entry a pair, viewers in order, nobody twice; `source` is an index of SOURCES."""

    viewer: Integers
    shown: Integers
    source: Integers


def shortlist(
    population: Population, sources: Sources, viewers: Integers, chance: np.random.Generator
) -> Candidates:
    """Return at most sum(QUOTAS) candidates a viewer, all of whom may be shown to them (MATCH-6, MATCH-8)."""
    nothing = np.empty(0, dtype=np.int64)
    viewers = viewers[population.is_active[viewers]]
    if not len(viewers):
        return Candidates(nothing, nothing, nothing)
    pool = pool_of(population, sources, viewers, chance)
    row, column = np.nonzero(population.may_show(viewers[:, None], pool[None, :]))
    found = np.full(len(row), -1, dtype=np.int64)
    ranks = np.empty((len(viewers), len(pool)), dtype=np.float32)
    for number, ranked in enumerate(_rankings(population, sources, viewers, pool, (row, column))):
        named = np.flatnonzero((found < 0) & (ranked > _NEVER))
        ranks[:] = -np.inf
        ranks[row[named], column[named]] = ranked[named]
        best = _best(ranks, QUOTAS[number])
        found[named[best[row[named], column[named]]]] = number
    kept = found >= 0
    return Candidates(viewers[row[kept]], pool[column[kept]], found[kept])


def pool_of(
    population: Population, sources: Sources, viewers: Integers, chance: np.random.Generator
) -> Integers:
    """Return whom any of these viewers might be shown, ascending."""
    there = np.flatnonzero(population.is_active & population.is_listed)
    named = np.concatenate([sources.network[viewers].indices, sources.encounters[viewers].indices])
    kept = [named[population.is_active[named] & population.is_listed[named]]]
    if len(there) <= POOL:
        return np.asarray(there, dtype=np.int64)
    place = np.nanmean(population.lat[viewers]) if np.isfinite(population.lat[viewers]).any() else np.nan
    if np.isfinite(place):
        seen = there[population.is_seen[there] & np.isfinite(population.lat[there])]
        shrink = np.cos(np.radians(place))
        away = np.hypot(
            population.lat[seen] - place,
            (population.lon[seen] - np.nanmean(population.lon[viewers])) * shrink,
        )
        count = min(len(seen), POOL - SAMPLED)
        if count:
            kept.append(seen[np.argpartition(away, count - 1)[:count]])
    room = POOL - sum(len(part) for part in kept[1:])
    kept.append(there[chance.integers(0, len(there), room)])
    return np.unique(np.concatenate(kept)).astype(np.int64)


def _rankings(
    population: Population,
    sources: Sources,
    viewers: Integers,
    pool: Integers,
    at: tuple[Integers, Integers],
) -> Iterator[Floats]:
    """Yield how each of SOURCES ranks these pairs (rows of viewers, rows of the pool); higher is better,
    _NEVER is not named.
    """
    viewer, shown = viewers[at[0]], pool[at[1]]
    east = (population.lon[viewer] - population.lon[shown]) * np.cos(np.radians(population.lat[shown]))
    away = np.hypot(population.lat[viewer] - population.lat[shown], east)
    yield np.where(population.is_seen[shown] & np.isfinite(away), -away, _NEVER)
    shared = (sources.tags[viewers] @ sources.tags[pool].T).toarray()[at]
    yield np.where(shared > 0, shared, _NEVER)
    taste = sources.tastes[viewers] @ sources.charms[pool].T
    taste += (sources.tastes[pool] @ sources.charms[viewers].T).T
    yield np.where(taste[at] != 0, taste[at], _NEVER)
    yield harmonic(
        _popular(sources.likes_given[viewer], sources.likes_received[shown]),
        _popular(sources.likes_given[shown], sources.likes_received[viewer]),
    )
    for graph in (sources.network, sources.encounters):
        ways = graph[viewers][:, pool].toarray()[at]
        yield np.where(ways > 0, ways, _NEVER)


def _popular(gives: Floats, receives: Floats) -> Floats:
    """Return p(i→j) by both rates alone: their odds multiplied, the prior's are one."""
    odds = gives / (1 - gives) * receives / (1 - receives)
    return np.asarray(odds / (1 + odds), dtype=np.float64)


def _best(ranks: Singles, count: int) -> Booleans:
    """Return the `count` highest of each row."""
    found = np.zeros(ranks.shape, dtype=np.bool_)
    if ranks.shape[1] <= count:
        return ~found
    best = np.argpartition(-ranks, count - 1, axis=1)[:, :count]
    np.put_along_axis(found, best, True, axis=1)
    return found
