"""The work of a batch as tasks over shards of people (ML-9)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from matching import batch, batch_groups, batch_places
from matching.arrays import Floats, Integers
from matching.batch import Edges, World
from matching.batch_groups import Proposed
from matching.jobs.hands import Hands
from matching.trained import MOST_TOLD

SHARD = 2_048
"""Viewers of a task."""
TELLING = 3
"""A room's score is the mean over so many of its people at least: of fewer it would tell who is there."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Room:
    """Somebody's invitation, and how well those inside suit them."""

    person: int
    room: str
    score: float


def scored(hands: Hands, world: Any, viewers: Integers, seed: int, tell: Tell) -> Edges:
    """Return the best candidates of all viewers; `world` is what `hands` share."""
    parts = [viewers[start : start + SHARD] for start in range(0, len(viewers), SHARD)]
    found = []
    for done, part in enumerate(hands.each(_scored, world, [(part, seed) for part in parts])):
        found.append(_wide(part))
        tell(f"scored {min((done + 1) * SHARD, len(viewers))} of {len(viewers)} people")
    return Edges.together(found) if found else Edges.none()


def why(hands: Hands, world: Any, edges: Edges, tell: Tell) -> tuple[Integers, Floats]:
    """Return edges × MOST_TOLD: the features that a viewer may be told of and what each added; −1 is none."""
    cuts = range(0, len(edges), SHARD * 8)
    asked = [(edges.take(np.arange(at, min(at + SHARD * 8, len(edges)))),) for at in cuts]
    found = []
    for done, part in enumerate(hands.each(_why, world, asked)):
        found.append(part)
        tell(f"explained {min((done + 1) * SHARD * 8, len(edges))} of {len(edges)} rows")
    if not found:
        return np.empty((0, MOST_TOLD), dtype=np.int64), np.empty((0, MOST_TOLD))
    return np.concatenate([part[0] for part in found]), np.concatenate([part[1] for part in found])


def groups(hands: Hands, world: Any, people: Integers, tell: Tell) -> list[Proposed]:
    """Return groups of neighbours; `people` stand in an order in which neighbours are together."""
    step = batch_groups.BLOCK * 8
    asked = [(people[start : start + step],) for start in range(0, len(people), step)]
    found: list[Proposed] = []
    for part in hands.each(_groups, world, asked):
        found += part
    tell(f"{len(found)} groups")
    return found


def rooms(world: World, invited: Sequence[tuple[int, str, Integers]]) -> list[Room]:
    """Return invitations with scores; those of too few people are left out."""
    found = []
    for person, room, members in invited:
        score = batch_groups.suits(world, person, members, TELLING)
        if np.isfinite(score):
            found.append(Room(person, room, score))
    return found


def visited(visits: csr_array, seed: int) -> list[tuple[Integers, Integers, Floats]]:
    """Return places for everybody who has been anywhere; one process, since the graph is one."""
    return list(batch_places.places(visits, seed))


def _narrow(edges: Edges) -> Edges:
    """Return the same in half the bytes, for the way between processes."""
    return Edges(
        edges.viewer.astype(np.int32),
        edges.shown.astype(np.int32),
        edges.forward.astype(np.float32),
        edges.backward.astype(np.float32),
        edges.source.astype(np.int8),
    )


def _wide(edges: Edges) -> Edges:
    return Edges(
        edges.viewer.astype(np.int64),
        edges.shown.astype(np.int64),
        edges.forward.astype(np.float64),
        edges.backward.astype(np.float64),
        edges.source.astype(np.int64),
    )


def _scored(world: World, viewers: Integers, seed: int) -> Edges:
    return _narrow(Edges.together(list(batch.scored(world, viewers, seed))))


def _why(world: World, edges: Edges) -> tuple[Integers, Floats]:
    return batch.why(world, edges)


def _groups(world: World, people: Integers) -> list[Proposed]:
    step = batch_groups.BLOCK
    return [
        group
        for start in range(0, len(people), step)
        for group in batch_groups.proposed(world, people[start : start + step])
    ]
