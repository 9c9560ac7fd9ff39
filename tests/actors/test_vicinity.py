"""Live views of `near` equal what brute force finds, over random moves, regions, splits, delays (GEO-7)."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from actors import announcing, near_people, region
from actors import messages as wire
from actors.effects import NOBODY
from actors.near import NearView
from actors.near_host import _regions_around
from actors.near_people import Around
from actors.person import ToRegion, UserState
from actors.region import RegionState
from actors.vicinity import MOVING_MS, Vicinity
from actors.viewers import Viewer, Viewers
from geo.cells import Cell, boundary_of, cell_of, centre_of, parent_of, region_of, resolution_of
from geo.crowd import Crowd
from geo.distance import distance_m
from geo.fixes import Fix
from geo.privacy import Audience, Precision, Relation, Shown, Visibility, audience_admits, coarse, view
from geo.proximity import MapView, band_of
from storage.streams import UserRecord

FOR_EVER_MS = 10**12
PEOPLE, VIEWERS, STEPS = 60, 6, 40
LAGOS = region_of(6.4541, 3.3947)


@dataclass
class Watcher:
    """A viewer's shard: it follows the regions within reach of this one viewer."""

    state: UserState
    vicinity: Vicinity = field(default_factory=Vicinity)
    viewers: Viewers = field(default_factory=Viewers)
    known: dict[str, tuple[str, int]] = field(default_factory=dict)
    reviews: int = 0


def record(audience: str, precision: str, **relations: list[str]) -> UserRecord:
    """Of somebody with these relations, and nothing else."""
    sets = {name: frozenset(relations.get(name, ())) for name in ("blocked", "matched", "group_mates")}
    return UserRecord(
        audience, precision, **sets, open_visits={}, visits={}, left_at_ms={}, auto_join=frozenset()
    )


class World:
    """People who walk about the corner of several regions; each region a state of its own."""

    def __init__(self, seed: int, k: int) -> None:
        self.chance, self.k, self.now_ms = random.Random(seed), k, 1_000_000
        self.regions: dict[str, RegionState] = {}
        self.split: frozenset[str] = frozenset()
        self.seen_in: dict[str, set[str]] = {}
        # A corner of a res 5 cell: at least three regions meet within reach.
        corner = max(map(centre_of, corners(LAGOS)), key=lambda at: at.lat)
        self.middle = (corner.lat, corner.lon)
        names = [f"u{number:02}" for number in range(PEOPLE)]
        self.people = {name: UserState(name, self.record(name, names)) for name in names}
        for state in self.people.values():
            state.position_ttl_ms = FOR_EVER_MS
        self.watchers = [Watcher(self.people[name]) for name in names[:VIEWERS]]
        for number, watcher in enumerate(self.watchers):
            audience = [Audience.EVERYONE, Audience.GROUP, Audience.MATCHES][number % 3]
            online = number == 3
            near = NearView(
                "c", "g", "near", "e", [5_000.0, 1_500.0][number % 2], audience, MapView(), online
            )
            watcher.state.views["c"] = near

    def record(self, name: str, names: list[str]) -> UserRecord:
        others = [each for each in names if each != name]
        drawn = self.chance.sample(others, 16)
        wish = (
            self.chance.choice(["everyone", "everyone", "everyone", "group", "matches", "nobody"]),
            self.chance.choice(["exact", "r9", "r8", "r8", "r8", "r7", "city", "hidden"]),
        )
        return record(*wish, blocked=drawn[:3], matched=drawn[3:9], group_mates=drawn[6:])

    def region(self, key: str) -> RegionState:
        if key not in self.regions:
            state = RegionState(key, self.k, FOR_EVER_MS, epoch=f"{key}-1", crowd=Crowd(self.k))
            state.split_at_ms = int(key in self.split)
            self.regions[key] = state
        return self.regions[key]

    def run(self, effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, ToRegion):
                self.deliver(effect.message)

    def deliver(self, message: Any) -> None:
        region.step(self.region(message.region), message, NOBODY, self.now_ms)
        if isinstance(message, wire.RegionEnter):
            for res in range(resolution_of(Cell(message.cell)), 4, -1):
                self.seen_in.setdefault(parent_of(Cell(message.cell), res), set()).add(message.user)

    def moves(self, state: UserState) -> None:
        lat = self.middle[0] + self.chance.gauss(0, 0.02)
        lon = self.middle[1] + self.chance.gauss(0, 0.02)
        for _ in range(2):  # a snapped place follows a minute later
            self.now_ms += 70_000
            state.location.last = Fix(lat, lon, 5.0, self.now_ms, self.now_ms)
            self.run(announcing.placed(state, self.now_ms))

    def changes_mind(self, state: UserState) -> None:
        other = self.chance.choice(list(self.people.values())).record
        state.record = replace(
            state.record,
            visibility_audience=other.visibility_audience,
            visibility_precision=other.visibility_precision,
        )
        state.is_online = self.chance.random() < 0.5
        self.run(announcing.placed(state, self.now_ms))

    def splits(self, key: str) -> None:
        self.split |= {key}
        self.region(key).split_at_ms = self.now_ms
        people = list(self.people.values())
        self.chance.shuffle(people)
        for state in people:
            state.split = self.split
            self.run(announcing.announce_again(state, {key}, self.now_ms))

    def ticks(self, share: float) -> None:
        """Some regions tick; all that do tell, those that nobody told of a split only pass on."""
        for key in [key for key in self.regions if self.chance.random() < share]:
            news, passed_on = region.tick(self.regions[key])
            for message in passed_on:
                self.deliver(message)
            if news is not None:
                for watcher in self.watchers:
                    if key in watcher.known:
                        watcher.vicinity.apply(news, self.now_ms)
                        watcher.known[key] = (news.epoch, news.version)

    def looks(self, watcher: Watcher) -> None:
        """The viewer's regions are followed, and the view is reviewed if something concerns it."""
        place = near_people.looks_from(watcher.state)
        if place is None:
            return
        wanted = _regions_around(place, self.split)
        for key in wanted - watcher.known.keys():
            news = region.news_since(self.region(key), "", 0)
            watcher.vicinity.apply(news, self.now_ms)
            watcher.known[key] = (news.epoch, news.version)
        known = watcher.viewers.by_user.get("v")
        if known is None or known.cell != place:
            for key in [key for key in watcher.known if key not in wanted]:
                del watcher.known[key]
                watcher.vicinity.forget(key)
            activation: Any = None
            watcher.viewers.put("v", Viewer(activation, place, wanted, 5_000.0))
            cells, people, due = set(), set(), True
        else:
            cells, people = watcher.vicinity.take_changes()
            record = watcher.state.record
            due = bool(watcher.viewers.concerned(cells) or people & (record.matched | record.group_mates))
        if due:
            near_people.reviewed(watcher.state, self.now_ms, Around(watcher.vicinity, is_complete=True))
            watcher.viewers.by_user["v"].reach_m = watcher.state.views["c"].reach_m
            watcher.reviews += 1

    def settle(self) -> None:
        for _ in range(3):
            self.ticks(1.0)
        self.now_ms += MOVING_MS
        for watcher in self.watchers:
            watcher.vicinity.expire(self.now_ms)
            self.looks(watcher)

    def truth(self, viewer: UserState) -> dict[str, Any]:
        """By brute force, over everybody, from what each one's actor knows."""
        near = viewer.views["c"]
        if viewer.shown is None:
            return {}
        middle = coarse(near_people.looks_from(viewer))  # type: ignore[arg-type]
        found = []
        for user, state in self.people.items():
            if user == viewer.user or state.shown is None or (near.online and not state.is_online):
                continue
            record = viewer.record
            relation = Relation(
                blocked=user in record.blocked,
                matched=user in record.matched,
                shares_group=user in record.group_mates,
            )
            wish = state.record
            visibility = Visibility(Audience(wish.visibility_audience), Precision(wish.visibility_precision))
            shown = state.fine or state.shown if relation.matched else state.shown
            seen = view(
                shown.cell, visibility, relation, k=self.k,
                active_users_in=lambda cell: len(self.seen_in.get(cell, ())),
            )  # fmt: skip
            if seen is None or not audience_admits(near.audience, relation):
                continue
            metres = round(distance_m(middle.lat, middle.lon, seen.lat, seen.lon), 3)
            if metres <= near.radius_m:
                found.append((metres, user, {"user": user, "cell": seen.cell, "band": band_of(metres)}))
        return {
            user: data for _, user, data in sorted(found, key=lambda each: each[:2])[: near_people.LIMIT_MAX]
        }


def corners(cell: Cell) -> list[Cell]:
    """Res 8 cells at the corners of a cell."""
    return [cell_of(at.lat, at.lon, 8) for at in boundary_of(cell)]


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_kept_live_is_what_brute_force_finds(seed: int, k: int) -> None:
    """Whatever the number of regions, also right after one was split, and however ticks and moves fall."""
    world = World(seed, k)
    for state in world.people.values():
        world.moves(state)
    shown = 0
    for number in range(STEPS):
        for _ in range(4):
            state = world.chance.choice(list(world.people.values()))
            world.chance.choice([world.moves, world.moves, world.changes_mind])(state)
            world.ticks(0.4)
            for watcher in world.watchers:
                if world.chance.random() < 0.5:
                    world.looks(watcher)
        if number == STEPS // 2:
            world.splits(max(world.regions, key=lambda key: len(world.regions[key].places)))
        world.settle()
        for watcher in world.watchers:
            seen = {key: row[0] for key, row in watcher.state.views["c"].seen.rows.items()}
            assert seen == world.truth(watcher.state)
            shown += len(seen)
    assert len(world.regions) > 4
    assert shown > 400
    assert sum(watcher.reviews for watcher in world.watchers) < STEPS * VIEWERS * 4


def test_a_crowd_of_strangers_hides_no_match_and_is_cut_at_the_nearest_fifty() -> None:
    vicinity, here = Vicinity(), Cell("881f1d4887fffff")
    far = "881f1d4893fffff"
    rows = [wire.RegionRow(f"s{n:04}", here, here, "everyone", "r8", False, 1) for n in range(5_000)]
    rows += [wire.RegionRow("match", far, "", "matches", "r8", False, 1)]
    vicinity.apply(wire.RegionNews("r", "e", 1, rows, [], -1), 0)
    state = UserState("s0000", record("everyone", "r8", blocked=["s0003"], matched=["match"]))
    state.location.shown = Shown(here)
    seen, reach_m = near_people.visible_rows(state, vicinity, 5_000.0, Audience.EVERYONE)
    assert list(seen) == [f"s{n:04}" for n in range(52) if n not in {0, 3}]
    assert reach_m == 0.0
    assert list(near_people.visible_rows(state, vicinity, 5_000.0, Audience.MATCHES)[0]) == ["match"]


CELL = "881f1d4887fffff"


def news(place: str, version: int, *rows: wire.RegionRow, gone: tuple[Any, ...] = ()) -> wire.RegionNews:
    return wire.RegionNews(place, "e", version, list(rows), list(gone), version - 1)


def row(stamp: int) -> wire.RegionRow:
    return wire.RegionRow("ann", CELL, CELL, "everyone", "r8", False, stamp)


def test_who_crosses_into_another_region_is_never_off_the_map() -> None:
    for first, second in [("a", "b"), ("b", "a")]:
        vicinity = Vicinity()
        vicinity.apply(news("a", 1, row(1)), 0)
        told = {
            "a": news("a", 2, gone=(("ann", 2, True),)),
            "b": news("b", 1, row(3)),
        }
        for place in (first, second):
            vicinity.apply(told[place], 10)
            assert vicinity.people.keys() == {"ann"}
        vicinity.expire(MOVING_MS + 20)
        assert vicinity.people["ann"].stamp == 3
        vicinity.apply(news("b", 2, gone=(("ann", 4, True),)), 5_000)
        vicinity.expire(5_000 + MOVING_MS)
        assert not vicinity.people


def test_who_hides_is_off_at_once_whatever_comes_later_from_before() -> None:
    vicinity = Vicinity()
    vicinity.apply(news("a", 1, row(1)), 0)
    vicinity.apply(news("b", 1, gone=(("ann", 4, False),)), 1)
    assert not vicinity.people
    vicinity.apply(news("b", 2, row(3)), 2)
    assert not vicinity.people
    vicinity.apply(news("b", 3, row(5)), 3)
    assert vicinity.people.keys() == {"ann"}


def test_a_region_tells_again_of_somebody_who_was_elsewhere_between_two_ticks() -> None:
    state = RegionState("r", 1)

    def enters(stamp: int) -> Any:
        enter = wire.RegionEnter(0, "r", "ann", CELL, "everyone", "r8", 1, stamp=stamp)
        region.step(state, enter, NOBODY, 1)

    enters(1)
    region.tick(state)
    enters(2)
    assert region.tick(state) == (None, [])
    region.step(state, wire.RegionLeave(0, "r", "ann", 3, moved=True), NOBODY, 1)
    enters(5)
    told, _ = region.tick(state)
    assert told is not None
    assert [each.stamp for each in told.rows] == [5]
    assert region.news_since(state, state.epoch, 1).rows == told.rows
    assert region.news_since(state, state.epoch, 2).rows == []
    assert region.news_since(state, "other", 2).since == -1
