"""A client as an app holds it: it keeps its subscriptions, its place in each stream and what is not yet
acknowledged, over any loss of the socket (RT-4, RT-9)."""

import asyncio
import itertools
import random
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self

from cluster.history import Ack, Connect
from rt_client.codec import Frame
from rt_client.connection import Closed, Connection, Refused
from rt_client.views import Log, MapView, PresenceView, StreamView, view_of

BACKOFF_FIRST_S = 0.5
BACKOFF_LAST_S = 20.0
STOP_CODES = range(3500, 4000)
_numbers = itertools.count(1)


class Member:
    """One device of one user.

    `door` answers the WebSocket URL to dial now. `log` receives what was seen. Backoff is full jitter
    between 0.5 s and `backoff_last_s`.
    """

    def __init__(
        self,
        door: Callable[[], Awaitable[str]],
        user: str,
        token: str,
        *,
        codec: str = "json",
        name: str = "",
        device: str | None = None,
        chance: random.Random | None = None,
        backoff_last_s: float = BACKOFF_LAST_S,
    ) -> None:
        self.user = user
        self.name = name or f"{user[-6:]}/{codec}/{next(_numbers)}"
        self.log: Log = []
        self.views: dict[str, StreamView | MapView | PresenceView] = {}
        self.refused: dict[str, int] = {}
        self.connects = 0
        self.insufficient = 0
        self.ended: Closed | None = None
        self.on_publication: Callable[[str, dict[str, Any]], None] | None = None
        self._door = door
        self._token = token
        self._codec = codec
        self._device = device
        self._chance = chance or random.Random(0)
        self._backoff_last_s = backoff_last_s
        self._bodies: dict[str, dict[str, Any]] = {}
        self._numbers: dict[int, str] = {}
        self._connection: Connection | None = None
        self._online = asyncio.Event()
        self._repairs: set[asyncio.Task[None]] = set()
        self._runner: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._runner = asyncio.create_task(self._run())
        await self.online()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def online(self, timeout_s: float = 60) -> Connection:
        """The current connection; waits for one. Raises Closed once the server said to stop."""
        async with asyncio.timeout(timeout_s):
            while self._connection is None:
                if self.ended is not None:
                    raise self.ended
                await self._online.wait()
        return self._connection

    async def follow(self, ch: str, **body: Any) -> StreamView | MapView | PresenceView:
        """Subscribes to `ch` for as long as this member lives."""
        self._bodies[ch] = body
        self.views[ch] = view_of(self.name, ch, self.log)
        connection = await self.online()
        try:
            await connection.sub(ch, **body)
        except Refused:
            del self._bodies[ch], self.views[ch]
            raise
        return self.views[ch]

    def stream(self, ch: str) -> StreamView:
        """A stream that is followed."""
        view = self.views[ch]
        assert isinstance(view, StreamView)
        return view

    async def publish(self, ch: str, d: Any, ack: str = "durable", cid: str | None = None) -> dict[str, Any]:
        """Publishes under one `cid` until acknowledged. Raises Refused if the refusal is final."""
        cid = cid or uuid.uuid4().hex
        while True:
            connection = await self.online()
            try:
                answer = await connection.pub(ch, d, cid=cid, ack=ack)
            except Refused as refused:
                if not refused.temporary:
                    raise
                await asyncio.sleep(refused.err.get("retry_ms", 200) / 1000)
            except TimeoutError:
                await connection.drop()
            except Closed:
                await asyncio.sleep(0)
            else:
                self.log.append(
                    Ack(
                        client=self.name,
                        ch=ch,
                        offset=answer["o"],
                        id=answer["i"],
                        cid=cid,
                        user=self.user,
                        ack=ack,
                    )
                )
                return answer

    async def position(self, lat: float, lon: float, t_ms: int, acc_m: float = 10.0, **beside: Any) -> None:
        """Reports a fix without waiting for anything; lost if there is no connection."""
        if self._connection is not None:
            with suppress(Closed):
                await self._connection.send({"pos": [lat, lon, acc_m, t_ms], **beside})

    async def drop(self) -> None:
        """Loses the socket; the member comes back by itself."""
        if self._connection is not None:
            await self._connection.drop()

    async def stop(self, code: int = 1000) -> None:
        """Leaves for good."""
        connection, self._connection = self._connection, None
        self._end(self.ended or Closed(None, "left for good"))
        if self._runner is not None:
            self._runner.cancel()
            with suppress(asyncio.CancelledError):
                await self._runner
        for task in list(self._repairs):
            task.cancel()
        if connection is not None:
            await connection.close(code)

    async def _run(self) -> None:
        wait_s = BACKOFF_FIRST_S
        while True:
            try:
                connection = await self._enter()
            except Refused as refused:
                if not refused.temporary:
                    self._end(Closed(None, str(refused)))
                    return
            except Closed as closed:
                if closed.code in STOP_CODES:
                    self._end(closed)
                    return
            except (OSError, TimeoutError):
                pass
            else:
                wait_s = BACKOFF_FIRST_S
                end = await asyncio.shield(connection.closed)
                self._connection = None
                self._online.clear()
                if end.code in STOP_CODES:
                    self._end(end)
                    return
            await asyncio.sleep(self._chance.uniform(0, wait_s))
            wait_s = min(wait_s * 2, self._backoff_last_s)

    def _end(self, closed: Closed) -> None:
        self.ended = closed
        self._online.set()

    async def _enter(self) -> Connection:
        """A new socket with everything resubscribed in one round trip."""
        connection = await Connection.open(await self._door(), self._codec)
        try:
            connection.on_frame = self._frame
            self._numbers = {}
            subs = {ch: {**body, **self._place(ch)} for ch, body in self._bodies.items()}
            device = {"device": self._device} if self._device else {}
            await connection.connect(self._token, sdk="rt-client/1.0", subs=subs, **device)
        except BaseException:
            await connection.drop()
            raise
        self.connects += 1
        self._connection = connection
        self._online.set()
        return connection

    def _place(self, ch: str) -> dict[str, Any]:
        view = self.views[ch]
        return view.position() if isinstance(view, StreamView) else {}

    def _frame(self, frame: Frame) -> None:
        if "connect" in frame:
            self.log.append(Connect(client=self.name, resumed=frame["connect"]["resumed"]))
            for ch, result in frame["connect"]["subs"].items():
                if "err" in result:
                    self._sub_failed(ch, result["err"])
                else:
                    self._subscribed(ch, result)
        elif "sub" in frame:
            self._subscribed(frame["sub"]["ch"], frame["sub"])
        elif "p" in frame:
            self._pushed(frame)

    def _subscribed(self, ch: str, result: dict[str, Any]) -> None:
        view = self.views.get(ch)
        if view is None:
            return
        self._numbers[result["n"]] = ch
        view.subscribed(result)
        if isinstance(view, StreamView) and view.unsettled_from is not None:
            self._repair(self._page(ch, view))

    def _sub_failed(self, ch: str, err: dict[str, Any]) -> None:
        if err["temp"]:
            self._repair(self._sub_again(ch, err.get("retry_ms", 200) / 1000))
        else:
            self.refused[ch] = err["code"]
            self._bodies.pop(ch, None)

    def _pushed(self, frame: Frame) -> None:
        ch = self._numbers.get(frame["p"])
        if ch is None:
            return
        view = self.views[ch]
        view.pushed(frame)
        if self.on_publication is not None and "m" in frame:
            self.on_publication(ch, frame["m"])
        if isinstance(view, StreamView) and view.insufficient:
            del self._numbers[frame["p"]]
            self.insufficient += 1
            self._repair(self._sub_again(ch, 0, unsub=True))

    def _repair(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._repairs.add(task)
        task.add_done_callback(self._repairs.discard)

    async def _sub_again(self, ch: str, wait_s: float, *, unsub: bool = False) -> None:
        """Subscribes by position until it is answered or this connection is gone."""
        connection = await self.online()
        while self._connection is connection and ch in self._bodies:
            await asyncio.sleep(wait_s)
            try:
                if unsub:
                    await connection.command("unsub", {"ch": ch})
                    unsub = False
                await connection.sub(ch, **self._bodies[ch], **self._place(ch))
            except Refused as refused:
                if not refused.temporary:
                    self.refused[ch] = refused.code
                    return
                wait_s = refused.err.get("retry_ms", 200) / 1000
            except TimeoutError:
                await connection.drop()
            except Closed:
                return
            else:
                return

    async def _page(self, ch: str, view: StreamView) -> None:
        """After `recovered:false` in the same epoch: pages what was missed out of the history."""
        connection = await self.online()
        while view.unsettled_from is not None:
            try:
                page = await connection.hist(ch, since={"epoch": view.epoch, "offset": view.unsettled_from})
            except Refused as refused:
                if not refused.temporary:
                    raise
                await asyncio.sleep(0.2)
            except TimeoutError:
                await connection.drop()
            except Closed:
                return
            else:
                done = not page["pubs"] or page["pubs"][-1]["o"] >= view.offset
                view.settle(page["pubs"], done=done)
