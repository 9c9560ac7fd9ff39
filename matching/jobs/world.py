"""The engine's tables as the columns that a batch works on (ML-9, ML-12)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from io import BytesIO

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from matching import batch, pair_features, sources
from matching.arrays import Booleans, Floats, Integers
from matching.artefact import PeopleModel
from matching.pair_features import Person
from matching.population import Bits, Population, never_shown
from matching.tally import PRIOR
from matching.trained import rates_of
from matching.whereabouts import shown_to_strangers, whereabouts
from storage.recommending import PersonColumns, Snapshot

GENDERS = {"woman": 1, "man": 2, "other": 4}
MOST_GOALS = 63
"""Kinds of goals that are told apart; further ones count as one."""
EVERYONE = "everyone"


@dataclass(frozen=True)
class Tables:
    """What a snapshot says, as columns by people's numbers."""

    ids: list[str]
    world: batch.World
    visits: csr_array
    """People × places: 1 where they were."""
    places: list[str]
    invited: list[tuple[int, str, Integers]]


def tables(
    taken: Snapshot,
    cells: Mapping[str, str],
    model: PeopleModel | None,
    today: date,
    *,
    seed: int,
    privacy_k: int,
) -> Tables:
    """Return the columns of a snapshot. `cells` are where people were last, by id."""
    people = taken.people
    (rater, ratee), (likes,) = _columns(taken.decisions, ("rater", "ratee"), ("likes",))
    (one, other), (parted, matched) = _columns(taken.between, ("one", "other"), ("parted", "matched"))
    visits = pl.read_csv(BytesIO(taken.visits))
    person, place = (visits[name].to_numpy().astype(np.int64) for name in ("person", "place"))
    began_s, ended_s = (visits[name].to_numpy().astype(np.float64) for name in ("began_s", "ended_s"))
    rates = rates_of(
        np.array([each.tally for each in people], dtype=np.float64).reshape(-1, 5),
        PRIOR if model is None else model.prior,
    )
    pairs = one[matched], other[matched]
    met_s = float(began_s.max(initial=0.0))
    never = never_shown(
        len(people), blocked=(one[parted], other[parted]), matched=pairs, decided=(rater, ratee, likes)
    )
    world = batch.World(
        _population(people, cells, never, today, privacy_k),
        pair_features.profiles([_person(each, today) for each in people]),
        rates,
        sources.sources(
            rates,
            _tags(people),
            (rater, ratee, likes),
            pairs,
            sources.contacts_of(len(people), (person, place, began_s, ended_s), met_s),
            seed=seed,
        ),
        model,
    )
    been = csr_array(
        (np.ones(len(person), dtype=np.float32), (person, place)), shape=(len(people), len(taken.places))
    )
    been.sum_duplicates()
    been.data[:] = 1
    return Tables(
        [each.user for each in people],
        world,
        been,
        taken.places,
        [(one, room, np.array(members, dtype=np.int64)) for one, room, members in taken.invited],
    )


def _columns(
    stored: bytes, numbers: Sequence[str], flags: Sequence[str]
) -> tuple[list[Integers], list[Booleans]]:
    read = pl.read_csv(BytesIO(stored), schema_overrides=dict.fromkeys(flags, pl.String))
    return (
        [read[name].to_numpy().astype(np.int64) for name in numbers],
        [(read[name] == "t").to_numpy().astype(np.bool_) for name in flags],
    )


def _age(born: date, today: date) -> int:
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def _person(one: PersonColumns, today: date) -> Person:
    return Person(
        float(_age(one.birth_date, today)), one.interests, one.goals, json.loads(one.answers), one.values_21
    )


def _population(
    people: Sequence[PersonColumns], cells: Mapping[str, str], never: Integers, today: date, privacy_k: int
) -> Population:
    count = len(people)
    lat, lon, blur_m = whereabouts(
        [shown_to_strangers(cells.get(each.user), each.precision) for each in people], privacy_k
    )

    def numbers(values: Sequence[float]) -> Floats:
        return np.array(values, dtype=np.float64)

    return Population(
        is_active=np.ones(count, dtype=np.bool_),
        is_listed=np.array([each.is_listed for each in people], dtype=np.bool_),
        age=numbers([_age(each.birth_date, today) for each in people]),
        age_from=numbers([each.age_from for each in people]),
        age_to=numbers([each.age_to for each in people]),
        gender=np.array([GENDERS.get(each.gender or "", 0) for each in people], dtype=np.uint64),
        seeks=np.array([sum({GENDERS[gender] for gender in each.seeks}) for each in people], dtype=np.uint64),
        goals=_goals(people),
        within_m=numbers([np.inf if each.within_m is None else each.within_m for each in people]),
        lat=lat,
        lon=lon,
        blur_m=blur_m,
        is_seen=_seen(people),
        never=never,
    )


def _seen(people: Sequence[PersonColumns]) -> Booleans:
    return np.array([each.audience == EVERYONE and not each.is_ghost for each in people], dtype=np.bool_)


def _goals(people: Sequence[PersonColumns]) -> Bits:
    known: dict[str, int] = {}
    bits = [
        sum({1 << min(known.setdefault(goal, len(known)), MOST_GOALS) for goal in each.goals})
        for each in people
    ]
    return np.array(bits, dtype=np.uint64)


def _tags(people: Sequence[PersonColumns]) -> csr_array:
    known: dict[str, int] = {}
    rows, columns = [], []
    for number, each in enumerate(people):
        for tag in set(each.interests):
            rows.append(number)
            columns.append(known.setdefault(tag, len(known)))
    ones = np.ones(len(rows), dtype=np.float32)
    return csr_array((ones, (rows, columns)), shape=(len(people), max(len(known), 1)))
