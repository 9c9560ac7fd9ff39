"""What happened in the synthetic city: who saw whom, what they decided, who talked, who went where."""

from dataclasses import dataclass

import numpy as np

from benchmarks.city_people import GENDERS, TOPICS, Booleans, Floats, Integers, People
from benchmarks.city_truth import eligible, likes

DAYS = 6
"""Fewer than a request lives (7): no request of the history runs out within it."""
DAY_S = 86_400
REPLY = 0.7
"""The chance that a like is seen and answered a day later."""
BLOCK = 0.002
"""Of those who passed."""
REACH_M = 3_000.0
CELL_M = 1_000.0
_TRIES = 6
_VISITS_A_PERSON = 3


@dataclass(frozen=True)
class Decided:
    """Decisions in their order, nobody twice on the same."""

    rater: Integers
    ratee: Integers
    likes: Booleans
    at_s: Floats
    """Seconds since the beginning."""
    chance: Floats
    """What p(i→j) was."""

    def __len__(self) -> int:
        return len(self.rater)


@dataclass(frozen=True)
class Chats:
    """One row a match that talks; replies stop sooner where the two care less."""

    one: Integers
    other: Integers
    messages: Integers
    since_s: Floats


@dataclass(frozen=True)
class Visits:
    person: Integers
    place: Integers
    at_s: Floats
    stay_s: Floats


@dataclass(frozen=True)
class History:
    decided: Decided
    blocked: tuple[Integers, Integers]
    """Who blocked whom."""
    chats: Chats
    visits: Visits


def happened(people: People, chance: np.random.Generator, days: int = DAYS) -> History:
    """The history of `days` days."""
    decided = _decisions(people, chance, days)
    passed = np.flatnonzero(~decided.likes)
    # Who was liked by the one they block is left out: the engine would have to undo a match.
    count = len(people)
    reverse = np.isin(decided.ratee * count + decided.rater, decided.rater * count + decided.ratee)
    blocks = passed[(chance.random(len(passed)) < BLOCK) & ~reverse[passed]]
    return History(
        decided,
        (decided.rater[blocks], decided.ratee[blocks]),
        _chats(people, decided, chance),
        _visits(people, chance, days),
    )


def matches(decided: Decided, people: int) -> tuple[Integers, Integers, Floats]:
    """Pairs that like each other (low number, high number), and when the second said so."""
    yes = decided.likes
    low = np.minimum(decided.rater[yes], decided.ratee[yes])
    high = np.maximum(decided.rater[yes], decided.ratee[yes])
    key, at_s = low * people + high, decided.at_s[yes]
    order = np.lexsort((at_s, key))
    key, at_s = key[order], at_s[order]
    second = np.flatnonzero(key[1:] == key[:-1]) + 1
    return key[second] // people, key[second] % people, at_s[second]


class Crowd:
    """Finds somebody of a gender who lives about a place."""

    def __init__(self, people: People) -> None:
        self.width = int(np.ceil(people.side_m / CELL_M)) + 1
        self._half_m = people.side_m / 2
        bucket = self._cell(people.east_m, people.north_m) * len(GENDERS) + people.gender
        self._order = np.argsort(bucket, kind="stable")
        self._count = np.bincount(bucket, minlength=self.width**2 * len(GENDERS))
        self._first = np.cumsum(self._count) - self._count

    def _cell(self, east_m: Floats, north_m: Floats) -> Integers:
        column, row = (
            np.clip(((along + self._half_m) // CELL_M).astype(np.int64), 0, self.width - 1)
            for along in (east_m, north_m)
        )
        return row * self.width + column

    def draw(
        self, east_m: Floats, north_m: Floats, gender: Integers, chance: np.random.Generator
    ) -> Integers:
        """A person each, −1 where nobody lives there."""
        bucket = self._cell(east_m, north_m) * len(GENDERS) + gender
        count = self._count[bucket]
        place = (chance.random(len(bucket)) * count).astype(np.int64)
        found = self._order[np.minimum(self._first[bucket] + place, len(self._order) - 1)]
        return np.where(count > 0, found, -1)


def meetings(
    people: People, crowd: Crowd, viewer: Integers, chance: np.random.Generator
) -> tuple[Integers, Integers]:
    """Whom these viewers see, each at most once: near ones oftener (exponentially, REACH_M), attractive ones
    oftener, only whom they may be shown. Some see nobody.
    """
    found: list[tuple[Integers, Integers]] = []
    prominence = 0.25 + 0.75 / (1 + np.exp(-1.5 * people.attractiveness))
    for _ in range(_TRIES):
        if not len(viewer):
            break
        turn, far_m = chance.random(len(viewer)) * 2 * np.pi, chance.exponential(REACH_M, len(viewer))
        wanted = people.seeks[viewer] * chance.random((len(viewer), len(GENDERS)))
        shown = crowd.draw(
            people.east_m[viewer] + far_m * np.cos(turn),
            people.north_m[viewer] + far_m * np.sin(turn),
            wanted.argmax(axis=1),
            chance,
        )
        seen = (shown >= 0) & (chance.random(len(viewer)) < prominence[shown])
        seen[seen] = eligible(people, viewer[seen], shown[seen])
        found.append((viewer[seen], shown[seen]))
        viewer = viewer[~seen]
    return np.concatenate([one for one, _ in found]), np.concatenate([one for _, one in found])


def _decisions(people: People, chance: np.random.Generator, days: int) -> Decided:
    count, crowd = len(people), Crowd(people)
    decided = np.empty(0, dtype=np.int64)
    """Keys of pairs, sorted."""
    nobody = np.empty(0, dtype=np.int64)
    due = (nobody, nobody)
    parts = []
    for day in range(days):
        active = np.where(people.is_paused, 0.0, people.activity)
        seen = meetings(people, crowd, np.repeat(np.arange(count), chance.poisson(active)), chance)
        rater, ratee = np.concatenate([due[0], seen[0]]), np.concatenate([due[1], seen[1]])
        key, at = np.unique(rater * count + ratee, return_index=True)
        new = ~np.isin(key, decided)
        key, rater, ratee = key[new], rater[at[new]], ratee[at[new]]
        decided = np.sort(np.concatenate([decided, key]))
        said = likes(people, rater, ratee)
        yes = chance.random(len(said)) < said
        at_s = (day + chance.random(len(said))) * DAY_S
        parts.append((rater, ratee, yes, at_s, said))
        answered = yes & (chance.random(len(said)) < REPLY)
        due = (ratee[answered], rater[answered])
    rater, ratee, yes, at_s, said = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(at_s, kind="stable")
    return Decided(rater[order], ratee[order], yes[order], at_s[order], said[order])


def _chats(people: People, decided: Decided, chance: np.random.Generator) -> Chats:
    """Messages ~ 1 + Poisson(12 · p(i→j) · p(j→i)): who cares more writes longer."""
    one, other, at_s = matches(decided, len(people))
    care = likes(people, one, other) * likes(people, other, one)
    talks = chance.random(len(one)) < 0.6
    count = 1 + chance.poisson(12 * care[talks])
    return Chats(one[talks], other[talks], count.astype(np.int64), at_s[talks])


def _visits(people: People, chance: np.random.Generator, days: int) -> Visits:
    """Places by ln weight = draw + 2 · share of its topic · |TOPICS| / 4 − d / 1.5 km, Gumbel's way."""
    person_parts, place_parts = [], []
    places = people.places
    for start in range(0, len(people), 5_000):
        part = np.arange(start, min(start + 5_000, len(people)))
        far_m = np.hypot(
            people.east_m[part, None] - places.east_m, people.north_m[part, None] - places.north_m
        )
        weight = places.draw + len(TOPICS) / 2 * people.topics[part][:, places.topic] - far_m / 1_500
        noisy = weight + chance.gumbel(size=weight.shape)
        count = min(_VISITS_A_PERSON, weight.shape[1])
        chosen = np.argpartition(-noisy, count - 1, axis=1)[:, :count]
        person_parts.append(np.repeat(part, count))
        place_parts.append(chosen.ravel())
    person, place = np.concatenate(person_parts), np.concatenate(place_parts)
    at_s = chance.random(len(person)) * (days * DAY_S - 4 * 3600)
    order = np.argsort(at_s, kind="stable")
    stay_s = chance.uniform(900, 3 * 3600, len(person))
    return Visits(person[order], place[order].astype(np.int64), at_s[order], stay_s[order])
