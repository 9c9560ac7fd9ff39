"""What every process that holds clients' connections has: router, hub, sessions, and their heartbeat."""

import asyncio
from typing import Any

from actors.protocol import CloseCode
from actors.router import Router, RouterConfig
from identity.departed import LOOK_S, Departed
from serve_app.hub import Hub
from serve_app.limits import Limits
from serve_app.roster import Roster
from serve_app.sessions import Sessions
from serve_app.surroundings import Surroundings, Verifier
from storage.positions import open_valkey

PATIENCE_S = 0.5
"""How long a connect waits for Valkey."""


class Face:
    """One gateway without its listeners. All calls on its event loop."""

    def __init__(
        self,
        config: RouterConfig,
        verifier: Verifier,
        limits: Limits,
        redis_url: str = "",
        departed: Departed | None = None,
    ) -> None:
        self._departed = departed
        self.router = Router(config)
        self.hub = Hub(self.router)
        self.sessions: Sessions | None = None
        self._valkey: Any = None
        if redis_url:
            self._valkey = open_valkey(redis_url, patience_s=PATIENCE_S)
            self.sessions = Sessions(self._valkey, self.router.incarnation, limits)
        node = config.site.node
        self.around = Surroundings(self.hub, self.router, verifier, node, limits, sessions=self.sessions)
        self.roster = Roster(self.around)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Connects to the Directory and keeps time."""
        self.router.on_push = self.hub.pushed
        self.router.on_slots_moved = self.hub.slots_moved
        await self.router.start()
        works = [self.roster.beat()]
        if self.sessions is not None:
            self.sessions.on_notice["taken"] = self.roster.noticed
            works += [self.sessions.run(), self.sessions.listen()]
        if self._departed is not None:
            works.append(self._see_off(self._departed))
        self._tasks = [asyncio.get_running_loop().create_task(work) for work in works]

    async def _see_off(self, departed: Departed) -> None:
        """Closes the connections of who has given up their account."""
        while True:
            new = await departed.review()
            for session in list(self.roster.sessions) if new else ():
                if session.connection.user in new:
                    session.close(CloseCode.DENIED, "this account is not there any more")
            await asyncio.sleep(LOOK_S)

    def check_health(self) -> None:
        """Raises RuntimeError if this process can't do its work."""
        if any(task.done() for task in self._tasks):
            raise RuntimeError("the heartbeat or the storing of sessions has stopped")

    async def settled(self) -> None:
        """Back when sessions are stored as they are now."""
        if self.sessions is not None:
            await self.sessions.settled()

    async def stop(self) -> None:
        """Lets everything go."""
        for task in self._tasks:
            task.cancel()
        await self.router.stop()
        if self._valkey is not None:
            await self._valkey.aclose()
