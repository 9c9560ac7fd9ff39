"""What the Matcher makes anew in the background: vectors to search, the interest map (MATCH-7).

Made in a thread when somebody asks, at most every REST_S, and only if enough has changed: an engine that
nobody asks for recommendations does none of it, and does not read the libraries either.
"""

import asyncio
import logging
import time
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from actors import metrics
from matching import index
from matching.answers import InterestMap
from matching.live import People
from matching.tally import PRIOR, STRENGTH
from matching.tastes import Rows
from matching.two_stage import Source

if TYPE_CHECKING:
    from matching.embedding import Material, Neighbours

log = logging.getLogger("hereabouts.matcher")

REST_S = 600.0
CHANGED = 0.05
"""This share of new people or decisions makes vectors old."""
_SLICE = 5_000
"""Rows copied at a time, so that requests come through."""


class MatchSources:
    """Sources of candidates over one table."""

    def __init__(self, people: People, k: int) -> None:
        self._people = people
        self._k = max(1, k)
        self._neighbours: Neighbours | None = None
        self._map: InterestMap | None = None
        self._making: dict[str, asyncio.Task[None]] = {}
        self._made_s: dict[str, float] = {}
        self._erased: list[int] = []
        metrics.gauge("match_vectors", lambda: 0 if self._neighbours is None else len(self._neighbours))

    def sources(self) -> dict[str, Source]:
        """For `two_stage.recommend`."""
        table = self._people
        return {
            "similar": self._similar,
            "collaborative": lambda row: index.collaborative(table, row),
            "matches": lambda row: index.matches_of_matches(table, row),
            "interests": lambda row: index.shared_interests(table, row),
        }

    def forget(self, row: int) -> None:
        """A person was erased: their vectors go, also those that are being made (ML-11)."""
        self._erased.append(row)
        if self._neighbours is not None:
            self._neighbours.remove(row)

    async def interest_map(self) -> InterestMap:
        """The map as it was made last; the first time it is waited for."""
        self._refresh("map")
        if self._map is None:
            await asyncio.shield(self._making["map"])
        return self._map or InterestMap(self._k, [])

    async def settled(self) -> None:
        """Back when nothing is being made."""
        await asyncio.gather(*self._making.values(), return_exceptions=True)

    def stop(self) -> None:
        for task in self._making.values():
            task.cancel()

    def _similar(self, viewer: int) -> Rows:
        if self._is_old():
            self._refresh("vectors")
        if self._neighbours is None:
            return np.zeros(0, np.int64)
        return self._neighbours.near(viewer, index.MOST)

    def _is_old(self) -> bool:
        made = self._neighbours
        return (
            made is None
            or len(self._people) > made.people * (1 + CHANGED)
            or (self._people.decisions > made.decisions * (1 + CHANGED))
        )

    def _refresh(self, what: str) -> None:
        now_s = time.monotonic()
        if what in self._making or now_s - self._made_s.get(what, -REST_S) < REST_S:
            return
        self._made_s[what] = now_s
        make = self._make_vectors if what == "vectors" else self._make_map
        task = self._making[what] = asyncio.get_running_loop().create_task(make())
        task.add_done_callback(lambda done: self._done(what, done))

    def _done(self, what: str, task: "asyncio.Task[None]") -> None:
        self._making.pop(what, None)
        if not task.cancelled() and (wrong := task.exception()) is not None:
            log.error("the %s were not made: %r", what, wrong)

    async def _make_vectors(self) -> None:
        began_s = time.monotonic()
        self._erased.clear()
        await asyncio.to_thread(import_module, "matching.embedding")  # seconds, and requests come through
        made = await asyncio.to_thread(_neighbours, await material(self._people))
        for row in self._erased:
            made.remove(row)
        self._neighbours = made
        log.info("vectors of %d people in %.1f s", len(made), time.monotonic() - began_s)

    async def _make_map(self) -> None:
        interests = await asyncio.to_thread(import_module, "matching.interests")
        table = self._people.tastes.interests
        shown = np.flatnonzero(self._people.is_shown[: len(self._people)])
        self._map = await asyncio.to_thread(
            interests.interest_map,
            table.table[: len(self._people)].copy(),
            np.array(table.vocabulary.uses),
            list(table.vocabulary.words),
            shown,
            k=self._k,
        )


def _neighbours(found: "Material") -> "Neighbours":
    from matching.embedding import Neighbours  # noqa: PLC0415 - usearch and scikit-learn, for whoever asks

    return Neighbours(found)


async def material(people: People) -> "Material":
    """A copy of what vectors are made of, while requests come through."""
    from matching.embedding import Material  # noqa: PLC0415 - as above

    count = len(people)
    pairs, owners = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start in range(0, count, _SLICE):
        for row in range(start, min(start + _SLICE, count)):
            given = people.given[row]
            if given:
                pairs.append(np.array(given, np.int64))
                owners.append(np.full(len(given), row))
        await asyncio.sleep(0)
    told = np.concatenate(pairs)
    given, given_yes, received, received_yes, _ = people.tally[:count].T
    inside = (told >> 1) < count
    return Material(
        np.flatnonzero(people.is_shown[:count]),
        people.tastes.interests.table[:count].copy(),
        np.array(people.tastes.interests.vocabulary.uses, np.int64),
        np.concatenate(owners)[inside],
        (told >> 1)[inside],
        (told & 1).astype(np.bool_)[inside],
        (given_yes + STRENGTH * PRIOR) / (given + STRENGTH),
        (received_yes + STRENGTH * PRIOR) / (received + STRENGTH),
    )
