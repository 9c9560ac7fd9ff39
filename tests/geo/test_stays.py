"""Stays: the streaming detection against a definition that looks at the whole walk at once."""

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

from geo.coordinates import normalise
from geo.stays import Stay, Stays, Turn, stays_of

GEOD = Geod(ellps="WGS84")
BERLIN = (52.52, 13.405)
PLACES = [
    BERLIN,
    (6.4541, 3.3947),
    (-16.8, 179.9999),
    (0.0, -180.0),
    (79.9999, 20.0),
    (89.0, 0.0),
    (-85.0, 77.0),
]
T_MS = 1_790_000_000_000


def metres(one, other):
    return GEOD.inv(one[2], one[1], other[2], other[1])[2]


def by_definition(fixes):
    """(since, until) of each stay: fixes within 100 m of the first, until two in a row are not, or until
    there is a silence of more than 900 s between places more than 50 m apart; 300 s at least.
    """
    fixes = [fix for fix in fixes if fix[3] <= 100]
    found, first = [], 0
    while first < len(fixes):
        members, following = [first], None
        for at in range(first + 1, len(fixes)):
            last = fixes[members[-1]]
            alone = members[-1] != at - 1
            if fixes[at][0] - last[0] > 900_000 and metres(last, fixes[at]) > 50:
                following = at - 1 if alone else at
                break
            if metres(fixes[first], fixes[at]) <= 100:
                members.append(at)
            elif alone:
                following = at - 1
                break
        if fixes[members[-1]][0] - fixes[first][0] >= 300_000:
            found.append([fixes[member] for member in members])
        if following is None:
            break
        first = following
    return found


@st.composite
def walks(draw):
    lat, lon = draw(st.sampled_from(PLACES))
    t_ms, fixes = T_MS, []
    steps = st.tuples(
        st.sampled_from([0, 3, 20, 45, 55, 99, 130, 400, 50_000]),
        st.floats(0, 360),
        st.sampled_from([1, 30, 120, 299, 301, 890, 901, 2_000]),
        st.sampled_from([5, 5, 5, 100, 101, 900]),
    )
    for far_m, bearing, seconds, acc_m in draw(st.lists(steps, min_size=1, max_size=25)):
        lon, lat, _ = GEOD.fwd(lon, lat, bearing, far_m)
        at = normalise(lat, lon)
        t_ms += seconds * 1_000
        fixes.append((t_ms, at.lat, at.lon, float(acc_m)))
        if far_m == 130:  # a glitch: back again
            lon, lat, _ = GEOD.fwd(lon, lat, bearing + 180, far_m)
    return fixes


def columns(fixes):
    table = np.array(fixes, dtype=np.float64).reshape(-1, 4)
    return table[:, 1], table[:, 2], np.array([fix[0] for fix in fixes], dtype=np.int64), table[:, 3]


def ended(changes):
    return [change.stay for change in changes if change.turn is Turn.ENDED]


@given(walks())
def test_stays_are_those_of_the_definition(fixes):
    found = [(stay.since_ms, stay.last_ms) for stay in stays_of(fixes)]
    assert found == [(stay[0][0], stay[-1][0]) for stay in by_definition(fixes)]


def alike(some, others):
    """The same, but for the last digits of what sines and cosines came from elsewhere."""
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one == msgspec.structs.replace(
            other, east_ms=one.east_ms, north_ms=one.north_ms, square_ms=one.square_ms
        )
        sums = (one.east_ms, one.north_ms, one.square_ms)
        assert sums == pytest.approx((other.east_ms, other.north_ms, other.square_ms), rel=1e-9, abs=1)


@given(st.lists(walks(), min_size=1, max_size=4), st.data())
def test_many_at_once_in_any_batches_are_each_alone_also_through_a_snapshot(people, data):
    table = Stays()
    rows = [table.put() for _ in people]
    whose = data.draw(st.permutations([person for person, fixes in enumerate(people) for _ in fixes]))
    queues = [iter(fixes) for fixes in people]
    stream = [(person, next(queues[person])) for person in whose]  # each one's own in order
    found: list[list[tuple[str, Stay]]] = [[] for _ in people]
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        batch, stream = stream[:size], stream[size:]
        changes = table.step(
            np.array([rows[person] for person, _ in batch], dtype=np.intp),
            *columns([fix for _, fix in batch]),
        )
        for change in changes:
            found[batch[change.index][0]].append((str(change.turn), change.stay))
        if data.draw(st.booleans()):
            taken = [table.get(row) for row in rows]
            table = Stays()
            rows = [table.put(stay) for stay in taken]
    for row, fixes, changes in zip(rows, people, found, strict=True):
        last = table.get(row)
        over = [stay for turn, stay in changes if turn == "ended"]
        alike(over + ([last] if last is not None and last.is_stay else []), stays_of(fixes))
        began = [stay.since_ms for turn, stay in changes if turn == "began"]
        assert began == [stay.since_ms for stay in stays_of(fixes)]


@given(walks())
def test_the_centre_is_the_mean_by_time(fixes):
    for stay, members in zip(stays_of(fixes), by_definition(fixes), strict=True):
        if abs(stay.lat) > 80:
            continue
        weights = [later[0] - sooner[0] for sooner, later in itertools.pairwise(members)]
        east = [((fix[2] - stay.lon + 180) % 360 - 180) for fix in members[:-1]]
        lat = np.average([fix[1] for fix in members[:-1]], weights=weights)
        lon = normalise(0.0, stay.lon + np.average(east, weights=weights)).lon
        centre = (0, stay.centre.lat, stay.centre.lon)
        assert metres(centre, (0, lat, lon)) < 0.01
        squares = [metres(centre, fix) ** 2 for fix in members[:-1]]
        assert stay.spread_m == pytest.approx(np.sqrt(np.average(squares, weights=weights)), abs=0.05)


def path(*legs, acc_m=5.0):
    """Legs of (seconds, metres a second) due north, a fix each ten seconds."""
    lat, t_ms, fixes = BERLIN[0], T_MS, []
    for seconds, speed in legs:
        for _ in range(seconds // 10):
            fixes.append((t_ms, lat, BERLIN[1], acc_m))
            t_ms += 10_000
            lat += speed * 10 / 111_250
    return fixes


def minutes(stays):
    return [(round((stay.since_ms - T_MS) / 60_000), round(stay.length_ms / 60_000)) for stay in stays]


def test_a_slow_walk_is_no_stop_and_a_rest_on_it_is_one():
    assert stays_of(path((7_200, 0.8))) == []
    [stay] = stays_of(path((1_800, 1.0), (600, 0.0), (1_800, 1.0)))
    assert 600_000 <= stay.length_ms <= 600_000 + 200_000  # it takes 100 s at most to come and to leave
    assert minutes(stays_of(path((1_800, 1.0), (250, 0.0), (1_800, 3.0)))) == []


def test_the_anchor_does_not_follow_a_creep():
    """0.2 m/s for an hour: 720 m, so many short stays, and none as long as the walk."""
    assert max(stay.length_ms for stay in stays_of(path((3_600, 0.2)))) <= 510_000


def test_one_fix_astray_ends_nothing_and_two_do():
    home = path((1_200, 0.0))
    astray = [(t_ms, lat + 0.01, lon, acc_m) for t_ms, lat, lon, acc_m in home]
    assert minutes(stays_of([*home[:60], astray[60], *home[61:]])) == [(0, 20)]
    assert minutes(stays_of([*home[:60], *astray[60:62], *home[62:]])) == [(0, 10), (10, 10)]


def test_a_vague_fix_tells_nothing():
    home = path((1_200, 0.0))
    vague = [(t_ms, lat + 0.01, lon, 400.0) for t_ms, lat, lon, _ in home]
    assert minutes(stays_of([*home[:30], *vague[30:90], *home[90:]])) == [(0, 20)]
    assert stays_of(vague) == []


@pytest.mark.parametrize(
    ("apart_m", "seconds", "counts"),
    [(49.9, 901, True), (50.1, 901, False), (50.1, 900, True), (49.9, 80_000, True), (99.9, 900, True)],
)
def test_a_silence_counts_up_to_900_s_or_where_both_ends_lie_within_50_m(apart_m, seconds, counts):
    lon, lat, _ = GEOD.fwd(BERLIN[1], BERLIN[0], 30, apart_m)
    found = stays_of([(T_MS, *BERLIN, 5.0), (T_MS + seconds * 1_000, lat, lon, 5.0)])
    assert [stay.length_ms // 1_000 for stay in found] == [seconds] * counts


def test_a_fix_that_is_not_newer_changes_nothing():
    home = path((600, 0.0))
    assert stays_of([*home[:20], home[3], home[19], *home[20:]]) == stays_of(home)


def test_rows_are_given_back_and_used_again():
    table = Stays()
    rows = [table.put() for _ in range(64)]
    for row in rows:
        table.free(row)
    one = [table.put() for _ in range(64)]
    assert sorted(one) == sorted(rows)
    assert len(table) == 64
    assert all(table.get(row) is None for row in one)
    assert table.row_bytes <= 96
