"""Saying and reading over HTTP, through real shards."""

import json

import pytest


async def a_room(ada, *others, **more):
    wish = {"name": "r", "members": [each.user for each in others], **more}
    room = await ada.post("/v1/rooms", wish)
    return f"/v1/rooms/{room['id']}/messages"


async def test_a_message_is_stored_and_a_retry_is_the_same_message(engine):
    ada, bob = await engine.people(2)
    path = await a_room(ada, bob)
    said = await ada.post(path, {"d": {"text": "hello"}, "cid": "c1", "ack": "durable"})
    assert (said["o"], said["dup"]) == (1, False)
    again = await ada.post(path, {"d": {"text": "hello"}, "cid": "c1", "ack": "durable"}, 200)
    assert again == {**said, "dup": True}
    heard = (await bob.get(path))["items"]
    assert [(each["o"], each["i"], each["u"], each["d"], each["t"]) for each in heard] == [
        (1, said["i"], ada.user, {"text": "hello"}, said["t"])]  # fmt: skip
    assert "cid" not in heard[0]
    assert (await ada.get(path))["items"][0]["cid"] == "c1"


async def test_pages_have_exclusive_bounds_and_ascend(engine):
    ada = await engine.person()
    path = await a_room(ada)
    for number in range(7):
        await ada.post(path, {"d": number})

    async def offsets(query):
        page = await ada.get(f"{path}?{query}")
        return [each["o"] for each in page["items"]], page["next"]

    assert await offsets("limit=3") == ([5, 6, 7], 5)
    assert await offsets("before=5&limit=3") == ([2, 3, 4], 2)
    assert await offsets("before=2&limit=3") == ([1], None)
    assert await offsets("after=0&limit=3") == ([1, 2, 3], 3)
    assert await offsets("after=6&limit=3") == ([7], None)
    assert await offsets("after=7") == ([], None)
    assert await offsets("before=0") == ([], None)
    assert await offsets("limit=9999") == ([1, 2, 3, 4, 5, 6, 7], None)
    await ada.get(f"{path}?after=1&before=3", 422)
    await ada.get(f"{path}?after=-1", 422)
    await ada.get(f"{path}?limit=0", 422)


async def test_a_memory_room_keeps_its_window_and_refuses_durable(engine):
    ada, bob = await engine.people(2)
    path = await a_room(ada, bob, durability="memory")
    assert (await ada.post(path, {"d": 1, "ack": "durable"}, 409))["code"] == 108
    for number in range(5):
        assert (await ada.post(path, {"d": number}))["o"] == number + 1
    page = await bob.get(f"{path}?limit=2")
    assert [each["d"] for each in page["items"]] == [3, 4]
    assert page["next"] == 4
    assert [each["d"] for each in (await bob.get(f"{path}?before=4&limit=9"))["items"]] == [0, 1, 2]
    assert [each["d"] for each in (await bob.get(f"{path}?after=3"))["items"]] == [3, 4]
    assert (await bob.get(f"{path}?before=0"))["items"] == []


async def test_ack_none_is_202_without_an_answer(engine):
    ada = await engine.person()
    path = await a_room(ada)
    answer = await ada.ask("POST", path, {"d": 1, "ack": "none"})
    assert (answer.status_code, answer.json()) == (202, None)


async def test_messages_of_the_blocked_are_left_out_on_either_side(engine):
    ada, bob, eve = await engine.people(3)
    path = await a_room(ada, bob, eve)
    for each in (ada, bob, eve):
        await each.post(path, {"d": each.handle})
    await bob.put(f"/v1/connections/{eve.user}", {"action": "block"})
    assert [each["o"] for each in (await bob.get(path))["items"]] == [1, 2]
    assert [each["o"] for each in (await eve.get(path))["items"]] == [1, 3]
    assert [each["o"] for each in (await ada.get(path))["items"]] == [1, 2, 3]


async def test_membership_is_in_force_with_the_answer(engine):
    ada, bob = await engine.people(2)
    path = await a_room(ada)
    await ada.post(path, {"d": 1})
    await bob.post(path, {"d": 1}, 404)
    members = path.replace("messages", f"members/{bob.user}")
    for _ in range(5):
        await ada.put(members)
        await bob.post(path, {"d": "in"})
        await ada.delete(members)
        await bob.post(path, {"d": "out"}, 404)


@pytest.mark.parametrize(
    "content",
    [b'{"d": NaN}', b'{"d": [Infinity]}', b'{"d": {"a": -Infinity}}', b'{"d": 1e999}', b'{"d": "\\ud800"}',
     b'{"d": ' + b"9" * 400 + b"}", b'{"cid": "c"}', b'{"d": 1, "cid": ""}', b'{"d": 1, "cid": 7}',
     b'{"d": 1, "cid": "a\\u0000b"}', b'{"d": 1, "ack": "maybe"}', b'{"d": 1, "x": 2}', b"[]", b"null",
     b'{"d": ' + b"[" * 900 + b"]" * 900 + b"}"],
)  # fmt: skip
async def test_what_can_not_be_said_is_refused_and_not_said(engine, content):
    ada = await engine.person()
    path = await a_room(ada)
    answer = await ada.client.post(path, content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, 107), answer.text
    assert (await ada.get(path))["items"] == []


@pytest.mark.parametrize(
    "d", [None, 0, "", [], {}, 1.5, 2**53, "\0 zero", "𝄞 \u2028", {"text": "x", "nested": [1, {"a": None}]}]
)
async def test_any_json_comes_back_as_it_was_said(engine, d):
    ada = await engine.person()
    path = await a_room(ada)
    await ada.post(path, {"d": d})
    assert (await ada.get(path))["items"][0]["d"] == d


async def test_a_message_over_8_kib_is_refused(engine):
    ada = await engine.person()
    path = await a_room(ada)
    refused = await ada.post(path, {"d": "x" * 9000}, 422)
    assert refused["code"] == 106
    assert json.dumps(refused).count("x") < 20
