"""Reminders are durable, come at least once, and follow their actor (ACT-8)."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode
from storage.ids import new_id

Told = list[tuple[int, str, str, Any]]


def listening(small: Any, told: Told, fails: Callable[[], bool] = lambda: False) -> None:
    """People of every shard note what they are reminded of."""

    def on(number: int) -> Any:
        async def reminded(activation: Any, name: str, data: Any) -> None:
            if fails():
                raise EngineError(ErrorCode.INTERNAL, "not now")
            told.append((number, activation.key, name, data))

        return reminded

    for number, shard in small.shards.items():
        shard.reminders.handlers["user"] = on(number)


def owner(small: Any, user: str) -> Any:
    return small.shards[small.router.shard_of(slot_of("user", user))]


async def test_an_actor_is_reminded_once_it_is_time_and_not_again(small: Any) -> None:
    told: Told = []
    listening(small, told)
    ann = await small.person()
    shard = owner(small, ann)
    await shard.reminders.set("user", ann, "later", shard.now_ms() + 3_600_000)
    await shard.reminders.set("user", ann, "dropped", shard.now_ms() + 100)
    await shard.reminders.cancel("user", ann, "dropped")
    await shard.reminders.set("user", ann, "soon", shard.now_ms() + 500, '{"a":1}')
    await small.until(lambda: told)
    assert told == [(shard.number, ann, "soon", '{"a":1}')]
    assert ("user", ann) in shard.activations
    await asyncio.sleep(1.5)
    assert len(told) == 1
    assert [r["name"] for r in await small.pool.fetch("SELECT name FROM reminders")] == ["later"]


async def test_a_reminder_survives_the_death_of_its_shard(small: Any) -> None:
    told: Told = []
    ann = await small.person()
    dead = owner(small, ann)
    await dead.reminders.set("user", ann, "x", dead.now_ms() + 200)
    await small.shards.pop(dead.number).stop()
    listening(small, told)
    await small.until(lambda: told)
    assert told == [(1 - dead.number, ann, "x", "null")]


async def test_a_reminder_that_fails_comes_again(small: Any) -> None:
    told: Told = []
    tries = 0

    def fails() -> bool:
        nonlocal tries
        tries += 1
        return tries == 1

    listening(small, told, fails)
    ann = await small.person()
    await owner(small, ann).reminders.set("user", ann, "x", 0)
    await small.until(lambda: told)
    assert tries == 2
    await small.until(lambda: not owner(small, ann).reminders._under_way)
    assert await small.pool.fetchval("SELECT count(*) FROM reminders") == 0


async def test_reminders_follow_slots_that_are_handed_over(small: Any) -> None:
    told: Told = []
    people = [await small.person() for _ in range(30)]
    for person in people:
        shard = owner(small, person)
        await shard.reminders.set("user", person, "x", shard.now_ms() + 2_000)
    await small.start_shard(2)
    listening(small, told)
    await small.until(lambda: len({key for _, key, _, _ in told}) == len(people))
    assert {number for number, *_ in told} == {0, 1, 2}


async def test_one_that_lost_its_slot_sets_no_reminder(small: Any) -> None:
    ann = new_id()
    shard = owner(small, ann)
    await small.pool.execute("UPDATE slots SET epoch = epoch + 1")
    with pytest.raises(Exception, match="epoch is not current"):
        await shard.reminders.set("user", ann, "x", 0)
    assert await small.pool.fetchval("SELECT count(*) FROM reminders") == 0
