"""`down`, then `up` on the same data: everything is there again."""

import asyncio
from typing import Any

import pytest
from rt_client.town import Town, request
from rt_client.walk import Clock, Place


@pytest.mark.timeout(180)
async def test_a_second_up_on_the_same_data_finds_everything_again(town: Town, engine: Any) -> None:
    """Rooms, members, messages with their offsets and epoch, tokens, fences, and a place in a stream."""
    ann, bob = town.persons(2)
    room = await town.room(ann, bob)
    a = await town.connected(ann)
    sub = await a.sub(room)
    acks = [await a.pub(room, {"text": str(n)}, cid=f"c{n}", ack="durable") for n in range(20)]
    place = Place()
    fence = await town.http("POST", "/v1/fences", place.square(200), ann)
    before = await town.history(room, bob)
    await a.close()

    await asyncio.to_thread(engine.restart)

    town.url = engine.url
    assert (await asyncio.to_thread(request, engine.url, "GET", "/readyz")).status == 200
    assert await town.history(room, bob) == before
    b = await town.connected(bob, "msgpack")
    back = await b.sub(room, epoch=sub["epoch"], offset=5)
    assert (back["recovered"], [m["i"] for m in back["pubs"]]) == (True, [ack["i"] for ack in acks[5:]])
    again = await town.connected(ann)
    retry = await again.pub(room, {"text": "3"}, cid="c3", ack="durable")
    assert (retry["o"], retry["i"], retry["dup"]) == (acks[3]["o"], acks[3]["i"], True)
    assert (await again.pub(room, {"text": "next"}, cid="new", ack="durable"))["o"] == 21
    assert (await town.http("GET", f"/v1/fences/{fence.body['id']}", who=ann)).status == 200
    events = await b.sub("fences")
    clock = Clock()
    for metres in (-900, 0, 5):
        lat, lon = place.at(metres)
        await b.command("pos", [lat, lon, 5.0, clock.after(30)])
    entered = await b.until(lambda frame: frame.get("p") == events["n"])
    assert entered["m"]["d"]["event"] == "enter"
