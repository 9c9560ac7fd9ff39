"""The link between an Api process and a replica of the Matcher (docs/decisions/0260).

Serve says where a replica listens and carries what is asked now and then; what a person waits for goes over
the engine's own link, as it does to shards (architecture.md, D2).
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from actors import messages as wire
from actors.link import Link, Listener, dial, listen
from actors.protocol import ErrorCode
from actors.site import HERE, Site, address_of
from matching.answers import Recommended

RETRY_S = 0.5
FIND_S = 30.0
"""So long Serve may take to say where a replica is: it may be reading everybody."""
ANSWERING_LIMIT = 1_000
"""Questions that a replica has begun to answer; one more is refused."""

log = logging.getLogger("hereabouts.matcher")


class LinkLostError(Exception):
    """There is no link now, or it was cut before the answer: whoever asks may ask another way."""


class RefusedError(Exception):
    """The Matcher can't answer this now."""


class Recommending(Protocol):
    """Who answers."""

    async def recommend(
        self, viewer: str, near: Sequence[tuple[str, float]], limit: int, alias: str
    ) -> Recommended:
        """See `serve_app.matcher.MatcherService`."""


class MatchListener:
    """A replica's end: answers what comes over its links, each question on its own."""

    def __init__(self, matcher: Recommending) -> None:
        self._matcher = matcher
        self._listener: Listener | None = None
        self._links: set[Link] = set()
        self._answering: set[asyncio.Task[None]] = set()

    async def listen(self, run_dir: str, site: Site = HERE) -> str:
        """Accepts links; returns where."""
        self._listener = await listen(address_of(run_dir, f"matcher-{os.getpid()}", site), self, site)
        return self._listener.address

    def close(self) -> None:
        """Accepts no more and cuts what is there: who waits is told so by that, and asks elsewhere."""
        if self._listener is not None:
            self._listener.close()
        for task in self._answering:
            task.cancel()
        for link in list(self._links):
            link.abort()

    def link_opened(self, link: Link) -> None:
        self._links.add(link)

    def link_received(self, link: Link, view_version: int, messages: list[wire.Message]) -> None:  # noqa: ARG002
        for message in messages:
            if not isinstance(message, wire.MatchQuery):
                link.abort()
                return
            if len(self._answering) >= ANSWERING_LIMIT:
                link.send(wire.Failure(message.rid, ErrorCode.OVERLOADED, "too many questions"))
                continue
            task = asyncio.get_running_loop().create_task(self._answer(link, message))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    def link_closed(self, link: Link) -> None:
        self._links.discard(link)

    async def _answer(self, link: Link, asked: wire.MatchQuery) -> None:
        try:
            found = await self._matcher.recommend(asked.user, asked.near, asked.limit, asked.alias)
        except Exception as error:  # noqa: BLE001 - whatever it is, who asks is told
            log.warning("a question can't be answered: %s", type(error).__name__)
            link.send(wire.Failure(asked.rid, ErrorCode.INTERNAL, type(error).__name__))
        else:
            link.send(wire.Matched(asked.rid, found))


class MatchLink:
    """An Api process' end: a link to the replica that `find` names, and another when that one is cut."""

    def __init__(self, find: Callable[[], Awaitable[str]], site: Site = HERE) -> None:
        self._find = find
        self._site = site
        self._link: Link | None = None
        self._lost = asyncio.Event()
        self._waiting: dict[int, asyncio.Future[Recommended]] = {}
        self._last_rid = 0

    @property
    def is_open(self) -> bool:
        """Whether a question can leave now."""
        return self._link is not None

    async def run(self) -> None:
        """Keeps a link, until cancelled."""
        try:
            while True:
                self._lost.clear()
                try:
                    async with asyncio.timeout(FIND_S):
                        await dial(await self._find(), self, self._site)
                except Exception:  # noqa: BLE001 - whatever Serve says, or nobody listens: not now
                    await asyncio.sleep(RETRY_S)
                else:
                    await self._lost.wait()
        finally:
            if self._link is not None:
                self._link.abort()

    async def recommend(
        self, viewer: str, near: list[tuple[str, float]], limit: int, alias: str
    ) -> Recommended:
        """Asks. Raises LinkLostError, RefusedError."""
        if self._link is None:
            raise LinkLostError
        self._last_rid = rid = self._last_rid + 1
        answer: asyncio.Future[Recommended] = asyncio.get_running_loop().create_future()
        self._waiting[rid] = answer
        try:
            self._link.send(wire.MatchQuery(rid, viewer, near, limit, alias))
            return await answer
        finally:
            del self._waiting[rid]

    def link_opened(self, link: Link) -> None:
        self._link = link

    def link_received(self, link: Link, view_version: int, messages: list[wire.Message]) -> None:  # noqa: ARG002
        for message in messages:
            if not isinstance(message, wire.Matched | wire.Failure):
                continue
            answer = self._waiting.get(message.rid)
            if answer is None or answer.done():
                continue  # who asked has given up
            if isinstance(message, wire.Matched):
                answer.set_result(message.found)
            else:
                answer.set_exception(RefusedError(message.message))

    def link_closed(self, link: Link) -> None:  # noqa: ARG002 - there is one
        self._link = None
        self._lost.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(LinkLostError())
