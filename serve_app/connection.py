"""The outgoing side of one socket: what waits for the tick, and what waits for a slow reader (FAN-4).

A healthy socket has nothing waiting: the hub hands it finished messages and the transport gives them to
the kernel. When the kernel takes no more, messages stay here, shared with the other members, until the
reader comes back or has fallen too far behind.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from serve_app.frames import HEADROOM, MESSAGE_LIMIT_BYTES, Codec

if TYPE_CHECKING:
    from serve_app.channel import Channel
    from serve_app.hub import Hub, Subscription

SOFT_LIMIT_BYTES = 256 * 1024
"""More than this waiting: ephemeral frames are dropped and map rows conflated."""

HARD_LIMIT_BYTES = 1024 * 1024
"""More than this waiting: the reader is cut off (3008). What it missed, it recovers."""

STALL_LIMIT_S = 5.0
"""Nothing taken for so long: cut off as well."""


class Transport(Protocol):
    """A WebSocket of some library."""

    def send(self, message: bytearray) -> None:
        """Sends one message: HEADROOM free bytes, then the payload. The bytes are shared: the transport
        may write its header into the head room and keeps no reference after `paused` has returned.
        """

    def close(self, code: int, reason: str) -> None:
        """Sends a close frame behind what is on its way and gives the peer a moment to answer."""

    def abort(self) -> None:
        """Drops the socket at once."""


class Owner(Protocol):
    """Who decides what becomes of a connection: its session."""

    def slow(self) -> None:
        """The reader is too far behind."""

    def lost(self, reason: str) -> None:
        """A subscription's position can't be recovered."""

    def ended(self, channel: "Channel", code: int, reason: str) -> None:
        """An actor ended a subscription: a code of the error table, or a close code."""


class Connection:
    """One socket that frames go out to."""

    __slots__ = (
        "backlog",
        "backlog_bytes",
        "birth",
        "codec",
        "corked",
        "device",
        "hub",
        "id",
        "owner",
        "pending",
        "since_ms",
        "slot",
        "stalled_since_s",
        "subscriptions",
        "transport",
        "user",
        "write",
    )  # fmt: skip

    def __init__(self, hub: "Hub", transport: Transport, codec: Codec, owner: Owner) -> None:
        self.hub = hub
        self.owner = owner
        self.transport = transport
        self.codec = codec
        self.user = ""
        self.slot = 0
        """The user's."""
        self.id = ""
        self.device = ""
        self.since_ms = 0
        self.birth = 0
        """Of the last word to the user's actor that this connection is here (online.py)."""
        self.write: Callable[[bytearray], None] = transport.send
        """Where a finished message goes: the transport, or the backlog while the socket takes none."""
        self.pending: bytearray | list[bytes] | None = None
        """For the next tick: frames of its own, or one message that it shares with others."""
        self.corked = False
        """Frames wait for the reply to `connect`, which must be the first."""
        self.backlog: deque[bytearray] | None = None
        self.backlog_bytes = 0
        self.stalled_since_s: float | None = None
        self.subscriptions: dict[str, Subscription] = {}
        """By internal channel."""

    @property
    def is_slow(self) -> bool:
        """Whether droppable frames should be dropped."""
        return self.backlog_bytes > SOFT_LIMIT_BYTES

    @property
    def pending_bytes(self) -> int:
        """What waits for the tick; for longer only while the reply to `connect` is not there."""
        pending = self.pending
        if pending is None:
            return 0
        return sum(map(len, pending)) if isinstance(pending, list) else len(pending)

    def queue(self, frame: bytes) -> None:
        """Sends one frame of its own at the next tick."""
        pending = self.pending
        if pending is None:
            self.pending = [frame]
            self.hub.tick.wakes(self)
        elif isinstance(pending, list):
            pending.append(frame)
        else:
            self.pending = [bytes(pending[HEADROOM:]), frame]

    def uncork(self, first: bytes) -> None:
        """Puts `first` before all that waited for it."""
        self.corked = False
        waiting, self.pending = self.pending, None
        self.queue(first)
        if waiting is not None:
            frames = waiting if isinstance(waiting, list) else [bytes(waiting[HEADROOM:])]
            for frame in frames:
                self.queue(frame)

    def flush(self) -> None:
        """Writes what is pending. The hub calls it once a tick."""
        pending = self.pending
        if pending is None or self.corked:
            return
        self.pending = None
        if not isinstance(pending, list):
            self.write(pending)
            return
        for message in joined(self.codec, pending):
            self.write(message)

    # -- a slow reader --------------------------------------------------------------------------------

    def paused(self, now_s: float) -> None:
        """The transport holds bytes that the kernel did not take."""
        self.stalled_since_s = now_s
        self.write = self._hold
        if self.backlog is None:
            self.backlog = deque()

    def resumed(self) -> None:
        """The transport holds nothing any more."""
        self.stalled_since_s = None
        backlog = self.backlog
        while backlog and self.stalled_since_s is None:
            message = backlog.popleft()
            self.backlog_bytes -= len(message)
            self.transport.send(message)
        if self.stalled_since_s is None:
            self.write = self.transport.send
            self.backlog = None
            self.hub.caught_up(self)

    def _hold(self, message: bytearray) -> None:
        backlog = self.backlog
        if backlog is None:
            return
        if self.backlog_bytes > HARD_LIMIT_BYTES:
            self.owner.slow()
            return
        backlog.append(message)
        self.backlog_bytes += len(message)

    def discard(self) -> None:
        """Forgets everything that waits: the socket is closing."""
        self.pending = None
        self.backlog = None
        self.backlog_bytes = 0
        self.stalled_since_s = None
        self.write = _nowhere


def _nowhere(_: bytearray) -> None:
    pass


def joined(codec: Codec, frames: list[bytes]) -> list[bytearray]:
    """Messages of at most MESSAGE_LIMIT_BYTES each, unless one frame alone is longer."""
    if sum(map(len, frames)) + len(frames) <= MESSAGE_LIMIT_BYTES:
        return [codec.message(frames)]
    messages: list[bytearray] = []
    batch: list[bytes] = []
    size = 0
    for frame in frames:
        if batch and size + len(frame) + 1 > MESSAGE_LIMIT_BYTES:
            messages.append(codec.message(batch))
            batch, size = [], 0
        batch.append(frame)
        size += len(frame) + 1
    messages.append(codec.message(batch))
    return messages
