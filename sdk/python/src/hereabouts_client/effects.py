"""What the core asks of whoever drives it, besides telling events."""

from dataclasses import dataclass
from typing import Any, Literal

from hereabouts_client.events import ConnectionEvent, CoreChannelEvent

Frame = dict[str, Any]

Kind = Literal["refused", "lost", "closed", "full", "offline", "duplicate"]
"""refused: by the engine, with a code · lost: the connection broke before the answer · closed: for good ·
full: the queue is at its bound · offline: needs a connection · duplicate: this cid waits already."""


@dataclass(frozen=True, slots=True)
class Dial:
    """Get a token (a new one if `fresh`), open a socket (to `to` if given), then say `opened` or `failed`."""

    fresh: bool
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Send a frame; several in a row may share a message."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the socket with this code, wait for nothing, and hear nothing more of it."""

    code: int


@dataclass(frozen=True, slots=True)
class Renew:
    """Get a new token and say `renewed`."""


@dataclass(frozen=True, slots=True)
class Published:
    """A publication has its place."""

    cid: str
    channel: str
    offset: int
    time_ms: int
    id: str
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Unpublished:
    """A publication failed for good."""

    cid: str
    channel: str
    kind: Kind
    code: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Replied:
    """The answer to a command."""

    ref: int
    result: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """A command failed. `temporary`: the same one may succeed later."""

    ref: int
    kind: Kind
    code: int | None = None
    reason: str | None = None
    temporary: bool = False
    retry_ms: int | None = None


Effect = Dial | Send | HangUp | Renew | Published | Unpublished | Replied | Failed
Output = Effect | ConnectionEvent | CoreChannelEvent
