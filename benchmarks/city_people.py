"""The people of the synthetic city: what is known of them, and what only the truth knows."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

LAT, LON = 52.52, 13.40
METRES_A_DEGREE = 111_195.0
PEOPLE_A_KM2 = 250.0
LEAST_SIDE_M = 4_000.0
GENDERS = ("woman", "man", "other")
GOALS = ("date", "friends", "sport", "talk")
TOPICS = (
    "music", "film", "sport", "food", "travel", "books", "games", "nature", "art", "dance", "science",
    "craft",
)  # fmt: skip
TAGS_A_TOPIC = 10
TASTES = 6
VALUES = 10
WITHIN_M = (0, 3_000, 5_000, 10_000, 20_000)
"""0: any distance."""
_WITHIN_SHARES = (0.35, 0.1, 0.2, 0.2, 0.15)
_PEOPLE_A_PLACE = 250


@dataclass(frozen=True)
class Places:
    """Fenced places, each of a topic."""

    east_m: Floats
    north_m: Floats
    topic: Integers
    draw: Floats
    """How much a place draws, as a log-weight."""


@dataclass(frozen=True)
class People:
    """Columns of one length. What a recommender may know comes first; the truth's own is below."""

    side_m: float
    east_m: Floats
    """Of home, from the middle of the city."""
    north_m: Floats
    age: Integers
    gender: Integers
    """An index of GENDERS."""
    seeks: Booleans
    """People × GENDERS."""
    goals: Booleans
    """People × GOALS; none is any."""
    age_from: Integers
    age_to: Integers
    within_m: Integers
    interests: Booleans
    """People × tags; tag t is of topic t // TAGS_A_TOPIC."""
    values: Integers
    """People × VALUES, 1…6: a noisy answer about what one is (`is_like`)."""
    is_paused: Booleans
    is_listed: Booleans
    # -- the truth --
    attractiveness: Floats
    selectivity: Floats
    wants: Floats
    """People × TASTES: what one looks for."""
    is_like: Floats
    """People × TASTES: what one is."""
    topics: Floats
    """People × TOPICS: shares of interest."""
    activity: Floats
    """Decisions a day."""
    places: Places

    def __len__(self) -> int:
        return len(self.age)

    @classmethod
    def drawn(cls, users: int, chance: np.random.Generator) -> Self:
        """`users` people; the city grows with them, PEOPLE_A_KM2, so that density stays."""
        side_m = max(LEAST_SIDE_M, math.sqrt(users / PEOPLE_A_KM2) * 1_000)
        east_m, north_m = _homes(users, side_m, chance)
        gender = chance.choice(3, users, p=(0.48, 0.48, 0.04))
        age = np.clip(18 + chance.gamma(3.0, 5.5, users), 18, 80).astype(np.int64)
        below, above = (chance.integers(5, 16, users) for _ in range(2))
        goals = chance.random((users, len(GOALS))) < (0.7, 0.5, 0.3, 0.2)
        goals[chance.random(users) < 0.1] = False
        topics = chance.dirichlet([0.25] * len(TOPICS), users)
        is_like = chance.normal(size=(users, TASTES))
        wants = 0.6 * is_like + 0.8 * chance.normal(size=(users, TASTES))
        said = chance.normal(size=(TASTES, VALUES)) / math.sqrt(TASTES)
        answered = 3.5 + 1.2 * (is_like @ said) + chance.normal(0, 0.4, (users, VALUES))
        return cls(
            side_m,
            east_m,
            north_m,
            age,
            gender,
            _seeks(gender, chance),
            goals,
            np.maximum(age - below, 18),
            np.minimum(age + above, 150),
            chance.choice(WITHIN_M, users, p=_WITHIN_SHARES),
            _interests(topics, chance),
            np.clip(np.rint(answered), 1, 6).astype(np.int64),
            chance.random(users) < 0.02,
            chance.random(users) >= 0.01,
            chance.normal(size=users),
            chance.normal(size=users),
            wants,
            is_like,
            topics,
            np.clip(chance.lognormal(1.0, 0.7, users), 0.1, 30.0),
            _places(max(4, users // _PEOPLE_A_PLACE), side_m, chance),
        )

    def positions(self) -> tuple[Floats, Floats]:
        """Latitudes and longitudes of homes, degrees."""
        lat = LAT + self.north_m / METRES_A_DEGREE
        return lat, LON + self.east_m / (METRES_A_DEGREE * math.cos(math.radians(LAT)))


def _homes(users: int, side_m: float, chance: np.random.Generator) -> tuple[Floats, Floats]:
    """Twelve neighbourhoods, a fifth of the people anywhere."""
    centres = chance.uniform(-0.4, 0.4, (12, 2)) * side_m
    homes = centres[chance.integers(0, 12, users)] + chance.normal(0, side_m / 14, (users, 2))
    anywhere = chance.random(users) < 0.2
    homes[anywhere] = chance.uniform(-0.5, 0.5, (int(anywhere.sum()), 2)) * side_m
    homes = np.clip(homes, -side_m / 2, side_m / 2)
    return homes[:, 0], homes[:, 1]


def _seeks(gender: Integers, chance: np.random.Generator) -> Booleans:
    """86 % of women and men seek the other, 7 % their own, the rest anybody; others anybody."""
    kind = chance.choice(3, len(gender), p=(0.86, 0.07, 0.07))
    seeks = np.ones((len(gender), len(GENDERS)), dtype=np.bool_)
    for own, other in ((0, 1), (1, 0)):
        seeks[(gender == own) & (kind == 0)] = np.arange(3) == other
        seeks[(gender == own) & (kind == 1)] = np.arange(3) == own
    return seeks


def _interests(topics: Floats, chance: np.random.Generator) -> Booleans:
    """Three to nine tags, by topic, within a topic the first ones oftener (Zipf)."""
    users = len(topics)
    weight = 1 / (1 + np.arange(TAGS_A_TOPIC))
    found = np.zeros((users, topics.shape[1] * TAGS_A_TOPIC), dtype=np.bool_)
    cumulated = topics.cumsum(axis=1)
    count = chance.integers(3, 10, users)
    for drawn in range(9):
        topic = (chance.random(users)[:, None] > cumulated).sum(axis=1).clip(max=topics.shape[1] - 1)
        tag = chance.choice(TAGS_A_TOPIC, users, p=weight / weight.sum())
        found[np.arange(users), topic * TAGS_A_TOPIC + tag] |= drawn < count
    return found


def _places(count: int, side_m: float, chance: np.random.Generator) -> Places:
    where = chance.uniform(-0.48, 0.48, (2, count)) * side_m
    topic = chance.integers(0, len(TOPICS), count)
    return Places(where[0], where[1], topic, chance.normal(0, 0.7, count))
