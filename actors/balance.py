"""Which shard should own which slot: even shares, as few moves as possible (ACT-5, ACT-10). Pure."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from heapq import heapify, heapreplace


def shares(
    counts: Mapping[int, int], shards: Collection[int], weights: Mapping[int, float]
) -> dict[int, int]:
    """How many slots each shard should own: proportional to its weight (1 unless given), by largest
    remainder; among equals whoever owns more keeps more, which saves moves.
    """
    total = sum(counts.values())
    weight = sum(weights.get(shard, 1.0) for shard in shards)
    exact = {shard: total * weights.get(shard, 1.0) / weight for shard in shards}
    result = {shard: int(share) for shard, share in exact.items()}
    left = total - sum(result.values())
    by_claim = sorted(
        shards, key=lambda s: (-round(exact[s] - result[s], 9), -(counts.get(s, 0) > result[s]), s)
    )
    for shard in by_claim[:left]:
        result[shard] += 1
    return result


def balanced(
    owners: Sequence[int], shards: Collection[int], weights: Mapping[int, float] | None = None
) -> list[int]:
    """The owners with every shard at its share. A slot moves only if its owner is none of `shards` or has
    more than its share, so the moves are the fewest that reach the shares.
    """
    if not shards:
        return list(owners)
    counts = Counter(owners)
    share = shares(counts, shards, weights or {})
    result, homeless = list(owners), []
    kept: Counter[int] = Counter()
    for slot, owner in enumerate(owners):
        if owner in share and kept[owner] < share[owner]:
            kept[owner] += 1
        else:
            homeless.append(slot)
    neediest = [(kept[shard] - share[shard], shard) for shard in shards]
    heapify(neediest)
    for slot in homeless:
        lacks, shard = neediest[0]
        heapreplace(neediest, (lacks + 1, shard))
        result[slot] = shard
    return result


def adopted(owners: Sequence[int], orphans: Collection[int], shards: Collection[int]) -> dict[int, int]:
    """New owners for the slots of shards that are gone, each to whoever has fewest; nothing else moves."""
    counts = dict.fromkeys(sorted(shards), 0)
    for slot, owner in enumerate(owners):
        if owner in counts and slot not in orphans:
            counts[owner] += 1
    fewest = [(count, shard) for shard, count in counts.items()]
    heapify(fewest)
    result = {}
    for slot in sorted(orphans):
        count, shard = fewest[0]
        heapreplace(fewest, (count + 1, shard))
        result[slot] = shard
    return result
