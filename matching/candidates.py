"""Who may be shown to whom at all, and whom to look at (MATCH-6, MATCH-7, MATCH-8)."""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Generic, TypeVar

LIMIT = 200

Person = TypeVar("Person", str, int)
"""An id, or a row of a table."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person is and asks for: the hard limits, two-way. None asks for nothing."""

    age: int
    goals: frozenset[str] = frozenset()
    """What for; empty is anything."""
    age_from: int = 18
    age_to: int = 150
    within_m: float | None = None
    is_active: bool = True
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class Standing(Generic[Person]):
    """Who is out for one person, whatever they wish."""

    person: Person
    blocked: AbstractSet[Person] = field(default_factory=frozenset)
    """Either way: whom they blocked and who blocked them."""
    decided: AbstractSet[Person] = field(default_factory=frozenset)


def fit(one: Wishes, other: Wishes, distance_m: float) -> bool:
    """Return whether each meets the other's limits (MATCH-6); symmetric."""
    for asker, asked in ((one, other), (other, one)):
        if not asker.age_from <= asked.age <= asker.age_to:
            return False
        if asker.within_m is not None and distance_m > asker.within_m:
            return False
    if one.goals and other.goals and not one.goals & other.goals:
        return False
    return all(side.is_active and not side.is_paused for side in (one, other))


def gather(
    standing: Standing[Person],
    sources: Mapping[str, Iterable[Person]],
    limit: int = LIMIT,
) -> dict[Person, str]:
    """Return at most `limit` candidates and the source that named each first, in turns over the sources.

    Sources (the live H3 disk, neighbours by embedding, collaborative, matches of matches, shared interests)
    list their best first; none crowds out the others. Never self, blocked or already decided (MATCH-8).
    """
    found: dict[Person, str] = {}
    for person, source in _in_turns(sources):
        if len(found) >= limit:
            break
        if person != standing.person and person not in standing.blocked and person not in standing.decided:
            found.setdefault(person, source)
    return found


def _in_turns(sources: Mapping[str, Iterable[Person]]) -> Iterator[tuple[Person, str]]:
    for row in zip_longest(*sources.values()):
        for source, person in zip(sources, row, strict=True):
            if person is not None:
                yield person, source


def matches_of_matches(person: Person, matches: Mapping[Person, AbstractSet[Person]]) -> list[Person]:
    """Return who matched with those who matched with the same people, by how many ways; ties by id.

    Person – match – that one's other matches – their matches: of the side that the person looks for.
    """
    ways: dict[Person, int] = {}
    nobody: AbstractSet[Person] = frozenset()
    mine = matches.get(person, nobody)
    for match in mine:
        for peer in matches.get(match, nobody):
            if peer != person:
                for candidate in matches.get(peer, nobody):
                    ways[candidate] = ways.get(candidate, 0) + 1
    return sorted(
        (one for one in ways if one not in mine and one != person), key=lambda one: (-ways[one], one)
    )
