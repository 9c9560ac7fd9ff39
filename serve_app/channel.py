"""A channel on this gateway: its members here, and what they are to get at the next tick (FAN-1, D6).

Frames are kept as JSON and joined once per encoding; every member is handed the same message. A few
members get something of their own: the sender (with `cid`), whoever may not see a publication (a skip or
nothing), whoever joined in the middle of a tick, and slow readers.
"""

from typing import Any

import msgspec

from actors import messages as wire
from actors.filters import fits
from actors.metrics import counter
from serve_app.connection import Connection
from serve_app.frames import HEADROOM, JSON, PACKED, Codec

_frames, _deliveries = counter("frames"), counter("deliveries")
_ephemerals_dropped = counter("drops", reason="ephemeral to a slow reader")


class _Said(msgspec.Struct):
    """An `m`, of which only the body is looked at."""

    d: Any


_to_json = msgspec.json.Encoder().encode
_said_of = msgspec.json.Decoder(_Said).decode
_rows_of = msgspec.json.Decoder(list[list[Any]]).decode


class Channel:
    """What all kinds have in common."""

    __slots__ = (
        "cuts", "droppable", "frames", "head", "heard", "heard_epoch", "holders", "is_dirty", "n", "name",
        "packed", "plain", "size", "users", "variants",
    )  # fmt: skip

    def __init__(self, name: str, n: int) -> None:
        self.name = name
        """Internal name."""
        self.n = n
        """The channel's number in pushes: the same for every member here, so that frames are shared."""
        self.head = b'{"p":%d,' % n
        self.holders = 0
        """Subscriptions, with those that wait for their reply."""
        self.heard = 0
        """The newest number that was pushed while nobody here could take it: by another owner, perhaps, than
        the one whose reply is on its way. Whoever joins below it has missed something.
        """
        self.heard_epoch = ""
        """The epoch that `heard` is of, where pushes name one."""
        self.plain: dict[Connection, None] = {}
        self.packed: dict[Connection, None] = {}
        self.users: dict[str, list[Connection]] = {}
        self.frames: list[bytes] = []
        self.size = 0
        self.is_dirty = False
        self.variants: dict[Connection, dict[int, bytes]] = {}
        """Connection → index of a frame → what it gets in its place; empty: nothing."""
        self.cuts: dict[Connection, int] = {}
        """Connection → the first frame of this tick that it still has to get."""
        self.droppable: set[int] = set()

    # -- members --------------------------------------------------------------------------------------

    def has(self, connection: Connection) -> bool:
        """Whether the connection is a member, which gets pushes."""
        return connection in self.plain or connection in self.packed

    def members(self) -> list[Connection]:
        """All members."""
        return [*self.plain, *self.packed]

    def add(self, connection: Connection) -> None:
        """Makes it a member from here on: it gets none of the frames that wait already."""
        (self.packed if connection.codec.packed else self.plain)[connection] = None
        self.users.setdefault(connection.user, []).append(connection)
        if self.frames:
            self.cuts[connection] = len(self.frames)

    def remove(self, connection: Connection) -> None:
        """It gets nothing any more."""
        if not self.has(connection):
            return
        (self.packed if connection.codec.packed else self.plain).pop(connection)
        own = self.users[connection.user]
        own.remove(connection)
        if not own:
            del self.users[connection.user]
        self.variants.pop(connection, None)
        self.cuts.pop(connection, None)

    # -- a tick ---------------------------------------------------------------------------------------

    def put(self, frame: bytes) -> int:
        """Adds a frame for everybody. Returns its index, for `instead`."""
        self.frames.append(frame)
        self.size += len(frame) + 1
        return len(self.frames) - 1

    def instead(self, connection: Connection, index: int, frame: bytes) -> None:
        """Gives one member something else in that frame's place."""
        self.variants.setdefault(connection, {})[index] = frame

    def settle(self, connection: Connection) -> None:
        """Hands a member what waits for it now, so that what is queued next comes after it (RT-6)."""
        if self.frames and self.has(connection):
            codec = connection.codec
            for frame in self._own_frames(connection, [codec.from_json(frame) for frame in self.frames]):
                connection.queue(frame)
            self.cuts[connection] = len(self.frames)

    def spill(self, woken: list[Connection]) -> None:
        """Hands this tick's frames to all members; those that had nothing pending are added to `woken`."""
        self.is_dirty = False
        frames = self.frames
        if not frames:
            return
        _frames.n += len(frames)
        _deliveries.n += len(frames) * (len(self.plain) + len(self.packed))
        apart = self._apart()
        if self.plain:
            self._share(JSON, self.plain, frames, apart, woken)
        if self.packed:
            self._share(PACKED, self.packed, [PACKED.from_json(frame) for frame in frames], apart, woken)
        self.frames, self.size = [], 0
        self.variants, self.cuts, self.droppable = {}, {}, set()

    def _apart(self) -> set[Connection]:
        """Those that get something of their own."""
        apart = self.variants.keys() | self.cuts.keys()
        if self.droppable:
            apart |= {connection for connection in self.members() if connection.is_slow}
        return apart

    def _own_frames(self, connection: Connection, frames: list[bytes]) -> list[bytes]:
        """What one member gets of this tick's `frames`, which are in its encoding."""
        variants = self.variants.get(connection)
        drops = connection.is_slow and self.droppable
        own = frames[:]
        if variants is not None:
            for index, frame in variants.items():
                own[index] = connection.codec.from_json(frame) if frame else b""
        if drops:
            _ephemerals_dropped.n += len(self.droppable)
            for index in self.droppable:
                own[index] = b""
        own = own[self.cuts.get(connection, 0) :]
        return own if variants is None and not drops else [frame for frame in own if frame]

    def _share(
        self,
        codec: Codec,
        members: dict[Connection, None],
        frames: list[bytes],
        apart: set[Connection],
        woken: list[Connection],
    ) -> None:
        """One message for all but those apart; behind whatever else a member has pending."""
        shared = codec.message(frames)
        shared_body: bytes | None = None
        for connection in members:
            message = shared
            if apart and connection in apart:
                own = self._own_frames(connection, frames)
                if not own:
                    continue
                message = codec.message(own)
            pending = connection.pending
            if pending is None:
                connection.pending = message
                woken.append(connection)
                continue
            if message is shared and shared_body is None:
                shared_body = bytes(shared[HEADROOM:])
            body = shared_body if message is shared else bytes(message[HEADROOM:])
            assert body is not None
            if isinstance(pending, list):
                pending.append(body)
            else:
                connection.pending = [bytes(pending[HEADROOM:]), body]


class StreamChannel(Channel):
    """Publications with rising offsets: `room:*`, `me`, `fences`."""

    __slots__ = ("epoch", "filters", "floors", "offset")

    def __init__(self, name: str, n: int) -> None:
        super().__init__(name, n)
        self.epoch = ""
        self.filters: dict[Connection, dict[str, Any]] = {}
        """Members who want only some publications."""
        self.offset = 0
        """Of the newest publication that the members got, or have waiting."""
        self.floors: dict[Connection, int] = {}
        """Members whose `sub` reply was ahead of the others: they get nothing up to this offset (RT-3)."""

    def remove(self, connection: Connection) -> None:
        super().remove(connection)
        self.floors.pop(connection, None)
        self.filters.pop(connection, None)

    def publish(self, push: wire.Push) -> None:
        """The next publication, for all; the sender's own carries its `cid`, who may not see it skips."""
        self.offset = push.offset
        index = self.put(self.head + b'"m":' + push.m + b"}")
        if push.cid and push.user in self.users:
            own = self.head + b'"m":' + push.m[:-1] + b',"cid":' + _to_json(push.cid) + b"}}"
            for connection in self.users[push.user]:
                self.instead(connection, index, own)
        if push.hide:
            skip = self.head + b'"skip":%d}' % push.offset
            for user in push.hide:
                for connection in self.users.get(user, ()):
                    self.instead(connection, index, skip)
        self._sift(push, index)
        if self.floors:
            for connection, floor in list(self.floors.items()):
                if push.offset <= floor:
                    self.instead(connection, index, b"")
                if push.offset >= floor:
                    del self.floors[connection]

    def _sift(self, push: wire.Push, index: int) -> None:
        """Who does not want it skips it."""
        if not self.filters:
            return
        d = _said_of(push.m).d
        skip = self.head + b'"skip":%d}' % push.offset
        for connection, wanted in self.filters.items():
            if not fits(wanted, d):
                self.instead(connection, index, skip)

    def ephemeral(self, push: wire.PushEphemeral, sender: Connection | None) -> None:
        """An event for whoever keeps up, but for the connection that sent it."""
        index = self.put(self.head + b'"e":' + push.e + b"}")
        self.droppable.add(index)
        for user in push.hide or ():
            for connection in self.users.get(user, ()):
                self.instead(connection, index, b"")
        if sender is not None and self.has(sender):
            self.instead(sender, index, b"")


class CountsChannel(Channel):
    """Of a stream only its counters."""

    __slots__ = ()

    def counts(self, push: wire.PushCounts) -> None:
        """They changed."""
        self.put(self.head + b'"counts":{"subs":%d,"offset":%d}}' % (push.subs, push.offset))


class NearChannel(Channel):
    """A map of one subscription: at most one frame a tick, conflated per key."""

    __slots__ = ("epoch", "offset", "rows", "shadow")

    def __init__(self, name: str, n: int) -> None:
        super().__init__(name, n)
        self.epoch = ""
        self.offset = 0
        self.rows: dict[str, list[Any]] = {}
        self.shadow: dict[str, int] = {}
        """Key → version that the member holds or has waiting, for the next activation."""

    def change(self, rows: list[list[Any]], offset: int, shadow: dict[str, int]) -> None:
        """Rows [key, "+"|"~"|"-", data, version] for the member."""
        self.offset = max(self.offset, offset)
        for row in rows:
            before = self.rows.get(row[0])
            if before is not None and before[1] == "+" and row[1] == "~":
                row = [row[0], "+", *row[2:]]  # noqa: PLW2901 - the member has never seen the key
            self.rows[row[0]] = row
        for key, version in shadow.items():
            if version < 0:
                self.shadow.pop(key, None)
            else:
                self.shadow[key] = version

    def delta(self, push: wire.PushMap) -> None:
        """A delta of the actor."""
        self.change(_rows_of(push.k), push.offset, push.shadow)

    def spill(self, woken: list[Connection]) -> None:
        if self.rows and any(connection.is_slow for connection in self.members()):
            self.is_dirty = False
            return
        self._put_rows()
        super().spill(woken)

    def settle(self, connection: Connection) -> None:
        self._put_rows()
        super().settle(connection)

    def _put_rows(self) -> None:
        if self.rows:
            self.put(self.head + b'"o":%d,"k":' % self.offset + _to_json(list(self.rows.values())) + b"}")
            self.rows = {}
