"""What an app sees: of its connection, and of each channel that it follows."""

from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict


class Meta(TypedDict):
    """One subscription of somebody who is present."""

    u: str
    ref: str
    device: NotRequired[str]
    since: NotRequired[int]
    prev: NotRequired[str]
    info: NotRequired[Any]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a stream."""

    epoch: str
    offset: int


# -- of the connection ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connecting:
    """A socket is being opened."""


@dataclass(frozen=True, slots=True)
class Online:
    """The engine took us. `resumed`: the session before goes on."""

    user: str
    session: str
    resumed: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """The connection is lost; the next attempt comes after `delay_ms`."""

    delay_ms: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """No attempt comes any more: the app closed (1000), or the engine said to stay away (3500-3999)."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Warned:
    """The engine refused something that waits for no answer."""

    code: int
    reason: str


ConnectionEvent = Connecting | Online | Waiting | Stopped | Warned

# -- of a channel -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The channel is live. `recovered`: everything since our position follows, nothing is missing."""

    channel: str
    mode: str
    recovered: bool
    epoch: str | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Publications between `since` and `offset` did not come and will not by themselves. In the same epoch
    `Client.missed` pages them; another epoch means that the stream began anew.
    """

    channel: str
    since: Position
    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class Publication:
    """The next entry of a stream. `user` is empty where the engine speaks; `cid` stands on our own."""

    channel: str
    offset: int
    time_ms: int
    id: str
    user: str
    data: Any
    cid: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A row of a map that came, changed (`before` is what it was) or went (`removed`)."""

    key: str
    removed: bool
    data: Any = None
    version: int | None = None
    before: Any = None


@dataclass(frozen=True, slots=True)
class Rows:
    """A map changed; the subscription's `rows` holds the whole of it."""

    channel: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Presence:
    """Who came and who went; the subscription's `metas` holds all. A meta with `prev` took that one's place,
    which is not among `left`.
    """

    channel: str
    joined: tuple[Meta, ...]
    left: tuple[Meta, ...]


@dataclass(frozen=True, slots=True)
class Sampled:
    """How many are in a large room. While `sampled`, `metas` holds some of them and nobody's coming and going
    is told; no more `sampled`: everybody who is there comes anew.
    """

    channel: str
    count: int
    sampled: bool


@dataclass(frozen=True, slots=True)
class Ephemeral:
    """Typing, cursors: somebody's event that is stored nowhere."""

    channel: str
    user: str
    data: Any


@dataclass(frozen=True, slots=True)
class Counted:
    """Counters of a `passive` subscription: `subs` and `offset`."""

    channel: str
    counts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """The subscription is over: refused, or taken away. `code` is of the protocol's table."""

    channel: str
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Lagged:
    """The app read too slowly: `dropped` events were let go. Of a stream, they lay after `since` up to
    `offset`: `Client.missed` pages them. A map's or presence's view is right all the same.
    """

    channel: str
    dropped: int
    since: Position | None = None
    offset: int | None = None


CoreChannelEvent = Subscribed | Gap | Publication | Rows | Presence | Sampled | Ephemeral | Counted | Ended
ChannelEvent = CoreChannelEvent | Lagged
