"""All sessions of a gateway: their heartbeat, and how they are sent away when it stops (FAN-5)."""

import asyncio
import logging
import random

from actors.metrics import count
from actors.protocol import CloseCode
from serve_app.connection import Transport
from serve_app.frames import Codec
from serve_app.session import Session, Surroundings

log = logging.getLogger("hereabouts.roster")

BEAT_S = 0.5
DRAIN_BATCH = 100
DRAIN_PAUSE_S = 0.05
RETRY_SPREAD_MS = 3_000


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
            self._send_away(session)
        return session

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

    async def drain(self) -> None:
        """Sends everybody away, in batches, and tells them when to come back."""
        self.is_draining = True
        while self.sessions:
            for session in list(self.sessions)[:DRAIN_BATCH]:
                self._send_away(session)
            await asyncio.sleep(DRAIN_PAUSE_S)

    def _send_away(self, session: Session) -> None:
        session.close(CloseCode.SHUTDOWN, "this gateway stops", self._chance.randrange(RETRY_SPREAD_MS))
