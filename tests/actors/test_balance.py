"""Even shares by the fewest moves (ACT-5, ACT-10)."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from actors.balance import adopted, balanced, shares

owners_of = st.lists(st.integers(0, 6), min_size=1, max_size=200)
shards_of = st.sets(st.integers(0, 8), min_size=1)


@given(owners_of, shards_of)
def test_equal_shards_differ_by_one_slot_at_most(owners: list[int], shards: set[int]) -> None:
    counts = Counter(balanced(owners, shards))
    assert counts.keys() <= shards
    assert max(counts.values()) - min(counts.get(shard, 0) for shard in shards) <= 1


@given(owners_of, shards_of)
def test_no_slot_moves_that_need_not(owners: list[int], shards: set[int]) -> None:
    """The fewest moves: those whose owner is gone, and what is above the larger of the two shares."""
    before = Counter(owners)
    moved = sum(old != new for old, new in zip(owners, balanced(owners, shards), strict=True))
    low, extra = divmod(len(owners), len(shards))
    most = sorted((before[shard] for shard in shards), reverse=True)
    keep = sum(min(count, low + (rank < extra)) for rank, count in enumerate(most))
    assert moved == len(owners) - keep


@given(owners_of, shards_of)
def test_what_is_balanced_stays_as_it_is(owners: list[int], shards: set[int]) -> None:
    once = balanced(owners, shards)
    assert balanced(once, shards) == once


@given(owners_of, st.dictionaries(st.integers(0, 8), st.floats(0.1, 10), min_size=1))
def test_shares_follow_the_weights(owners: list[int], weights: dict[int, float]) -> None:
    result = shares(Counter(owners), weights.keys(), weights)
    assert sum(result.values()) == len(owners)
    for shard, weight in weights.items():
        assert abs(result[shard] - len(owners) * weight / sum(weights.values())) < 1


@given(owners_of, st.sets(st.integers(0, 6)), shards_of)
def test_orphans_are_adopted_and_nothing_else_moves(
    owners: list[int], gone: set[int], shards: set[int]
) -> None:
    shards -= gone
    if not shards:
        return
    orphans = {slot for slot, owner in enumerate(owners) if owner in gone}
    taken = adopted(owners, orphans, shards)
    assert taken.keys() == orphans
    assert set(taken.values()) <= shards
    after = Counter(taken.get(slot, owner) for slot, owner in enumerate(owners))
    fewest = min(after[shard] for shard in shards)
    assert all(after[shard] - 1 <= fewest for shard in set(taken.values()))
