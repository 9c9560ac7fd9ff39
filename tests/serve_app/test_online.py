"""What a gateway tells people's actors of their connections (PRE-1, PRE-5)."""

from typing import Any

from actors import messages as wire
from actors.protocol import EngineError, ErrorCode
from storage.ids import new_id

ROOM = f"room:{new_id()}"
TOLD = (wire.Here, wire.Away)


async def test_here_comes_before_all_that_a_connection_asks_for_and_away_after_its_end(gateway: Any) -> None:
    connection = await gateway.connected(subs={ROOM: {}, "me": {}})
    far = gateway.far
    connection.session.closed(1000)
    await gateway.until(lambda: far.of(wire.Away) and len(far.of(wire.Unsubscribe)) == 2)
    said = [type(message) for message in far.received if hasattr(message, "birth")]
    assert said == [wire.Here, wire.Subscribe, wire.Subscribe, wire.Unsubscribe, wire.Unsubscribe, wire.Away]
    here, away = far.of(wire.Here)[0], far.of(wire.Away)[0]
    assert (here.user, here.conn, here.birth) == (away.user, away.conn, away.birth)
    assert away.clean
    assert away.settled >= here.birth


async def test_connecting_does_not_wait_for_the_persons_actor_and_it_is_no_subscription(gateway: Any) -> None:
    far = gateway.far
    usual = far.usual_answer
    far.answer = lambda message: ... if isinstance(message, TOLD) else usual(message)
    connection = await gateway.connected()
    assert connection.frames()[0]["connect"]["subs"] == {}
    answer = await gateway.reply(connection, {"id": 2, "rpc": {"method": "session"}})
    assert answer["rpc"]["result"]["subs"] == {}
    assert connection.session.connection.subscriptions == {}


async def test_what_is_not_taken_is_said_again_while_it_is_so(gateway: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("serve_app.online.RETRY_S", 0.01)
    far = gateway.far
    usual, refusals = far.usual_answer, [wire.Here, wire.Here, wire.Away]

    def answer(message: Any) -> Any:
        if type(message) in refusals:
            refusals.remove(type(message))
            raise EngineError(ErrorCode.OVERLOADED, "not now", 1)
        return usual(message)

    far.answer = answer
    connection = await gateway.connected()
    await gateway.until(lambda: len(far.of(wire.Here)) == 3)
    births = [message.birth for message in far.of(wire.Here)]
    assert births == sorted(set(births))
    connection.session.closed(None)
    await gateway.until(lambda: len(far.of(wire.Away)) == 2)
    assert {(message.birth, message.clean) for message in far.of(wire.Away)} == {(births[-1], False)}


async def test_a_new_activation_is_told_of_everybody_who_is_here(gateway: Any) -> None:
    far = gateway.far
    here = await gateway.connected()
    gone = await gateway.connected()
    gone.session.closed(1001)
    await gateway.until(lambda: far.of(wire.Away))
    far.received.clear()
    await far.stop_shard()
    await far.start_shard()
    await gateway.until(lambda: far.of(wire.Told))
    assert {message.conn for message in far.of(wire.Here)} == {here.session.connection.id}
    assert max(message.settled for message in far.of(wire.Told)) < far.of(wire.Here)[0].birth
