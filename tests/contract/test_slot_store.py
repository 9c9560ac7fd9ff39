"""One suite for every store of the Directory (ACT-3, ACT-4)."""

from collections import Counter
from typing import Any

import pytest

from storage.slots import (
    SLOTS,
    Assignment,
    DeposedError,
    MemorySlots,
    PostgresSlots,
    SlotStore,
    StaleEpochError,
)


@pytest.fixture(params=["postgres", "memory"])
async def store(request: Any, database_url: str) -> Any:
    if request.param == "memory":
        yield MemorySlots()
        return
    opened = await PostgresSlots.open(database_url)
    yield opened
    await opened.close()


async def test_the_first_term_gives_every_slot_an_owner_and_later_ones_move_none(store: SlotStore) -> None:
    first, own = await store.take_office("unix:/a", 3)
    assert sorted(Counter(own.owners).items()) == [(0, 342), (1, 341), (2, 341)]
    assert set(own.epochs) == {1}
    second, later = await store.take_office("unix:/b", 5)
    assert second == first + 1 == await store.current_term()
    assert (later.owners, later.epochs) == (own.owners, own.epochs)
    assert later.version > own.version
    assert await store.read() == later


async def test_what_an_older_term_changes_fails_and_changes_nothing(store: SlotStore) -> None:
    old, _ = await store.take_office("unix:/a", 2)
    await store.take_office("unix:/b", 2)
    before = await store.read()
    for change in (
        store.admit_shard(old, 0, "x", "unix:/s"),
        store.assign(old, {0: Assignment(1, 1)}),
        store.raise_version(old),
    ):
        with pytest.raises(DeposedError):
            await change
    assert await store.read() == before


async def test_a_new_incarnation_raises_its_epochs_and_no_others(store: SlotStore) -> None:
    term, before = await store.take_office("unix:/a", 2)
    one = await store.admit_shard(term, 1, "first", "unix:/x")
    same = await store.admit_shard(term, 1, "first", "unix:/y")
    assert same.epochs == one.epochs
    for slot in range(SLOTS):
        assert one.epochs[slot] == before.epochs[slot] + (before.owners[slot] == 1)
    assert before.version < one.version < same.version


async def test_an_assignment_moves_what_it_names_under_the_next_epoch(store: SlotStore) -> None:
    term, before = await store.take_office("unix:/a", 2)
    after = await store.assign(term, {7: Assignment(4, 1), 8: Assignment(5, 1)})
    assert (after.owners[7], after.epochs[7], after.owners[8], after.epochs[8]) == (4, 2, 5, 2)
    assert all(after.owners[s] == before.owners[s] and after.epochs[s] == 1 for s in range(9, SLOTS))
    assert after.version > before.version


async def test_an_assignment_with_one_stale_epoch_moves_nothing(store: SlotStore) -> None:
    term, _ = await store.take_office("unix:/a", 2)
    await store.assign(term, {7: Assignment(1, 1)})
    before = await store.read()
    with pytest.raises(StaleEpochError):
        await store.assign(term, {6: Assignment(1, 1), 7: Assignment(0, 1), 9: Assignment(0, 1)})
    assert await store.read() == before
