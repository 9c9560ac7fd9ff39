"""Local fan-out: the channels that somebody on this gateway hears, and who hears them (FAN-1).

A subscription is asked of its actor and live from the reply on. Pushes go to the tick; what happens when
an actor's slot moves is in takeover.py.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import msgspec

from actors import messages as wire
from actors.placement import owner_of, slot_of
from actors.protocol import EngineError
from actors.router import Router
from serve_app.births import Births, Telling
from serve_app.channel import Channel, CountsChannel, NearChannel, StreamChannel
from serve_app.connection import Connection
from serve_app.names import PASSIVE, held_as
from serve_app.online import Online
from serve_app.paging import Pages
from serve_app.presence import PresenceChannel
from serve_app.takeover import Takeover
from serve_app.tick import Tick

RACE_TRIES = 3
LATE_S = 0.5
"""Two owners' links have no common order; what one is late with has come after this."""

_FOR_PASSIVE = (wire.PushCounts, wire.Unsubscribed)

Done = Callable[[Any, EngineError | None], None]


@dataclass(slots=True, eq=False)
class Subscription:
    """One connection on one channel."""

    channel: Channel
    connection: Connection
    message: wire.Subscribe
    """What is asked of the actor, also of its next activation."""
    is_live: bool = False
    """The actor has answered, and has not moved since."""
    is_gone: bool = False
    tries: int = 0
    held: int = -1
    """An offset that the client has reached for sure; -1 where none is known (session.py)."""
    pinged: int = -1
    """The offset that stood before the last ping."""
    pages: Pages | None = None
    """A map that the client is still reading page by page: it is not live yet."""
    birth: int = 0
    """Of what was asked last."""


class Hub:
    """All channels with subscribers on this gateway."""

    def __init__(self, router: Router, tick: Tick | None = None) -> None:
        self.router = router
        self.tick = tick or Tick()
        self.channels: dict[str, Channel] = {}
        """By internal name."""
        self.takeover = Takeover(self)
        self.births = Births()
        self.telling = Telling(router, self.births, self._holds)
        self.online = Online(router, self.births, self.telling, self.connection)
        self._by_number: dict[int, Channel] = {}
        self._numbers = count(1)
        self._connections: dict[str, Connection] = {}
        self._loop = asyncio.get_running_loop()

    def opened(self, connection: Connection) -> None:
        """A connection has a user now."""
        self._connections[connection.id] = connection
        self.online.opened(connection)

    def connection(self, conn: str) -> Connection | None:
        """The connection of this id."""
        return self._connections.get(conn)

    def channel(self, name: str) -> Channel | None:
        """The channel of this internal name, if anybody here holds it."""
        return self.channels.get(name)

    def numbered(self, n: int) -> Channel | None:
        """The channel with this number in pushes."""
        return self._by_number.get(n)

    def positions(self, connection: Connection) -> dict[str, int]:
        """The newest offset of each stream that the connection hears, by number (`tops`)."""
        return {
            str(s.channel.n): s.channel.offset
            for s in connection.subscriptions.values()
            if s.is_live and isinstance(s.channel, StreamChannel)
        }

    def marks(self, connection: Connection) -> None:
        """A ping comes next: whoever answers it has got all up to here."""
        for subscription in connection.subscriptions.values():
            channel = subscription.channel
            if subscription.is_live and isinstance(channel, StreamChannel | NearChannel):
                channel.settle(connection)
                subscription.pinged = channel.offset

    # -- subscriptions --------------------------------------------------------------------------------

    def subscribe(self, connection: Connection, message: wire.Subscribe, done: Done) -> None:
        """Asks the actor for `message.ch`; the connection is a member from its reply on. `done` is called
        at that moment: what it queues comes before any push with a higher offset (RT-3).
        """
        name = held_as(message.ch, message.mode)
        channel = self.channels.get(name)
        if channel is None:
            channel = _new_channel(name, next(self._numbers))
            self.channels[name] = self._by_number[channel.n] = channel
            self.telling.held(message.ch)
        channel.holders += 1
        subscription = Subscription(channel, connection, message)
        connection.subscriptions[name] = subscription
        self.ask(subscription, partial(self._answered, subscription, done))

    def suspend(self, subscription: Subscription) -> None:
        """Nothing is pushed to it until `again`."""
        subscription.channel.remove(subscription.connection)
        subscription.is_live = False

    def again(self, subscription: Subscription, done: Done) -> None:
        """As `subscribe`, of a suspended one. A map with positions goes on from the one that it has."""
        channel = subscription.channel
        if isinstance(channel, NearChannel):
            subscription.message = msgspec.structs.replace(
                subscription.message, epoch=channel.epoch, offset=channel.offset
            )
        self.ask(subscription, partial(self._answered, subscription, done))

    def unsubscribe(self, connection: Connection, name: str, *, clean: bool) -> bool:
        """The connection leaves. False if it was not subscribed. Nothing of the channel is pushed after
        what is queued next.
        """
        subscription = connection.subscriptions.get(name)
        if subscription is None:
            return False
        subscription.channel.settle(connection)
        self.release(subscription)
        self.leave(subscription, clean=clean)
        return True

    def dropped(self, connection: Connection, *, clean: bool) -> None:
        """The socket is gone, with all its subscriptions."""
        if self._connections.get(connection.id) is connection:
            del self._connections[connection.id]
        for subscription in list(connection.subscriptions.values()):
            self.release(subscription)
            self.leave(subscription, clean=clean)
        self.online.closed(connection, clean=clean)

    def ask(self, subscription: Subscription, done: Done) -> None:
        """Asks the actor for what the subscription says. A copy is sent: the router numbers it."""
        births = self.births
        subscription.birth = birth = births.born()
        message = msgspec.structs.replace(subscription.message, birth=birth, settled=births.settled)
        kind, key = owner_of(message.ch)
        slot = slot_of(kind, key)
        epoch = self.router.epoch_of(slot)

        def answered(reply: Any, error: EngineError | None) -> None:
            if error is not None and error.code.temporary and not self._goes_on(subscription):
                # It may still be on its way to somebody who takes it: whatever comes of it has ended.
                self._end(message, clean=False)
            else:
                births.closed(birth)
            if error is None and self.telling.epochs.get(slot, epoch) > epoch and not subscription.is_gone:
                self.ask(subscription, done)  # it was answered by an activation that is no more
            else:
                done(reply, error)

        self.router.call(kind, key, message, answered)

    def _answered(
        self, subscription: Subscription, done: Done, reply: Any, error: EngineError | None
    ) -> None:
        if self.came_too_late(subscription, error):
            return
        if error is not None:
            self.release(subscription)
            done(None, error)
        elif self.is_behind(subscription, reply):
            self.ask(subscription, partial(self._answered, subscription, done))
        else:
            self.join(subscription, reply)
            done(reply, None)

    def came_too_late(self, subscription: Subscription, error: EngineError | None) -> bool:
        """Whether the subscription ended while its actor was asked, which must then forget it."""
        if subscription.is_gone and error is None and not self._goes_on(subscription):
            self.leave(subscription, clean=False)
        return subscription.is_gone

    def _goes_on(self, subscription: Subscription) -> bool:
        """Whether a resumed session holds it now, through another connection here with the same id."""
        successor = self._connections.get(subscription.connection.id)
        return successor is not None and subscription.channel.name in successor.subscriptions

    def is_behind(self, subscription: Subscription, reply: Any) -> bool:
        """Whether members have been told more than the reply knows: it would leave a hole, so the actor is
        to be asked again (a few times).
        """
        channel = subscription.channel
        if isinstance(channel, StreamChannel) and subscription.tries < RACE_TRIES:
            is_of_these = channel.users and channel.epoch == reply["epoch"]
            if reply["offset"] < max(_heard(channel, reply), channel.offset if is_of_these else 0):
                subscription.tries += 1
                return True
        subscription.tries = 0
        return False

    def join(self, subscription: Subscription, reply: Any) -> None:
        """The connection is a member from here on, at the position of the reply."""
        connection, channel = subscription.connection, subscription.channel
        if isinstance(channel, StreamChannel):
            self._joins_stream(subscription, channel, reply)
        elif isinstance(channel, NearChannel):
            channel.epoch, channel.offset = reply["epoch"], reply["offset"]
            held = reply.pop("shadow", None)  # for the next activation; no client needs it
            channel.shadow = {row[0]: row[2] for row in reply.get("state", ())} if held is None else held
        channel.add(connection)
        if isinstance(channel, PresenceChannel):
            self._joins_presence(connection, channel, reply)
        subscription.is_live = True

    def _joins_stream(self, subscription: Subscription, channel: StreamChannel, reply: Any) -> None:
        connection = subscription.connection
        newest = max(_heard(channel, reply), reply["offset"])
        if channel.users and channel.epoch == reply["epoch"]:
            if reply["offset"] > channel.offset:
                channel.floors[connection] = reply["offset"]
        else:
            if channel.users:  # the others are of an activation that is no more
                self.takeover.recover_all(channel)
            channel.epoch, channel.offset = reply["epoch"], reply["offset"]
        if newest > channel.offset:
            self._loop.call_later(LATE_S, self._fill, channel, newest)
        if subscription.message.filter:
            channel.filters[connection] = subscription.message.filter

    def _joins_presence(self, connection: Connection, channel: PresenceChannel, reply: Any) -> None:
        said = reply.pop("said", 0)
        if len(channel.members()) > 1 and channel.lacks(said + 1):
            self.takeover.ask_again(channel)
        channel.takes(said)
        if channel.heard > said:
            self._loop.call_later(LATE_S, self.takeover.ask_again, channel)
        channel.begins(connection, reply.get("state", []))

    def release(self, subscription: Subscription) -> None:
        """Ends a subscription here."""
        connection, channel = subscription.connection, subscription.channel
        subscription.is_gone, subscription.is_live = True, False
        connection.subscriptions.pop(channel.name, None)
        channel.remove(connection)
        channel.holders -= 1
        if channel.holders == 0:
            del self.channels[channel.name]
            del self._by_number[channel.n]
            self.telling.left(channel.name.removeprefix(PASSIVE))

    def leave(self, subscription: Subscription, *, clean: bool) -> None:
        """Tells the actor that a subscription has ended."""
        message = msgspec.structs.replace(subscription.message, birth=subscription.birth)
        self._end(message, clean=clean)

    def _end(self, message: wire.Subscribe, *, clean: bool) -> None:
        birth, births = message.birth, self.births
        end = wire.Unsubscribe(0, message.ch, message.user, message.conn, clean, birth, births.settled)
        self.router.call(*owner_of(message.ch), end, lambda _, __: births.closed(birth))

    def slots_moved(self, slots: set[int]) -> None:
        """These slots have a new activation that answers now: it is told all that is held here."""
        settled = self.births.settled
        self.takeover.slots_moved(slots)
        self.online.slots_moved(slots, self._connections.values())
        self.telling.told(slots, settled)

    # -- pushes ---------------------------------------------------------------------------------------

    def pushed(self, push: wire.Pushed) -> None:
        """Takes a push of an actor: it leaves with the next tick."""
        channel = self.channels.get(push.ch)
        passive = self.channels.get(PASSIVE + push.ch) if isinstance(push, _FOR_PASSIVE) else None
        if channel is None and passive is None:
            self.telling.left(push.ch)
        for each in (channel, passive):
            if each is not None and each.users:
                self._take(each, push)
            elif each is not None:
                _hears(each, push)

    def _holds(self, name: str) -> bool:
        return name in self.channels or PASSIVE + name in self.channels

    def _take(self, channel: Channel, push: wire.Pushed) -> None:
        if isinstance(channel, StreamChannel):
            if not self._goes_in(channel, push):
                return
        elif isinstance(channel, NearChannel) and isinstance(push, wire.PushMap):
            if push.offset > channel.offset:  # else of an owner before, and late
                channel.delta(push)
        elif isinstance(channel, PresenceChannel) and isinstance(push, wire.PushPresence | wire.PushPeople):
            if not self._changes(channel, push):
                return
        elif isinstance(channel, CountsChannel) and isinstance(push, wire.PushCounts):
            channel.counts(push)
        if isinstance(push, wire.Unsubscribed):
            self._ended(channel, push)
        else:
            self.tick.soils(channel)

    def _changes(self, channel: PresenceChannel, push: wire.PushPresence | wire.PushPeople) -> bool:
        """Whether presence takes the push: not what came late; where something is missing, all ask again."""
        is_hole = channel.lacks(push.said)
        if not channel.takes(push.said):
            return False
        if isinstance(push, wire.PushPresence):
            channel.change(push)
        else:
            channel.people(push)
        if is_hole:
            self.takeover.ask_again(channel)
        elif isinstance(push, wire.PushPeople) and not push.sampled:
            self.takeover.tell_all(channel)
        return True

    def _goes_in(self, channel: StreamChannel, push: wire.Pushed) -> bool:
        """Whether a stream takes the push: not what it has, nor what comes after a hole, which is filled."""
        if isinstance(push, wire.Push):
            if push.epoch and push.epoch != channel.epoch:
                _hears(channel, push)
                return False  # of another activation: the takeover asks the one that counts
            if push.offset == channel.offset + 1:
                channel.publish(push)
                return True
        elif not isinstance(push, wire.PushTop):
            if isinstance(push, wire.PushEphemeral):
                channel.ephemeral(push, self._connections.get(push.conn))
            return True
        if push.offset > channel.offset:
            self.takeover.recover_all(channel)
        return False

    def _fill(self, channel: StreamChannel, offset: int) -> None:
        """What was on its way has come by now: who has less has missed it."""
        if channel.users and channel.offset < offset:
            self.takeover.recover_all(channel)

    def _ended(self, channel: Channel, push: wire.Unsubscribed) -> None:
        for connection in list(channel.users.get(push.user, ())):
            self.ended(connection.subscriptions[channel.name], push.code, push.reason)

    def ended(self, subscription: Subscription, code: int, reason: str) -> None:
        """The actor ended a subscription: the client is told."""
        connection, channel = subscription.connection, subscription.channel
        channel.settle(connection)
        self.release(subscription)
        connection.owner.ended(channel, code, reason)

    def caught_up(self, connection: Connection) -> None:
        """A slow reader has taken everything: what was conflated for it may go."""
        for subscription in connection.subscriptions.values():
            if isinstance(subscription.channel, NearChannel) and subscription.channel.rows:
                self.tick.soils(subscription.channel)


def _hears(channel: Channel, push: wire.Pushed) -> None:
    if isinstance(channel, StreamChannel) and isinstance(push, wire.Push):
        if push.epoch != channel.heard_epoch:
            channel.heard_epoch, channel.heard = push.epoch, 0
        channel.heard = max(channel.heard, push.offset)
    elif isinstance(channel, PresenceChannel) and isinstance(push, wire.PushPresence | wire.PushPeople):
        channel.heard = max(channel.heard, push.said)


def _heard(channel: StreamChannel, reply: Any) -> int:
    """The newest offset of the reply's epoch that nobody could take."""
    return channel.heard if channel.heard_epoch in ("", reply["epoch"]) else 0


def _new_channel(name: str, n: int) -> Channel:
    if name.startswith("presence:"):
        return PresenceChannel(name, n)
    if name.startswith(PASSIVE):
        return CountsChannel(name, n)
    if name.startswith(("near@", "share:", "scores@")) or "@map#" in name:
        return NearChannel(name, n)
    return StreamChannel(name, n)
