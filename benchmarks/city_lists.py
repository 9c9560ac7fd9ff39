"""Lists for the city's people, ours and those to measure them by, and what they lead to by the truth."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks import city_truth, city_world
from benchmarks.city import City
from benchmarks.city_people import Booleans, Integers
from matching import batch
from matching.artefact import PeopleModel
from matching.batch import Edges, World
from matching.shortlist import shortlist

LENGTHS = (1, 2, 5, 10, 20)


@dataclass(frozen=True)
class Shown:
    """Who is shown to whom; `place` in the list counts from 1."""

    viewer: Integers
    shown: Integers
    place: Integers

    def first(self, length: int) -> "Shown":
        return self.take(self.place <= length)

    def take(self, rows: Booleans) -> "Shown":
        return Shown(self.viewer[rows], self.shown[rows], self.place[rows])


def of_edges(edges: Edges) -> Shown:
    """Lists whose best come first."""
    order = np.lexsort((edges.shown, -edges.score, edges.viewer))
    viewer = edges.viewer[order]
    starts = np.flatnonzero(np.diff(viewer, prepend=-1))
    counts = np.diff(np.append(starts, len(viewer)))
    place = np.arange(len(viewer)) - np.repeat(starts, counts) + 1
    return Shown(viewer, edges.shown[order], place)


def candidates(world: World, seed: int) -> Edges:
    """Everybody's candidates as the batch finds them, not scored."""
    viewers, parts = batch.by_place(world.population), []
    for start in range(0, len(viewers), batch.BLOCK):
        block = viewers[start : start + batch.BLOCK]
        found = shortlist(
            world.population, world.sources, block, np.random.default_rng([seed, int(block[0])])
        )
        nothing = np.zeros(len(found.viewer))
        parts.append(Edges(found.viewer, found.shown, nothing, nothing, found.source))
    return Edges.together(parts)


def _by_model(world: World, edges: Edges) -> Edges:
    """The edges with both directions by the world's model, some at a time."""
    forward, backward = [], []
    for start in range(0, len(edges), 200_000):
        part = edges.take(np.arange(start, min(start + 200_000, len(edges))))
        forward.append(batch.probabilities(world, part.viewer, part.shown))
        backward.append(batch.probabilities(world, part.shown, part.viewer))
    return replace(edges, forward=np.concatenate(forward), backward=np.concatenate(backward))


def references(city: City, model: PeopleModel | None, slots: int, cap: int, seed: int) -> dict[str, Shown]:
    """Lists of the same candidates: by the model without caps, by popularity (how often liked), by popularity
    and selectivity both ways, by chance, and by the truth itself, without and with caps.
    """
    people, count = city.people, len(city.people)
    world = city_world.world(people, city.history, None, seed)
    edges = candidates(world, seed)
    popular = batch.by_popularity(edges, world.rates)
    anything = np.random.default_rng([seed, 3]).random(len(edges))
    either = _by_model(world, edges)
    uncapped = either if model is None else _by_model(replace(world, model=model), edges)
    true = replace(
        edges,
        forward=city_truth.likes(people, edges.viewer, edges.shown),
        backward=city_truth.likes(people, edges.shown, edges.viewer),
    )
    return {
        "model, uncapped": of_edges(batch.show_best(uncapped, count, slots)),
        "random": of_edges(
            batch.show_best(replace(edges, forward=anything, backward=anything), count, slots)
        ),
        "popularity": of_edges(batch.show_best(popular, count, slots)),
        "popularity and selectivity": of_edges(batch.show_best(either, count, slots)),
        "truth": of_edges(batch.show_best(true, count, slots)),
        "truth, capped": of_edges(batch.show(true, count, slots, cap).edges),
    }


def outcomes(city: City, lists: Mapping[str, Shown], attention: int) -> dict[str, dict[str, Any]]:
    """By kind of list and by length: what happens (city_truth.outcome)."""
    found: dict[str, dict[str, Any]] = {}
    for name, shown in lists.items():
        firsts = {length: shown.first(length) for length in LENGTHS}
        found[name] = {
            str(length): city_truth.outcome(city.people, part.viewer, part.shown, attention).row()
            for length, part in firsts.items()
        }
    return found
