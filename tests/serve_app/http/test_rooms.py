"""Rooms and membership over HTTP."""

import asyncio

import pytest

from storage.ids import new_id


async def make(owner, *members, kind="group", status=201, **more):
    wish = {"name": "a room", "kind": kind, "members": [each.user for each in members], **more}
    return await owner.post("/v1/rooms", wish, status)


def states(room):
    return {each["user"]: each["state"] for each in room["members"]}


async def test_the_maker_is_owner_and_members_join_at_once(town):
    ada, bob = await town.people(2)
    room = await make(ada, bob)
    assert room["owner"] == ada.user
    assert states(room) == {ada.user: "member", bob.user: "member"}
    seen = await bob.get(f"/v1/rooms/{room['id']}")
    assert (seen["role"], seen["state"], seen["members_count"]) == ("member", "member", 2)
    assert await bob.me_stream(town.pool) == ["room.joined"]
    assert await town.pool.fetchval("SELECT count(*) FROM outbox WHERE type = 'room.created'") == 1


async def test_who_can_not_be_added_is_invited_and_may_come_or_decline(town):
    ada, bob = await town.people(2)
    shy, other = await town.person(add="nobody"), await town.person(add="matches")
    room = await make(ada, bob, shy, other)
    assert [states(room)[each.user] for each in (bob, shy, other)] == ["member", "invited", "invited"]
    path = f"/v1/rooms/{room['id']}"
    invitation = (await shy.get("/v1/rooms"))["items"][0]
    assert (invitation["id"], invitation["state"]) == (room["id"], "invited")
    assert (await shy.get(path))["members"] == []
    await shy.get(f"{path}/messages", 404)
    assert (await shy.put(f"{path}/members/{shy.user}"))["state"] == "member"
    assert (await shy.get(path))["members_count"] == 3
    await other.delete(f"{path}/members/{other.user}")
    await other.get(path, 404)


async def test_the_blocked_the_absent_and_the_unwilling_look_alike(town):
    ada, blocker, blocked = await town.people(3)
    unwilling = await town.person(add="nobody")
    await blocker.put(f"/v1/connections/{ada.user}", {"action": "block"})
    await ada.put(f"/v1/connections/{blocked.user}", {"action": "block"})
    absent = new_id()
    wish = {"name": "x", "kind": "group", "members": [blocker.user, blocked.user, absent, unwilling.user]}
    room = await ada.post("/v1/rooms", wish)
    others = [each for each in room["members"] if each["user"] != ada.user]
    assert {(each["state"], each["role"]) for each in others} == {("invited", "member")}
    for each in (blocker, blocked):
        assert (await each.get("/v1/rooms"))["items"] == []
        assert await each.me_stream(town.pool) == []
        await each.get(f"/v1/rooms/{room['id']}", 404)
        await ada.put(f"/v1/rooms/{room['id']}/members/{each.user}", {}, 404)
    await ada.put(f"/v1/rooms/{room['id']}/members/{absent}", {}, 404)


async def test_an_invitation_disappears_with_a_block(town):
    ada, shy = await town.person(), await town.person(add="nobody")
    room = await make(ada, shy)
    await shy.put(f"/v1/connections/{ada.user}", {"action": "block"})
    assert (await shy.get("/v1/rooms"))["items"] == []
    await shy.get(f"/v1/rooms/{room['id']}", 404)


async def test_a_blocked_member_is_not_listed(town):
    ada, bob, eve = await town.people(3)
    room = await make(ada, bob, eve)
    await bob.put(f"/v1/connections/{eve.user}", {"action": "block"})
    for one, other in ((bob, eve), (eve, bob)):
        assert other.user not in states(await one.get(f"/v1/rooms/{room['id']}"))
    assert len(states(await ada.get(f"/v1/rooms/{room['id']}"))) == 3


async def test_roles_owner_over_admin_over_member(town):
    ada, bob, eve, new = await town.people(4)
    room = await make(ada, bob, eve)
    member = f"/v1/rooms/{room['id']}/members/"
    await bob.put(member + new.user, {}, 404)
    await bob.put(member + bob.user, {"role": "admin"}, 404)
    await bob.delete(member + eve.user, 404)
    assert (await ada.put(member + bob.user, {"role": "admin"}))["role"] == "admin"
    assert (await bob.put(member + new.user))["state"] == "member"
    await bob.put(member + new.user, {"role": "admin"}, 404)
    await bob.delete(member + ada.user, 404)
    await bob.delete(member + eve.user)
    await eve.get(f"/v1/rooms/{room['id']}", 404)
    assert await eve.me_stream(town.pool) == ["room.joined", "room.left"]
    await ada.delete(member + bob.user)


async def test_the_last_owner_can_not_leave_and_a_second_one_takes_over(town):
    ada, bob = await town.people(2)
    room = await make(ada, bob)
    member = f"/v1/rooms/{room['id']}/members/"
    assert (await ada.delete(member + ada.user, 409))["code"] == 108
    await ada.put(member + ada.user, {"role": "member"}, 409)
    await ada.put(member + bob.user, {"role": "owner"})
    await ada.delete(member + ada.user)
    assert (await bob.get(f"/v1/rooms/{room['id']}"))["owner"] == bob.user
    await ada.get(f"/v1/rooms/{room['id']}", 404)


async def test_two_owners_who_leave_at_once_do_not_both(town):
    ada, bob = await town.people(2)
    room = await make(ada, bob)
    member = f"/v1/rooms/{room['id']}/members/"
    await ada.put(member + bob.user, {"role": "owner"})
    answers = await asyncio.gather(*(each.ask("DELETE", member + each.user) for each in (ada, bob)))
    assert sorted(answer.status_code for answer in answers) == [204, 409]


async def test_a_room_that_is_not_mine_looks_like_none(town):
    ada, eve = await town.people(2)
    room = await make(ada)
    answers = []
    for place in (room["id"], new_id(), "nowhere"):
        answers.append(await eve.get(f"/v1/rooms/{place}", 404))
        answers.append(await eve.get(f"/v1/rooms/{place}/messages", 404))
        answers.append(await eve.post(f"/v1/rooms/{place}/messages", {"d": 1}, 404))
        answers.append(await eve.put(f"/v1/rooms/{place}/members/{eve.user}", {}, 404))
        answers.append(await eve.delete(f"/v1/rooms/{place}/members/{ada.user}", 404))
    for answer in answers:
        answer.pop("trace_id")
    assert all(answer == answers[0] for answer in answers)


async def test_a_direct_room_is_for_two(town):
    ada, bob, eve = await town.people(3)
    await make(ada, kind="direct", status=422)
    await make(ada, bob, eve, kind="direct", status=422)
    room = await make(ada, bob, kind="direct", name="")
    await ada.put(f"/v1/rooms/{room['id']}/members/{eve.user}", {}, 404)


async def test_a_block_ends_what_can_be_said_in_a_direct_room(town):
    ada, bob = await town.people(2)
    room = await make(ada, bob, kind="direct")
    await ada.put(f"/v1/connections/{bob.user}", {"action": "block"})
    for each in (ada, bob):
        await each.post(f"/v1/rooms/{room['id']}/messages", {"d": 1}, 404)


@pytest.mark.parametrize(
    "wish",
    [{"name": ""}, {"name": " "}, {"name": "x" * 101}, {"name": "a\0b"}, {"name": "x", "kind": "crowd"},
     {"name": "x", "members": ["me"]}, {"name": "x", "members": "all"}, {"name": "x", "colour": 1},
     {"name": "x", "durability": "paper"}, {"name": 1}, [], None],
)  # fmt: skip
async def test_a_room_outside_the_rules_is_refused(town, wish):
    ada = await town.person()
    answer = await ada.ask("POST", "/v1/rooms", wish)
    assert (answer.status_code, answer.json()["code"]) == (422, 107)


async def test_a_place_binds_room_and_fence_either_way_round(town):
    ada, eve = await town.people(2)
    square = {"type": "Polygon", "coordinates": [[[0, 0], [0, 1], [1, 1], [1, 0], [0, 0]]]}
    feature = {"type": "Feature", "geometry": square, "properties": {"name": "p"}}
    fence = await ada.post("/v1/fences", feature)
    room = await make(ada, kind="place", fence=fence["id"])
    assert room["fence"] == fence["id"]
    assert (await ada.get(f"/v1/fences/{fence['id']}"))["properties"]["room"] == room["id"]
    await make(ada, kind="place", fence=fence["id"], status=409)
    await make(eve, kind="place", fence=fence["id"], status=404)
    other = await make(ada, kind="place")
    bound = await ada.post("/v1/fences", {**feature, "properties": {"name": "q", "room": other["id"]}})
    assert (await ada.get(f"/v1/rooms/{other['id']}"))["fence"] == bound["id"]
    await eve.post("/v1/fences", {**feature, "properties": {"name": "q", "room": other["id"]}}, 404)


async def test_my_rooms_come_in_pages(town):
    ada = await town.person()
    made = [(await make(ada))["id"] for _ in range(5)]
    found, cursor = [], ""
    while cursor is not None:
        page = await ada.get(f"/v1/rooms?limit=2{cursor and '&cursor=' + cursor}")
        found += [each["id"] for each in page["items"]]
        cursor = page["next"]
    assert found == made
