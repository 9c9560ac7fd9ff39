"""Publishing, pushes, acks, retries, refusals in a room (docs/protocol.md §2, §3)."""

import asyncio
import uuid
from typing import Any

import pytest
from rt_client.connection import Refused
from rt_client.town import Town


def body_of(m: dict[str, Any]) -> Any:
    return m["d"]


async def test_a_room_is_made_and_talked_in(town: Town, codec: str) -> None:
    """Both get the push; only the sender's own carries the `cid`."""
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    a, b = await town.connected(ann, codec), await town.connected(bob, codec)
    joined, other = await a.sub(room), await b.sub(room)
    assert joined["ch"] == room
    assert joined["mode"] == "stream"
    assert (joined["was_recovering"], joined["pubs"]) == (False, [])
    assert joined["epoch"] == other["epoch"]
    sent = {"text": "hello ☕", "n": [1, 2.5, None, True, {"x": "ü"}], "big": 2**52}
    ack = await a.pub(room, sent, cid="c-1", ack="durable")
    assert ack["o"] == joined["offset"] + 1
    assert ack["dup"] is False
    own = (await a.until(lambda frame: "m" in frame))["m"]
    theirs = (await b.until(lambda frame: "m" in frame))["m"]
    assert own["cid"] == "c-1"
    assert "cid" not in theirs
    for m in (own, theirs):
        assert (m["o"], m["i"], m["t"], m["u"]) == (ack["o"], ack["i"], ack["t"], ann.user)
        assert body_of(m) == sent


async def test_acks_say_what_they_promise(town: Town, codec: str) -> None:
    """`none` has no reply, `relay` and `durable` have one, and all three are pushed in order."""
    me = town.person()
    room = await town.room(me)
    connection = await town.connected(me, codec)
    await connection.sub(room)
    none, silent = connection.start("pub", {"ch": room, "d": 1, "ack": "none", "cid": "n"})
    await connection.send(none)
    relay = await connection.pub(room, 2, ack="relay", cid="r")
    durable = await connection.pub(room, 3, ack="durable", cid="d")
    await connection.until(lambda frame: "m" in frame and frame["m"]["o"] == durable["o"])
    pushed = [frame["m"] for frame in connection.frames if "m" in frame]
    assert [m["d"] for m in pushed] == [1, 2, 3]
    assert [m["o"] for m in pushed] == [relay["o"] - 1, relay["o"], durable["o"]]
    assert not silent.done()


async def test_a_retry_gets_the_same_place(town: Town, codec: str) -> None:
    """The same cid gives the same offset and id with `dup`, from another connection too, and no push."""
    me = town.person()
    room = await town.room(me)
    first = await town.connected(me, codec)
    sub = await first.sub(room)
    one = await first.pub(room, {"text": "once"}, cid="same", ack="durable")
    again = await first.pub(room, {"text": "once"}, cid="same", ack="durable")
    second = await town.connected(me, codec)
    elsewhere = await second.pub(room, {"text": "once"}, cid="same", ack="relay")
    for retry in (again, elsewhere):
        assert (retry["o"], retry["i"], retry["dup"]) == (one["o"], one["i"], True)
    last = await first.pub(room, {"text": "after"}, cid="other", ack="durable")
    assert last["o"] == one["o"] + 1
    await first.until(lambda frame: "m" in frame and frame["m"]["o"] == last["o"])
    assert len(first.pushes(sub["n"], "m")) == 2


async def test_a_cid_belongs_to_its_user(town: Town) -> None:
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    a, b = await town.connected(ann), await town.connected(bob)
    one = await a.pub(room, 1, cid="same", ack="durable")
    two = await b.pub(room, 2, cid="same", ack="durable")
    assert (two["dup"], two["o"]) == (False, one["o"] + 1)


async def test_both_wire_formats_carry_the_same_values(town: Town) -> None:
    """A JSON and a MessagePack client in one room see equal publications, whoever sent them."""
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    a, b = await town.connected(ann, "json"), await town.connected(bob, "msgpack")
    await a.sub(room)
    await b.sub(room)
    values: list[Any] = [
        None, True, False, 0, -1, 2**53 - 1, -(2**53) + 1, 0.5, -1e-9, 1e300, "", 'é\n"\\', "\u2028", "🧭",
        [], {}, [[]], {"": {"": None}}, {"text": "t" * 3000}, [1, "1", 1.5, [None]],
    ]  # fmt: skip
    for index, value in enumerate(values):
        await (a, b)[index % 2].pub(room, value, ack="relay")
    for connection in (a, b):
        await connection.until(lambda frame: "m" in frame and frame["m"]["o"] == len(values))
    seen = [[frame["m"] for frame in connection.frames if "m" in frame] for connection in (a, b)]
    assert [m["d"] for m in seen[0]] == values
    assert seen[0] == seen[1]
    assert [type(m["d"]) for m in seen[0]] == [type(m["d"]) for m in seen[1]]


async def test_writers_at_once_are_put_in_one_order(town: Town) -> None:
    """Eight writers, no waiting: all readers see all, in the same order, each writer's own in its order."""
    writers = town.persons(8)
    room = await town.room(*writers)
    connections = [await town.connected(who, ("json", "msgpack")[i % 2]) for i, who in enumerate(writers)]
    for connection in connections:
        await connection.sub(room)
    count = 25

    async def write(index: int) -> None:
        for number in range(count):
            await connections[index].pub(room, [index, number], ack="relay" if number % 2 else "durable")

    await asyncio.gather(*[write(index) for index in range(8)])
    total = 8 * count
    orders = []
    for connection in connections:
        await connection.until(lambda frame: "m" in frame and frame["m"]["o"] == total)
        orders.append([(f["m"]["o"], f["m"]["i"], tuple(f["m"]["d"])) for f in connection.frames if "m" in f])
    assert [o for o, _, _ in orders[0]] == list(range(1, total + 1))
    assert all(order == orders[0] for order in orders)
    for index in range(8):
        assert [d[1] for _, _, d in orders[0] if d[0] == index] == list(range(count))
    stored = await town.history(room, writers[0])
    assert [(o, i) for o, i, _ in orders[0]] == [(each.offset, each.id) for each in stored]


async def test_ephemeral_events_reach_the_others_and_are_not_kept(town: Town, codec: str) -> None:
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    a, b = await town.connected(ann, codec), await town.connected(bob, codec)
    at_a, at_b = await a.sub(room), await b.sub(room)
    await a.send({"e": at_a["n"], "d": {"typing": True}})
    frame = await b.until(lambda frame: "e" in frame)
    assert frame == {"p": at_b["n"], "e": {"u": ann.user, "d": {"typing": True}}}
    assert (await b.hist(room, 10))["pubs"] == []


async def test_a_memory_room_promises_nothing_it_cannot_keep(town: Town, codec: str) -> None:
    """`durable` is refused with 108; `relay` works, is pushed and recovers within the window."""
    me = town.person()
    room = await town.room(me, durability="memory")
    connection = await town.connected(me, codec)
    sub = await connection.sub(room)
    with pytest.raises(Refused) as refused:
        await connection.pub(room, 1, ack="durable")
    assert (refused.value.code, refused.value.temporary) == (108, False)
    for number in range(5):
        await connection.pub(room, number, ack="relay")
    again = await town.connected(me, codec)
    back = await again.sub(room, epoch=sub["epoch"], offset=sub["offset"] + 2)
    assert (back["recovered"], back["was_recovering"]) == (True, True)
    assert [m["d"] for m in back["pubs"]] == [2, 3, 4]


async def test_an_unsubscribed_channel_is_silent(town: Town, codec: str) -> None:
    me = town.person()
    room = await town.room(me)
    connection = await town.connected(me, codec)
    sub = await connection.sub(room)
    assert await connection.command("unsub", {"ch": room}) == {}
    await connection.pub(room, "unheard", ack="durable")
    assert connection.pushes(sub["n"]) == []
    back = await connection.sub(room, epoch=sub["epoch"], offset=sub["offset"])
    assert [m["d"] for m in back["pubs"]] == ["unheard"]


async def test_refusals_are_those_of_the_table(town: Town, codec: str) -> None:
    ann, stranger = town.persons(2)
    room = await town.room(ann)
    a, s = await town.connected(ann, codec), await town.connected(stranger, codec)
    await a.sub(room)
    unknown_room = f"room:{uuid.uuid4()}"
    cases: list[tuple[Any, str, Any, int]] = [
        (a, "sub", {"ch": room}, 105),
        (s, "sub", {"ch": room}, 103),
        (s, "sub", {"ch": unknown_room}, 103),
        (s, "sub", {"ch": f"presence:{room}"}, 103),
        (s, "hist", {"ch": room, "limit": 1}, 103),
        (s, "pub", {"ch": room, "d": 1, "cid": "x", "ack": "durable"}, 103),
        (s, "pub", {"ch": unknown_room, "d": 1, "cid": "x", "ack": "durable"}, 103),
        (s, "sub", {"ch": "weather:1"}, 102),
        (s, "sub", {"ch": ""}, 102),
        (s, "sub", {"ch": "room"}, 102),
        (s, "dance", {"ch": room}, 104),
        (s, "sub", {}, 107),
        (s, "sub", {"ch": 7}, 107),
        (s, "sub", [], 107),
        (a, "pub", {"ch": room, "cid": "x"}, 107),
        (a, "pub", {"ch": room, "d": 1, "ack": "maybe"}, 107),
        (a, "hist", {"ch": room, "limit": "ten"}, 107),
    ]
    answers = []
    for connection, verb, body, _ in cases:
        with pytest.raises(Refused) as refused:
            await connection.command(verb, body)
        assert isinstance(refused.value.err["msg"], str)
        answers.append((verb, body, refused.value.code))
    assert answers == [(verb, body, code) for _, verb, body, code in cases]


async def test_a_room_that_is_not_mine_and_one_that_is_not_there_look_alike(town: Town) -> None:
    ann, stranger = town.persons(2)
    room = await town.room(ann)
    connection = await town.connected(stranger)
    errors = []
    for ch in (room, f"room:{uuid.uuid4()}"):
        with pytest.raises(Refused) as refused:
            await connection.sub(ch)
        errors.append(refused.value.err)
    assert errors[0] == errors[1]


async def test_too_large_a_body_is_refused_and_the_connection_stays(town: Town, codec: str) -> None:
    """A body is at most 8 KiB (CHAT-17)."""
    me = town.person()
    room = await town.room(me)
    connection = await town.connected(me, codec)
    with pytest.raises(Refused) as refused:
        await connection.pub(room, {"text": "x" * 9000}, ack="durable")
    assert refused.value.code in {106, 107}
    assert (await connection.pub(room, {"text": "x" * 7000}, ack="durable"))["o"] == 1


async def test_leaving_ends_the_subscription_and_the_right_to_it(town: Town, codec: str) -> None:
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    b = await town.connected(bob, codec)
    sub = await b.sub(room)
    gone = await town.http("DELETE", f"/v1/rooms/{room[5:]}/members/{bob.user}", who=ann)
    assert gone.status in {200, 204}
    a = await town.connected(ann, codec)
    await a.pub(room, {"text": "a secret"}, cid="s", ack="durable")
    await asyncio.sleep(0.5)
    assert not [m for m in b.pushes(sub["n"], "m") if m["m"]["d"] == {"text": "a secret"}]
    fresh = b if not b.closed.done() else await town.connected(bob, codec)
    with pytest.raises(Refused) as refused:
        await fresh.pub(room, 1, ack="durable")
    assert refused.value.code == 103


async def test_messages_over_http_are_the_same_stream(town: Town) -> None:
    """`POST …/messages` publishes, `GET` pages with exclusive bounds, ascending; neither: the newest page."""
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    path = f"/v1/rooms/{room[5:]}/messages"
    connection = await town.connected(bob)
    await connection.sub(room)
    posted = [
        await town.http("POST", path, {"d": {"text": str(n)}, "cid": f"h{n}", "ack": "durable"}, ann)
        for n in range(6)
    ]
    assert {answer.status for answer in posted} == {201}
    retry = await town.http("POST", path, {"d": {"text": "0"}, "cid": "h0", "ack": "durable"}, ann)
    assert (retry.body["o"], retry.body["i"], retry.body["dup"]) == (
        posted[0].body["o"],
        posted[0].body["i"],
        True,
    )
    await connection.until(lambda frame: "m" in frame and frame["m"]["o"] == 6)

    async def offsets(query: str) -> list[int]:
        answer = await town.http("GET", f"{path}?{query}", who=bob)
        assert answer.status == 200
        return [m["o"] for m in answer.body["items"]]

    assert await offsets("") == [1, 2, 3, 4, 5, 6]
    assert await offsets("limit=2") == [5, 6]
    assert await offsets("after=2&limit=2") == [3, 4]
    assert await offsets("before=5&limit=2") == [3, 4]
    assert await offsets("after=6") == []
