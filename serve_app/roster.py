"""All sessions of a gateway: their heartbeat, and how they are sent away when it stops (FAN-5)."""

import asyncio
import logging
import math
import random
from collections.abc import Callable
from typing import cast

from actors.metrics import count
from actors.protocol import CloseCode
from serve_app.connection import Transport
from serve_app.frames import Codec
from serve_app.resuming import replace
from serve_app.session import Session
from serve_app.surroundings import Surroundings

log = logging.getLogger("hereabouts.roster")

BEAT_S = 0.5
DRAIN_PAUSE_S = 0.05
DRAIN_PER_S = 1_000
"""Sessions that are sent away in a second: what the other gateways can take in (connect and recovery)."""

DRAIN_LIMIT_S = 15.0
"""With more sessions than that allows, faster."""

RETRY_SPREAD_MS = (500, 5_000)
"""What is sent away at once does not come back at once: two milliseconds for each, within these."""


class Roster:
    """Opens sessions and keeps them."""

    def __init__(self, around: Surroundings, chance: random.Random | None = None) -> None:
        self._around = around
        self._chance = chance or random.Random()  # noqa: S311 - spreads reconnections, keeps no secret
        self.sessions: set[Session] = set()
        self.is_draining = False

    def open(self, transport: Transport, codec: Codec) -> Session:
        """The session of a new socket."""
        session = Session(self._around, transport, codec, self.sessions.discard)
        self.sessions.add(session)
        count("sockets_opened")
        if self.is_draining:
            self._send_away(session, "")
        return session

    def noticed(self, sid: bytes, key: bytes) -> None:
        """Another gateway took a session over that was held here under the key with this digest."""
        connection = self._around.hub.connection(sid.decode(errors="replace"))
        if connection is not None:
            replace(cast(Session, connection.owner), key)

    async def beat(self) -> None:
        """Runs for ever: gives every session the time twice a second."""
        while True:
            await asyncio.sleep(BEAT_S)
            now_s = self._around.clock()
            for session in list(self.sessions):
                try:
                    session.beat(now_s)
                except Exception:
                    log.exception("a heartbeat failed")
                    session.connection.transport.abort()

    async def drain(self, to: Callable[[], str] = lambda: "") -> int:
        """Sends everybody away, in batches, and tells them when to come back and where to. Returns how many
        there were. `to` names a gateway, another one each time, or none.
        """
        self.is_draining = True
        count = len(self.sessions)
        over_s = min(DRAIN_LIMIT_S, count / DRAIN_PER_S)
        batch = math.ceil(count * DRAIN_PAUSE_S / over_s) if count else 0
        while self.sessions:
            for session in list(self.sessions)[:batch]:
                self._send_away(session, to(), spread_ms=2 * count)
            if self.sessions:
                await asyncio.sleep(DRAIN_PAUSE_S)
        return count

    def _send_away(self, session: Session, to: str, spread_ms: int = 0) -> None:
        least_ms, most_ms = RETRY_SPREAD_MS
        retry_ms = self._chance.randrange(min(most_ms, max(least_ms, spread_ms)))
        session.close(CloseCode.SHUTDOWN, "this gateway stops", retry_ms, to)
