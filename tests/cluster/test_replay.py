"""The replay's own logic: walks, device clocks, the story, what a stranger's file does. No engine."""

import argparse
import io
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import replay
from cluster.demo.person import printable
from cluster.demo.story import Story
from cluster.demo.walks import AHEAD_MS, PAST_MS, DeviceClock, Route, Walk, assign, gates
from cluster.errors import OperatorError
from geo.distance import distance_m
from geo.traces import TracePoint

NOW_MS = 1_790_000_000_000


def line(seconds: int, step_s: int = 1) -> Route:
    """A walk due north, 3 m a second."""
    return Route(
        "line", tuple(TracePoint(s * 1_000, s * 3 / 111_320, 10.0) for s in range(0, seconds, step_s))
    )


def circuit(seconds: int) -> Route:
    """500 m around a point, once."""
    points = []
    for second in range(seconds):
        angle = 2 * math.pi * second / (seconds - 1)
        lat, lon = 51.0 + 500 / 111_250 * math.sin(angle), 1.0 + 500 / 70_200 * math.cos(angle)
        points.append(TracePoint(second * 1_000, lat, lon))
    return Route("ring", tuple(points))


class Ticking:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_walk_visits_recorded_points_only_and_in_order() -> None:
    route = line(100)
    dues = list(Walk(route, 20_000, 30_000).dues())
    assert [due.point for due in dues] == list(route.points[20:51])
    assert [due.after_ms for due in dues] == [s * 1_000 for s in range(31)]


def test_a_backward_walk_goes_the_same_way_back() -> None:
    route = line(100)
    dues = list(Walk(route, 60_000, 30_000, backwards=True).dues())
    assert [due.point for due in dues] == list(reversed(route.points[30:61]))
    assert [due.after_ms for due in dues] == [s * 1_000 for s in range(31)]


def test_a_walk_on_a_circuit_goes_on_over_the_seam() -> None:
    route = circuit(101)
    assert route.is_circuit
    walk = list(Walk(route, 90_000, 250_000).dues())
    assert walk[-1].after_ms == 250_000
    times = [due.after_ms for due in walk]
    assert times == sorted(set(times))
    assert not line(1_000).is_circuit


def test_the_rate_of_fixes_is_bounded() -> None:
    dues = list(Walk(line(100), 0, 99_000).dues(at_least_apart_ms=5_000))
    assert [due.after_ms for due in dues] == list(range(0, 99_001, 5_000))


def test_two_people_on_one_route_meet_in_the_middle_of_the_part() -> None:
    route = line(2_000)
    one, other = assign([route], 2, part_ms=1_000_000)
    there = {due.after_ms: due.point for due in one.dues()}
    back = {due.after_ms: due.point for due in other.dues()}
    apart = {
        after: distance_m(there[after].lat, there[after].lon, back[after].lat, back[after].lon)
        for after in there
    }
    assert min(apart, key=lambda after: apart[after]) == 500_000
    assert apart[500_000] < 10


def test_each_further_route_has_one_walker_and_the_first_all_the_others() -> None:
    routes = [line(2_000), line(300), line(400)]
    walks = assign(routes, 7)
    assert [sum(walk.route is route for walk in walks) for route in routes] == [5, 1, 1]


@given(
    people=st.integers(1, 50),
    part_s=st.one_of(st.none(), st.integers(1, 5_000)),
    seconds=st.integers(2, 3_000),
)
def test_every_walk_has_somewhere_to_go(people: int, part_s: int | None, seconds: int) -> None:
    walks = assign([line(seconds)], people, None if part_s is None else part_s * 1_000)
    assert len(walks) == people
    assert all(next(walk.dues(), None) for walk in walks)


def test_places_stand_within_the_part_that_people_walk() -> None:
    route = line(2_000)
    assert [point.t_ms for point in gates(route, 2, 1_000_000)] == [250_000, 750_000]


@given(
    speed=st.floats(0.1, 100),
    elapsed_ms=st.lists(st.integers(0, 3_600_000), min_size=2, max_size=20).map(sorted),
)
def test_a_device_clock_stays_within_what_the_engine_takes(speed: float, elapsed_ms: list[int]) -> None:
    """It never runs backwards, never leads by more than 20 s, never begins 15 minutes ago."""
    clock = DeviceClock(speed, NOW_MS)
    told = [clock.tells(round(elapsed * speed), NOW_MS + elapsed) for elapsed in elapsed_ms]
    assert told == sorted(told)
    for elapsed, t_ms in zip(elapsed_ms, told, strict=True):
        assert t_ms <= NOW_MS + elapsed + AHEAD_MS
    assert clock.begins_ms >= NOW_MS - PAST_MS


def test_at_real_time_a_device_tells_the_time() -> None:
    clock = DeviceClock(1.0, NOW_MS)
    assert clock.tells(60_000, NOW_MS + 60_000) == NOW_MS + 60_000
    assert clock.wait_s(60_000) == 60.0


def test_a_pair_is_told_once_though_both_hear_of_it() -> None:
    out, clock = io.StringIO(), Ticking()
    story = Story(out, clock)
    story.near("ana", "ben", "<2")
    story.near("ben", "ana", "<2")
    clock.now = 20.0
    story.near("ana", "ben", "<1")
    clock.now = 40.0
    story.near("ben", "ana", None)
    story.near("ana", "ben", None)
    lines = out.getvalue().splitlines()
    assert [line.split("and")[1].split(",")[0].strip() for line in lines] == [
        "ben are near", "ben are closer", "ana have parted",
    ]  # fmt: skip
    assert "\x1b" not in out.getvalue()


def test_the_summary_counts_and_says_how_long_it_took() -> None:
    out = io.StringIO()
    story = Story(out, Ticking())
    story.tell("enters", "ana", "comes into First gate")
    story.crossing_ms += [10.0, 20.0, 90.0]
    story.summary(fixes=12, people=2, reconnects=0)
    assert "2 people sent 12 fixes" in out.getvalue()
    assert "fix → crossing: p50 20 ms of 3" in out.getvalue()


def test_what_a_stranger_writes_cannot_command_the_terminal() -> None:
    assert printable("hi \x1b[2J\x07there\n") == "hi  [2J there "
    assert len(printable("a" * 1_000)) == 200


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.gpx", None, "there is no file"),
        ("empty.gpx", b"", "is no trace"),
        ("other.gpx", b"<html><body>no</body></html>", "is no trace"),
        ("binary.gpx", bytes(range(256)), "is no trace"),
        ("one.gpx", b'<gpx><trk><trkseg><trkpt lat="1" lon="2"/></trkseg></trk></gpx>', "only one position"),
        ("nowhere.gpx", b'<gpx><trkpt lat="91" lon="2"/><trkpt lat="x" lon="2"/></gpx>', "is no trace"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OperatorError, match=said) as wrong:
        replay.read_route(path)
    assert name in str(wrong.value)


@pytest.mark.parametrize(
    "words", [[], ["a.gpx", "--speed", "0"], ["a.gpx", "--speed", "1000"], ["a.gpx", "--people", "0"],
              ["a.gpx", "--people", "999"], ["a.gpx", "--loop", "--once"]],
)  # fmt: skip
def test_senseless_arguments_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(words)
    assert "usage" in capsys.readouterr().err
