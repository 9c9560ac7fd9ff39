"""Connections over HTTP: transactions, streams, events."""

import asyncio

import pytest

from storage.ids import new_id


def path(other):
    return f"/v1/connections/{other.user}"


async def test_a_hundred_crossing_requests_are_one_match_and_one_event_each(town):
    ada, bob = await town.people(2)
    answers = await asyncio.gather(
        *(
            me.ask("PUT", path(other), {"action": "request"})
            for _ in range(50)
            for me, other in ((ada, bob), (bob, ada))
        )
    )
    assert {answer.status_code for answer in answers} == {200}
    assert await town.pool.fetchval("SELECT count(*) FROM connections") == 1
    assert await town.pool.fetchval("SELECT state FROM connections") == "matched"
    streams = [await each.me_stream(town.pool) for each in (ada, bob)]
    assert [stream.count("connection.matched") for stream in streams] == [1, 1]
    assert sum(stream.count("connection.requested") for stream in streams) == 1
    assert await town.pool.fetchval("SELECT count(*) FROM outbox WHERE type = 'connection.matched'") == 1


async def test_accepting_needs_the_version(town):
    ada, bob = await town.people(2)
    asked = await ada.put(path(bob), {"action": "request"})
    assert (asked["state"], asked["by"]) == ("requested", ada.user)
    assert (await bob.put(path(ada), {"action": "accept"}, 422))["code"] == 107
    wrong = await bob.put(path(ada), {"action": "accept", "version": asked["version"] + 1}, 409)
    assert wrong["code"] == 108
    accepted = await bob.put(path(ada), {"action": "accept", "version": asked["version"]})
    assert accepted["state"] == "matched"
    assert await ada.me_stream(town.pool) == ["connection.matched"]
    assert await bob.me_stream(town.pool) == ["connection.requested", "connection.matched"]


async def test_of_concurrent_accepts_one_counts(town):
    ada, bob = await town.people(2)
    asked = await ada.put(path(bob), {"action": "request"})
    wish = {"action": "accept", "version": asked["version"]}
    answers = await asyncio.gather(*(bob.ask("PUT", path(ada), wish) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9


async def test_an_illegal_transition_is_409_and_leaves_nothing(town):
    ada, bob = await town.people(2)
    for action in ("unmatch", "unblock"):
        assert (await ada.put(path(bob), {"action": action}, 409))["code"] == 108
    await ada.put(path(bob), {"action": "accept", "version": 0}, 409)
    assert await town.pool.fetchval("SELECT count(*) FROM connections") == 0
    assert await town.pool.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_block_tells_nobody_and_makes_its_setter_disappear(town):
    ada, bob = await town.people(2)
    await ada.put(path(bob), {"action": "request"})
    await bob.put(path(ada), {"action": "request"})
    before = await bob.me_stream(town.pool)
    assert (await ada.put(path(bob), {"action": "block"}))["state"] == "blocked"
    assert await bob.me_stream(town.pool) == before
    for action in ("request", "pass", "unmatch", "block", "unblock"):
        await bob.put(path(ada), {"action": action}, 404)
    assert (await bob.get("/v1/connections"))["items"] == []
    assert [each["state"] for each in (await ada.get("/v1/connections?state=blocked"))["items"]] == [
        "blocked"
    ]
    assert (await ada.put(path(bob), {"action": "unblock"}))["state"] == "none"
    await bob.get(f"/v1/users/{ada.user}")


async def test_nobody_and_oneself_can_not_be_connected_with(town):
    ada = await town.person()
    await ada.put(f"/v1/connections/{new_id()}", {"action": "request"}, 404)
    await ada.put("/v1/connections/nobody", {"action": "request"}, 404)
    await ada.put(path(ada), {"action": "request"}, 422)


@pytest.mark.parametrize(
    "body",
    [{}, {"action": "love"}, {"action": "request", "x": 1}, [], "request",
     {"action": "accept", "version": "1"}, {"action": "accept", "version": 2**60}],
)  # fmt: skip
async def test_a_wish_that_is_none_is_refused(town, body):
    ada, bob = await town.people(2)
    assert (await ada.put(path(bob), body, 422))["code"] == 107


async def test_lists_are_pages_by_state(town):
    ada, *others = await town.people(6)
    for other in others:
        await ada.put(path(other), {"action": "request"})
    await others[0].put(path(ada), {"action": "request"})
    found, cursor = [], ""
    while cursor is not None:
        page = await ada.get(f"/v1/connections?limit=2&state=requested{cursor and '&cursor=' + cursor}")
        found += [each["user"] for each in page["items"]]
        cursor = page["next"]
    assert sorted(found) == sorted(other.user for other in others[1:])
    matched = await ada.get("/v1/connections?state=matched")
    assert [each["user"] for each in matched["items"]] == [others[0].user]


async def test_a_pass_is_private(town):
    ada, bob = await town.people(2)
    asked = await ada.put(path(bob), {"action": "request"})
    assert (await bob.put(path(ada), {"action": "pass"}))["state"] == "declined"
    assert (await ada.get("/v1/connections"))["items"] == [asked]
    assert await ada.me_stream(town.pool) == []
