"""Who of one's friends is near (`geo.friends`): what a step costs, by where the friends are."""

import time
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.entrants import Claim
from benchmarks.geo_metro import PART, Metro
from geo.friends import Friends

EACH = 100
CIRCLES = {"anywhere in the metro": 0.0, "half of them within 3 km": 0.5, "all within 3 km": 1.0}
"""The part of the friendships that are between people of one neighbourhood."""
_NEIGHBOURHOOD_M = 2_000.0
_WARM_TICKS = 40
"""By then nearly everybody has moved: after a start all of them are looked at once."""


def _friendships(metro: Metro, local: float, rng: np.random.Generator) -> Any:
    """(n, 2) rows, ascending, each pair once."""
    count = metro.people * EACH // 2
    anybody = rng.integers(0, metro.people, (round(count * (1 - local)), 2))
    columns = int(metro.side_m / _NEIGHBOURHOOD_M) + 1
    home = (metro.ys // _NEIGHBOURHOOD_M).astype(int) * columns + (metro.xs // _NEIGHBOURHOOD_M).astype(int)
    order = np.argsort(home, kind="stable")
    sizes = np.bincount(home)
    starts = np.cumsum(sizes) - sizes
    one = rng.integers(0, metro.people, round(count * local))
    other = order[starts[home[one]] + (rng.random(one.size) * sizes[home[one]]).astype(int)]
    pairs = np.concatenate([anybody, np.column_stack([one, other])])
    return np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0).astype(np.int32)


def rows_of(run: Claim, people: int, side_m: float) -> None:
    """A row for each of `CIRCLES`."""
    for name, local in CIRCLES.items():
        run.say(f"friends, {name}")
        metro = Metro(people, side_m)
        pairs = _friendships(metro, local, np.random.default_rng(3))
        friends = Friends(people)
        friends.load(pairs[:, 0].copy(), pairs[:, 1].copy(), people)
        for rows in np.array_split(np.arange(people, dtype=np.int32), PART):
            friends.move(rows, *metro.place(metro.xs[rows], metro.ys[rows]))
        for _ in range(_WARM_TICKS):
            _step(metro, friends)
        per_s, per_cpu_s, changes, looks, moved = [], [], 0, friends.looks, 0
        for _ in range(run.options.windows):
            steps: list[tuple[float, float, int, int]] = []
            while sum(step[0] for step in steps) < run.options.seconds / 2:
                steps.append(_step(metro, friends))
            wall_s, cpu_s, rows, changed = (sum(column) for column in zip(*steps, strict=True))
            per_s.append(rows / wall_s)
            per_cpu_s.append(rows / cpu_s)
            changes, moved = changes + int(changed), moved + int(rows)
        run.rows[f"friends, {name}"] = {
            "updates_per_s": results.spread(per_s, 0),
            "updates_per_cpu_s": results.spread(per_cpu_s, 0),
            "friends_each": round(2 * len(pairs) / people, 1),
            "entered_or_left_per_1000_updates": round(1_000 * changes / moved, 2),
            "looked_at_per_update": round((friends.looks - looks) / moved, 3),
        }


def _step(metro: Metro, friends: Friends) -> tuple[float, float, int, int]:
    """(wall seconds, CPU seconds, rows moved, events)."""
    rows = metro.walk().astype(np.int32)
    lats, lons = metro.place(metro.xs[rows], metro.ys[rows])
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    told = friends.move(rows, lats, lons)
    return (
        time.perf_counter() - wall_s,
        time.process_time() - cpu_s,
        rows.size,
        len(told.entered) + len(told.left),
    )
