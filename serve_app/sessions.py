"""The sessions that can be taken up again on any gateway (RT-7): written in batches, beside the connections.

What one connection costs here is a digest. Writes wait for each other in one pipeline: a connect waits for
its own, a changed subscription is stored within LAZY_S, a position with the pong that proves it. While Valkey
is away connections go on as if there were no sessions, and are stored when it is back.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from serve_app.names import client_name
from storage import live_sessions
from storage.batches import Batches, Operation
from storage.live_sessions import Hold, LiveSession, LiveSubscription, Taken

if TYPE_CHECKING:
    from serve_app.limits import Limits
    from serve_app.session import Session

log = logging.getLogger("hereabouts.sessions")

LAZY_S = 0.5
_RETRY_S = 1.0
_LISTEN_S = 30.0


def digest_of(key: str) -> bytes:
    """What is kept of a key."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Sessions:
    """Stores and takes the sessions of one gateway."""

    def __init__(
        self,
        valkey: Redis,
        gateway: str,
        limits: "Limits",
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.gateway = gateway
        self.on_notice: dict[str, Callable[[bytes, bytes], None]] = {}
        """By kind, what is done with a notice of another gateway: about whom, and what."""
        self.listening = asyncio.Event()
        """Set while notices are heard."""
        self._valkey = valkey
        self._limits = limits
        self._wall_clock = wall_clock
        self._batches = Batches(valkey)
        """Keyed by session where only the newest write counts."""
        self._lazy: dict[Session, None] = {}
        self._loop = asyncio.get_running_loop()

    # -- what sessions ask for ----------------------------------------------------------------------------

    async def take(self, sid: str, key: str, user: str, new_key: bytes) -> Taken | None:
        """A session whose client knows its key and is its user, now this gateway's under a new key."""
        hold = Hold(sid, user, self.gateway, new_key, digest_of(key))
        asked = live_sessions.take(hold, now_ms=self._now_ms())
        taken = live_sessions.taken(await self._batches.ask(asked))
        if taken is not None and taken.gateway != self.gateway:
            await self.tell(taken.gateway, "taken", sid, taken.key)
        return taken

    async def opened(self, session: "Session", record: LiveSession) -> bool:
        """Stores a session that begins. False if its user has too many connections."""
        asked = live_sessions.write(
            _hold(session, self.gateway), record, now_ms=self._now_ms(), keep_ms=self._alive_ms,
            limit=self._limits.connections_per_user,
        )  # fmt: skip
        return bool(await self._batches.ask(asked) != live_sessions.TOO_MANY)

    def changed(self, session: "Session") -> None:
        """Its subscriptions are others now."""
        if not self._lazy:
            self._loop.call_later(LAZY_S, self._ripen)
        self._lazy[session] = None

    def confirmed(self, session: "Session") -> None:
        """Its client has shown how far it is; the session is good for longer."""
        self._lazy.pop(session, None)
        self._batches.put(session, lambda: self._write(session), lambda reply: self._written(session, reply))

    def lost(self, session: "Session") -> None:
        """Its socket is gone, and may come back. Called before its subscriptions are."""
        self._lazy.pop(session, None)
        operation = live_sessions.write(
            _hold(session, self.gateway), record_of(session), now_ms=self._now_ms(),
            keep_ms=int(self._limits.session_s * 1000), lost=True,
        )  # fmt: skip
        self._batches.put(session, lambda: operation, _ignore)

    def ended(self, session: "Session") -> None:
        """Its client has left, or was told to stay away."""
        self._lazy.pop(session, None)
        operation = live_sessions.end(_hold(session, self.gateway))
        self._batches.put(session, lambda: operation, _ignore)

    def replaced(self, session: "Session") -> None:
        """It is another connection's now: nothing more is written for this one."""
        self._lazy.pop(session, None)
        self._batches.drop(session)

    # -- the work -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Writes what is asked for, until it is cancelled."""
        await self._batches.run()

    async def listen(self) -> None:
        """Hears what other gateways say to this one, until it is cancelled."""
        while True:
            with suppress(RedisError, OSError, TimeoutError):
                async with self._valkey.pubsub(ignore_subscribe_messages=True) as notices:
                    await notices.subscribe(live_sessions.notices_of(self.gateway))
                    self.listening.set()
                    while True:
                        notice = await notices.get_message(timeout=_LISTEN_S)
                        if notice is not None:
                            self._noticed(notice["data"])
            self.listening.clear()
            await asyncio.sleep(_RETRY_S)

    def _noticed(self, data: bytes) -> None:
        kind, name, rest = (*data.split(b" ", 2), b"", b"")[:3]
        take = self.on_notice.get(kind.decode(errors="replace"))
        if take is not None:
            take(name, rest)

    async def tell(self, gateway: str, kind: str, name: str, rest: bytes) -> int | None:
        """Gives another gateway a notice: whether it hears any (0 or 1), None if that can't be said."""
        notice = b"%s %s %s" % (kind.encode(), name.encode(), rest)
        try:
            return int(await self._valkey.publish(live_sessions.notices_of(gateway), notice))
        except (RedisError, OSError, TimeoutError):
            return None

    async def settled(self) -> None:
        """Back when all is stored that was asked for, or can't be now."""
        if self._lazy:
            self._ripen()
        await self._batches.ask(None)

    def _ripen(self) -> None:
        lazy, self._lazy = self._lazy, {}
        for session in lazy:
            self.confirmed(session)

    def _write(self, session: "Session") -> Operation | None:
        if not session.is_open:
            return None
        return live_sessions.write(
            _hold(session, self.gateway), record_of(session), now_ms=self._now_ms(), keep_ms=self._alive_ms
        )

    @staticmethod
    def _written(session: "Session", reply: Any) -> None:
        if reply == live_sessions.TAKEN:
            session.replaced()

    @property
    def _alive_ms(self) -> int:
        """A gateway that dies says nothing: what it stored at the last pong outlives it by `session_s`."""
        limits = self._limits
        return int((limits.session_s + limits.ping_s + limits.pong_s + LAZY_S) * 1000)

    def _now_ms(self) -> int:
        return int(self._wall_clock() * 1000)


def _ignore(_: Any) -> None:
    pass


def _hold(session: "Session", gateway: str) -> Hold:
    connection = session.connection
    return Hold(connection.id, connection.user, gateway, session.key, session.spent_key)


def record_of(session: "Session") -> LiveSession:
    """What the session is now."""
    connection = session.connection
    subs = []
    for name, subscription in connection.subscriptions.items():
        message, epoch, offset = subscription.message, "", subscription.held
        if offset >= 0:
            epoch = getattr(subscription.channel, "epoch", "")
        elif not subscription.is_live and message.mode != "cache":  # not answered yet: what it asked for
            epoch, offset = message.epoch, message.offset
        subs.append(
            LiveSubscription(client_name(name), message.mode, epoch, offset if epoch else -1, message.filter)
        )
    return LiveSession(connection.device, connection.since_ms, subs)
