"""The Api's way to the Matcher: asked within a second or not at all."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

from actors.site import HERE, Site
from matching.answers import InterestMap, Recommended
from serve_app.match_link import LinkLostError, MatchLink

PATIENCE_S = 1.0
"""How long an answer is waited for."""
MAP_PATIENCE_S = 10.0
"""How long the map of interests is: it is made when it is first asked for."""
WAITING_LIMIT = 64
"""Requests of one process that wait for the Matcher, what it does in its second at a bad time; one more is
refused, or gets a batch's rows, at once.
"""

log = logging.getLogger("hereabouts.api")


class MatcherAwayError(Exception):
    """The Matcher does not answer now: it is starting, busy, or not there."""


class Matching(Protocol):
    """Who suits whom. Questions raise MatcherAwayError."""

    @property
    def is_full(self) -> bool:
        """As many wait as may."""

    async def run(self) -> None:
        """Finds it, which takes longer than a request waits, and keeps a link to it until cancelled."""

    async def recommend(
        self, viewer: str, near: list[tuple[str, float]], limit: int, alias: str = "champion"
    ) -> Recommended:
        """Up to twice `limit` people, best first; `near` are those seen nearby, with the most metres that
        they are away; by the model of `alias`.
        """

    async def interest_map(self) -> InterestMap:
        """Which interests there are and go together."""


class NoMatcher:
    """Of an application that runs without one."""

    @property
    def is_full(self) -> bool:
        """Nobody waits."""
        return False

    async def run(self) -> None:
        """Nothing to find."""

    async def recommend(
        self,
        viewer: str,  # noqa: ARG002
        near: list[tuple[str, float]],  # noqa: ARG002
        limit: int,  # noqa: ARG002
        alias: str = "champion",  # noqa: ARG002
    ) -> Recommended:
        """Raises MatcherAwayError."""
        raise MatcherAwayError

    async def interest_map(self) -> InterestMap:
        """Raises MatcherAwayError."""
        raise MatcherAwayError


class ServeMatcher:
    """The deployment `Matcher` of the engine's Ray Serve: recommendations over a link to one of its replicas
    (match_link.py), through Serve while there is none.
    """

    def __init__(self, site: Site = HERE, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._handle: Any = None
        self._waiting = 0
        self._link = MatchLink(self._address, site)

    @property
    def is_full(self) -> bool:
        """See Matching."""
        return self._waiting >= WAITING_LIMIT

    async def run(self) -> None:
        """See Matching."""
        await self._link.run()

    async def recommend(
        self, viewer: str, near: list[tuple[str, float]], limit: int, alias: str = "champion"
    ) -> Recommended:
        """See Matching."""
        async with self._answering(self._patience_s):
            with suppress(LinkLostError):
                return await self._link.recommend(viewer, near, limit, alias)
            found: Recommended = await self._ask("recommend", viewer, near, limit, alias)
            return found

    async def interest_map(self) -> InterestMap:
        """See Matching."""
        async with self._answering(MAP_PATIENCE_S):
            found: InterestMap = await self._ask("interest_map")
            return found

    async def _address(self) -> str:
        found: str = await self._ask("address")
        return found

    @asynccontextmanager
    async def _answering(self, patience_s: float) -> AsyncIterator[None]:
        """Around a request that waits: one of so many, for so long. Raises MatcherAwayError."""
        if self.is_full:
            raise MatcherAwayError
        self._waiting += 1
        try:
            async with asyncio.timeout(patience_s):
                yield
        except Exception as error:  # noqa: BLE001 - whatever Serve says, it means: not now
            log.warning("the Matcher does not answer: %s", type(error).__name__)
            raise MatcherAwayError from None
        finally:
            self._waiting -= 1

    async def _ask(self, method: str, *arguments: Any) -> Any:
        response = getattr(await self._get_handle(), method).remote(*arguments)
        try:
            return await response
        except BaseException:
            response.cancel()
            raise

    async def _get_handle(self) -> Any:
        if self._handle is None:
            # In a replica Ray is there; nowhere else is this asked.
            from ray import serve  # noqa: PLC0415

            from serve_app.matcher import APP, NAME  # noqa: PLC0415

            # It asks Serve's controller and waits for it, which the event loop must not.
            self._handle = await asyncio.to_thread(serve.get_deployment_handle, NAME, APP)
        return self._handle
