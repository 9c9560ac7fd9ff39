"""A fence's channel: for its owner and apps, with names only where they are granted, whole also on return."""

from typing import Any

import msgspec
import pytest
from fencing import AWAY, BERLIN, Clock, change, fence, square, told, until_told, visit

from actors import messages as wire
from actors.fence import COUNT
from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode
from storage import crossings as crossing_table
from storage.messages import moment

PARK = square(*BERLIN)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def grant(small: Any, user: str, fence: str, level: str) -> None:
    await small.pool.execute(
        """INSERT INTO fence_grants (user_id, fence_id, "grant") VALUES ($1, $2, $3)
        ON CONFLICT (user_id, fence_id) DO UPDATE SET "grant" = excluded."grant" """,
        user, fence, level,
    )  # fmt: skip
    await small.router.refresh("fence", fence)


async def block(small: Any, one: str, other: str) -> None:
    low, high = sorted((one, other))
    await small.pool.execute(
        "INSERT INTO connections (low_id, high_id, low_blocks) VALUES ($1, $2, true)", low, high
    )
    for user in (one, other):
        await small.router.refresh("user", user)


def pushed(small: Any, fence: str) -> list[Any]:
    return [push for push in small.pushes if push.ch == f"fence:{fence}"]


def events(small: Any, fence: str) -> list[tuple[int, str, str, int]]:
    """(offset, event, user or "", inside) of the pushes."""
    bodies = [(push.offset, msgspec.json.decode(push.m)["d"]) for push in pushed(small, fence)]
    return [(offset, d["event"], d.get("user", ""), d["inside"]) for offset, d in bodies]


def rows(small: Any, conn: str) -> list[Any]:
    return [
        row
        for push in small.pushes
        if isinstance(push, wire.PushMap) and push.ch.endswith(f"#{conn}")
        for row in msgspec.json.decode(push.k)
    ]


async def test_the_owner_hears_who_came_where_they_may_and_how_many_otherwise(
    small: Any, clock: Clock
) -> None:
    """GEO-14."""
    owner, ann, bob = [await small.person() for _ in range(3)]
    park = await fence(small, owner, PARK)
    await grant(small, ann, park, "exact")
    page = await small.subscribe(f"fence:{park}", owner, "o")
    assert (page["offset"], page["pubs"]) == (0, [])
    now = clock.now_ms() - 300_000
    await visit(small, ann, now)
    await until_told(small, ann, 1)
    await visit(small, bob, now)
    await until_told(small, bob, 1)
    await visit(small, ann, now + 120_000, AWAY)
    await small.until(lambda: len(pushed(small, park)) == 3)
    assert events(small, park) == [(1, "inside", ann, 1), (2, "inside", "", 2), (3, "exit", ann, 1)]
    assert bob.encode() not in b"".join(push.m for push in pushed(small, park))
    again = await small.subscribe(f"fence:{park}", owner, "o2", epoch=page["epoch"], offset=1)
    assert (again["recovered"], [pub["o"] for pub in again["pubs"]]) == (True, [2, 3])
    history = await small.ask(wire.History(0, f"fence:{park}", owner, 2))
    assert ([pub["o"] for pub in history["pubs"]], history["more"]) == ([1, 2], True)
    newest = await small.ask(wire.History(0, f"fence:{park}", owner, 1, reverse=True))
    assert [pub["d"]["event"] for pub in newest["pubs"]] == ["exit"]


async def test_of_who_does_not_want_it_an_owner_hears_nothing_not_even_a_count(
    small: Any, clock: Clock
) -> None:
    """GEO-14, GEO-20: else a fence of a few metres, with one match for its audience, is a position. An app's
    fence counts everybody.
    """
    owner, app, ann = [await small.person() for _ in range(3)]
    await small.pool.execute("UPDATE users SET roles = '{app}' WHERE id = $1", app)
    park, square_of_app = await fence(small, owner, PARK), await fence(small, app, PARK)
    await small.subscribe(f"fence:{park}", owner, "o")
    await grant(small, ann, park, "none")
    now = clock.now_ms() - 600_000
    await visit(small, ann, now)
    await until_told(small, ann, 2)
    await grant(small, ann, park, "count")  # from the next visit on
    await visit(small, ann, now + 120_000, AWAY)
    assert sorted(await until_told(small, ann, 4)) == sorted([("inside", None), ("exit", None)] * 2)
    page = await small.subscribe(f"fence:{park}", owner, "o2", limit=10)
    assert (page["offset"], page["pubs"]) == (0, [])
    shown = await small.subscribe(f"fence:{park}@map#m", owner, "m", mode="map")
    assert [row[:2] for row in shown["state"]] == [[COUNT, {"inside": 0}]]
    others = await small.subscribe(f"fence:{square_of_app}", app, "a", limit=10)
    assert [(pub["d"]["event"], pub["d"]["inside"]) for pub in others["pubs"]] == [("inside", 1), ("exit", 0)]

    await visit(small, ann, now + 240_000)
    await visit(small, ann, now + 300_000, AWAY)
    await small.until(lambda: len(pushed(small, park)) == 2)
    assert events(small, park) == [(1, "enter", "", 1), (2, "exit", "", 0)]


async def test_what_is_withdrawn_or_blocked_later_is_hidden_in_history_too(small: Any, clock: Clock) -> None:
    """GEO-14, CONN-6: also on resume; and the map forgets at once."""
    owner, ann, bob = [await small.person() for _ in range(3)]
    park = await fence(small, owner, PARK)
    for user in (ann, bob):
        await grant(small, user, park, "exact")
        await visit(small, user, clock.now_ms() - 60_000)
        await until_told(small, user, 1)
    page = await small.subscribe(f"fence:{park}", owner, "o", limit=10)
    assert [pub["d"].get("user") for pub in page["pubs"]] == [ann, bob]
    shown = await small.subscribe(f"fence:{park}@map#m", owner, "m", mode="map")
    assert {row[0] for row in shown["state"]} == {COUNT, ann, bob}

    await grant(small, ann, park, "count")
    await small.until(lambda: [ann, "-"] in rows(small, "m"))
    await block(small, owner, bob)
    await small.until(lambda: [bob, "-"] in rows(small, "m"))
    await small.until(lambda: rows(small, "m")[-1][:3] == [COUNT, "~", {"inside": 1}])
    assert (await until_told(small, bob, 2))[1] == ("exit", "not_in_audience")
    again = await small.subscribe(f"fence:{park}", owner, "o", epoch=page["epoch"], offset=0)
    assert [pub["d"].get("user") for pub in again["pubs"]] == [None, None, None]
    assert [pub["d"].get("reason") for pub in again["pubs"]] == [None, None, None]


async def test_nobody_else_hears_a_fence_and_apps_hear_all(small: Any, clock: Clock) -> None:
    owner, app, eve, ann = [await small.person() for _ in range(4)]
    park = await fence(small, owner, PARK)
    await small.pool.execute("UPDATE users SET roles = '{app}' WHERE id = $1", app)
    await grant(small, ann, park, "exact")
    for ask in (
        small.subscribe(f"fence:{park}", eve, "e"),
        small.subscribe(f"fence:{park}@map#e", eve, "e", mode="map"),
        small.ask(wire.History(0, f"fence:{park}", eve, 5)),
        small.subscribe(f"fence:{eve}", owner, "o"),
    ):
        with pytest.raises(EngineError) as refused:
            await ask
        assert refused.value.code == ErrorCode.DENIED
    await small.subscribe(f"fence:{park}", app, "a")
    await block(small, app, ann)
    await visit(small, ann, clock.now_ms() - 5_000)
    await small.until(lambda: len(pushed(small, park)) == 1)
    assert pushed(small, park)[0].hide == [app]  # told to the owner, skipped for who is blocked
    page = await small.subscribe(f"fence:{park}", app, "a2", limit=10)
    assert [pub["d"].get("user") for pub in page["pubs"]] == [None]
    shown = await small.subscribe(f"fence:{park}@map#m", app, "m", mode="map")
    assert [row[0] for row in shown["state"]] == [COUNT]


async def test_a_new_activation_continues_stream_and_map(small: Any, clock: Clock) -> None:
    owner, ann = await small.person(), await small.person()
    park = await fence(small, owner, PARK)
    await grant(small, ann, park, "exact")
    page = await small.subscribe(f"fence:{park}", owner, "o")
    shown = await small.subscribe(f"fence:{park}@map#m", owner, "m", mode="map")
    number = small.router.shard_of(slot_of("fence", park))
    await small.shards[number].stop()
    await small.start_shard(number)
    await visit(small, ann, clock.now_ms() - 5_000)
    await until_told(small, ann, 1)
    again = await small.subscribe(f"fence:{park}", owner, "o", epoch=page["epoch"], offset=page["offset"])
    assert (again["recovered"], [pub["d"]["user"] for pub in again["pubs"]]) == (True, [ann])
    held = {row[0]: row[2] for row in shown["state"]}
    more = await small.subscribe(
        f"fence:{park}@map#m", owner, "m", mode="map",
        epoch=shown["epoch"], offset=shown["offset"], shadow=held,
    )  # fmt: skip
    assert (more["recovered"], more["epoch"]) == (True, shown["epoch"])
    await small.until(lambda: [row[0] for row in rows(small, "m") if row[1] == "+"] == [ann])


async def test_an_erased_account_leaves_once_and_no_log_knows_it(small: Any, clock: Clock) -> None:
    """GEO-17."""
    owner, ann = await small.person(), await small.person()
    room = await small.room(owner)
    park = await fence(small, owner, PARK, room)
    await small.pool.execute("INSERT INTO fence_grants VALUES ($1, $2, 'exact', true)", ann, park)
    own = await fence(small, ann, PARK)
    await visit(small, ann, clock.now_ms() - 5_000)
    await until_told(small, ann, 2)
    async with small.pool.acquire() as connection, connection.transaction():
        await crossing_table.erase(connection, ann, clock.now_ms())
        await connection.execute("UPDATE users SET status = 'erased' WHERE id = $1", ann)
    assert sorted((await told(small, ann))[2:]) == [("exit", "account_erased")] * 2
    async with small.pool.acquire() as connection, connection.transaction():
        await crossing_table.erase(connection, ann, clock.now_ms())
    assert len(await told(small, ann)) == 4
    assert await small.pool.fetchval("SELECT count(user_id) FROM fence_events") == 0
    assert await small.pool.fetchval("SELECT removed_at IS NOT NULL FROM fences WHERE id = $1", own)
    state = await small.pool.fetchval("SELECT state FROM room_members WHERE user_id = $1", ann)
    assert state == "left"


async def test_who_is_inside_of_a_fence_that_ended_and_has_no_actor_is_let_out_too(
    small: Any, clock: Clock
) -> None:
    """GEO-17: nobody is live who would notice; the fence's own reminder sees to it."""
    owner, ann = await small.person(), await small.person()
    park = await fence(small, owner, PARK)
    await visit(small, ann, clock.now_ms() - 5_000)
    await until_told(small, ann, 1)
    for shard in small.shards.values():
        for activation in list(shard.activations.values()):
            shard.deactivate(activation)
    ends = moment(clock.now_ms() - 1_000)
    await small.pool.execute("UPDATE fences SET expires_at = $2 WHERE id = $1", park, ends)
    await small.pool.execute(
        "INSERT INTO reminders VALUES ('fence', $1, 'expire', $2, $3, 'null')",
        park, slot_of("fence", park), ends,
    )  # fmt: skip
    for shard in small.shards.values():
        shard.reminders.look()
    for _ in range(20):  # the next reminder is set two seconds ahead
        clock.pass_s(1)
        for shard in small.shards.values():
            shard.reminders.look()
        if len(found := await told(small, ann)) > 1:
            break
        await small.sweep()
    assert found == [("inside", None), ("exit", "fence_expired")]
    await change(small, park)


async def test_a_fence_that_is_handed_over_goes_on_telling(small: Any, clock: Clock) -> None:
    """ACT-5: nobody subscribes again, and nothing is missed or told twice."""
    owner, ann = await small.person(), await small.person()
    park = await fence(small, owner, PARK)
    await grant(small, ann, park, "exact")
    await small.subscribe(f"fence:{park}", owner, "o")
    await small.subscribe(f"fence:{park}@map#m", owner, "m", mode="map")
    now = clock.now_ms() - 300_000
    await visit(small, ann, now)
    await small.until(lambda: len(pushed(small, park)) == 1)
    await small.retire_shard(small.router.shard_of(slot_of("fence", park)))
    await visit(small, ann, now + 120_000, AWAY)
    await small.until(lambda: len(pushed(small, park)) == 2)
    assert events(small, park) == [(1, "inside", ann, 1), (2, "exit", ann, 0)]
    await small.until(lambda: [ann, "-"] in rows(small, "m"))
    assert [row[1] for row in rows(small, "m") if row[0] == ann] == ["+", "-"]
