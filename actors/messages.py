"""What crosses the link: requests to virtual actors, their replies, and pushes to gateways.

Each message is a tagged MessagePack array (msgspec), decoded in one pass per batch. `d` and message
bodies are canonical JSON bytes: decoded once at ingress, transcoded for a MessagePack client at the
gateway that needs it. `ch` is an *internal* channel name:

    room:<room>              stream   actor room:<room>
    fence:<fence>            stream   actor fence:<fence>
    fence:<fence>@map#<conn> map      actor fence:<fence>
    presence:room:<room>     map      actor room:<room>
    me@<user>, fences@<user> stream   actor user:<user>
    near@<user>#<conn>       map      actor user:<user> (one per subscription: filters differ)
    presence:matches@<user>  map      actor user:<user>
    share:<id>@<user>#<conn> map      actor user:<user>, who looks at it
    scores@<user>#<conn>     map      actor user:<user>
"""

from typing import Any

from actors.match_messages import Matched, MatchQuery
from actors.mate_messages import MateGrant, MateRow, Mates
from actors.person_messages import Away, Here, MatchOnline, OnlineChanged, WatchOnline
from actors.position_messages import ForgetPositions, Position, Positions, PositionsTaken, TrailQuery
from actors.push_messages import (
    JSON,
    Fence,
    Push,
    PushCounts,
    Pushed,
    PushEphemeral,
    PushMap,
    PushPeople,
    PushPresence,
    PushTop,
    Relayed,
    RelayFence,
    Unrelayed,
    Unsubscribed,
)
from actors.reading_messages import DynamicsQuery, SetTerms
from actors.region_messages import (
    RegionCheck,
    RegionCrowd,
    RegionEnter,
    RegionFollow,
    RegionLeave,
    RegionNews,
    RegionRow,
)
from actors.score_messages import TallyChanged
from actors.share_messages import ShareShown, ShareWatch, WatchersQuery
from actors.slot_messages import (
    Barrier,
    Framed,
    Hello,
    HoldsQuery,
    Load,
    Pulse,
    Retire,
    Seal,
    StatusQuery,
    Take,
    Unseal,
    View,
    ViewQuery,
)
from actors.stay_messages import StayQuery

__all__ = [
    "JSON", "Away", "Barrier", "DynamicsQuery", "Fence", "ForgetPositions", "Framed", "Hello", "Here",
    "HoldsQuery", "Load", "MatchOnline", "MatchQuery", "Matched", "MateGrant", "MateRow", "Mates",
    "OnlineChanged", "Position", "Positions", "PositionsTaken", "Pulse", "Push", "PushCounts",
    "PushEphemeral", "PushMap", "PushPeople", "PushPresence", "PushTop", "Pushed", "RegionCheck",
    "RegionCrowd", "RegionEnter", "RegionFollow", "RegionLeave", "RegionNews", "RegionRow", "RelayFence",
    "Relayed", "Retire", "Seal", "SetTerms", "ShareShown", "ShareWatch", "StatusQuery", "StayQuery", "Take",
    "TallyChanged", "TrailQuery", "Unrelayed", "Unseal", "Unsubscribed", "View", "ViewQuery", "WatchOnline",
    "WatchersQuery",
]  # fmt: skip
"""What this takes from its neighbours, `*_messages.py`; everybody has all messages from here."""


# -- to a virtual actor: `rid` is set by the router, 0 where no reply is wanted ------------------------


class Subscribe(Framed, tag=1):
    """A connection wants a channel. Replied with the `sub` result (a dict as in docs/protocol.md §2)."""

    rid: int
    ch: str
    user: str
    conn: str
    device: str
    since_ms: int
    mode: str = "stream"
    epoch: str = ""
    offset: int = -1
    limit: int = 0
    filter: dict[str, Any] | None = None
    info: JSON | None = None
    shadow: dict[str, int] | None = None
    """Map channels after a hand-over: key → version that the connection already holds, so that the new
    activation continues (epoch, offset) with deltas instead of starting over."""
    birth: int = 0
    """The gateway's clock, which rises with every Subscribe that it sends (PRE-1); 0: it keeps none."""
    settled: int = 0
    """Everything born up to there was answered or has ended: a Subscribe that old is a late copy."""


class Unsubscribe(Framed, tag=2):
    """A connection left a channel. `clean` is false when the socket was lost: presence lingers 15 s."""

    rid: int
    ch: str
    user: str
    conn: str
    clean: bool = True
    birth: int = 0
    """Of the Subscribe that ends, see there; what was born later goes on."""
    settled: int = 0


class Publish(Framed, tag=3):
    """A publication. `ack` is none, relay or durable, or empty for the best that the room has; replied with
    {"o","t","i","dup"} unless none.
    """

    rid: int
    ch: str
    user: str
    conn: str
    d: JSON
    cid: str = ""
    ack: str = "durable"


class Ephemeral(Framed, tag=4):
    """Typing, cursors: delivered to whoever is there, stored nowhere, droppable."""

    rid: int
    ch: str
    user: str
    conn: str
    d: JSON


class History(Framed, tag=6):
    """A page of a stream. `offset` -1: from the newest end. Replied {"pubs","epoch","offset","more"}."""

    rid: int
    ch: str
    user: str
    limit: int
    epoch: str = ""
    offset: int = -1
    reverse: bool = False
    before: int = -1
    """With `before` > 0: the page that ends just below this offset, ascending (HTTP `before=`)."""


class PresenceQuery(Framed, tag=7):
    """Who is in a room now. Replied {"metas","count"}."""

    rid: int
    ch: str
    user: str


class NearQuery(Framed, tag=8):
    """One look at who is near `user`. Replied {"items":[{"user","cell","band","score"?,"model"?}]}: scores
    with `scores`, and with `min_score` only who is known to have one as high.
    """

    rid: int
    user: str
    radius_m: float
    limit: int
    audience: str = "everyone"
    online: bool = False
    scores: bool = False
    min_score: float | None = None


class Refresh(Framed, tag=9):
    """What an actor caches of Postgres has changed: read it again. Replied {} when done."""

    rid: int
    kind: str
    key: str


class Told(Framed, tag=80):
    """Gateway to shard: all that it holds in these slots it has told to their activations of these epochs;
    what it told before and was born up to `settled` is no more.
    """

    slots: list[int]
    epochs: list[int]
    settled: int


class RowsTold(Framed, tag=81):
    """The shard to each of its rooms: what `Told` means for it."""

    rid: int
    ch: str
    settled: int


class Vacant(Framed, tag=82):
    """Gateway to room: nobody here has held the channel for a while; nothing born up to `clock` lives."""

    rid: int
    ch: str
    clock: int


# -- shard to shard ------------------------------------------------------------------------------------


class Remind(Framed, tag=77):
    """To an actor: the time of one of its reminders has come (reminders.py). `data` is JSON text."""

    rid: int
    kind: str
    key: str
    name: str
    data: str


class Crossing(Framed, tag=24):
    """User actor to room actor: a fence that is bound to the room was crossed. The room's shard writes
    event, membership and room event in one transaction, fenced by both slots. Replied {"applied": bool,
    "offset": of the event in the person's `fences` stream, 0 if it is not known}. `due_ms` is when the
    visit's reminder is due.
    """

    rid: int
    room: str
    user: str
    user_slot: int
    user_epoch: int
    fence: str
    visit: int
    event: str
    body: JSON
    at_ms: int
    id: str
    confidence: float
    due_ms: int | None


class FenceMoved(Framed, tag=140):
    """A person's actor to that of a fence, if it is live: its log has something new."""

    rid: int
    fence: str


# -- answers ---------------------------------------------------------------------------------------------


class Reply(Framed, tag=40):
    """A request succeeded."""

    rid: int
    ok: Any = None


class Failure(Framed, tag=41):
    """A request failed with a code of the table."""

    rid: int
    code: int
    message: str
    retry_ms: int | None = None


# -- slots that move; the rest is in slot_messages.py --------------------------------------------------------


class Bounced(Framed, tag=74):
    """From a shard: this message was for a slot that another shard has now, nothing came of it. In the order
    in which the messages arrived.
    """

    message: "Request"


class Drain(Framed, tag=120):
    """To a gateway: take no more sockets, send everybody away. Replied {"sockets": n} when they are gone."""

    rid: int


Request = (
    Subscribe | Unsubscribe | Publish | Ephemeral | Position | History | PresenceQuery | NearQuery | Refresh
    | ViewQuery | RowsTold | Vacant | RegionEnter | RegionLeave | RegionFollow | RegionCheck | RegionCrowd
    | Crossing | FenceMoved | StatusQuery | Drain | RelayFence | Remind | Retire | Seal | Take | Barrier
    | HoldsQuery
    | Here | Away | WatchOnline | MatchOnline | OnlineChanged | ShareWatch | ShareShown | WatchersQuery
    | StayQuery | TrailQuery | ForgetPositions | TallyChanged | SetTerms | DynamicsQuery
)  # fmt: skip
Message = (
    Request | Reply | Failure | Pushed | Hello | View | Told | Unseal | Bounced | Load | Relayed | Fence
    | Unrelayed | Pulse | Positions | PositionsTaken | RegionNews | Mates | MatchQuery | Matched
)  # fmt: skip
