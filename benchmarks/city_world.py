"""The synthetic city without an engine: what the tables would say of it, as columns."""

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from benchmarks.city_history import DAY_S, History, matches
from benchmarks.city_people import GOALS, TOPICS, Floats, Integers, People
from geo.cells import cell_of, centre_of, edge_m
from matching import pair_features, rank, sources
from matching.artefact import PeopleModel
from matching.batch import World
from matching.features import strictly_past
from matching.pair_features import FEATURES, HISTORY, Person, Profiles
from matching.population import Population, never_shown
from matching.tally import PRIOR, RATES
from matching.trained import rates_of

RESOLUTION = 8


def tags(people: People) -> list[list[str]]:
    """Everybody's interests as words: topic-number."""
    words = np.array([f"{topic}-{tag}" for topic in TOPICS for tag in range(10)])
    return [words[row].tolist() for row in people.interests]


def goals(people: People) -> list[list[str]]:
    return [[GOALS[goal] for goal in np.flatnonzero(row)] for row in people.goals]


def profiles(people: People) -> Profiles:
    return pair_features.profiles(
        [
            Person(float(age), interests, wanted, {}, values)
            for age, interests, wanted, values in zip(
                people.age, tags(people), goals(people), people.values.tolist(), strict=True
            )
        ]
    )


def log_of(history: History) -> pl.DataFrame:
    """The log of decisions, with everybody's rates as they stood before each."""
    decided = history.decided
    return strictly_past(
        pl.DataFrame(
            {
                "rater": decided.rater,
                "ratee": decided.ratee,
                "yes": decided.likes,
                "offset": np.arange(len(decided)),
            }
        ),
        PRIOR,
    )


def tallies(history: History, people: int) -> Floats:
    """People × given, given_yes, received, received_yes, surprise: the fold of the log."""
    decided, log = history.decided, log_of(history)
    yes = decided.likes.astype(np.float64)
    surprise = yes - log["rater_give_rate"].to_numpy()

    def summed(side: Integers, weights: Floats) -> Floats:
        return np.bincount(side, weights=weights, minlength=people).astype(np.float64)

    return np.column_stack(
        [
            summed(decided.rater, np.ones_like(yes)),
            summed(decided.rater, yes),
            summed(decided.ratee, np.ones_like(yes)),
            summed(decided.ratee, yes),
            summed(decided.ratee, surprise),
        ]
    )


def trained(people: People, history: History, seed: int, most: int = 400_000) -> PeopleModel:
    """A model of the log: rates strictly before each decision, the newest `most` rows."""
    log, known = log_of(history).tail(most), profiles(people)
    rater, ratee = log["rater"].to_numpy(), log["ratee"].to_numpy()
    gave, got = (log.select([f"{side}_{name}" for name in RATES]).to_numpy() for side in ("rater", "ratee"))
    features = pair_features.pair_features(gave, got, known.take(rater), known.take(ratee))
    inputs = pair_features.blanked(features)
    model = rank.fit(inputs, log["yes"].to_numpy().astype(np.float64), HISTORY, seed)
    return PeopleModel(model, FEATURES, PRIOR, {})


def population(people: People, history: History) -> Population:
    lat, lon = people.positions()
    cells = [cell_of(*at, RESOLUTION) for at in zip(lat.tolist(), lon.tolist(), strict=True)]
    centres = {cell: centre_of(cell) for cell in set(cells)}
    decided = history.decided
    one, other, _ = matches(decided, len(people))
    bits = np.uint64(1) << np.arange(8, dtype=np.uint64)
    return Population(
        is_active=~people.is_paused,
        is_listed=people.is_listed,
        age=people.age.astype(np.float64),
        age_from=people.age_from.astype(np.float64),
        age_to=people.age_to.astype(np.float64),
        gender=bits[people.gender].astype(np.uint64),
        seeks=np.where(people.seeks.all(axis=1), 0, people.seeks @ bits[:3]).astype(np.uint64),
        goals=(people.goals @ bits[: len(GOALS)]).astype(np.uint64),
        within_m=np.where(people.within_m > 0, people.within_m, np.inf),
        lat=np.array([centres[cell].lat for cell in cells]),
        lon=np.array([centres[cell].lon for cell in cells]),
        blur_m=np.full(len(people), edge_m(RESOLUTION)),
        is_seen=np.ones(len(people), dtype=np.bool_),
        never=never_shown(
            len(people),
            blocked=history.blocked,
            matched=(one, other),
            decided=(decided.rater, decided.ratee, decided.likes),
        ),
    )


def world(people: People, history: History, model: PeopleModel | None, seed: int) -> World:
    known = rates_of(tallies(history, len(people)), PRIOR)
    visits, decided = history.visits, history.decided
    contacts = sources.contacts_of(
        len(people),
        (visits.person, visits.place, visits.at_s, visits.at_s + visits.stay_s),
        float(visits.at_s.max(initial=0) + DAY_S),
    )
    one, other, _ = matches(decided, len(people))
    found = sources.sources(
        known,
        csr_array(people.interests.astype(np.float32)),
        (decided.rater, decided.ratee, decided.likes),
        (one, other),
        contacts,
        seed=seed,
    )
    return World(population(people, history), profiles(people), known, found, model)
