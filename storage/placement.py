"""Which slot a virtual actor lives in (ACT-2), and so whose rows are whose."""

from zlib import crc32

SLOTS = 1024


def slot_of(kind: str, key: str) -> int:
    """The slot of a virtual actor, the same in every process and release (CRC-32, ISO 3309).

    A region's key is its H3 res-5 cell, so one region's people share a shard.
    """
    return crc32(f"{kind}:{key}".encode()) % SLOTS
