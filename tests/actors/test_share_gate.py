"""Who may look at a share, as its sharer's actor decides; what a viewer's actor makes of news (GEO-22)."""

from dataclasses import replace

from actors import messages as wire
from actors import shares
from actors.effects import NOBODY, Answer, Send
from actors.person import UserState
from actors.share_views import Followed, over, shown, subscribed
from geo.fixes import Fix
from storage.ids import new_id
from storage.shares import GivenShare
from storage.streams import UserRecord

NOW_MS = 1_790_000_000_000
ANN, BOB, EVE = "ann", "bob", "eve"


def sharer(*, blocked=(), ends_at_ms=NOW_MS + 1_000):
    record = UserRecord(
        "nobody", "r8", frozenset(blocked), frozenset({BOB}), frozenset(), {}, {}, {}, frozenset(),
        shares=(GivenShare("s", "exact", ends_at_ms, frozenset({BOB})),),
    )  # fmt: skip
    state = UserState(ANN, record)
    state.location.last = Fix(52.5, 13.4, 5.0, NOW_MS - 1, 1)
    shares.reviewed(state, NOW_MS)
    return state


def watch(state, viewer, now_ms=NOW_MS):
    return shares.watched(state, wire.ShareWatch(0, ANN, "s", viewer), now_ms)


def test_who_it_is_with_may_look_and_so_may_the_sharer():
    state = sharer()
    for viewer in (BOB, ANN):
        assert watch(state, viewer)["place"]["lat"] == 52.5
    assert watch(state, EVE) is None


def test_who_is_blocked_may_not_whatever_the_share_says():
    assert watch(sharer(blocked={BOB}), BOB) is None
    state = sharer()
    watch(state, BOB)
    state.record = replace(state.record, blocked=frozenset({BOB}))
    [told] = shares.reviewed(state, NOW_MS)
    assert (told.user, told.is_over, told.place) == (BOB, True, None)
    assert shares.moved(state, NOW_MS) == []


def test_nobody_may_from_its_end_on():
    assert watch(sharer(), BOB, NOW_MS + 999) is not None
    assert watch(sharer(), BOB, NOW_MS + 1_000) is None
    state = sharer()
    watch(state, BOB)
    [told] = shares.reviewed(state, NOW_MS + 1_000)
    assert (told.is_over, state.shares.given) == (True, {})


def followed():
    place = {"lat": 1.0, "lon": 2.0, "acc_m": 5.0, "t": 1, "precision": "exact"}
    follows = Followed("s", ANN, NOW_MS + 1_000, place, 10, NOW_MS)
    message = wire.Subscribe(0, f"share:s@{BOB}#b", BOB, "b", "phone", 1, mode="map")
    [answer] = subscribed(follows, message, NOBODY, "g", NOW_MS, new_id)
    assert isinstance(answer, Answer)
    assert [row[0] for row in answer.ok["state"]] == [ANN]
    return follows


def told(version, lat):
    place = {"lat": lat, "lon": 2.0, "acc_m": 5.0, "t": 2, "precision": "exact"}
    return wire.ShareShown(0, BOB, "s", ANN, place, version)


def test_news_of_an_owner_before_change_nothing():
    follows = followed()
    assert len(shown(follows, told(12, 5.0))) == 1
    assert shown(follows, told(11, 3.0)) == []
    assert follows.place["lat"] == 5.0


def test_the_end_takes_the_row_and_then_the_subscription():
    follows, state = followed(), UserState(BOB, sharer().record)
    state.shares.followed["s"] = follows
    row, end = over(state, follows)
    assert isinstance(row, Send)
    assert isinstance(row.message, wire.PushMap)
    assert row.message.k == b'[["ann","-"]]'
    assert isinstance(end.message, wire.Unsubscribed)
    assert state.shares.followed == {}
