"""Where candidates come from besides the neighbourhood, for a whole batch (MATCH-7, MATCH-14)."""

import numpy as np
from scipy.sparse import csr_array, vstack

from matching.arrays import Booleans, Floats, Integers
from matching.shortlist import Singles, Sources
from matching.svd import leading_vectors
from matching.tally import RATES

FACTORS = 16
WAYS_KEPT = 32
"""At most so many a person in the network and among encounters."""
CIRCLE = 16
"""So many contacts of each are walked on from, the likeliest."""
_ROWS = 5_000
CROWD = 400
"""A place where more than so many were at once introduces nobody to anybody."""
HALF_LIFE_DAYS = 7.0


def sources(
    rates: Floats,
    tags: csr_array,
    decided: tuple[Integers, Integers, Booleans],
    matched: tuple[Integers, Integers],
    contacts: csr_array,
    *,
    seed: int,
) -> Sources:
    """Return what ranks people. `rates` are people × RATES, `tags` people × tags of ones, `decided` rater,
    ratee, likes, `matched` pairs, `contacts` people × people as `contacts_of` gives them.
    """
    people = len(rates)
    gives = rates[:, RATES.index("give_rate")].clip(1e-3, 1 - 1e-3)
    gets = rates[:, RATES.index("received_rate")].clip(1e-3, 1 - 1e-3)
    tastes, charms = collaborative(decided, gives, gets, seed=seed)
    rare = np.log1p(people / np.maximum(np.asarray(tags.sum(axis=0)).ravel(), 1)).astype(np.float32)
    weighed = csr_array(tags.multiply(np.sqrt(rare)[None, :]))
    return Sources(
        tastes, charms, weighed, gives, gets, matches_of_matches(people, *matched), encounters(contacts)
    )


def collaborative(
    decided: tuple[Integers, Integers, Booleans], gives: Floats, gets: Floats, *, seed: int
) -> tuple[Singles, Singles]:
    """Return tastes and charms: the leading singular vectors of decisions less what both rates say.

    So that what is left is who likes whom, not how choosy or how liked one is. Few decisions say little: a
    decision's weight is that of its two people's numbers (D^-¼ either side).
    """
    (rater, ratee, likes), people = decided, len(gives)
    nothing = np.zeros((people, FACTORS), dtype=np.float32)
    if len(rater) < people or people <= 2 * FACTORS:
        return nothing, nothing
    odds = gives[rater] / (1 - gives[rater]) * gets[ratee] / (1 - gets[ratee])
    surprise = likes - odds / (1 + odds)
    of_rater, of_ratee = (np.maximum(np.bincount(side, minlength=people), 1) for side in (rater, ratee))
    weight = surprise * (of_rater[rater] * of_ratee[ratee]) ** -0.25
    matrix = csr_array((weight.astype(np.float32), (rater, ratee)), shape=(people, people))
    left, strength, right = leading_vectors(matrix, FACTORS, rounds=3, seed=seed)
    root = np.sqrt(strength)
    return (left * root).astype(np.float32), (right.T * root).astype(np.float32)


def matches_of_matches(people: int, one: Integers, other: Integers) -> csr_array:
    """Return the ways person – match – that one's match – their match, as `candidates.matches_of_matches`."""
    pairs = (np.concatenate([one, other]), np.concatenate([other, one]))
    matched = csr_array((np.ones(2 * len(one), dtype=np.float32), pairs), shape=(people, people))
    matched.sum_duplicates()
    matched.data[:] = 1
    ways = _walked(_no_diagonal(matched @ matched), matched)
    found = csr_array(ways - ways.multiply(matched))  # of ones: whom they matched already
    found.eliminate_zeros()
    return found


def contacts_of(people: int, visits: tuple[Integers, Integers, Floats, Floats], now_s: float) -> csr_array:
    """Return people × people: how much these were in one place at one time, recent ones more (half after
    HALF_LIFE_DAYS). `visits` are person, place, from and to (seconds) by row; a crowd introduces nobody.
    """
    person, place, began_s, ended_s = visits
    if not len(person):
        return csr_array((people, people), dtype=np.float32)
    order = np.lexsort((began_s, place))
    person, place, began_s, ended_s = person[order], place[order], began_s[order], ended_s[order]
    from_s, span_s = began_s.min(), ended_s.max() - began_s.min() + 1
    along = place * span_s
    last = np.searchsorted(along + began_s - from_s, along + ended_s - from_s, side="right")
    met = last - np.arange(len(last)) - 1
    met[met > CROWD] = 0
    one = np.repeat(np.arange(len(met)), met)
    other = one + 1 + np.arange(len(one)) - np.repeat(np.cumsum(met) - met, met)
    weight = 0.5 ** ((now_s - began_s[other]) / (HALF_LIFE_DAYS * 86_400))
    there = csr_array((weight.astype(np.float32), (person[one], person[other])), shape=(people, people))
    return _no_diagonal(csr_array(there + there.T))


def encounters(contacts: csr_array) -> csr_array:
    """Return recency-weighted contacts, and by Adamic and Adar who has acquaintances in common (MATCH-14)."""
    if not contacts.nnz:
        return contacts
    near = kept(contacts, CIRCLE)
    met = csr_array((np.ones_like(near.data), near.indices, near.indptr), shape=near.shape)
    degree = np.asarray(met.sum(axis=1)).ravel()
    weight = np.where(degree > 1, 1 / np.log(np.maximum(degree, 2)), 0.0).astype(np.float32)
    shared = _walked(csr_array(met.multiply(weight[None, :])), csr_array(met.T))
    return kept(csr_array(contacts + 0.1 * shared), WAYS_KEPT)


def _walked(one: csr_array, other: csr_array) -> csr_array:
    """Return the largest of each row of their product, without the diagonal; some rows at a time, since most
    of the product is not kept.
    """
    parts = []
    for start in range(0, one.shape[0], _ROWS):
        part = csr_array(one[start : start + _ROWS] @ other).tocoo()
        off = part.row + start != part.col
        rows = csr_array((part.data[off], (part.row[off], part.col[off])), shape=part.shape)
        parts.append(kept(rows, WAYS_KEPT))
    return csr_array(vstack(parts)) if parts else one


def kept(matrix: csr_array, count: int) -> csr_array:
    """Return the `count` largest of each row."""
    matrix = csr_array(matrix)
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((-matrix.data, row))
    lengths = np.diff(matrix.indptr)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    best = order[place < count]
    return csr_array((matrix.data[best], (row[best], matrix.indices[best])), shape=matrix.shape)


def _no_diagonal(matrix: csr_array) -> csr_array:
    found = matrix.tocoo()
    off = found.row != found.col
    return csr_array((found.data[off], (found.row[off], found.col[off])), shape=matrix.shape)
