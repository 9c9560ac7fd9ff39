"""Local fan-out: the channels that somebody on this gateway hears, and the tick that writes them (FAN-1, D6).

Pushes of a tick become one message per channel and encoding, handed to every member's socket. When slots
move to a new activation the hub subscribes again for its members and tells them what they missed.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import msgspec

from actors import messages as wire
from actors.placement import slot_of
from actors.protocol import EngineError, ErrorCode
from actors.router import Router, owner_of
from serve_app.channel import Channel, NearChannel, StreamChannel
from serve_app.connection import Connection
from serve_app.frames import MESSAGE_LIMIT_BYTES
from serve_app.presence import PresenceChannel

TICK_S = 0.004
"""The longest that a push waits for others. An idle gateway does not wait at all."""

REST_FACTOR = 4
"""After a flush the hub gathers for this many times what the flush took, at most a tick: the busier, the
more frames share a write."""

PRESENCE_SETTLES_S = 1.5
"""After this, gateways have announced their members to a new activation: who is missing has left."""

RESUBSCRIBE_RETRY_S = 0.5
RESUBSCRIBE_TRIES = 60
RACE_TRIES = 3

Done = Callable[[Any, EngineError | None], None]

_to_json = msgspec.json.Encoder().encode


@dataclass(slots=True, eq=False)
class Subscription:
    """One connection on one channel."""

    channel: Channel
    connection: Connection
    message: wire.Subscribe
    is_live: bool = False
    is_gone: bool = False
    tries: int = 0


class Hub:
    """All channels with subscribers on this gateway."""

    def __init__(
        self,
        router: Router,
        *,
        clock: Callable[[], float] = time.monotonic,
        tick_s: float = TICK_S,
    ) -> None:
        self.router = router
        self.clock = clock
        self._tick_s = tick_s
        self._channels: dict[str, Channel] = {}
        self._by_number: dict[int, Channel] = {}
        self._numbers = count(1)
        self._connections: dict[str, Connection] = {}
        self._loop = asyncio.get_running_loop()
        self._dirty: list[Channel] = []
        self._woken: list[Connection] = []
        self._scheduled = False
        self._rests_until_s = 0.0

    # -- subscriptions --------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """A connection has a user now."""
        self._connections[connection.id] = connection

    def channel(self, name: str) -> Channel | None:
        """The channel of this internal name, if anybody here holds it."""
        return self._channels.get(name)

    def numbered(self, n: int) -> Channel | None:
        """The channel with this number in pushes."""
        return self._by_number.get(n)

    def subscribe(self, connection: Connection, message: wire.Subscribe, done: Done) -> None:
        """Asks the actor for `message.ch`; the connection is a member from its reply on. `done` is called
        at that moment: what it queues comes before any push with a higher offset (RT-3).
        """
        channel = self._channels.get(message.ch)
        if channel is None:
            channel = _new_channel(message.ch, next(self._numbers))
            self._channels[message.ch] = self._by_number[channel.n] = channel
        channel.holders += 1
        subscription = Subscription(channel, connection, message)
        connection.subscriptions[message.ch] = subscription
        self._ask(subscription, partial(self._answered, subscription, done))

    def unsubscribe(self, connection: Connection, name: str, *, clean: bool) -> bool:
        """The connection leaves. False if it was not subscribed. Nothing of the channel is pushed after
        what is queued next.
        """
        subscription = connection.subscriptions.pop(name, None)
        if subscription is None:
            return False
        subscription.channel.settle(connection)
        self._release(subscription)
        self._leave(subscription, clean=clean)
        return True

    def dropped(self, connection: Connection, *, clean: bool) -> None:
        """The socket is gone, with all its subscriptions."""
        self._connections.pop(connection.id, None)
        subscriptions, connection.subscriptions = connection.subscriptions, {}
        for subscription in subscriptions.values():
            self._release(subscription)
            self._leave(subscription, clean=clean)

    def positions(self, connection: Connection) -> dict[str, int]:
        """The newest offset of each stream that the connection hears, by number (`tops`)."""
        return {
            str(s.channel.n): s.channel.offset
            for s in connection.subscriptions.values()
            if s.is_live and isinstance(s.channel, StreamChannel)
        }

    def _ask(self, subscription: Subscription, done: Done) -> None:
        message = msgspec.structs.replace(subscription.message)
        self.router.call(*owner_of(message.ch), message, done)

    def _answered(
        self, subscription: Subscription, done: Done, reply: Any, error: EngineError | None
    ) -> None:
        if subscription.is_gone:
            if error is None:
                self._leave(subscription, clean=True)
            return
        connection, channel = subscription.connection, subscription.channel
        if error is not None:
            connection.subscriptions.pop(channel.name, None)
            self._release(subscription)
            done(None, error)
            return
        if self._is_behind(channel, reply) and subscription.tries < RACE_TRIES:
            subscription.tries += 1
            self._ask(subscription, partial(self._answered, subscription, done))
            return
        subscription.tries = 0
        self._join(subscription, reply)
        done(reply, None)

    @staticmethod
    def _is_behind(channel: Channel, reply: Any) -> bool:
        """Whether members have been told more than the reply knows: it would leave a hole."""
        return (
            isinstance(channel, StreamChannel)
            and bool(channel.plain or channel.packed)
            and reply["epoch"] == channel.epoch
            and reply["offset"] < channel.offset
        )

    def _join(self, subscription: Subscription, reply: Any) -> None:
        connection, channel = subscription.connection, subscription.channel
        if isinstance(channel, StreamChannel):
            if channel.plain or channel.packed:
                if channel.epoch != reply["epoch"]:
                    self._recover_all(channel)
                elif reply["offset"] > channel.offset:
                    channel.floors[connection] = reply["offset"]
            if not (channel.plain or channel.packed):
                channel.epoch, channel.offset = reply["epoch"], reply["offset"]
        elif isinstance(channel, NearChannel):
            channel.epoch, channel.offset = reply["epoch"], reply["offset"]
            channel.shadow = {row[0]: row[2] for row in reply.get("state", ())}
        channel.add(connection)
        if isinstance(channel, PresenceChannel):
            channel.begins(connection, reply.get("state", []))
        subscription.is_live = True

    def _release(self, subscription: Subscription) -> None:
        subscription.is_gone = True
        subscription.is_live = False
        channel = subscription.channel
        channel.remove(subscription.connection)
        channel.holders -= 1
        if channel.holders == 0:
            del self._channels[channel.name]
            del self._by_number[channel.n]

    def _leave(self, subscription: Subscription, *, clean: bool) -> None:
        name, connection = subscription.channel.name, subscription.connection
        message = wire.Unsubscribe(0, name, connection.user, connection.id, clean)
        self.router.cast(*owner_of(name), message)

    # -- pushes ---------------------------------------------------------------------------------------

    def pushed(self, message: wire.Pushed) -> None:
        """Takes a push of an actor: it leaves with the next tick."""
        channel = self._channels.get(message.ch)
        if channel is None or not channel.users:
            return
        kind = type(message)
        if kind is wire.Push:
            assert isinstance(channel, StreamChannel)
            if not channel.follows(message):  # type: ignore[arg-type]
                if message.offset > channel.offset:  # type: ignore[union-attr]
                    self._recover_all(channel)
                return
            channel.publish(message)  # type: ignore[arg-type]
        elif kind is wire.PushEphemeral and isinstance(channel, StreamChannel):
            channel.ephemeral(message, self._connections.get(message.conn))  # type: ignore[arg-type, union-attr]
        elif kind is wire.PushMap and isinstance(channel, NearChannel):
            channel.delta(message)  # type: ignore[arg-type]
        elif kind is wire.PushPresence and isinstance(channel, PresenceChannel):
            channel.change(message)  # type: ignore[arg-type]
        elif kind is wire.Unsubscribed:
            self._ended(channel, message)  # type: ignore[arg-type]
            return
        self._soils(channel)

    def _ended(self, channel: Channel, message: wire.Unsubscribed) -> None:
        for connection in list(channel.users.get(message.user, ())):
            subscription = connection.subscriptions.pop(channel.name)
            channel.settle(connection)
            self._release(subscription)
            connection.owner.ended(channel, message.code, message.reason)

    # -- the tick -------------------------------------------------------------------------------------

    def wakes(self, connection: Connection) -> None:
        """The connection has something pending."""
        self._woken.append(connection)
        if not self._scheduled:
            self._schedule()

    def caught_up(self, connection: Connection) -> None:
        """A slow reader has taken everything: what was conflated for it may go."""
        for subscription in connection.subscriptions.values():
            if isinstance(subscription.channel, NearChannel) and subscription.channel.rows:
                self._soils(subscription.channel)

    def _soils(self, channel: Channel) -> None:
        if not channel.is_dirty:
            channel.is_dirty = True
            self._dirty.append(channel)
            if not self._scheduled:
                self._schedule()
        if channel.size > MESSAGE_LIMIT_BYTES:
            self.flush()

    def _schedule(self) -> None:
        self._scheduled = True
        wait_s = self._rests_until_s - self.clock()
        if wait_s > 0:
            self._loop.call_later(wait_s, self._tick)
        else:
            self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Writes everything that waits: each channel's frames are joined once, each socket written once."""
        started_s = self.clock()
        dirty, self._dirty = self._dirty, []
        woken = self._woken
        scheduled, self._scheduled = self._scheduled, True
        for channel in dirty:
            channel.spill(woken)
        self._woken, self._scheduled = [], scheduled
        for connection in woken:
            pending = connection.pending
            if type(pending) is bytearray and not connection.corked:
                connection.pending = None
                connection.write(pending)
            else:
                connection.flush()
        ended_s = self.clock()
        self._rests_until_s = ended_s + min(self._tick_s, REST_FACTOR * (ended_s - started_s))

    # -- a new activation -------------------------------------------------------------------------------

    def slots_moved(self, slots: set[int]) -> None:
        """These slots have a new activation: subscribes again for whoever is here."""
        settling = []
        for channel in list(self._channels.values()):
            if slot_of(*owner_of(channel.name)) not in slots or not channel.users:
                continue
            if isinstance(channel, StreamChannel):
                self._recover_all(channel)
                continue
            for connection in channel.members():
                self._resume(connection.subscriptions[channel.name])
            if isinstance(channel, PresenceChannel):
                settling.append(channel)
        if settling:
            self._loop.call_later(PRESENCE_SETTLES_S, self._settle_presence, settling)

    def _recover_all(self, channel: StreamChannel) -> None:
        """The members get no pushes until the actor has said what comes after what they have."""
        channel.spill(self._woken)
        if self._woken and not self._scheduled:
            self._schedule()
        for connection in channel.members():
            subscription = connection.subscriptions[channel.name]
            offset = max(channel.offset, channel.floors.get(connection, 0))
            channel.remove(connection)
            subscription.is_live = False
            subscription.message = msgspec.structs.replace(
                subscription.message, epoch=channel.epoch, offset=offset, limit=0
            )
            self._ask(subscription, partial(self._recovered, subscription))

    def _recovered(self, subscription: Subscription, reply: Any, error: EngineError | None) -> None:
        if subscription.is_gone:
            if error is None:
                self._leave(subscription, clean=True)
            return
        connection, channel = subscription.connection, subscription.channel
        if error is not None:
            self._again(subscription, self._recovered, error)
            return
        if not reply["recovered"]:
            connection.owner.lost("this position can't be recovered")
            return
        if self._is_behind(channel, reply) and subscription.tries < RACE_TRIES:
            subscription.tries += 1
            self._ask(subscription, partial(self._recovered, subscription))
            return
        subscription.tries = 0
        expected = subscription.message.offset + 1
        for publication in reply["pubs"]:
            if publication["o"] > expected:
                connection.queue(connection.codec.encode({"p": channel.n, "skip": publication["o"] - 1}))
            connection.queue(connection.codec.encode({"p": channel.n, "m": publication}))
            expected = publication["o"] + 1
        if reply["offset"] >= expected:
            connection.queue(connection.codec.encode({"p": channel.n, "skip": reply["offset"]}))
        self._join(subscription, reply)

    def _resume(self, subscription: Subscription) -> None:
        """Maps: the member goes on hearing; the new activation is told what it holds."""
        channel = subscription.channel
        if isinstance(channel, NearChannel):
            subscription.message = msgspec.structs.replace(
                subscription.message, epoch=channel.epoch, offset=channel.offset, shadow=channel.shadow
            )
        self._ask(subscription, partial(self._resumed, subscription))

    def _resumed(self, subscription: Subscription, reply: Any, error: EngineError | None) -> None:
        if subscription.is_gone:
            if error is None:
                self._leave(subscription, clean=True)
            return
        connection, channel = subscription.connection, subscription.channel
        if error is not None:
            self._again(subscription, self._resumed, error)
            return
        subscription.tries = 0
        if isinstance(channel, PresenceChannel):
            channel.resumes(connection, reply.get("state", []))
            self._soils(channel)
        elif isinstance(channel, NearChannel):
            if not reply["recovered"]:
                connection.owner.lost("this map can't be continued")
                return
            channel.epoch = reply["epoch"]

    def _again(
        self, subscription: Subscription, then: Callable[[Subscription, Any, Any], None], error: EngineError
    ) -> None:
        """The actor refused or was not there: tries again while that may help."""
        subscription.tries += 1
        connection, channel = subscription.connection, subscription.channel
        if error.code.temporary and subscription.tries < RESUBSCRIBE_TRIES:
            self._loop.call_later(RESUBSCRIBE_RETRY_S, self._ask_again, subscription, then)
        elif error.code is ErrorCode.DENIED:
            connection.subscriptions.pop(channel.name, None)
            self._release(subscription)
            connection.owner.ended(channel, int(error.code), error.message)
        else:
            connection.owner.lost(error.message)

    def _ask_again(
        self, subscription: Subscription, then: Callable[[Subscription, Any, Any], None]
    ) -> None:
        if not subscription.is_gone:
            self._ask(subscription, partial(then, subscription))

    def _settle_presence(self, channels: list[PresenceChannel]) -> None:
        for channel in channels:
            self._check_presence(channel, set())

    def _check_presence(self, channel: PresenceChannel, viewers: set[str]) -> None:
        """Asks, as users here, until everybody who is shown was seen there or is known to have left."""
        viewer = channel.unchecked(viewers)
        if viewer is None or self._channels.get(channel.name) is not channel:
            return
        viewers.add(viewer)

        def told(reply: Any, error: EngineError | None) -> None:
            if error is None:
                channel.absent({meta["ref"] for meta in reply["metas"]}, viewer)
                self._soils(channel)
                self._check_presence(channel, viewers)

        query = wire.PresenceQuery(0, channel.name, viewer)
        self.router.call(*owner_of(channel.name), query, told)


def _new_channel(name: str, n: int) -> Channel:
    if name.startswith("presence:"):
        return PresenceChannel(name, n)
    if name.startswith("near@"):
        return NearChannel(name, n)
    return StreamChannel(name, n)
