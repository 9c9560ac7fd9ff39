"""The client: the core, driven by asyncio and `websockets`."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Self
from uuid import uuid4

from hereabouts_client.answers import Answers
from hereabouts_client.codec import Encoding
from hereabouts_client.core import Core, Stage
from hereabouts_client.door import Proxy
from hereabouts_client.effects import (
    Dial,
    Failed,
    HangUp,
    Output,
    Published,
    Renew,
    Replied,
    Send,
    Unpublished,
)
from hereabouts_client.errors import ClosedError, NoTokenError
from hereabouts_client.events import (
    Connecting,
    ConnectionEvent,
    CoreChannelEvent,
    Ended,
    Gap,
    Lagged,
    Online,
    Position,
    Publication,
    Stopped,
    Waiting,
    Warned,
)
from hereabouts_client.history import Page
from hereabouts_client.options import Options, Subscribing
from hereabouts_client.socket import Dialler, Socket
from hereabouts_client.subscription import Subscription, guarded

Token = str | Callable[[bool], Awaitable[str]]
"""An access token, or what gets one: called with True where a new one is needed."""

PAGE = 300


class Client:
    """One device of one user. `async with Client(url, token) as client:` enters when it is online.

    `url` is the engine's (`https://…`, asked for a gateway before each connection) or a gateway's
    (`wss://…/rt`). `on_event` hears of the connection. `clock` (milliseconds, never back) and `chance` (0 to
    1) may be injected.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        options: Options | None = None,
        encoding: Encoding = "json",
        on_event: Callable[[ConnectionEvent], None] | None = None,
        proxy: Proxy = True,
        clock: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.options = options or Options()
        self.user: str | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self._token = token
        self._on_event = on_event
        self._clock = clock
        self._core = Core(self.options, chance)
        self._dialler = Dialler(url, encoding, proxy)
        self._socket: Socket | None = None
        self._getting: set[asyncio.Task[None]] = set()
        """Tokens and sockets on their way."""
        self._goodbyes: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._answers = Answers()
        self._turned = asyncio.Event()
        self._is_running = False
        self._stopped: Stopped | None = None

    # -- its life -------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self.start()
        try:
            await self.online()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def is_online(self) -> bool:
        """Whether the engine has taken us and we have not lost it."""
        return self._core.stage is Stage.ONLINE

    def start(self) -> None:
        """Connects and stays connected until `close`. While it waits for the next attempt: attempts now, for
        apps that learn that the network is back.
        """
        self._stopped = None
        self._core.start(self._clock())
        self._run()

    async def online(self) -> None:
        """Waits for the connection. Raises ClosedError if the client stops."""
        while not self.is_online:
            if self._stopped is not None:
                raise ClosedError(self._stopped.code, self._stopped.reason)
            self._turned.clear()
            await self._turned.wait()

    async def flush(self) -> None:
        """Waits until every publication is acknowledged or has failed."""
        while receipts := self._answers.receipts:
            await asyncio.wait(receipts)

    async def close(self) -> None:
        """Says goodbye. Publications that are not acknowledged fail: `flush` first to wait for them."""
        self._core.stop()
        self._run()
        tasks = {*self._getting, *self._goodbyes} - {asyncio.current_task()}  # a token provider may close us
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- channels -------------------------------------------------------------------------------------------

    def subscribe(
        self,
        name: str,
        *,
        mode: str | None = None,
        limit: int | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the protocol's word
        token: str | None = None,
        since: Position | None = None,
        buffer: int = 10_000,
    ) -> Subscription:
        """Follows a channel over every reconnect. Raises ValueError if it is followed already."""
        if name in self.subscriptions:
            raise ValueError(f"{name} is subscribed already")
        how = Subscribing(mode, limit, filter, token, since)
        channel = self._core.following.subscribe(name, how, self._clock())
        subscription = self.subscriptions[name] = Subscription(self, channel, buffer)
        self._run()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Leaves a channel; its iteration ends."""
        if self.subscriptions.get(subscription.name) is subscription:
            del self.subscriptions[subscription.name]
            self._core.following.unsubscribe(subscription.name, self._clock())
            self._run()
        subscription.finish()

    async def publish(
        self, channel: str, data: Any, *, cid: str | None = None, ack: str | None = None
    ) -> Published | None:
        """Returns when the engine acknowledged, however often the connection breaks on the way; the same
        `cid` never counts twice. `ack`: `durable`, `relay`, or `none` (sent now or never, returns None).
        Raises RefusedError, QueueFullError, DuplicateError, ClosedError, and LostError for `none` without a
        connection. To cancel the wait does not take the publication back.
        """
        cid = cid or uuid4().hex
        waiter = self._answers.expect_receipt(channel, cid)
        self._core.publishing.publish(channel, data, cid, ack, self._clock())
        self._run()
        if ack == "none":
            self._answers.forget_receipt(channel, cid)
            if waiter.done():
                waiter.result()
            return None
        return await asyncio.shield(waiter)

    def ephemeral(self, channel: str, data: Any) -> bool:
        """Tells whoever hears the channel right now; False if we don't, and it was dropped."""
        sent = self._core.ephemeral(channel, data)
        self._run()
        return sent

    # -- questions ------------------------------------------------------------------------------------------

    async def history(
        self, channel: str, *, limit: int = 50, since: Position | None = None, reverse: bool = False
    ) -> Page:
        """A page of a stream. Raises RefusedError (112: another epoch) and LostError."""
        body: dict[str, Any] = {"ch": channel, "limit": limit}
        if since is not None:
            body["since"] = {"epoch": since.epoch, "offset": since.offset}
        if reverse:
            body["reverse"] = True
        return Page.of(channel, await self.call("hist", body))

    async def missed(self, gap: Gap | Lagged) -> AsyncIterator[Publication]:
        """The publications of a gap, paged. Raises RefusedError and LostError; begin again then."""
        since, offset = gap.since, gap.offset
        if since is None or offset is None:
            return
        if isinstance(gap, Gap) and gap.epoch != since.epoch:
            since = Position(gap.epoch, 0)
        while since.offset < offset:
            page = await self.history(gap.channel, limit=PAGE, since=since)
            for publication in page.publications:
                if publication.offset > offset:
                    return
                yield publication
                since = Position(since.epoch, publication.offset)
            if not page.more or not page.publications:
                return

    async def presence(self, channel: str) -> dict[str, Any]:
        """Who is there, once: {"metas", "count"}."""
        found: dict[str, Any] = await self.call("pres", {"ch": channel})
        return found

    async def call(self, verb: str, body: Any) -> Any:
        """Any verb of the protocol, never repeated. Raises RefusedError, LostError, ClosedError."""
        ref, answer = self._answers.expect_reply()
        self._core.command(ref, verb, body, self._clock())
        self._run()
        return await answer

    # -- where we are ---------------------------------------------------------------------------------------

    def position(self, lat: float, lon: float, acc_m: float, t_ms: int, *beside: float | None) -> None:
        """A fix (WGS84 degrees, metres, Unix ms, then speed in m/s and heading in degrees). Not answered. The
        last one is told again after a reconnect; an older one is dropped.
        """
        self._core.position([lat, lon, acc_m, t_ms, *beside], None, self._clock())
        self._run()

    async def report(self, lat: float, lon: float, acc_m: float, t_ms: int, *beside: float | None) -> None:
        """A fix, answered. Raises RefusedError (124: stale or implausible) and LostError."""
        ref, answer = self._answers.expect_reply()
        self._core.position([lat, lon, acc_m, t_ms, *beside], ref, self._clock())
        self._run()
        await answer

    # -- driving the core -----------------------------------------------------------------------------------

    def _run(self) -> None:
        """Does what the core asks, in order also where the app calls from a listener; wakes it in time."""
        if self._is_running:
            return
        self._is_running = True
        try:
            while outputs := self._core.drain():
                for output in outputs:
                    self._do(output)
        finally:
            self._is_running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline_ms = self._core.deadline_ms
        if deadline_ms is not None:
            wait_s = max(0, deadline_ms - self._clock()) / 1000
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._tick)

    def _tick(self) -> None:
        self._core.tick(self._clock())
        self._run()

    def _do(self, output: Output) -> None:
        match output:
            case Send(frame):
                if self._socket is not None:
                    self._socket.send(frame)
            case Dial(fresh, to):
                _start(self._dial(fresh, to), self._getting)
            case HangUp(code):
                self._hang_up(code)
            case Renew():
                _start(self._renew(), self._getting)
            case Published() | Unpublished() | Replied() | Failed():
                self._answers.take(output)
            case Connecting() | Online() | Waiting() | Stopped() | Warned():
                self._turn(output)
            case _:
                self._tell(output)

    def _tell(self, event: CoreChannelEvent) -> None:
        subscription = self.subscriptions.get(event.channel)
        if isinstance(event, Ended):
            self.subscriptions.pop(event.channel, None)
        if subscription is not None:
            subscription.take(event)

    def _turn(self, event: ConnectionEvent) -> None:
        if isinstance(event, Online):
            self.user = event.user
            self._dialler.misses = 0
        elif isinstance(event, Stopped):
            self._stopped = event
            for subscription in self.subscriptions.values():
                subscription.finish(ClosedError(event.code, event.reason))
            self.subscriptions.clear()
            for task in self._getting:
                task.cancel()
        self._turned.set()
        if self._on_event is not None:
            guarded(self._on_event, event)

    # -- what the core asks for -----------------------------------------------------------------------------

    async def _get_token(self, fresh: bool) -> str:
        if not isinstance(self._token, str):
            return await self._token(fresh)
        if fresh:
            raise NoTokenError("the token has expired, and there is no provider of another")
        return self._token

    async def _dial(self, fresh: bool, to: str | None) -> None:
        try:
            token = await self._get_token(fresh)
            socket = await self._dialler.open(to, self._received, self._lost)
        except NoTokenError as wrong:
            self._core.failed(str(wrong), self._clock(), final=True)
        except Exception as wrong:  # noqa: BLE001 - whatever a provider or a network does: another attempt
            self._core.failed(f"{type(wrong).__name__}: {wrong}", self._clock())
        else:
            self._socket = socket
            self._core.opened(token, self._clock())
        self._run()

    async def _renew(self) -> None:
        try:
            token = await self._get_token(True)
        except NoTokenError:
            self._core.renewed(None, self._clock(), final=True)
        except Exception:  # noqa: BLE001 - as above; the engine ends the connection if it goes on
            self._core.renewed(None, self._clock())
        else:
            self._core.renewed(token, self._clock())
        self._run()

    def _received(self, frames: list[Any]) -> None:
        self._core.received(frames, self._clock())
        self._run()

    def _lost(self, code: int | None, reason: str) -> None:
        self._socket = None
        self._core.closed(code, reason, self._clock())
        self._run()

    def _hang_up(self, code: int) -> None:
        for task in self._getting:
            task.cancel()
        socket, self._socket = self._socket, None
        if socket is not None:
            _start(socket.hang_up(code), self._goodbyes)


def _start(work: Coroutine[Any, Any, None], kept: set[asyncio.Task[None]]) -> None:
    task = asyncio.ensure_future(work)
    kept.add(task)
    task.add_done_callback(kept.discard)
