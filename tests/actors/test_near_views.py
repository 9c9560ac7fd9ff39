"""A `near` map goes on from (epoch, offset), on whatever connection and gateway (RT-8)."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from actors import messages as wire
from actors import near as near_module
from actors.near import KEEP_MS, KEPT_LIMIT, KeptViews, NearView
from actors.router import Router, RouterConfig
from geo.privacy import Audience
from geo.proximity import MapView

BERLIN = (52.5200, 13.4050)
Shown = dict[str, int]


async def move(small: Any, user: str, lat: float, lon: float, t_ms: int) -> None:
    await small.ask(wire.Position(0, user, lat, lon, 5.0, t_ms))


def rows(small: Any, conn: str) -> list[Any]:
    pushes = [p for p in small.pushes if isinstance(p, wire.PushMap) and p.ch.endswith(f"#{conn}")]
    return [row for push in pushes for row in msgspec.json.decode(push.k)]


def view(conn: str = "c", epoch: str = "e") -> NearView:
    return NearView(conn, "g", f"near@u#{conn}", epoch, 1000.0, Audience.EVERYONE, MapView())


def applied(held: Shown, changes: Any) -> Shown:
    held = dict(held)
    for row in changes:
        if row[1] == "-":
            held.pop(row[0], None)
        else:
            held[row[0]] = row[2]
    return held


@given(
    st.lists(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2)), min_size=1, max_size=12),
    st.integers(1, 4),
)
def test_from_every_offset_one_comes_to_what_is_shown_or_starts_over(shown: list[Shown], limit: int) -> None:
    told, near = near_module.GONE_LIMIT, view()
    near_module.GONE_LIMIT = limit
    try:
        held: dict[int, Shown] = {0: {}}
        for each in shown:
            near.tells(each)
            held[near.seen.version] = each
        for offset, state in held.items():
            rows_since = near.since(offset)
            if rows_since is None:
                assert offset < near.floor
            else:
                assert applied(state, rows_since) == shown[-1]
        assert near.since(near.seen.version + 1) is None
        assert len(near.gone) <= limit
    finally:
        near_module.GONE_LIMIT = told


def test_lost_views_are_kept_for_their_time_and_no_more_than_so_many() -> None:
    kept = KeptViews()
    for number in range(KEPT_LIMIT + 1):
        kept.keep(view(epoch=f"e{number}"), number)
    assert kept.take("e0", 0) is None
    assert kept.take("e1", KEEP_MS) is not None
    assert kept.take("e1", KEEP_MS) is None
    assert kept.take("e2", KEEP_MS + 2) is None
    kept.expire(KEEP_MS + 4)
    assert kept.by_epoch.keys() == {f"e{number}" for number in range(5, KEPT_LIMIT + 1)}


async def look(small: Any, user: str, conn: str, **given_: Any) -> dict[str, Any]:
    found: dict[str, Any] = await small.subscribe(f"near@{user}#{conn}", user, conn, **given_)
    return found


async def lose(small: Any, user: str, conn: str, *, clean: bool = False) -> None:
    await small.ask(wire.Unsubscribe(0, f"near@{user}#{conn}", user, conn, clean))


async def test_who_comes_back_gets_what_changed_meanwhile(small: Any) -> None:
    ann, bob, carl, dora = [await small.person() for _ in range(4)]
    now = small.shards[0].now_ms() - 240_000
    for user in (ann, bob, dora):
        await move(small, user, *BERLIN, now)
    page = await look(small, ann, "a")
    assert {row[0] for row in page["state"]} == {bob, dora}
    position = {"epoch": page["epoch"], "offset": page["offset"]}
    await lose(small, ann, "a")
    low, high = sorted((ann, bob))
    await small.pool.execute(
        "INSERT INTO connections (low_id, high_id, high_blocks) VALUES ($1, $2, true)", low, high
    )
    await small.router.refresh("user", ann)
    await move(small, carl, *BERLIN, now)
    back = await look(small, ann, "b", **position)
    assert (back["recovered"], back["was_recovering"], back["epoch"]) == (True, True, page["epoch"])
    assert "state" not in back
    assert [list(row[:2]) for row in back["k"]] == [[bob, "-"], [carl, "+"]]
    assert back["shadow"].keys() == {carl, dora}
    await lose(small, ann, "b")
    again = await look(small, ann, "b", epoch=back["epoch"], offset=back["offset"])
    assert (again["recovered"], list(again["k"])) == (True, [])


async def test_a_goodbye_a_wrong_epoch_and_an_offset_that_was_never_told_start_over(small: Any) -> None:
    ann, bob = await small.person(), await small.person()
    now = small.shards[0].now_ms() - 240_000
    for user in (ann, bob):
        await move(small, user, *BERLIN, now)
    for position, clean in (((None, 0), True), (("other", 0), False), ((None, 9), False)):
        page = await look(small, ann, "a")
        await lose(small, ann, "a", clean=clean)
        epoch, further = position
        again = await look(small, ann, "a", epoch=epoch or page["epoch"], offset=page["offset"] + further)
        assert (again["recovered"], again["was_recovering"]) == (False, True)
        assert [row[0] for row in again["state"]] == [bob]
        assert again["epoch"] != page["epoch"]


async def test_another_gateway_continues_a_view_whose_loss_nobody_noticed(small: Any) -> None:
    ann, bob = await small.person(), await small.person()
    now = small.shards[0].now_ms() - 240_000
    await move(small, ann, *BERLIN, now)
    page = await look(small, ann, "a")
    second, pushes = Router(RouterConfig(small.run_dir, "gateway", "g2", "ws://two")), list[Any]()
    second.on_push = pushes.append
    await second.start()
    message = wire.Subscribe(0, f"near@{ann}#a", ann, "a", "phone", 1, "map", page["epoch"], page["offset"])
    back = await second.request("user", ann, message)
    assert (back["recovered"], back["epoch"]) == (True, page["epoch"])
    await lose(small, ann, "a")  # the first gateway notices: it is no longer its own to end
    await move(small, bob, BERLIN[0] + 0.003, BERLIN[1], now + 1)
    await small.until(lambda: any(isinstance(push, wire.PushMap) for push in pushes))
    assert rows(small, "a") == []
    await second.stop()


async def test_leaving_me_keeps_near(small: Any) -> None:
    ann, bob = await small.person(), await small.person()
    now = small.shards[0].now_ms() - 240_000
    await move(small, ann, *BERLIN, now)
    await small.subscribe(f"me@{ann}", ann, "a")
    await look(small, ann, "a")
    await small.ask(wire.Unsubscribe(0, f"me@{ann}", ann, "a"))
    await move(small, bob, *BERLIN, now + 1)
    await small.until(lambda: rows(small, "a"))
