"""Live shares over HTTP (GEO-22): whom with, how long, and who may know of one."""

from datetime import UTC, datetime, timedelta

import pytest

from storage.ids import new_id


async def matched(ada, bob):
    await ada.put(f"/v1/connections/{bob.user}", {"action": "request"})
    await bob.put(f"/v1/connections/{ada.user}", {"action": "request"})


def wish(*to, **more):
    return {"to": [person.user for person in to], "duration_s": 900, **more}


def seen(share):
    return {key: value for key, value in share.items() if key != "viewers"}


async def test_a_share_is_seen_by_those_it_is_with_and_nobody_else(town):
    ada, bob, eve = await town.people(3)
    await matched(ada, bob)
    made = await ada.post("/v1/shares", wish(bob, precision="r8"))
    assert (made["sharer"], made["precision"], made["channel"]) == (ada.user, "r8", f"share:{made['id']}")
    assert made["viewers"] == [
        {"user": bob.user, "viewing": False, "viewed_at": None, "last_viewed_at": None}
    ]
    assert (await ada.get(f"/v1/shares/{made['id']}")) == made
    other = await bob.get(f"/v1/shares/{made['id']}")
    assert other["viewers"] is None
    assert seen(other) == seen(made)
    assert [each["id"] for each in (await bob.get("/v1/shares"))["items"]] == [made["id"]]
    await eve.get(f"/v1/shares/{made['id']}", 404)
    await eve.delete(f"/v1/shares/{made['id']}", 404)
    assert (await eve.get("/v1/shares"))["items"] == []
    assert (await bob.me_stream(town.pool))[-1] == "share.started"


async def test_strangers_and_blocked_people_can_t_be_shared_with(town):
    """404 as for nobody: a share must not tell who is there."""
    ada, bob, eve = await town.people(3)
    await matched(ada, bob)
    await ada.post("/v1/shares", wish(eve), 404)
    await ada.post("/v1/shares", wish(bob, eve), 404)
    await ada.post("/v1/shares", {"to": [new_id()], "duration_s": 900}, 404)
    await ada.post("/v1/shares", wish(ada), 404)
    await bob.put(f"/v1/connections/{ada.user}", {"action": "block"})
    await ada.post("/v1/shares", wish(bob), 404)
    assert (await ada.get("/v1/shares"))["items"] == []


async def test_people_of_a_group_can_be_shared_with(town):
    ada, cem = await town.people(2)
    await ada.post("/v1/rooms", {"name": "hike", "kind": "group", "members": [cem.user]})
    await ada.post("/v1/shares", wish(cem))


@pytest.mark.parametrize(
    ("given", "ends_in_s"),
    [({"duration_s": 900}, 900), ({"duration_s": 28800}, 28800), ({"until_s": 5000}, 5000)],
)
async def test_a_share_ends_when_its_sharer_said(town, given, ends_in_s):
    ada, bob = await town.people(2)
    await matched(ada, bob)
    now = datetime.now(UTC)
    if "until_s" in given:
        given = {"until": (now + timedelta(seconds=given["until_s"])).isoformat()}
    made = await ada.post("/v1/shares", {"to": [bob.user], **given})
    ends_at = datetime.fromisoformat(made["ends_at"])
    assert abs((ends_at - now).total_seconds() - ends_in_s) < 5
    due_at = await town.pool.fetchval("SELECT due_at FROM reminders WHERE name = $1", f"share:{made['id']}")
    assert abs((due_at - ends_at).total_seconds()) < 0.01
    await town.pool.execute("UPDATE shares SET ends_at = now()")
    for person in (ada, bob):
        await person.get(f"/v1/shares/{made['id']}", 404)
        assert (await person.get("/v1/shares"))["items"] == []


@pytest.mark.parametrize(
    "time",
    [
        {}, {"duration_s": 60}, {"duration_s": 900, "until": "2030-01-01T00:00:00Z"},
        {"until": "2030-01-01T00:00:00Z"}, {"until": "2020-01-01T00:00:00Z"},
        {"until": "2030-01-01T00:00:00"},
    ],
)  # fmt: skip
async def test_a_share_lasts_as_long_as_is_offered(town, time):
    ada, bob = await town.people(2)
    await matched(ada, bob)
    await ada.post("/v1/shares", {"to": [bob.user], **time}, 422)


async def test_who_it_is_with_may_leave_it_and_the_sharer_may_end_it(town):
    ada, bob, cem = await town.people(3)
    await matched(ada, bob)
    await matched(ada, cem)
    made = await ada.post("/v1/shares", wish(bob, cem))
    await bob.delete(f"/v1/shares/{made['id']}")
    await bob.get(f"/v1/shares/{made['id']}", 404)
    assert [each["user"] for each in (await ada.get(f"/v1/shares/{made['id']}"))["viewers"]] == [cem.user]
    assert (await ada.me_stream(town.pool))[-1] == "share.left"
    await ada.delete(f"/v1/shares/{made['id']}")
    for person in (ada, cem):
        await person.get(f"/v1/shares/{made['id']}", 404)
        assert (await person.me_stream(town.pool))[-1] == "share.ended"
    await ada.delete(f"/v1/shares/{made['id']}", 404)


@pytest.mark.parametrize("action", ["block", "unmatch"])
async def test_the_end_of_a_match_ends_what_is_shared_for_good(town, action):
    ada, bob = await town.people(2)
    await matched(ada, bob)
    made = await ada.post("/v1/shares", wish(bob))
    await bob.put(f"/v1/connections/{ada.user}", {"action": action})
    assert (await bob.get("/v1/shares"))["items"] == (await ada.get("/v1/shares"))["items"] == []
    if action == "block":
        await bob.put(f"/v1/connections/{ada.user}", {"action": "unblock"})
    await bob.get(f"/v1/shares/{made['id']}", 404)


async def test_nobody_shares_without_end(town):
    ada, bob = await town.people(2)
    await matched(ada, bob)
    for _ in range(20):
        await ada.post("/v1/shares", wish(bob))
    await ada.post("/v1/shares", wish(bob), 409)
    page = await ada.get("/v1/shares?limit=15")
    assert len(page["items"]) == 15
    rest = await ada.get(f"/v1/shares?limit=15&cursor={page['next']}")
    assert (len(rest["items"]), rest["next"]) == (5, None)
