"""Matches near (GEO-26): positions per CPU-second with 100 friends each, enter and exit included.

100,000 people in a 40 x 40 km metro walk or ride straight on and turn now and then; a tick moves a tenth of
them. `benchmarks/geo_kernels.py` calls `measure`.
"""

import time
from dataclasses import dataclass

import numpy as np

from geo.friends import Friends

_METRO_M = 40_000.0
_CENTRE = (52.52, 13.405)
_DEGREE_M = (111_200.0, 67_700.0)
_TURNS = 0.02


@dataclass(frozen=True)
class FriendsRate:
    """What was measured; `looked` of the updates computed distances, to all 100 friends."""

    updates_per_s: float
    updates: int
    looked: int
    changes: int


def measure(
    *, people: int = 100_000, friends: int = 100, ticks: int = 50, stride_m: float = 14.0, seed: int = 1,
    looks_always: bool = False,
) -> FriendsRate:  # fmt: skip
    """Measures `Friends.move`. `stride_m` lies between two fixes of a person: 1.4 m on foot, 14 m by car at
    1 Hz. With `looks_always` no circle spares a look: the floor.
    """
    chance = np.random.default_rng(seed)
    known = Friends(people)
    lows = np.repeat(np.arange(people, dtype=np.int32), friends // 2)
    highs = chance.integers(0, people, lows.size).astype(np.int32)
    others = lows != highs
    known.load(lows[others], highs[others], people)
    lats = _CENTRE[0] + (chance.random(people) - 0.5) * _METRO_M / _DEGREE_M[0]
    lons = _CENTRE[1] + (chance.random(people) - 0.5) * _METRO_M / _DEGREE_M[1]
    headings = chance.random(people) * 2 * np.pi
    known.move(np.arange(people, dtype=np.int32), lats, lons)
    spent_s, updates, looked, changes = 0.0, 0, 0, 0
    for _ in range(ticks):
        rows = chance.choice(people, people // 10, replace=False).astype(np.int32)
        turning = rows[chance.random(rows.size) < _TURNS]
        headings[turning] = chance.random(turning.size) * 2 * np.pi
        lats[rows] += stride_m * np.cos(headings[rows]) / _DEGREE_M[0]
        lons[rows] += stride_m * np.sin(headings[rows]) / _DEGREE_M[1]
        if looks_always:
            known.free_m[rows] = -1.0
        before = known.looks
        started_s = time.process_time()
        found = known.move(rows, lats[rows], lons[rows])
        spent_s += time.process_time() - started_s
        updates += rows.size
        looked += known.looks - before
        changes += len(found.entered) + len(found.left)
    return FriendsRate(updates / spent_s, updates, looked, changes)


def main() -> None:
    """Prints it for people on foot, by car and by train, and for the floor."""
    for stride_m, always in ((1.4, False), (14.0, False), (70.0, False), (14.0, True)):
        rate = measure(stride_m=stride_m, looks_always=always, ticks=10 if always else 50)
        name = "all look" if always else f"{stride_m:g} m"
        print(f"{name:>9}: {rate.updates_per_s:12,.0f}/s, {rate.looked:,} of {rate.updates:,} looked, "
              f"{rate.changes} changes")  # fmt: skip


if __name__ == "__main__":
    main()
