"""What is said of regions: by people's actors to the region they are in, and by it to the shards that follow
it (messages.py has the rest, and the unions).
"""

from actors.slot_messages import Framed


class RegionEnter(Framed, tag=20):
    """A user's *snapped* place, told to the one region that it lies in."""

    rid: int
    region: str
    user: str
    cell: str
    """Res 8 or coarser: what strangers may see at the most."""
    audience: str
    precision: str
    t_ms: int
    """When the person was there."""
    online: bool | None = None
    """None: not known, and as it was known before."""
    fine: str = ""
    """A res 9 cell, for matches only, where the person grants them that."""
    stamp: int = 0
    """Rises with all that the person's actor says of their place, to whatever region."""
    counts: bool = True
    """Whether they are one of the people that make a crowd; not so who can't be where they say."""


class RegionLeave(Framed, tag=21):
    """The user is not in the region any more."""

    rid: int
    region: str
    user: str
    stamp: int = 0
    moved: bool = False
    """To another region, which tells of them from now on; else they are not to be seen by anybody."""


class RegionCrowd(Framed, tag=151):
    """A region that was split to one of its children: who was active in its cells, as in geo.crowd."""

    rid: int
    region: str
    seen: dict[str, dict[int, int]]


class RegionCheck(Framed, tag=150):
    """Region to a user's actor, after their settings changed: are you here, and shown like this? Replied {};
    whoever is not leaves. Refused with 103 where there is no such person any more.
    """

    rid: int
    region: str
    user: str
    audience: str
    precision: str


class RegionFollow(Framed, tag=22):
    """A shard wants all that the region shows, and from then on what changes, for FOLLOW_MS. Replied with a
    RegionNews: what changed after (epoch, version), or all, as of the region's last tick.
    """

    rid: int
    region: str
    shard: int
    epoch: str = ""
    version: int = 0


class RegionRow(Framed):
    """Somebody in the region."""

    user: str
    cell: str
    """What matches may see at the most."""
    open: str
    """What strangers may see at the most: a cell that enough people share; empty: nothing."""
    audience: str
    precision: str
    online: bool
    stamp: int


class RegionNews(Framed, tag=23):
    """Region to a shard that follows it: what one tick changed."""

    region: str
    epoch: str
    version: int
    rows: list[RegionRow]
    gone: list[tuple[str, int, bool]]
    """User, stamp and whether they moved, as in RegionLeave."""
    since: int = 0
    """The version that this goes on from; -1: it is all there is."""
