"""Modes cache and passive, filters, and calls by name, through the real ports."""

import pytest
from rt_client.town import Town

pytestmark = pytest.mark.timeout(60)


async def test_the_passive_hear_how_many_and_how_far_and_are_not_there(town: Town, codec: str) -> None:
    ann, bob, carl = town.persons(3)
    ch = await town.room(ann, bob, carl)
    quiet = await town.connected(ann, codec)
    begun = await quiet.sub(ch, mode="passive")
    assert begun["counts"]["subs"] == 0
    talking = await town.connected(bob, subs={ch: {}})
    caching = await town.connected(carl, codec)
    assert (await caching.sub(ch, mode="cache"))["mode"] == "cache"
    said = await talking.pub(ch, {"text": "one"})
    await quiet.until(lambda f: f.get("p") == begun["n"] and f["counts"] == {"subs": 2, "offset": said["o"]})
    assert not [f for f in quiet.frames if "m" in f]
    there = await quiet.command("pres", {"ch": ch})
    assert {meta["u"] for meta in there["metas"]} == {bob.user}
    await talking.close(1000)
    await quiet.until(lambda f: f.get("p") == begun["n"] and f["counts"]["subs"] == 1)


async def test_a_cache_begins_with_the_newest_value(town: Town, codec: str) -> None:
    ann, bob = town.persons(2)
    ch = await town.room(ann, bob)
    talking = await town.connected(bob)
    for n in range(3):
        await talking.pub(ch, {"kind": "even" if n % 2 == 0 else "odd", "n": n})
    cached = await town.connected(ann, codec)
    result = await cached.sub(ch, mode="cache", filter={"kind": "odd"})
    assert [m["d"]["n"] for m in result["pubs"]] == [1]
    assert (result["recovered"], result["was_recovering"]) == (False, False)
    await talking.pub(ch, {"kind": "odd", "n": 5})
    await cached.until(lambda f: f.get("p") == result["n"] and f.get("m", {}).get("d", {}).get("n") == 5)


async def test_a_filter_leaves_out_what_is_not_wanted_live_and_on_recovery(town: Town, codec: str) -> None:
    ann, bob = town.persons(2)
    ch = await town.room(ann, bob)
    listening = await town.socket(codec)
    greeting = await listening.connect(ann.token, subs={ch: {"filter": {"type": ["note", "edit"]}}})
    sub = greeting["subs"][ch]
    talking = await town.connected(bob)
    offsets = [(await talking.pub(ch, {"type": kind}))["o"] for kind in ("note", "noise", "edit")]
    await listening.until(lambda f: f.get("m", {}).get("o") == offsets[2])
    assert [f.get("skip") or f["m"]["o"] for f in listening.pushes(sub["n"])] == offsets
    assert [f["skip"] for f in listening.pushes(sub["n"], "skip")] == [offsets[1]]
    await listening.drop()
    offsets += [(await talking.pub(ch, {"type": kind}))["o"] for kind in ("noise", "note", "noise")]
    back = await town.socket(codec)
    resume = {"sid": greeting["sid"], "key": greeting["key"]}
    position = {"epoch": sub["epoch"], "offset": offsets[2]}
    again = (await back.connect(ann.token, resume=resume, subs={ch: position}))["subs"][ch]
    assert again["recovered"] is True
    assert [m["o"] for m in again["pubs"]] == [offsets[4]]
    assert again["offset"] == offsets[5]
    assert [m["o"] for m in (await back.hist(ch))["pubs"]][-6:] == offsets


async def test_calls_by_name(town: Town, codec: str) -> None:
    ann = town.person()
    connection = await town.connected(ann, codec, subs={"me": {}})
    told = await connection.command("rpc", {"method": "time"})
    assert told["result"]["time"] > 1_700_000_000_000
    about = (await connection.command("rpc", {"method": "session"}))["result"]
    assert (about["user"], about["subs"]["me"]["mode"]) == (ann.user, "stream")
