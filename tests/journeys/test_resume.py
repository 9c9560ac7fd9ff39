"""A session is taken up again after its socket, or the gateway that held it, is gone (RT-7)."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from rt_client.connection import Connection, Refused
from rt_client.load import kill, processes
from rt_client.town import Person, Town

pytestmark = pytest.mark.timeout(120)


async def again(town: Town, who: Person, before: dict[str, Any], codec: str = "json", **body: Any) -> Any:
    """Connects with `resume` until a gateway is there; the connection and its greeting."""
    async with asyncio.timeout(60):
        while True:
            try:
                socket = await town.socket(codec)
                resume = {"sid": before["sid"], "key": before["key"]}
                return socket, await socket.connect(who.token, resume=resume, **body)
            except (OSError, ConnectionError):
                await asyncio.sleep(0.1)


async def metas(connection: Connection, ch: str) -> set[str]:
    found = await connection.command("pres", {"ch": ch})
    return {meta["ref"] for meta in found["metas"]}


async def test_a_lost_socket_is_taken_up_with_everything_it_heard(town: Town, codec: str) -> None:
    ann, bob = town.persons(2)
    ch = await town.room(ann, bob)
    socket = await town.socket(codec)
    greeting = await socket.connect(ann.token, subs={ch: {}, "near": {}, "me": {}})
    watching = await town.connected(bob)
    seen = await watching.sub(f"presence:{ch}")
    assert greeting["sid"] in {meta["ref"] for meta in seen["state"]}
    at = greeting["subs"][ch]
    await socket.drop()
    said = [(await watching.pub(ch, {"text": f"{n}"}))["o"] for n in range(3)]
    position = {"epoch": at["epoch"], "offset": at["offset"]}
    back, resumed = await again(town, ann, greeting, codec, subs={ch: position})
    assert resumed["resumed"] is True
    assert resumed["sid"] == greeting["sid"]
    assert resumed["subs"].keys() == {ch, "near", "me"}
    assert [m["o"] for m in resumed["subs"][ch]["pubs"]] == said
    await back.pub(ch, {"text": "back"})
    await back.until(lambda f: f.get("p") == resumed["subs"][ch]["n"] and "m" in f)
    assert watching.pushes(seen["n"], "l") == watching.pushes(seen["n"], "j") == []
    assert await metas(watching, ch) == {greeting["sid"]}


async def test_an_old_socket_that_lives_is_closed_and_the_new_one_hears(town: Town) -> None:
    ann, bob = town.persons(2)
    ch = await town.room(ann, bob)
    old = await town.socket()
    greeting = await old.connect(ann.token, subs={ch: {}})
    back, resumed = await again(town, ann, greeting)
    assert resumed["resumed"] is True
    assert (await old.wait_closed()).code == 3011
    talking = await town.connected(bob)
    await talking.pub(ch, {"text": "hello"})
    await back.until(lambda f: "m" in f)
    assert await metas(talking, ch) == {greeting["sid"]}
    stranger, refused = await again(town, bob, resumed)
    assert refused["resumed"] is False
    assert refused["sid"] != greeting["sid"]
    assert back.closed.done() is False
    await stranger.close()


async def test_a_goodbye_ends_the_session(town: Town) -> None:
    ann = town.person()
    socket = await town.socket()
    greeting = await socket.connect(ann.token, subs={"me": {}})
    await socket.close(1000)
    _, later = await again(town, ann, greeting)
    assert later["resumed"] is False


async def test_who_was_removed_meanwhile_is_told_in_that_subscription(town: Town) -> None:
    ann, bob = town.persons(2)
    ch, other = await town.room(ann, bob), await town.room(bob)
    socket = await town.socket()
    greeting = await socket.connect(bob.token, subs={ch: {}, other: {}})
    await asyncio.sleep(0)
    await socket.drop()
    answer = await town.http("DELETE", f"/v1/rooms/{ch[5:]}/members/{bob.user}", who=ann)
    assert answer.status in (200, 204)
    _, resumed = await again(town, bob, greeting)
    assert resumed["resumed"] is True
    assert resumed["subs"][ch]["err"]["code"] == 103
    assert "n" in resumed["subs"][other]


async def test_a_session_outlives_a_kill_of_its_gateway(town: Town, tell: Callable[[str], None]) -> None:
    """All gateways are killed, so whichever held the session is gone; what was said meanwhile is there."""
    ann, bob = town.persons(2)
    ch = await town.room(ann, bob)
    sockets = [await town.socket() for _ in range(8)]
    greetings = [await socket.connect(ann.token, subs={ch: {}, "me": {}}) for socket in sockets]
    for pid in await asyncio.to_thread(processes, town, "gateway"):
        kill(pid)
    for socket in sockets:
        await socket.wait_closed(30)
    answer = await town.http("POST", f"/v1/rooms/{ch[5:]}/messages", {"d": {"text": "meanwhile"}}, bob)
    assert answer.status == 201
    resumed = [(await again(town, ann, greeting))[1] for greeting in greetings]
    tell(f"gateways killed: {sum(each['resumed'] for each in resumed)} of {len(resumed)} sessions taken up")
    for before, after in zip(greetings, resumed, strict=True):
        assert after["resumed"] is True
        assert after["sid"] == before["sid"]
        assert after["subs"].keys() == {ch, "me"}
        assert [m["d"]["text"] for m in after["subs"][ch]["pubs"]] == ["meanwhile"]


async def test_a_session_outlives_its_gateway_and_a_shard_killed_at_once(town: Town) -> None:
    """What was acknowledged before and said after is there, in order, and nobody was shown twice."""
    ann, bob = town.persons(2)
    rooms = [await town.room(ann, bob) for _ in range(6)]
    socket = await town.socket()
    greeting = await socket.connect(ann.token, subs={ch: {} for ch in rooms})
    talking = await town.connected(bob)
    for ch in rooms:
        await talking.pub(ch, {"n": 1})
    for ch in rooms:
        n = greeting["subs"][ch]["n"]
        await socket.until(lambda f, n=n: f.get("p") == n and "m" in f)
    victims = [(await asyncio.to_thread(processes, town, kind))[0] for kind in ("gateway", "shard")]
    victims += (await asyncio.to_thread(processes, town, "gateway"))[1:]
    for pid in victims:
        kill(pid)
    await socket.wait_closed(30)
    for ch in rooms:
        path, body = f"/v1/rooms/{ch[5:]}/messages", {"d": {"n": 2}, "cid": "second"}
        async with asyncio.timeout(60):
            while (await town.http("POST", path, body, bob)).status not in (200, 201):
                await asyncio.sleep(0.2)
    positions = {ch: {"epoch": sub["epoch"], "offset": 1} for ch, sub in greeting["subs"].items()}
    back, resumed = await again(town, ann, greeting, subs=positions)
    assert resumed["resumed"] is True
    for ch in rooms:
        result = resumed["subs"][ch]
        async with asyncio.timeout(30):
            while "err" in result:  # its shard is not back within 5 s on a busy machine
                assert result["err"]["temp"] is True
                try:
                    result = await back.sub(ch, **positions[ch])
                except Refused as refused:
                    result = {"err": refused.err}
        assert result["recovered"] is True
        assert [(m["o"], m["d"]["n"]) for m in result["pubs"]] == [(2, 2)]
        assert greeting["sid"] in await metas(back, ch)


async def test_a_user_has_no_more_connections_than_the_setting_says(town: Town) -> None:
    ann = town.person()
    held = [await town.connected(ann) for _ in range(64)]
    over = await town.socket()
    with pytest.raises(Refused) as refused:
        await over.connect(ann.token)
    assert refused.value.code == 106
    assert (await over.wait_closed()).code == 3504
    await held[0].close(1000)
    async with asyncio.timeout(10):
        while True:
            another = await town.socket()
            try:
                await another.connect(ann.token)
                break
            except Refused:
                await asyncio.sleep(0.05)
