"""Maps by page, and a `near` map that goes on after a loss (RT-8)."""

import time
from typing import Any

import pytest
from rt_client.connection import Connection
from rt_client.town import Town

pytestmark = pytest.mark.timeout(60)

PLACE = (48.137, 11.575)


async def read(connection: Connection, ch: str, **first: Any) -> list[dict[str, Any]]:
    replies = [await connection.sub(ch, **first)]
    while replies[-1]["phase"] == "state":
        replies.append(await connection.sub(ch, cursor=replies[-1]["cursor"]))
    return replies


async def stand(connection: Connection, beside_deg: float = 0.0) -> None:
    await connection.command("pos", [PLACE[0] + beside_deg, PLACE[1], 5.0, time.time_ns() // 1_000_000])


async def test_a_rooms_presence_comes_by_page_and_then_live(town: Town, codec: str) -> None:
    people = town.persons(6)
    ch = await town.room(*people)
    there = [await town.connected(each, codec, subs={ch: {}}) for each in people[:5]]
    watching = await town.connected(people[5], codec)
    first = await watching.sub(f"presence:{ch}", limit=2)
    assert (first["phase"], len(first["state"])) == ("state", 2)
    await there[0].close(1000)
    second = await watching.sub(f"presence:{ch}", cursor=first["cursor"])
    last = await watching.sub(f"presence:{ch}", cursor=second["cursor"])
    assert last["phase"] == "live"
    shown = {meta["ref"]: meta for reply in (first, second, last) for meta in reply["state"]}
    for meta in last.get("l", []):
        shown.pop(meta["ref"])
    for push in watching.pushes(last["n"], "l"):  # the goodbye may have come later than the page
        for meta in push["l"]:
            shown.pop(meta["ref"], None)
    if people[0].user in {meta["u"] for meta in shown.values()}:
        await watching.until(lambda f: f.get("p") == last["n"] and "l" in f)
        shown = {ref: meta for ref, meta in shown.items() if meta["u"] != people[0].user}
    assert {meta["u"] for meta in shown.values()} == {each.user for each in people[1:5]}


async def test_near_goes_on_where_it_was_lost(town: Town, codec: str) -> None:
    ann, bob, carl, dora = town.persons(4)
    others = [await town.connected(each) for each in (bob, carl, dora)]
    mine = await town.socket(codec)
    greeting = await mine.connect(ann.token)
    for connection in (mine, *others[:2]):
        await stand(connection)
    first = await mine.sub("near", limit=1)
    while {row[0] for row in first["state"]} != {bob.user, carl.user} and first["phase"] == "live":
        await mine.command("unsub", {"ch": "near"})
        first = await mine.sub("near")
    if first["phase"] == "state":
        first = await mine.sub("near", cursor=first["cursor"])
    position = {"epoch": first["epoch"], "offset": first["offset"]}
    await mine.drop()
    block = {"action": "block"}
    assert (await town.http("PUT", f"/v1/connections/{bob.user}", block, ann)).status == 200
    await stand(others[2])
    seen = await town.connected(carl)
    while dora.user not in {row[0] for row in (await seen.sub("near"))["state"]}:
        await seen.command("unsub", {"ch": "near"})
    back = await town.socket(codec)
    resume = {"sid": greeting["sid"], "key": greeting["key"]}
    near = (await back.connect(ann.token, resume=resume, subs={"near": position}))["subs"]["near"]
    assert near["recovered"] is True
    assert near["epoch"] == position["epoch"]
    assert "state" not in near
    rows = {row[0]: row[1] for row in near["k"]}
    assert rows == {bob.user: "-", dora.user: "+"}
