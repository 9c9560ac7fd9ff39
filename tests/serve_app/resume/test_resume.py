"""Sessions are taken up again on any gateway (RT-7): a real Valkey, a far side over the real link."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from actors import messages as wire
from actors.protocol import EngineError, ErrorCode
from storage.ids import new_id
from storage.positions import open_valkey

ROOM, OTHER = f"room:{new_id()}", f"room:{new_id()}"

Open = Callable[..., Awaitable[Any]]


def greeting(wire_: Any) -> dict[str, Any]:
    found: dict[str, Any] = wire_.frames()[0]["connect"]
    return found


def resume_of(wire_: Any) -> dict[str, str]:
    return {name: greeting(wire_)[name] for name in ("sid", "key")}


async def stored(gateway: Any) -> None:
    await gateway.around.sessions.settled()


async def pinged(gateway: Any, wire_: Any) -> None:
    """A ping goes out and is answered."""
    gateway.clock.now_s += 26
    wire_.session.beat(gateway.clock.now_s)
    await asyncio.sleep(0)
    wire_.says({})
    await stored(gateway)


async def test_a_session_goes_on_at_another_gateway_with_all_its_subscriptions(two: Any, far: Any) -> None:
    first, second = two
    user = new_id()
    old = await first.connected(user, device="phone", subs={ROOM: {}, "me": {}})
    await first.reply(old, {"id": 2, "sub": {"ch": "near", "filter": {"radius_m": 300}}})
    await first.reply(old, {"id": 3, "unsub": {"ch": "me"}})
    await stored(first)
    old.session.closed(None)
    await stored(first)
    far.publish(ROOM, "u")
    far.received.clear()
    new = await second.connected(user, resume=resume_of(old))
    assert greeting(new)["resumed"] is True
    assert greeting(new)["sid"] == greeting(old)["sid"]
    assert greeting(new)["key"] != greeting(old)["key"]
    assert greeting(new)["subs"].keys() == {ROOM, "near"}
    assert [m["o"] for m in greeting(new)["subs"][ROOM]["pubs"]] == [1]
    asked = {m.ch: m for m in far.of(wire.Subscribe)}
    assert asked[ROOM].conn == greeting(old)["sid"]
    assert asked[ROOM].device == "phone"
    assert asked[f"near@{user}#{asked[ROOM].conn}"].filter == {"radius_m": 300}


async def test_what_connect_says_overrides_the_session_field_by_field(two: Any, far: Any) -> None:
    first, second = two
    user = new_id()
    for _ in range(5):
        far.publish(ROOM, "u")
    old = await first.connected(user, subs={ROOM: {"epoch": "epoch-1", "offset": 1}, OTHER: {}})
    await stored(first)
    old.session.closed(None)
    subs = {ROOM: {"epoch": "epoch-1", "offset": 4}, "me": {"limit": 3}}
    new = await second.connected(user, resume=resume_of(old), subs=subs)
    assert greeting(new)["subs"].keys() == {ROOM, OTHER, "me"}
    assert [m["o"] for m in greeting(new)["subs"][ROOM]["pubs"]] == [5]


async def test_without_a_position_it_goes_on_where_the_last_answered_ping_stood(two: Any, far: Any) -> None:
    first, second = two
    user = new_id()
    old = await first.connected(user, subs={ROOM: {}})
    far.publish(ROOM, "u")
    await first.until(lambda: len(old.pushes(1)) == 1)
    await pinged(first, old)
    far.publish(ROOM, "u")  # sent, but whether it arrived nobody knows
    await first.until(lambda: len(old.pushes(1)) == 2)
    old.session.closed(None)
    new = await second.connected(user, resume=resume_of(old))
    result = greeting(new)["subs"][ROOM]
    assert (result["recovered"], [m["o"] for m in result["pubs"]]) == (True, [2])


async def test_a_recovery_whose_reply_was_lost_is_given_again(two: Any, far: Any) -> None:
    first, second = two
    user = new_id()
    far.publish(ROOM, "u")
    lost = await first.connected(user, subs={ROOM: {"epoch": "epoch-1", "offset": 0}})
    await stored(first)
    lost.session.closed(None)
    new = await second.connected(user, resume=resume_of(lost))
    assert [m["o"] for m in greeting(new)["subs"][ROOM]["pubs"]] == [1]


@pytest.mark.parametrize("wrong", ["sid", "key", "user", "stale", "nonsense", "ended"])
async def test_what_is_no_session_of_ones_own_is_no_error(two: Any, wrong: str) -> None:
    first, second = two
    user = new_id()
    old = await first.connected(user, subs={ROOM: {}})
    await stored(first)
    old.session.closed(1000 if wrong == "ended" else None)
    await stored(first)
    resume = resume_of(old)
    if wrong in ("sid", "key"):
        resume[wrong] = new_id()
    if wrong == "nonsense":
        resume = {"sid": "", "key": "\0"}
    second.clock.now_s += 121 if wrong == "stale" else 119
    new = await second.connected(new_id() if wrong == "user" else user, resume=resume, subs={"me": {}})
    assert greeting(new)["resumed"] is False
    assert greeting(new)["sid"] != greeting(old)["sid"]
    assert greeting(new)["subs"].keys() == {"me"}
    if wrong in ("key", "user", "nonsense"):  # and nothing was taken from its owner
        back = await second.connected(user, resume=resume_of(old))
        assert greeting(back)["resumed"] is True


async def test_a_key_is_good_until_the_client_has_shown_that_it_got_the_next(two: Any) -> None:
    first, second = two
    user = new_id()
    old = await first.connected(user, subs={ROOM: {}})
    unheard = await second.connected(user, resume=resume_of(old))
    again = await first.connected(user, resume=resume_of(old))
    assert greeting(again)["resumed"] is True
    await pinged(first, again)
    for spent in (old, unheard):
        late = await second.connected(user, resume=resume_of(spent))
        assert greeting(late)["resumed"] is False
    assert greeting(await second.connected(user, resume=resume_of(again)))["resumed"] is True


async def test_the_old_socket_at_another_gateway_is_closed_and_harms_nobody(two: Any, far: Any) -> None:
    first, second = two
    user = new_id()
    old = await first.connected(user, subs={ROOM: {}})
    new = await second.connected(user, resume=resume_of(old))
    await first.until(lambda: old.ended is not None)
    assert old.ended == 3011
    await first.settled()
    assert [m.clean for m in far.of(wire.Unsubscribe) if m.ch == ROOM] == [False]
    await stored(first)
    assert greeting(await first.connected(user, resume=resume_of(new)))["resumed"] is True


async def test_a_gateway_that_missed_the_notice_finds_out_and_overwrites_nothing(two: Any) -> None:
    first, second = two
    user = new_id()
    old = await first.connected(user, subs={ROOM: {}})
    await stored(first)
    first.around.sessions.on_notice.clear()
    new = await second.connected(user, resume=resume_of(old), subs={"me": {}})
    assert old.ended is None
    await pinged(first, old)
    assert old.ended == 3011
    new.session.closed(None)
    await stored(second)
    assert greeting(await first.connected(user, resume=resume_of(new)))["subs"].keys() == {ROOM, "me"}


async def test_the_old_socket_at_the_same_gateway_leaves_before_the_new_one_comes(
    opens: Open, far: Any
) -> None:
    gateway = await opens()
    user = new_id()
    old = await gateway.connected(user, subs={ROOM: {}})
    far.answer = lambda message: ... if message.ch == OTHER else far.usual_answer(message)
    old.says({"id": 2, "sub": {"ch": OTHER}})
    await gateway.until(lambda: any(m.ch == OTHER for m in far.of(wire.Subscribe)))
    unanswered = far.of(wire.Subscribe)[-1]
    far.answer = far.usual_answer
    new = await gateway.connected(user, resume=resume_of(old))
    assert old.ended == 3011
    assert greeting(new)["subs"].keys() == {ROOM, OTHER}
    far.reply(unanswered.rid, far.usual_answer(unanswered))
    await gateway.settled()
    kinds = [type(m) for m in far.received if getattr(m, "ch", "") == OTHER]
    assert kinds == [wire.Subscribe, wire.Unsubscribe, wire.Subscribe]
    assert [type(m) for m in far.received if getattr(m, "ch", "") == ROOM] == kinds
    far.publish(OTHER, "u")
    n = greeting(new)["subs"][OTHER]["n"]
    await gateway.until(lambda: bool(new.pushes(n)))


async def test_what_one_may_no_longer_hear_is_an_error_in_its_place(two: Any, far: Any) -> None:
    first, second = two
    user = new_id()
    old = await first.connected(user, subs={ROOM: {}, OTHER: {}})
    await stored(first)
    old.session.closed(None)

    def answer(message: Any) -> Any:
        if isinstance(message, wire.Subscribe) and message.ch == OTHER:
            raise EngineError(ErrorCode.DENIED, "no such channel, or not yours")
        return far.usual_answer(message)

    far.answer = answer
    new = await second.connected(user, resume=resume_of(old))
    assert greeting(new)["subs"][OTHER]["err"]["code"] == 103
    assert greeting(new)["subs"][ROOM]["n"] == 1
    await stored(second)
    new.session.closed(None)
    third = await first.connected(user, resume=resume_of(new))
    assert greeting(third)["subs"].keys() == {ROOM}


async def test_a_killed_gateways_session_outlives_it_by_120_s(two: Any) -> None:
    first, second = two
    user = new_id()
    old = await first.connected(user, subs={ROOM: {}})
    await stored(first)  # from here on the gateway says nothing any more
    second.clock.now_s += 25 + 8 + 119
    assert greeting(await second.connected(user, resume=resume_of(old)))["resumed"] is True


async def test_a_store_that_forgot_is_told_again_with_the_next_pong(two: Any, valkey_url: str) -> None:
    first, second = two
    user = new_id()
    old = await first.connected(user, subs={ROOM: {}})
    await stored(first)
    async with open_valkey(valkey_url) as valkey:
        await valkey.delete(f"hereabouts:session:{greeting(old)['sid']}")
    await pinged(first, old)
    assert old.ended is None
    assert greeting(await second.connected(user, resume=resume_of(old)))["resumed"] is True


async def test_without_a_store_people_connect_all_the_same(opens: Open, tmp_path: Any) -> None:
    gateway = await opens(f"unix://{tmp_path}/nobody.sock")
    user = new_id()
    old = await gateway.connected(user, subs={ROOM: {}})
    assert greeting(old)["subs"][ROOM]["n"] == 1
    new = await gateway.connected(user, resume=resume_of(old), subs={ROOM: {}})
    assert greeting(new)["resumed"] is False


async def test_a_user_has_so_many_connections_on_all_gateways(opens: Open) -> None:
    first, second = await opens(connections_per_user=2), await opens(connections_per_user=2)
    user = new_id()
    one, two = await first.connected(user), await second.connected(user)
    over = await first.connected(user)
    await first.until(lambda: over.ended is not None)
    assert (over.frames()[0]["err"]["code"], over.ended) == (106, 3504)
    assert one.ended is two.ended is None
    one.session.closed(None)  # a lost one is none
    await stored(first)
    assert greeting(await second.connected(user))["resumed"] is False
    assert greeting(await second.connected(new_id()))["resumed"] is False


async def test_a_session_is_kept_over_each_close_that_asks_to_come_back(two: Any) -> None:
    first, second = two
    user = new_id()
    old = await first.connected(user, subs={ROOM: {}})
    old.session.lost("a position is gone")
    assert old.ended == 3010
    await stored(first)
    assert greeting(await second.connected(user, resume=resume_of(old)))["resumed"] is True
