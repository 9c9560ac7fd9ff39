"""What a change near many viewers costs: a region's tick, what follows it, and the views that it concerns.

People stand in a square of 12 by 12 km, some of them look around (2 km, everybody) and are all in one shard.
At each tick some get another cell. No network: the region's step and tick, the vicinity, who is concerned,
the reviews and the encoding of their pushes. Time is CPU time of one process; the same seed for all rows.

    python -m benchmarks.region_step [--quick]
"""

import argparse
import random
import time
from collections.abc import Iterator
from typing import Any

from actors import messages as wire
from actors import near_people, region
from actors.effects import NOBODY, Send
from actors.near import NearView
from actors.near_people import Around
from actors.person import UserState
from actors.region import RegionState
from actors.vicinity import Vicinity
from actors.viewers import Viewer, Viewers
from benchmarks import results
from benchmarks.machine import describe
from geo.cells import Cell, cell_of, regions_within
from geo.privacy import Audience, Shown
from geo.proximity import MapView
from storage.streams import UserRecord

HALF_SIDE_DEG = 0.054
CENTRE = (52.52, 13.405)
RADIUS_M = 2_000.0
_NONE = frozenset[str]()
RECORD = UserRecord(
    "everyone", "r8", _NONE, _NONE, _NONE, open_visits={}, visits={}, left_at_ms={}, auto_join=_NONE
)


class Town:
    """People, those of them who look around, and the regions that they are in, taken as one."""

    def __init__(self, people: int, viewers: int) -> None:
        self.chance = random.Random(1)
        self.region = RegionState("town", 1)
        self.vicinity, self.viewers = Vicinity(), Viewers()
        self.stamp = 0
        self.names = [f"01990b6e-8c1f-7d3a-9c55-{number:012}" for number in range(people)]
        self.states = {name: self._viewer(name) for name in self.names[:viewers]}
        for name in self.names:
            self.move(name, self.place())
        self.settle()

    def _viewer(self, name: str) -> UserState:
        state = UserState(name, RECORD)
        state.views["c"] = NearView("c", "g", f"near@{name}#c", "e", RADIUS_M, Audience.EVERYONE, MapView())
        cell = self.place()
        state.location.shown = Shown(cell)
        activation: Any = None
        self.viewers.put(name, Viewer(activation, cell, frozenset(), 5_000.0))
        return state

    def place(self) -> Cell:
        """A cell somewhere in town."""
        lat, lon = CENTRE
        turn = self.chance.uniform
        return cell_of(
            lat + turn(-HALF_SIDE_DEG, HALF_SIDE_DEG), lon + turn(-HALF_SIDE_DEG, HALF_SIDE_DEG) * 1.64, 8
        )

    def move(self, name: str, cell: Cell) -> None:
        """Somebody is announced."""
        self.stamp += 1
        enter = wire.RegionEnter(0, "town", name, cell, "everyone", "r8", 1, stamp=self.stamp)
        region.step(self.region, enter, NOBODY, 1)

    def settle(self) -> tuple[int, int]:
        """One tick with all that it causes; returns how many views were reviewed and pushed."""
        news, _ = region.tick(self.region)
        assert news is not None
        self.vicinity.apply(news, 1)
        cells, _people = self.vicinity.take_changes()
        around, pushed = Around(self.vicinity, is_complete=True), 0
        due = self.viewers.concerned(cells)
        for name in due:
            state = self.states[name]
            effects = near_people.reviewed(state, 1, around)
            self.viewers.by_user[name].reach_m = state.views["c"].reach_m
            pushed += sum(isinstance(effect, Send) for effect in effects)
        return len(due), pushed

    def ticks(self, changes: int, times: int) -> Iterator[tuple[float, int, int]]:
        """CPU seconds, reviews and pushes of each of some ticks."""
        for _ in range(times):
            moving = [(name, self.place()) for name in self.chance.sample(self.names, changes)]
            started_s = time.process_time()
            for name, cell in moving:
                self.move(name, cell)
            reviewed, pushed = self.settle()
            yield time.process_time() - started_s, reviewed, pushed


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--quick", action="store_true", help="few ticks; not for quoting")
    given = options.parse_args()
    regions_within(*CENTRE, 5_000.0)  # H3 is loaded before anything is timed
    rows: list[dict[str, Any]] = []
    table: list[tuple[str, ...]] = [
        ("people", "viewers", "changes a tick", "tick ms", "us a change", "reviews", "pushes")
    ]
    for people, viewers, changes in [
        (500, 200, 20), (2_000, 200, 20), (10_000, 200, 20), (10_000, 2_000, 20), (10_000, 200, 200),
        (10_000, 2_000, 200), (50_000, 2_000, 200),
    ]:  # fmt: skip
        town = Town(people, viewers)
        ticks = list(town.ticks(changes, 5 if given.quick else 30))
        cost_ms = results.spread([cpu_s * 1e3 for cpu_s, _, _ in ticks])
        reviews = sum(reviewed for _, reviewed, _ in ticks) / len(ticks)
        pushes = sum(pushed for _, _, pushed in ticks) / len(ticks)
        rows.append(
            {
                "people": people, "viewers": viewers, "changes_a_tick": changes, "tick_cpu_ms": cost_ms,
                "us_a_change": round(cost_ms["median"] * 1e3 / changes, 1),
                "reviews_a_tick": round(reviews, 1), "pushes_a_tick": round(pushes, 1),
            }
        )  # fmt: skip
        table.append(
            (
                f"{people:,}", f"{viewers:,}", str(changes), f"{cost_ms['median']:.2f}",
                f"{cost_ms['median'] * 1e3 / changes:.0f}", f"{reviews:.0f}", f"{pushes:.0f}",
            )
        )  # fmt: skip
    machine = describe("h3", "numpy", "msgspec")
    results.show(machine, table)
    if not given.quick:
        results.write("region_step", {"machine": machine, "rows": rows})


if __name__ == "__main__":
    main()
