"""When a slot has a new activation: subscribes again for whoever is here, and tells them what they missed.

Streams go on at (epoch, offset) or not at all (3010); the members of a stream get no pushes until the actor
has said what comes after what they have. Maps go on from what the member holds. Presence changes only for
who really came or went (PRE-3).
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from actors import messages as wire
from actors.placement import owner_of, slot_of
from actors.presence import LINGER_MS
from actors.protocol import EngineError, ErrorCode
from serve_app.channel import CountsChannel, NearChannel, StreamChannel
from serve_app.presence import PresenceChannel

if TYPE_CHECKING:
    from serve_app.hub import Hub, Subscription

PRESENCE_SETTLES_S = LINGER_MS / 1000
"""After this who is missing in a new activation has left. Its gateways told it of all others long before; who
lost gateway and socket along with the room is shown for as long as anybody who lost a socket (PRE-2).
"""

RETRY_S = 0.5
TRIES = 60

Then = Callable[["Subscription", Any, EngineError | None], None]


class Takeover:
    """Carries the hub's subscriptions over to new activations."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._loop = asyncio.get_running_loop()

    def slots_moved(self, slots: set[int]) -> None:
        """These slots have a new activation that answers now."""
        for channel in list(self._hub.channels.values()):
            if not channel.users or slot_of(*owner_of(channel.name)) not in slots:
                continue
            if isinstance(channel, StreamChannel):
                self.recover_all(channel)
                continue
            if isinstance(channel, PresenceChannel):
                self.ask_again(channel)
                continue
            for connection in channel.members():
                self._resume(connection.subscriptions[channel.name])

    # -- streams ----------------------------------------------------------------------------------------

    def recover_all(self, channel: StreamChannel) -> None:
        """All members ask for what comes after what they have."""
        self._hub.tick.spill(channel)
        for connection in channel.members():
            subscription = connection.subscriptions[channel.name]
            offset = max(channel.offset, channel.floors.get(connection, 0))
            channel.remove(connection)
            subscription.is_live = False
            subscription.message = msgspec.structs.replace(
                subscription.message, epoch=channel.epoch, offset=offset, limit=0
            )
            self._ask(subscription, self._recovered)

    def _recovered(self, subscription: "Subscription", reply: Any, error: EngineError | None) -> None:
        hub = self._hub
        if hub.came_too_late(subscription, error):
            return
        if error is not None:
            self._refused(subscription, self._recovered, error)
        elif not reply["recovered"] and subscription.message.mode != "cache":
            subscription.connection.owner.lost("this position can't be recovered")
        elif hub.is_behind(subscription, reply):
            self._ask(subscription, self._recovered)
        else:
            self._tell_missed(subscription, reply)
            hub.join(subscription, reply)

    @staticmethod
    def _tell_missed(subscription: "Subscription", reply: Any) -> None:
        """Publications that the member may not see are missing from the reply: their offsets are skipped."""
        connection, n = subscription.connection, subscription.channel.n
        expected = subscription.message.offset + 1
        if subscription.message.mode == "cache":  # its newest value, if that is another one
            news = reply["epoch"] != subscription.message.epoch
            for publication in reply["pubs"]:
                if news or publication["o"] >= expected:
                    connection.queue(connection.codec.encode({"p": n, "m": publication}))
            return
        for publication in reply["pubs"]:
            if publication["o"] > expected:
                connection.queue(connection.codec.encode({"p": n, "skip": publication["o"] - 1}))
            connection.queue(connection.codec.encode({"p": n, "m": publication}))
            expected = publication["o"] + 1
        if reply["offset"] >= expected:
            connection.queue(connection.codec.encode({"p": n, "skip": reply["offset"]}))

    # -- maps and presence --------------------------------------------------------------------------------

    def _resume(self, subscription: "Subscription") -> None:
        """The member goes on hearing; the new activation is told what it holds."""
        channel = subscription.channel
        if isinstance(channel, NearChannel):
            subscription.message = msgspec.structs.replace(
                subscription.message, epoch=channel.epoch, offset=channel.offset, shadow=channel.shadow
            )
        self._ask(subscription, self._resumed)

    def _resumed(self, subscription: "Subscription", reply: Any, error: EngineError | None) -> None:
        if self._hub.came_too_late(subscription, error):
            return
        channel = subscription.channel
        if error is not None:
            self._refused(subscription, self._resumed, error)
            return
        subscription.tries = 0
        if isinstance(channel, CountsChannel):
            connection = subscription.connection
            connection.queue(connection.codec.encode({"p": channel.n, "counts": reply["counts"]}))
        elif isinstance(channel, PresenceChannel):
            channel.takes(reply.pop("said", 0))
            if reply.get("sampled"):
                return  # the count comes as a push
            channel.resumes(subscription.connection, reply.get("state", []))
            self._hub.tick.soils(channel)
        elif not reply["recovered"]:
            subscription.connection.owner.lost("this map can't be continued")

    def ask_again(self, channel: PresenceChannel) -> None:
        """What was told may not be all: who is there is shown now, who is not when that is known."""
        self.tell_all(channel)
        self._loop.call_later(PRESENCE_SETTLES_S, self._check_presence, channel, set())

    def tell_all(self, channel: PresenceChannel) -> None:
        """Presence is complete again: members are told of everybody."""
        for connection in channel.members():
            self._resume(connection.subscriptions[channel.name])

    def _check_presence(self, channel: PresenceChannel, viewers: set[str]) -> None:
        """Asks, as users here, until everybody who is shown was seen there or is known to have left."""
        viewer = channel.unchecked(viewers)
        if viewer is None or self._hub.channel(channel.name) is not channel:
            return
        viewers.add(viewer)

        def told(reply: Any, error: EngineError | None) -> None:
            if error is None and not reply.get("sampled"):
                channel.absent({meta["ref"] for meta in reply["metas"]}, viewer)
                self._hub.tick.soils(channel)
            self._check_presence(channel, viewers)

        query = wire.PresenceQuery(0, channel.name, viewer)
        self._hub.router.call(*owner_of(channel.name), query, told)

    # -- asking -----------------------------------------------------------------------------------------

    def _ask(self, subscription: "Subscription", then: Then) -> None:
        if not subscription.is_gone:
            self._hub.ask(subscription, partial(then, subscription))

    def _refused(self, subscription: "Subscription", then: Then, error: EngineError) -> None:
        """Tries again while that may help; else the client is told."""
        subscription.tries += 1
        if error.code.temporary and subscription.tries < TRIES:
            self._loop.call_later(RETRY_S, self._ask, subscription, then)
        elif error.code is ErrorCode.DENIED:
            self._hub.ended(subscription, int(error.code), error.message)
        else:
            subscription.connection.owner.lost(error.message)
