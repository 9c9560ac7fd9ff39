"""A map's state comes page by page, then what changed meanwhile, then pushes (RT-8)."""

from typing import Any

import msgspec
import pytest

from actors import messages as wire
from actors.protocol import EngineError, ErrorCode
from serve_app import paging
from serve_app.frames import JSON, PACKED, Codec
from storage.ids import new_id

CODECS = pytest.mark.parametrize("codec", [JSON, PACKED], ids=["json", "msgpack"])


def meta(ref: str) -> dict[str, Any]:
    return {"u": new_id(), "ref": ref, "device": "d", "since": 1}


def crowd(far: Any, count: int) -> str:
    ch = f"presence:room:{new_id()}"
    far.presence[ch] = [meta(f"r{n}") for n in range(count)]
    return ch


async def paged(gateway: Any, wire_: Any, ch: str, **first: Any) -> list[dict[str, Any]]:
    """All replies to a `sub` and its cursors."""
    replies = [(await gateway.reply(wire_, {"id": 2, "sub": {"ch": ch, **first}}))["sub"]]
    while replies[-1]["phase"] == "state":
        number = 2 + len(replies)
        body = {"ch": ch, "cursor": replies[-1]["cursor"]}
        replies.append((await gateway.reply(wire_, {"id": number, "sub": body}))["sub"])
    return replies


@CODECS
async def test_all_pages_together_are_the_state(gateway: Any, far: Any, codec: Codec) -> None:
    ch = crowd(far, 250)
    replies = await paged(gateway, await gateway.connected(codec=codec), ch)
    assert [len(reply["state"]) for reply in replies] == [100, 100, 50]
    assert [m for reply in replies for m in reply["state"]] == far.presence[ch]
    assert [reply["phase"] for reply in replies] == ["state", "state", "live"]
    assert len({reply["n"] for reply in replies}) == 1
    assert not {"cursor", "j", "l", "k"} & replies[-1].keys()
    assert all(reply["pubs"] == [] for reply in replies)


@pytest.mark.parametrize(("limit", "pages"), [(None, 12), (0, 12), (300, 4), (1000, 2), (5000, 2), (7, 172)])
async def test_a_page_is_as_long_as_asked_for_up_to_1000(
    gateway: Any, far: Any, limit: int | None, pages: int
) -> None:
    ch = crowd(far, 1200)
    assert len(await paged(gateway, await gateway.connected(), ch, limit=limit)) == pages


async def test_what_fits_a_page_is_live_at_once_also_if_it_is_nothing(gateway: Any, far: Any) -> None:
    for count in (0, 100):
        [reply] = await paged(gateway, await gateway.connected(), crowd(far, count))
        assert (reply["phase"], len(reply["state"])) == ("live", count)


async def test_what_changes_meanwhile_stands_beside_the_last_page(gateway: Any, far: Any) -> None:
    ch = crowd(far, 150)
    connection = await gateway.connected()
    first = (await gateway.reply(connection, {"id": 2, "sub": {"ch": ch}}))["sub"]
    gone, came = far.presence[ch].pop(3), meta("new")
    far.presence[ch].append(came)
    to_json = msgspec.json.encode
    far.push(wire.PushPresence(ch, came["u"], to_json([came]), to_json([gone])))
    await gateway.settled()
    assert connection.pushes(first["n"]) == []
    last = (await gateway.reply(connection, {"id": 3, "sub": {"ch": ch, "cursor": first["cursor"]}}))["sub"]
    assert (last["phase"], last["j"], last["l"]) == ("live", [came], [gone])
    assert len(last["state"]) == 50
    later = meta("later")
    far.push(wire.PushPresence(ch, later["u"], to_json([later]), b"[]"))
    await gateway.until(lambda: bool(connection.pushes(first["n"])))
    assert connection.pushes(first["n"]) == [{"p": first["n"], "j": [later]}]


async def test_near_catches_up_from_the_position_of_its_first_page(gateway: Any, far: Any) -> None:
    rows = [[f"u{n}", {"user": f"u{n}"}, 1] for n in range(5)]

    def answer(message: Any) -> Any:
        if not isinstance(message, wire.Subscribe):
            return far.usual_answer(message)
        result = {"mode": "map", "epoch": "n", "pubs": [], "was_recovering": message.epoch != ""}
        if message.epoch:
            assert (message.epoch, message.offset) == ("n", 1)
            return result | {"offset": 2, "recovered": True, "k": [["u0", "-"]], "shadow": {"u1": 1}}
        return result | {"offset": 1, "recovered": False, "state": rows, "phase": "live"}

    far.answer = answer
    first, second, last = await paged(gateway, await gateway.connected(), "near", limit=2)
    assert first["state"] + second["state"] + last["state"] == rows
    assert (last["k"], last["offset"], last["epoch"]) == ([["u0", "-"]], 2, "n")
    assert (last["recovered"], last["was_recovering"]) == (False, False)
    assert "shadow" not in last


async def test_a_map_that_began_anew_meanwhile_is_caught_up_all_the_same(gateway: Any, far: Any) -> None:
    states = iter(
        [
            [["a", 1, 1], ["b", 1, 1], ["c", 1, 1]],
            [["a", 1, 4], ["c", 2, 4], ["d", 1, 4]],
        ]
    )

    def answer(message: Any) -> Any:
        if not isinstance(message, wire.Subscribe):
            return far.usual_answer(message)
        result = {"mode": "map", "offset": 4, "pubs": [], "recovered": False}
        return result | {"epoch": new_id(), "state": next(states), "phase": "live"}

    far.answer = answer
    *_, last = await paged(gateway, await gateway.connected(), "near", limit=2)
    assert last["k"] == [["b", "-"], ["c", "+", 2, 4], ["d", "+", 1, 4]]


async def test_a_cursor_is_good_once_on_its_connection_and_for_its_time(gateway: Any, far: Any) -> None:
    ch = crowd(far, 350)
    connection, other = await gateway.connected(), await gateway.connected()
    first = (await gateway.reply(connection, {"id": 2, "sub": {"ch": ch}}))["sub"]
    body = {"ch": ch, "cursor": first["cursor"]}
    assert (await gateway.reply(other, {"id": 2, "sub": body}))["err"]["code"] == 112
    second = (await gateway.reply(connection, {"id": 3, "sub": body}))["sub"]
    assert (await gateway.reply(connection, {"id": 4, "sub": body}))["err"]["code"] == 112
    assert (await gateway.reply(connection, {"id": 5, "sub": {"ch": ch}}))["err"]["code"] == 105
    gateway.clock.now_s += paging.CURSOR_S + 1
    body = {"ch": ch, "cursor": second["cursor"]}
    assert (await gateway.reply(connection, {"id": 6, "sub": body}))["err"]["code"] == 112


async def test_who_does_not_come_for_the_next_page_is_no_subscriber_any_more(gateway: Any, far: Any) -> None:
    ch = crowd(far, 150)
    connection = await gateway.connected()
    first = (await gateway.reply(connection, {"id": 2, "sub": {"ch": ch}}))["sub"]
    subscription = connection.session.connection.subscriptions[ch]
    paging.abandoned(connection.session, subscription, "another")
    assert not subscription.is_gone
    paging.abandoned(connection.session, subscription, first["cursor"])
    assert connection.session.connection.subscriptions == {}
    await gateway.until(lambda: bool(far.of(wire.Unsubscribe)))
    assert len(await paged(gateway, await gateway.connected(), ch)) == 2


async def test_unsub_ends_the_reading(gateway: Any, far: Any) -> None:
    ch = crowd(far, 150)
    connection = await gateway.connected()
    first = (await gateway.reply(connection, {"id": 2, "sub": {"ch": ch}}))["sub"]
    assert (await gateway.reply(connection, {"id": 3, "unsub": {"ch": ch}}))["unsub"] == {}
    body = {"ch": ch, "cursor": first["cursor"]}
    assert (await gateway.reply(connection, {"id": 4, "sub": body}))["err"]["code"] == 112


async def test_a_catch_up_of_more_than_5_s_closes_3008(gateway: Any, far: Any) -> None:
    ch = crowd(far, 150)
    connection = await gateway.connected()
    first = (await gateway.reply(connection, {"id": 2, "sub": {"ch": ch}}))["sub"]
    far.answer = lambda message: ... if isinstance(message, wire.Subscribe) else far.usual_answer(message)
    connection.says({"id": 3, "sub": {"ch": ch, "cursor": first["cursor"]}})
    await gateway.until(lambda: len(far.of(wire.Subscribe)) == 2)
    gateway.clock.now_s += paging.CATCH_UP_S + 0.1
    asked = far.of(wire.Subscribe)[-1]
    far.reply(asked.rid, far.usual_answer(asked))
    await gateway.until(lambda: connection.ended is not None)
    assert connection.ended == 3008


async def test_who_was_removed_while_reading_is_denied(gateway: Any, far: Any) -> None:
    ch = crowd(far, 150)
    connection = await gateway.connected()
    first = (await gateway.reply(connection, {"id": 2, "sub": {"ch": ch}}))["sub"]

    def refuse(message: Any) -> Any:
        if isinstance(message, wire.Subscribe):
            raise EngineError(ErrorCode.DENIED, "no such channel, or not yours")
        return far.usual_answer(message)

    far.answer = refuse
    body = {"ch": ch, "cursor": first["cursor"]}
    assert (await gateway.reply(connection, {"id": 3, "sub": body}))["err"]["code"] == 103
    assert connection.session.connection.subscriptions == {}


async def test_connect_answers_with_first_pages_too_and_only_so_many_are_read_at_once(
    gateway: Any, far: Any
) -> None:
    subs = {crowd(far, 101): {} for _ in range(paging.AT_ONCE + 1)}
    connection = await gateway.connected(subs=subs)
    results = list(connection.frames()[0]["connect"]["subs"].values())
    assert [result.get("phase") for result in results].count("state") == paging.AT_ONCE
    assert [result["err"]["code"] for result in results if "err" in result] == [120]
