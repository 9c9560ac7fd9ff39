"""One contract for the store of the Directory: Postgres, and memory for simulated worlds (ACT-3, ACT-4)."""

from collections import Counter

import pytest

from storage.slots import (
    SLOTS,
    Assignment,
    DeposedError,
    MemorySlots,
    PostgresSlots,
    ReplacedError,
    StaleEpochError,
)


@pytest.fixture(params=["postgres", "memory"])
async def store(request, pool):
    """An empty store."""
    return MemorySlots() if request.param == "memory" else PostgresSlots(pool)


async def test_the_first_directory_spreads_all_slots_and_the_next_takes_them_as_they_are(store):
    term, first = await store.take_office("unix:/a", 2)
    assert Counter(first.owners) == {0: SLOTS // 2, 1: SLOTS // 2}
    assert set(first.epochs) == {1}
    later, second = await store.take_office("unix:/b", 5)
    assert later > term
    assert (second.owners, second.epochs) == (first.owners, first.epochs)
    assert second.version > first.version
    assert await store.current_term() == later
    assert await store.read() == second


async def test_only_the_newest_term_changes_anything(store):
    old, _ = await store.take_office("unix:/a", 2)
    _, before = await store.take_office("unix:/b", 2)
    for change in (
        store.raise_version(old),
        store.admit_shard(old, 0, "i", "unix:/0"),
        store.assign(old, {0: Assignment(1, 1)}),
    ):
        with pytest.raises(DeposedError):
            await change
    assert await store.read() == before


async def test_a_new_process_of_a_shard_raises_its_epochs_and_no_others(store):
    term, before = await store.take_office("unix:/a", 2)
    first = await store.admit_shard(term, 1, "i-1", "unix:/1")
    again = await store.admit_shard(term, 1, "i-1", "unix:/1")
    second = await store.admit_shard(term, 1, "i-2", "unix:/1")
    for slot in range(SLOTS):
        its = before.owners[slot] == 1
        assert first.epochs[slot] == again.epochs[slot] == before.epochs[slot] + its
        assert second.epochs[slot] == before.epochs[slot] + 2 * its
    assert before.version < first.version < again.version < second.version


async def test_a_process_older_than_the_known_one_is_not_admitted(store):
    term, _ = await store.take_office("unix:/a", 2)
    before = await store.admit_shard(term, 1, "i-2", "unix:/1")
    with pytest.raises(ReplacedError) as replaced:
        await store.admit_shard(term, 1, "i-1", "unix:/1")
    assert replaced.value.incarnation == "i-2"
    assert await store.read() == before


async def test_slots_are_assigned_together_or_not_at_all(store):
    term, before = await store.take_office("unix:/a", 2)
    after = await store.assign(term, {0: Assignment(7, 1), 2: Assignment(7, 1)})
    moved = {slot for slot in range(SLOTS) if after.owners[slot] != before.owners[slot]}
    assert moved == {0, 2}
    assert {after.epochs[slot] for slot in moved} == {2}
    assert after.version > before.version
    with pytest.raises(StaleEpochError):
        await store.assign(term, {4: Assignment(7, 1), 0: Assignment(8, 1)})
    unchanged = await store.read()
    assert (unchanged.owners, unchanged.epochs) == (after.owners, after.epochs)
