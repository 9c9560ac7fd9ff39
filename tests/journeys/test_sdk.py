"""Both SDKs against the engine: the same scenarios, whatever language and encoding (issue 3, point 5)."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from rt_client.town import Town
from sdk_hands.hand import Hand, SdkError
from sdk_hands.kinds import KINDS, QUICK
from sdk_hands.python_hand import now_ms
from sdk_hands.tokens import short_token
from sdk_hands.tunnel import Tunnel
from sdk_hands.typescript_hand import build

pytestmark = pytest.mark.timeout(180)

NewHand = Callable[..., Any]


@pytest.fixture(scope="session")
def built() -> None:
    build()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
async def new(stack: AsyncExitStack, built: None) -> NewHand:  # noqa: ARG001 - it must be built first
    """A hand of a kind, ended with the test."""

    async def make(kind: str) -> Hand:
        return await stack.enter_async_context(KINDS[kind]())

    return make


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The SDK at work."""
    return str(request.param)


@pytest.fixture
async def tunnel(town: Town, stack: AsyncExitStack) -> Tunnel:
    """A breakable network to a gateway."""
    return await stack.enter_async_context(Tunnel(await town.door()))


async def test_it_finds_a_gateway_and_the_engine_knows_it(town: Town, new: NewHand, kind: str) -> None:
    me = town.person()
    hand = await new(kind)
    await hand.open(town.url, me.token)
    (online,) = hand.of("online")
    assert online["user"] == me.user
    room = await town.room(me)
    assert await hand.do("call", name="pres", body={"ch": room}) == {"metas": [], "count": 0}
    await hand.do("close")
    assert hand.events[-1] == {"stopped": {"code": 1000, "reason": "closed"}}


async def test_two_sdks_talk_and_see_one_order(town: Town, new: NewHand, kind: str) -> None:
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    one, other = await new(kind), await new("typescript" if kind != "typescript" else "python-json")
    await one.open(town.url, ann.token)
    await other.open(town.url, bob.token)
    await asyncio.gather(one.follow(room), other.follow(room))
    begun = len(one.offsets(room)), len(other.offsets(room))
    acks = await asyncio.gather(
        *(
            hand.publish(room, {"text": f"{name} {n}"})
            for n in range(25)
            for name, hand in (("1", one), ("2", other))
        )
    )
    await asyncio.gather(*(hand.until(lambda hand=hand: len(hand.said(room)) >= 50) for hand in (one, other)))
    heard = [hand.said(room)[start:] for hand, start in zip((one, other), begun, strict=True)]
    assert heard[0] == heard[1]
    for name in ("1", "2"):
        assert [d["text"] for d in heard[0] if d["text"][0] == name] == [f"{name} {n}" for n in range(25)]
    assert sorted(ack["offset"] for ack in acks) == one.offsets(room)[begun[0] :]
    assert not any(ack["duplicate"] for ack in acks)


async def test_killed_sockets_lose_and_double_nothing(
    town: Town, new: NewHand, kind: str, tunnel: Tunnel
) -> None:
    """Sixty publications in order over a network that breaks four times."""
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    watcher = await town.member(bob)
    await watcher.follow(room, limit=0)
    hand = await new(kind)
    await hand.open(tunnel.url, ann.token, **QUICK)
    await hand.follow(room)
    before = len(hand.said(room))
    acks: list[Any] = []
    for part in range(4):
        sent = [asyncio.ensure_future(hand.publish(room, {"n": 15 * part + n})) for n in range(15)]
        await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
        tunnel.cut()
        acks += await asyncio.gather(*sent)
    await hand.until(lambda: len(hand.said(room)) >= before + 60 and len(hand.of("online")) == 5)
    assert [d["n"] for d in hand.said(room)[before:]] == list(range(60))
    assert [ack["offset"] for ack in acks] == hand.offsets(room)[before:]
    assert not hand.of("gap")
    assert [event["resumed"] for event in hand.of("online")] == [False, True, True, True, True]
    assert len({event["session"] for event in hand.of("online")}) == 1
    assert all(event["recovered"] for event in hand.of("subscribed", room)[1:])
    stored = await town.history(room, bob)
    assert [line.offset for line in stored][-60:] == hand.offsets(room)[before:]


async def test_what_is_said_offline_waits_in_order_and_the_newest_loses(
    town: Town, new: NewHand, kind: str, tunnel: Tunnel
) -> None:
    me = town.person()
    room = await town.room(me)
    hand = await new(kind)
    await hand.open(tunnel.url, me.token, **QUICK, queue_limit=8)
    await hand.follow(room)
    await tunnel.close()
    await hand.until(lambda: bool(hand.of("waiting")))
    waiting = [asyncio.ensure_future(hand.publish(room, {"n": n})) for n in range(8)]
    await asyncio.sleep(0)  # they are made first
    with pytest.raises(SdkError) as lost:
        await hand.publish(room, {"n": 8})
    assert lost.value.name == "QueueFullError"
    with pytest.raises(SdkError) as offline:
        await hand.publish(room, {"n": 9}, ack="none")
    assert offline.value.name == "LostError"
    await tunnel.open()
    acks = await asyncio.gather(*waiting)
    await hand.until(lambda: len([d for d in hand.said(room) if "n" in d]) >= 8)
    assert [d["n"] for d in hand.said(room) if "n" in d] == list(range(8))
    assert [ack["offset"] for ack in acks] == hand.offsets(room)[-8:]


async def test_the_same_cid_is_the_same_message(town: Town, new: NewHand, kind: str) -> None:
    me = town.person()
    room = await town.room(me)
    hand = await new(kind)
    await hand.open(town.url, me.token)
    await hand.follow(room)
    cid = uuid.uuid4().hex
    first = await hand.publish(room, {"text": "once"}, cid=cid, ack="durable")
    again = await hand.publish(room, {"text": "once"}, cid=cid)
    assert again == {**first, "duplicate": True}
    both = [asyncio.ensure_future(hand.publish(room, {"text": "twice"}, cid="c")) for _ in range(2)]
    done = await asyncio.gather(*both, return_exceptions=True)
    assert [wrong.name for wrong in done if isinstance(wrong, SdkError)] == ["DuplicateError"]
    await hand.until(lambda: len([d for d in hand.said(room) if "text" in d]) >= 2)
    own = hand.of("publication", room)[-2:]
    assert [event["cid"] for event in own] == [cid, "c"]


async def test_more_than_a_recovery_holds_is_a_gap_that_can_be_paged(
    town: Town, new: NewHand, kind: str, tunnel: Tunnel
) -> None:
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    hand = await new(kind)
    await hand.open(tunnel.url, ann.token, **QUICK)
    await hand.follow(room)
    await tunnel.close()
    await hand.until(lambda: bool(hand.of("waiting")))
    other = await town.connected(bob)
    sent = [other.start("pub", {"ch": room, "d": {"n": n}}) for n in range(310)]
    for start in range(0, 310, 50):
        await other.send(*(frame for frame, _ in sent[start : start + 50]))
    acks = await asyncio.gather(*(answer for _, answer in sent))
    await tunnel.open()
    await hand.until(lambda: bool(hand.of("gap")))
    (gap,) = hand.of("gap", room)
    assert gap["offset"] == max(ack["o"] for ack in acks)
    assert not hand.of("subscribed", room)[-1]["recovered"]
    paged = await hand.do("missed", channel=room)
    assert paged == list(range(gap["since"]["offset"] + 1, gap["offset"] + 1))
    assert len(paged) >= 310
    await hand.publish(room, {"n": "live"})
    await hand.until(lambda: hand.said(room)[-1:] == [{"n": "live"}])
    assert hand.offsets(room)[-1] == gap["offset"] + 1


async def test_near_and_presence_are_live_views_over_a_reconnect(
    town: Town, new: NewHand, kind: str, tunnel: Tunnel
) -> None:
    ann, bob, cem = town.persons(3)
    room = await town.room(ann, bob, cem)
    there = f"presence:{room}"
    hand = await new(kind)
    await hand.open(tunnel.url, ann.token, **QUICK)
    await asyncio.gather(
        hand.follow(room), hand.follow(there, limit=1), hand.follow("near", filter={"radius_m": 2000})
    )
    lat, lon = random.uniform(45, 55), random.uniform(0, 10)  # where nobody else is
    await hand.do("report", lat=lat, lon=lon, t_ms=now_ms())
    others = [await town.connected(who, subs={room: {}}) for who in (bob, cem)]
    for number, other in enumerate(others):
        await other.command("pos", [lat + number / 10_000, lon, 10, now_ms()])
    near = {bob.user, cem.user}
    await hand.until(
        lambda: near <= {change["key"] for rows in hand.of("rows") for change in rows["changes"]}
    )
    rows = await hand.do("rows", channel="near")
    assert set(rows) == near
    assert {row["band"] for row in rows.values()} == {"<1"}
    await hand.until(lambda: {meta["u"] for event in hand.of("presence") for meta in event["joined"]} >= near)
    assert set(await hand.do("users", channel=there)) == {ann.user, *near}
    assert await hand.do("presence", channel=room) == 3
    tunnel.cut()
    await hand.until(lambda: len(hand.of("online")) == 2)
    await hand.until(lambda: len(hand.of("subscribed", there)) == 2)
    assert set(await hand.do("users", channel=there)) == {ann.user, *near}
    assert set(await hand.do("rows", channel="near")) == near
    await others[0].close()
    await hand.until(
        lambda: bob.user in {meta["u"] for event in hand.of("presence") for meta in event["left"]}
    )
    assert set(await hand.do("users", channel=there)) == {ann.user, cem.user}


async def test_typing_is_heard_by_the_others_and_not_kept(town: Town, new: NewHand, kind: str) -> None:
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    one, other = await new(kind), await new("python-json")
    await one.open(town.url, ann.token)
    await other.open(town.url, bob.token)
    await asyncio.gather(one.follow(room), other.follow(room))
    assert await one.do("ephemeral", channel=room, data={"typing": True})
    assert not await one.do("ephemeral", channel="room:elsewhere", data=1)
    await other.until(lambda: bool(other.of("ephemeral")))
    assert other.of("ephemeral") == [{"channel": room, "user": ann.user, "data": {"typing": True}}]
    assert not one.of("ephemeral")


async def test_what_is_refused_is_told_with_its_code(town: Town, new: NewHand, kind: str) -> None:
    ann, bob = town.persons(2)
    room = await town.room(ann)
    hand = await new(kind)
    await hand.open(town.url, bob.token)
    with pytest.raises(SdkError) as refused:
        await hand.follow(room)
    assert (refused.value.name, refused.value.code) == ("RefusedError", 103)
    assert [event["code"] for event in hand.of("ended", room)] == [103]
    with pytest.raises(SdkError) as denied:
        await hand.publish(room, {"text": "let me in"})
    assert (denied.value.name, denied.value.code) == ("RefusedError", 103)
    await hand.do("report", lat=51.3, lon=0.7, t_ms=now_ms())
    with pytest.raises(SdkError) as stale:
        await hand.do("report", lat=51.3, lon=0.7, t_ms=now_ms() - 60_000)
    assert stale.value.code == 124


async def test_who_is_taken_out_of_a_room_is_told(town: Town, new: NewHand, kind: str) -> None:
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    hand = await new(kind)
    await hand.open(town.url, bob.token)
    await hand.follow(room)
    await town.http("DELETE", f"/v1/rooms/{room[5:]}/members/{bob.user}", who=ann)
    await hand.until(lambda: bool(hand.of("ended", room)))
    assert hand.of("ended", room)[0]["code"] == 103


async def test_a_token_is_renewed_before_it_ends_and_the_connection_stays(town: Town, new: NewHand) -> None:
    people = {kind: town.person() for kind in KINDS}
    hands = {kind: await new(kind) for kind in KINDS}
    for kind, hand in hands.items():
        me = people[kind]
        await hand.open(town.url, await short_token(town.data, me.user, 4), me.token)
    await asyncio.sleep(6)  # the tokens' own time, by the engine's own clock
    for kind, hand in hands.items():
        assert await hand.do("presence", channel=await town.room(people[kind])) == 0
        assert [list(event) for event in hand.events] == [["connecting"], ["online"]]


async def test_an_expired_token_is_replaced_by_a_new_one(town: Town, new: NewHand, kind: str) -> None:
    me = town.person()
    hand = await new(kind)
    await hand.open(town.url, await short_token(town.data, me.user, -5), me.token, **QUICK)
    assert [next(iter(event)) for event in hand.events] == ["connecting", "waiting", "connecting", "online"]


async def test_a_token_that_is_none_stops_it(town: Town, new: NewHand, kind: str) -> None:
    hand = await new(kind)
    with pytest.raises(SdkError) as closed:
        await hand.open(town.url, "nonsense")
    assert (closed.value.name, closed.value.code) == ("ClosedError", 101)
    assert hand.events[-1]["stopped"]["code"] == 101


async def test_a_connection_that_swallows_everything_is_left(
    town: Town, new: NewHand, kind: str, tunnel: Tunnel
) -> None:
    """No reply within the command's time: a new connection, and the same publication once."""
    me = town.person()
    room = await town.room(me)
    hand = await new(kind)
    await hand.open(tunnel.url, me.token, **QUICK, command_ms=700)
    await hand.follow(room)
    tunnel.is_black_hole = True
    sent = asyncio.ensure_future(hand.publish(room, {"text": "hello?"}))
    await hand.until(lambda: bool(hand.of("waiting")))
    tunnel.is_black_hole = False
    ack = await sent
    await hand.until(lambda: {"text": "hello?"} in hand.said(room))
    assert hand.said(room).count({"text": "hello?"}) == 1
    assert ack["offset"] == hand.offsets(room)[-1]


async def test_an_app_that_does_not_read_is_told_what_it_let_go(town: Town, new: NewHand, kind: str) -> None:
    me = town.person()
    room = await town.room(me)
    hand = await new(kind)
    await hand.open(town.url, me.token)
    await hand.do("listen", channel=room, buffer=4)
    await hand.do("live", channel=room)
    acks = [await hand.publish(room, {"n": n}) for n in range(15)]
    offsets = [ack["offset"] for ack in acks]
    await hand.until(lambda: offsets[-1] in hand.offsets(room))
    read = await hand.do("read", channel=room, upto=offsets[-1])
    assert read["dropped"] >= 8
    assert read["found"][-15:] == offsets
    assert read["found"] == sorted(set(read["found"]))
