"""What shards send to gateways, directly or over relays (messages.py has the rest, and the unions)."""

from actors.slot_messages import Framed

JSON = bytes
"""Canonical JSON text of one value."""


class Push(Framed, tag=50):
    """A committed publication of `ch`: one per gateway that has subscribers (FAN-1). `m` is the `m` object
    as JSON without `cid`; `hide` lists users who must get a `skip` instead (blocked with the sender).
    """

    ch: str
    offset: int
    m: JSON
    user: str
    cid: str = ""
    hide: list[str] | None = None
    epoch: str = ""
    """Of a room in memory: what an activation says that does not know yet that it was replaced is not taken
    for its successor's. A durable room's commits are fenced, and its epoch stays."""


class PushEphemeral(Framed, tag=51):
    """An ephemeral event: `e` is {"u","d"} as JSON; the sender's own connection `conn` does not get it."""

    ch: str
    e: JSON
    conn: str
    hide: list[str] | None = None


class PushMap(Framed, tag=52):
    """A map delta: `k` is the JSON list of rows [key, "+"|"~"|"-", data, version]; `shadow` the same as
    key → version (-1: removed) so that the gateway can hand the view to a new activation.
    """

    ch: str
    offset: int
    k: JSON
    shadow: dict[str, int]


class PushPresence(Framed, tag=53):
    """A presence diff of `ch`: `joins` and `leaves` are JSON lists of metas, of one user (`user`) or, where
    nobody is hidden, of several ("").
    """

    ch: str
    user: str
    joins: JSON
    leaves: JSON
    hide: list[str] | None = None
    said: int = 0
    """Rises by one with each diff of the room; see `actors.attendance.Attendance.said`."""


class PushCounts(Framed, tag=83):
    """Counters of `ch` for its passive subscribers: living `stream` and `cache` subscriptions, top offset."""

    ch: str
    subs: int
    offset: int


class PushPeople(Framed, tag=89):
    """How many are in a room whose presence is a sample now; or, not `sampled`, that it is complete again."""

    ch: str
    count: int
    sampled: bool
    said: int = 0


class PushTop(Framed, tag=88):
    """How far `ch` is: whoever has less has missed something on the way."""

    ch: str
    offset: int


class Unsubscribed(Framed, tag=54):
    """The actor ended subscriptions of `user` on `ch` (removed from the room, blocked); close code or 0."""

    ch: str
    user: str
    code: int
    reason: str


Pushed = Push | PushEphemeral | PushMap | PushPresence | PushCounts | PushPeople | PushTop | Unsubscribed


# -- relays of large rooms (relay.py) ------------------------------------------------------------------


class Relayed(Framed, tag=84):
    """A room's shard to another one: pass `message` on to these gateways (incarnations)."""

    gateways: list[str]
    message: Pushed


class RelayFence(Framed, tag=85):
    """Replied {} when these gateways have got all that was sent to them this way."""

    rid: int
    gateways: list[str]


class Fence(Framed, tag=86):
    """To a gateway, which replies at once: what was sent before has arrived."""

    rid: int


class Unrelayed(Framed, tag=87):
    """A relay to a room's shard: the gateway can't be reached from here; the last messages may be lost."""

    gateway: str
    relay: int
    """The number of the shard that says so."""
