"""Mailboxes have bounds, who is not needed goes, memory has a budget (ACT-1, ACT-6)."""

from typing import Any

from actors import messages as wire
from actors.activation import MAILBOX_HARD, MAILBOX_SOFT, Activation
from actors.effects import Asker
from actors.housekeeping import AT_REST_MS, REST_SWEEPS, coldest
from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode


class Remembering(Asker):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.errors: list[EngineError] = []

    def answer(self, ok: Any) -> None:
        self.answers.append(ok)

    def refuse(self, error: EngineError) -> None:
        self.errors.append(error)


def shard_of(small: Any, kind: str, key: str) -> Any:
    return small.shards[small.router.shard_of(slot_of(kind, key))]


async def test_a_full_mailbox_refuses_with_120_and_a_deep_one_is_counted(small: Any) -> None:
    """ACT-6: what has room waits in order; the rest is told when to come back, and nothing is dropped."""
    ann = await small.person()
    room = await small.room(ann, durability="memory")
    await small.publish(room, ann, "x", ack="relay")
    shard = shard_of(small, "room", room)
    slot, asker = slot_of("room", room), Remembering()
    shard.moving.told(shard.router._directory._link, wire.Seal(1, [slot], 99))
    await small.until(lambda: slot in shard.moving._closed)
    for _ in range(MAILBOX_HARD + 3):
        shard.deliver(wire.PresenceQuery(0, f"room:{room}", ann), asker, "")
    assert [(e.code, e.code.temporary, bool(e.retry_ms)) for e in asker.errors] == [
        (ErrorCode.OVERLOADED, True, True)
    ] * 3
    assert len(shard.activations["room", room].mailbox) == MAILBOX_HARD > MAILBOX_SOFT
    assert shard.status()["mailboxes_above_soft_limit"] == 1
    shard.moving.told(shard.router._directory._link, wire.Unseal([slot]))
    assert len(asker.answers) == MAILBOX_HARD
    assert shard.status()["mailboxes_above_soft_limit"] == 0


async def test_who_is_not_needed_goes_after_a_while_and_comes_back_when_called(small: Any) -> None:
    ann = await small.person()
    empty, heard = await small.room(ann), await small.room(ann)
    await small.publish(empty, ann, "x", cid="1")
    await small.subscribe(f"room:{heard}", ann, "c")
    for room in (empty, heard):
        shard = shard_of(small, "room", room)
        later_ms = shard.now_ms() + 1000 * int(shard.config.idle_deactivate_s) + 1
        shard.now_ms = lambda later_ms=later_ms: later_ms
        await shard.housekeeping.sweep()
    assert ("room", empty) not in shard_of(small, "room", empty).activations
    assert ("room", heard) in shard_of(small, "room", heard).activations
    again = await small.publish(empty, ann, "x", cid="1")
    assert (again["o"], again["dup"]) == (1, True)
    assert (await small.publish(empty, ann, "y"))["o"] == 2


async def test_above_80_percent_of_the_budget_the_coldest_idle_go_until_75(small: Any) -> None:
    ann = await small.person()
    shard = small.shards[0]
    rooms: list[str] = []
    since_ms = shard.now_ms() - 60_000
    while len(rooms) < 40:
        room = await small.room(ann)
        if shard_of(small, "room", room) is shard:
            rooms.append(room)
            await small.publish(room, ann, "x")
            shard.activations["room", room].used_at_ms = since_ms + len(rooms)
    coldest_heard = rooms[0]
    await small.subscribe(f"room:{coldest_heard}", ann, "c")
    shard.activations["room", coldest_heard].used_at_ms = since_ms
    await shard.housekeeping.weigh()
    held = shard.housekeeping.memory_bytes
    object.__setattr__(shard.config, "memory_budget_mib", held / 2**20 / 0.79)
    await shard.housekeeping.weigh()
    assert shard.housekeeping.shed == 0
    object.__setattr__(shard.config, "memory_budget_mib", held / 2**20 / 0.90)
    await shard.housekeeping.weigh()
    left = [room for room in rooms if ("room", room) in shard.activations]
    gone = shard.housekeeping.shed
    assert 0 < gone < len(rooms) - 1
    assert left == [coldest_heard, *rooms[gone + 1 :]]
    budget = held / 0.90
    assert 0.70 * budget < shard.housekeeping.memory_bytes <= 0.75 * budget
    assert (await small.publish(rooms[1], ann, "y"))["o"] == 2


def test_no_more_go_than_are_wanted_and_all_if_that_is_too_little() -> None:
    some = [Activation("room", str(n), 0, used_at_ms=10 - n) for n in range(4)]
    weights = {("room", str(n)): 100 for n in range(4)}
    assert [each.key for each in coldest(some, weights, 150)] == ["3", "2"]
    assert len(coldest(some, weights, 10_000)) == 4
    assert not coldest(some, weights, 0)


async def test_a_person_at_rest_is_swept_once_in_five_times_and_others_each_time(small: Any) -> None:
    people = [await small.person() for _ in range(4)]
    for person in people:
        await small.subscribe(f"me@{person}", person, "c")
    shard, swept = shard_of(small, "user", people[0]), []
    own = [person for person in people if shard_of(small, "user", person) is shard]
    shard.hosts["user"].expire = lambda activation, _: swept.append(activation.key)
    later_ms = shard.now_ms() + AT_REST_MS + 1
    shard.now_ms = lambda: later_ms
    for _ in range(REST_SWEEPS):
        await shard.housekeeping.sweep(is_routine=True)
    assert sorted(swept) == sorted(own)
    swept.clear()
    shard.activations["user", own[0]].turned_at_ms = later_ms
    for _ in range(REST_SWEEPS):
        await shard.housekeeping.sweep(is_routine=True)
    assert swept.count(own[0]) == REST_SWEEPS
