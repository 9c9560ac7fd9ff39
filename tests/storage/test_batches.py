"""Scripts for Valkey leave in order, and a Valkey that was away is told what it missed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from storage import batches
from storage.batches import Batches
from storage.ids import new_id
from storage.positions import open_valkey

APPEND = "redis.call('RPUSH', KEYS[1], ARGV[1]) return redis.call('LLEN', KEYS[1])"


@pytest.fixture
async def valkey(valkey_url: str) -> AsyncIterator[Any]:
    client = open_valkey(valkey_url)
    yield client
    await client.aclose()


@pytest.fixture
async def running(valkey: Any) -> AsyncIterator[Batches]:
    queue = Batches(valkey)
    task = asyncio.create_task(queue.run())
    yield queue
    task.cancel()


async def test_replies_come_in_the_order_of_asking(running: Batches) -> None:
    key = new_id()
    replies = await asyncio.gather(*(running.ask((APPEND, 1, key, str(n))) for n in range(1200)))
    assert replies == list(range(1, 1201))


async def test_of_one_key_only_the_newest_is_asked_for(running: Batches, valkey: Any) -> None:
    key, told = new_id(), list[Any]()
    for n in range(3):
        running.put("same", lambda n=n: (APPEND, 1, key, str(n)), told.append)  # type: ignore[misc]
    assert await running.ask(None) is None
    assert (await valkey.lrange(key, 0, -1), told) == ([b"2"], [1])


async def test_a_restarted_valkey_is_given_the_scripts_again(running: Batches, valkey: Any) -> None:
    key = new_id()
    assert await running.ask((APPEND, 1, key, "a")) == 1
    await valkey.script_flush()
    assert await running.ask((APPEND, 1, key, "b")) == 2


async def test_an_operation_that_fails_takes_no_other_with_it(running: Batches) -> None:
    key = new_id()
    replies = await asyncio.gather(
        running.ask(("return redis.call('NOSUCH')", 1, key)), running.ask((APPEND, 1, key, "a"))
    )
    assert replies == [None, 1]


async def test_while_valkey_is_away_nobody_waits_and_what_matters_is_written_later(
    valkey_url: str, valkey: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "RETRY_S", 0.01)
    gate = tmp_path / "valkey.sock"
    client = open_valkey(f"unix://{gate}")
    queue = Batches(client)
    task = asyncio.create_task(queue.run())
    key, told = new_id(), list[Any]()
    queue.put("kept", lambda: (APPEND, 1, key, "kept"), told.append)
    assert await queue.ask((APPEND, 1, key, "asked")) is None
    assert queue.is_away
    assert await queue.ask((APPEND, 1, key, "asked")) is None
    gate.symlink_to(valkey_url.removeprefix("unix://"))
    async with asyncio.timeout(5):
        while not told:
            await asyncio.sleep(0.005)
    assert (told, await valkey.lrange(key, 0, -1)) == ([1], [b"kept"])
    task.cancel()
    await client.aclose()


async def test_past_its_bound_the_oldest_is_lost_and_told_so(
    valkey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "QUEUE_LIMIT", 2)
    queue, told = Batches(valkey), list[Any]()
    for n in range(3):
        queue.put(n, lambda: None, lambda reply, n=n: told.append((n, reply)))  # type: ignore[misc]
    assert told == [(0, None)]
