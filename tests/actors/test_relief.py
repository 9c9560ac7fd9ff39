"""Slots go from hot shards to cold ones, and stay there (ACT-10)."""

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from actors import messages as wire
from actors.relief import DIFFERENCE_CPU, LASTING, PAUSE_S, Relief, Report, relieving

OWNERS = [slot % 2 for slot in range(64)]
BUSY = dict.fromkeys(range(0, 64, 2), 10)
QUIET = dict.fromkeys(range(1, 64, 2), 1)


def reports(relief: Relief, hot: float, cold: float, now_s: float) -> dict[int, int]:
    relief.reported(1, Report(cold, QUIET), OWNERS, {0, 1}, now_s)
    return relief.reported(0, Report(hot, BUSY), OWNERS, {0, 1}, now_s)


def test_a_difference_that_lasts_moves_half_of_it_and_then_waits() -> None:
    relief = Relief()
    for n in range(LASTING - 1):
        assert not reports(relief, 0.9, 0.1, 5.0 * n)
    moves = reports(relief, 0.9, 0.1, 10.0)
    assert set(moves.values()) == {1}
    assert all(OWNERS[slot] == 0 for slot in moves)
    assert len(moves) == int(0.4 / (0.9 / 32))
    for n in range(4):
        assert not reports(relief, 0.9, 0.1, 11.0 + PAUSE_S * n / 4)


def test_a_difference_that_comes_and_goes_moves_nothing() -> None:
    relief = Relief()
    for n in range(20):
        hot = 0.9 if n % LASTING else 0.2
        assert not reports(relief, hot, 0.1, 5.0 * n)


def test_shards_with_little_to_do_are_left_alone() -> None:
    relief = Relief()
    assert not any(reports(relief, 0.4, 0.0, 5.0 * n) for n in range(20))


def test_a_shard_whose_mailboxes_fill_is_hot_whatever_its_processor_does() -> None:
    relief = Relief()
    found = []
    for n in range(LASTING):
        relief.reported(1, Report(0.1, QUIET), OWNERS, {0, 1}, 5.0 * n)
        found.append(relief.reported(0, Report(0.2, BUSY, 5_000), OWNERS, {0, 1}, 5.0 * n))
    assert found[-1]


@given(
    st.lists(st.integers(0, 50), min_size=8, max_size=64),
    st.floats(0.5, 1.0),
    st.floats(0.0, 0.2),
)
def test_a_move_never_makes_the_cold_one_hotter_than_the_hot_one_was(
    counts: list[int], hot: float, cold: float
) -> None:
    """So moves die out: the difference shrinks with each, and none turns it round."""
    slots = dict(enumerate(counts))
    chosen = relieving(Report(hot, slots), slots.keys(), (hot - cold) / 2)
    moved = hot * sum(slots[slot] for slot in chosen) / max(sum(counts), 1)
    assert hot - moved >= cold + moved - 1e-9
    assert hot - cold >= DIFFERENCE_CPU


async def test_a_hot_shards_slots_are_handed_to_the_cold_one_and_stay_there(small: Any) -> None:
    ann = await small.person()
    room = await small.room(ann, durability="memory")
    first = await small.publish(room, ann, "x", ack="relay")
    mover = small.directory.mover
    owners = small.router.view.owners
    busy = {slot: 10 for slot, owner in enumerate(owners) if owner == 0}
    for _ in range(LASTING):
        mover.reported(wire.Load(1, 0.1, {}, 0, 0))
        mover.reported(wire.Load(0, 0.9, busy, 0, 0))
    await small.until(lambda: Counter(small.router.view.owners) == {0: 480, 1: 544})
    mover.changed()
    second = await small.publish(room, ann, "y", ack="relay")
    assert (first["o"], second["o"]) == (1, 2)
    await small.start_shard(2)
    await small.until(lambda: sorted(Counter(small.router.view.owners).values()) == [341, 341, 342])


async def test_shards_report_what_they_do_and_for_which_slots(small: Any) -> None:
    ann = await small.person()
    room = await small.room(ann, durability="memory")
    for number in range(100):
        await small.publish(room, ann, str(number), ack="relay")
    loads = [shard.workload.report() for shard in small.shards.values()]
    sampled = Counter[int]()
    for load in loads:
        sampled.update(load.slots)
        assert load.cpu > 0
    slot = next(each.slot for s in small.shards.values() for each in s.activations.values())
    assert sampled[slot] == sum(sampled.values()) >= 100 // 32
    loads[0].shard = 0
    small.shards[0].router.tell_directory(loads[0])
    await small.until(lambda: 0 in small.directory.mover.relief.reports)
