"""Who suits me, through the public ports and Serve: near, blocked, without a Matcher, given up."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from rt_client.town import Answer, Person, Town, pids
from rt_client.walk import Clock, Place


async def stand(town: Town, place: Place, *people: Person) -> None:
    for number, who in enumerate(people):
        lat, lon = place.at(20.0 * number)
        fix = {"lat": lat, "lon": lon, "acc_m": 8, "t_ms": Clock().after(30)}
        assert (await town.http("POST", "/v1/positions", fix, who)).status == 200


async def suggested(town: Town, who: Person) -> dict[str, str]:
    """Source by user, asked again while the Matcher takes longer than a request waits."""
    async with asyncio.timeout(20):
        while (answer := await town.http("GET", "/v1/matches?limit=300", None, who)).status == 503:
            await asyncio.sleep(0.2)
    assert answer.status == 200, answer
    assert answer.body["live"] is True
    return {item["user"]: item["source"] for item in answer.body["items"]}


async def until_suggested(town: Town, who: Person, other: Person, source: str) -> None:
    async with asyncio.timeout(20):
        while (await suggested(town, who)).get(other.user) != source:
            await asyncio.sleep(0.2)


async def until_linked(town: Town) -> None:
    """Back when an Api process has its link to the Matcher that runs now: the listening end, connected."""
    async with asyncio.timeout(60):
        while not any(
            line.split()[5] == "03" and line.endswith(f"/matcher-{pid}.sock\n")
            for pid in pids(town.data, ":Matcher")
            for line in Path("/proc/net/unix").read_text().splitlines(keepends=True)
        ):
            await asyncio.sleep(0.2)


async def test_who_is_near_is_suggested_and_a_block_ends_it_with_the_next_answer(town: Town) -> None:
    ann, bob, eve = town.persons(3)
    await stand(town, Place(), ann, bob, eve)
    await until_linked(town)
    for other in (bob, eve):
        await until_suggested(town, ann, other, "near")
    await town.http("PUT", f"/v1/connections/{ann.user}", {"action": "block"}, bob)
    liked = await town.http("POST", "/v1/decisions", {"user": eve.user, "like": True, "source": "near"}, ann)
    assert liked.body["match"] is False
    assert not {bob.user, eve.user} & set(await suggested(town, ann))
    assert ann.user not in await suggested(town, bob)


@pytest.mark.slow
async def test_without_a_matcher_the_answer_is_no_and_comes_soon(town: Town) -> None:
    ann, bob = town.persons(2)
    await stand(town, Place(), ann, bob)
    await until_suggested(town, ann, bob, "near")
    [pid] = pids(town.data, ":Matcher")
    os.kill(pid, signal.SIGKILL)
    refused: list[Answer] = []
    async with asyncio.timeout(60):
        while True:
            async with asyncio.timeout(10):
                answer = await town.http("GET", "/v1/matches", None, ann)
            if answer.status != 200:
                refused.append(answer)
            elif pids(town.data, ":Matcher") not in ([], [pid]):
                break
    assert {each.status for each in refused} <= {503}
    assert all(each.body["temporary"] and "retry-after" in each.headers for each in refused)
    await until_linked(town)
    await until_suggested(town, ann, bob, "near")


async def test_who_gives_up_their_account_is_out_of_everything(town: Town) -> None:
    ann, bob = town.persons(2)
    await stand(town, Place(), ann, bob)
    for me, other in ((ann, bob), (bob, ann)):
        await town.http("POST", "/v1/decisions", {"user": other.user, "like": True}, me)
    connection = await town.connected(bob)
    await connection.sub("me")
    gone = await town.http("DELETE", "/v1/me", None, bob)
    assert gone.body["status"] == "deleting"
    assert (await town.http("GET", "/v1/me", None, bob)).status == 401
    assert (await connection.wait_closed(timeout_s=15)).code == 3507
    assert (await town.http("GET", "/v1/connections", None, ann)).body["items"] == []
    assert (await town.http("GET", f"/v1/users/{bob.user}", None, ann)).status == 404
    near = await town.http("GET", "/v1/people/near", None, ann)
    assert near.body["items"] == []
