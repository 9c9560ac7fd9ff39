"""One message at a time per virtual actor (ACT-6), and nobody subscribed who can't unsubscribe (PRE-3)."""

import asyncio
from typing import Any

from actors import messages as wire
from actors.activation import Activation
from actors.router import Router, RouterConfig


async def activation_of(small: Any, room: str) -> tuple[Any, Activation]:
    for shard in small.shards.values():
        found = shard.activations.get(("room", room))
        if found is not None:
            return shard, found
    raise AssertionError("the room is not active")


async def test_turns_of_one_actor_never_overlap_and_messages_wait_for_all_of_them(small):
    ann = await small.person()
    room = await small.room(ann)
    await small.publish(room, ann, "wakes it up")
    shard, activation = await activation_of(small, room)
    order: list[str] = []

    async def work(name: str) -> None:
        order.append(f"{name} begins")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        order.append(f"{name} ends")

    shard.turn(activation, work("first"))
    shard.turn(activation, work("second"))
    answered = asyncio.ensure_future(small.publish(room, ann, "waits"))
    answered.add_done_callback(lambda _: order.append("message"))
    await answered
    await asyncio.sleep(0)
    assert order == ["first begins", "first ends", "second begins", "second ends", "message"]


async def test_a_subscription_that_waited_longer_than_its_gateway_lived_is_not_let_in(small):
    ann, bob = await small.person(), await small.person()
    room = await small.room(ann, bob)
    await small.publish(room, ann, "wakes it up")
    shard, activation = await activation_of(small, room)
    free = asyncio.Event()

    async def long_turn() -> None:
        await free.wait()

    other = Router(RouterConfig(small.run_dir, "gateway", "g2", "ws://other"))
    await other.start()
    shard.turn(activation, long_turn())
    message = wire.Subscribe(0, f"room:{room}", bob, "ghost", "phone", 1)
    asking = asyncio.ensure_future(other.request("room", room, message))
    await small.until(lambda: activation.mailbox)
    await other.stop()
    await asyncio.gather(asking, return_exceptions=True)
    await small.until(lambda: other.incarnation not in shard.fan_out.gateways)
    free.set()
    await small.publish(room, ann, "after it")
    assert activation.state.is_idle
