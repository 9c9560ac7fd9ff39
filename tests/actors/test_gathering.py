"""Many reads at once are few (ACT-9), and what is wrong with one of them is not the others'."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from actors.gathering import BATCH, Gathered


class Store:
    """What is read from: twice each number, nothing for odd ones."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.wrong: dict[int, Exception] = {}
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.tasks: set[asyncio.Task[None]] = set()

    def gathered(self) -> Gathered[int, int]:
        return Gathered(self.spawn, self.read)

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def read(self, keys: list[int]) -> dict[int, int]:
        self.batches.append(keys)
        await self.may_answer.wait()
        for key in keys:
            if key in self.wrong:
                raise self.wrong[key]
        return {key: 2 * key for key in keys if key % 2 == 0}


async def turns(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not fact():
            await asyncio.sleep(0)


async def test_who_asks_alone_is_answered_alone() -> None:
    store = Store()
    gathered = store.gathered()
    assert [await gathered.get(4), await gathered.get(5)] == [8, None]
    assert store.batches == [[4], [5]]


async def test_who_asks_meanwhile_shares_the_next_read() -> None:
    store = Store()
    gathered = store.gathered()
    store.may_answer.clear()
    asking = []
    for key in range(2 + 2 * BATCH):
        asking.append(asyncio.ensure_future(gathered.get(key)))
        if key < 2:
            await turns(lambda: len(store.batches) == len(asking))
    await asyncio.sleep(0)
    store.may_answer.set()
    assert await asyncio.gather(*asking) == [2 * key if key % 2 == 0 else None for key in range(len(asking))]
    assert [len(batch) for batch in store.batches] == [1, 1, BATCH, BATCH]


async def test_two_who_want_the_same_are_one_read_and_one_may_give_up() -> None:
    store = Store()
    gathered = store.gathered()
    first, second = (asyncio.ensure_future(gathered.get(6)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 12
    assert store.batches == [[6]]


async def test_a_store_that_is_away_is_told_to_all_who_ask_and_is_asked_again_by_the_next() -> None:
    store = Store()
    gathered = store.gathered()
    store.wrong = {1: asyncpg.CannotConnectNowError("it starts")}
    found = await asyncio.gather(*(gathered.get(key) for key in (0, 1, 2)), return_exceptions=True)
    assert [type(each) for each in found] == [asyncpg.CannotConnectNowError] * 3
    store.wrong = {}
    assert await gathered.get(0) == 0
    assert store.batches == [[0, 1, 2], [0]]


async def test_what_is_wrong_with_one_is_told_to_that_one() -> None:
    store = Store()
    gathered = store.gathered()
    store.wrong = {2: KeyError("unreadable")}
    found = await asyncio.gather(*(gathered.get(key) for key in (0, 2, 4)), return_exceptions=True)
    assert [found[0], found[2]] == [0, 8]
    with pytest.raises(KeyError):
        raise found[1]  # type: ignore[misc]
