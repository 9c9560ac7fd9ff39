"""Rooms that are read, as their members meet them (docs/protocol.md §7.2; NLP-4, NLP-10)."""

import pytest
from rt_client.connection import Refused
from rt_client.town import Town

NASTY = "you are a horrible, disgusting liar and I hate you"
TERMS = {"scorer": "inline", "policy": "hold", "threshold": 0.6}


async def test_a_room_refuses_what_its_owner_does_not_want_there(town: Town, codec: str) -> None:
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    a, b = await town.connected(ann, codec), await town.connected(bob, codec)
    await a.sub(room)
    sub = await b.sub(room)
    await b.pub(room, {"text": NASTY}, cid="before", ack="durable")
    answer = await town.http("PUT", f"/v1/rooms/{room[5:]}/reading", TERMS, ann)
    assert (answer.status, answer.body["o"]) == (200, 2)
    told = (await b.until(lambda frame: "m" in frame and frame["m"]["o"] == 2))["m"]
    assert (told["u"], told["d"]["type"], told["d"]["user"]) == ("", "reading.terms", ann.user)
    assert told["d"]["reading"]["policy"] == "hold"
    for ack in ("durable", "relay"):
        with pytest.raises(Refused) as refused:
            await b.pub(room, {"text": NASTY}, cid=f"foul-{ack}", ack=ack)
        assert (refused.value.code, refused.value.temporary) == (123, False)
    with pytest.raises(Refused) as refused:
        await a.pub(room, {"text": NASTY}, ack="durable")
    assert refused.value.code == 123
    with pytest.raises(Refused) as refused:
        await b.pub(room, {"text": "it was not meant like that"}, cid="foul-durable", ack="durable")
    assert refused.value.code == 123
    fine = await b.pub(room, {"text": "what a lovely day"}, cid="fine", ack="durable")
    assert (fine["o"], fine["dup"]) == (3, False)
    again = await b.pub(room, {"text": NASTY}, cid="before", ack="durable")
    assert (again["o"], again["dup"]) == (1, True)
    await a.until(lambda frame: "m" in frame and frame["m"]["o"] == 3)
    assert [m["m"]["o"] for m in b.pushes(sub["n"], "m")] == [1, 2, 3]
    figures = await town.http("GET", f"/v1/rooms/{room[5:]}/dynamics", who=ann)
    assert figures.body["room"]["messages"] == 1


async def test_what_is_taken_back_is_gone_for_whoever_comes_later(town: Town, codec: str) -> None:
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    a, b = await town.connected(ann, codec), await town.connected(bob, codec)
    sub = await a.sub(room)
    terms = TERMS | {"policy": "retract"}
    assert (await town.http("PUT", f"/v1/rooms/{room[5:]}/reading", terms, ann)).status == 200
    said = await b.pub(room, {"text": NASTY}, cid="c", ack="durable")
    event = (await a.until(lambda frame: "m" in frame and frame["m"]["d"].get("type") == "retract"))["m"]
    assert (event["u"], event["d"]["of"], event["d"]["reason"]) == ("", said["o"], "reading")
    tombstone = {"type": "retracted", "v": 1}
    later = await town.connected(ann, codec)
    back = await later.sub(room, epoch=sub["epoch"], offset=sub["offset"])
    assert back["recovered"]
    assert next(m["d"] for m in back["pubs"] if m["o"] == said["o"]) == tombstone
    page = await later.hist(room, 10)
    assert next(m["d"] for m in page["pubs"] if m["o"] == said["o"]) == tombstone
    items = (await town.http("GET", f"/v1/rooms/{room[5:]}/messages", who=ann)).body["items"]
    assert next(m["d"] for m in items if m["o"] == said["o"]) == tombstone
    assert next(m["u"] for m in items if m["d"].get("type") == "retract") == ""
    again = await b.pub(room, {"text": NASTY}, cid="c", ack="durable")
    assert (again["o"], again["dup"]) == (said["o"], True)
