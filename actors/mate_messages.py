"""What shards tell each other of people who are matched across them (messages.py has the rest)."""

from actors.slot_messages import Framed


class MateRow(Framed):
    """Where a person is who shows themselves to matches, in WGS84 degrees: to the shards of these only."""

    user: str
    lat: float
    lon: float
    number: int
    """Of this report, rising."""
    trusted: bool


class MateGrant(Framed):
    """So far may the person be from where report `number` said before another one is needed."""

    user: str
    number: int
    free_m: float


class Mates(Framed, tag=163):
    """One shard to another, at most once a tick: its halves of pairs that the other one decides, and what it
    wants of the other's.
    """

    shard: int
    """Who says so."""
    moved: list[MateRow]
    gone: list[str]
    """They show themselves to no match any more, or are nowhere."""
    wanted: list[str]
    """Where are these?"""
    grants: list[MateGrant]
