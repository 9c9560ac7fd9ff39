"""A small client of `rt.v1.json`: reconnects, resumes its streams, sends publications again by `cid`."""

import asyncio
import contextlib
import itertools
import json
import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from websockets.typing import Subprotocol

from cluster.demo.ports import PortError

COMMAND_S = 5.0
BACKOFF_S = (0.5, 20.0)
SILENCE_S = 40.0
"""Pings come every 25 s and leave 8 s for the pong: longer silence is a lost connection."""

STOP_CODES = range(3500, 4000)
INVALID_TOKEN = 3500
LOST = 1006
REFUSED_TOKEN = (101, 109)

Hear = Callable[[str, dict[str, Any]], None]


class CommandError(Exception):
    """The engine refused a command with a code of the protocol's table."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error.get('code')}: {error.get('msg')}")
        self.code: int = error.get("code", 100)
        self.reason: str = str(error.get("msg", "")).rpartition(": ")[2]
        self.temporary: bool = bool(error.get("temp"))
        self.retry_s: float = error.get("retry_ms", 1000) / 1000


class StoppedError(Exception):
    """The engine closed the connection with a code that means: stay away."""


@dataclass(slots=True)
class _Channel:
    options: dict[str, Any]
    place: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Waiting:
    verb: str
    answer: asyncio.Future[Any]
    taken: Callable[[Any], None] | None
    """Told the answer before the frames behind it, which may be in the same message."""


class Client:
    """One person's connection. `hear(channel, frame)` gets, in order, publications as {"m": …}, map rows as
    {"k": [key, data or None, data before or None]} and ephemeral events as {"e": …}.
    """

    def __init__(
        self,
        urls: Callable[[], Awaitable[list[str]]],
        token: Callable[[bool], Awaitable[str]],
        hear: Hear,
        chance: random.Random,
    ) -> None:
        self._urls = urls
        self._token = token
        self._hear = hear
        self._chance = chance
        self._channels: dict[str, _Channel] = {}
        self._numbers: dict[int, str] = {}
        self._pending: dict[int, _Waiting] = {}
        self._ids = itertools.count(1)
        self._out: asyncio.Queue[str] = asyncio.Queue()
        self._resume: dict[str, str] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.live = asyncio.Event()
        self.reconnects = 0
        self._misses = 0
        """Attempts since the last that was welcomed: the addresses take turns."""

    async def run(self) -> None:
        """Stays connected until cancelled; raises StoppedError when the engine says to stay away."""
        attempt, fresh = 0, False
        while True:
            refused = await self._connection(fresh)
            fresh = refused and not fresh
            if refused and not fresh:
                raise StoppedError("the engine does not take this person's token")
            attempt = 0 if self.live.is_set() else attempt + 1
            self._misses = attempt
            self.live.clear()
            self.reconnects += 1
            await asyncio.sleep(self._chance.uniform(BACKOFF_S[0], min(BACKOFF_S[1], 0.5 * 2**attempt)))

    async def _connection(self, fresh: bool) -> bool:
        """One connection from beginning to end. True: the token was refused."""
        try:
            token, urls = await self._token(fresh), await self._urls()
            async with connect(
                urls[self._misses % len(urls)],
                subprotocols=[Subprotocol("rt.v1.json")],
                compression=None,
                ping_interval=None,
                open_timeout=COMMAND_S,
                close_timeout=1,
                proxy=None,
            ) as socket:
                self._out = asyncio.Queue()
                await _first_to_end(self._read(socket), self._send(socket), self._greet(token))
        except CommandError as refused:
            if refused.code not in REFUSED_TOKEN:
                raise StoppedError(str(refused)) from None
            return True
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else LOST
            if code in STOP_CODES and code != INVALID_TOKEN:
                raise StoppedError(f"closed with {code}") from None
            return code == INVALID_TOKEN
        except PortError as refused:  # no token: the Api is away for a moment, or does not want us
            if refused.status in (401, 403):
                raise StoppedError(str(refused)) from None
        except (OSError, TimeoutError, InvalidHandshake, InvalidMessage):
            pass
        finally:
            for waiting in self._pending.values():
                waiting.answer.cancel()
            self._pending.clear()
            self._numbers.clear()
        return False

    async def _greet(self, token: str) -> None:
        subs = {name: channel.options | channel.place for name, channel in self._channels.items()}
        body = {"token": token, "device": "hereabouts-replay", "sdk": "replay/1", "subs": subs}
        if self._resume:
            body["resume"] = self._resume
        await self._command("connect", body, self._welcome)
        await asyncio.Event().wait()

    def _welcome(self, answer: dict[str, Any]) -> None:
        self._resume = {"sid": answer["sid"], "key": answer["key"]}
        for name in list(self._channels):
            result = answer["subs"].get(name)
            if result is None or "err" in result:
                self._soon(self._join(name))
            else:
                self._adopt(name, result)
        self.live.set()

    # -- frames ---------------------------------------------------------------------------------------

    async def _read(self, socket: ClientConnection) -> None:
        while True:
            message = await asyncio.wait_for(socket.recv(decode=True), SILENCE_S)
            for line in message.splitlines():
                self._take(json.loads(line))

    async def _send(self, socket: ClientConnection) -> None:
        while True:
            await socket.send(await self._out.get())

    def _write(self, frame: dict[str, Any]) -> None:
        self._out.put_nowait(json.dumps(frame))

    def _take(self, frame: dict[str, Any]) -> None:
        if not frame:
            self._write({})
        elif "id" in frame:
            self._settle(frame)
        elif "p" in frame:
            name = self._numbers.get(frame["p"])
            if name is not None:
                self._push(name, self._channels[name], frame)
        elif "tops" in frame:
            for number, top in frame["tops"].items():
                name = self._numbers.get(int(number))
                if name is not None and self._channels[name].place.get("offset", top) < top:
                    self._rejoin(name)

    def _settle(self, frame: dict[str, Any]) -> None:
        waiting = self._pending.pop(frame["id"], None)
        if waiting is None or waiting.answer.done():
            return
        if "err" in frame:
            waiting.answer.set_exception(CommandError(frame["err"]))
            return
        if waiting.taken is not None:
            waiting.taken(frame[waiting.verb])
        waiting.answer.set_result(frame[waiting.verb])

    def _push(self, name: str, channel: _Channel, frame: dict[str, Any]) -> None:
        if "m" in frame:
            offset, expected = frame["m"]["o"], channel.place["offset"] + 1
            if offset == expected:
                channel.place["offset"] = offset
                self._hear(name, {"m": frame["m"]})
            elif offset > expected:
                self._rejoin(name)
        elif "skip" in frame:
            channel.place["offset"] = max(channel.place["offset"], frame["skip"])
        elif "k" in frame:
            for key, sign, *rest in frame["k"]:
                self._row(name, channel, key, None if sign == "-" else rest[0])
        elif "e" in frame:
            self._hear(name, {"e": frame["e"]})
        elif "unsub" in frame:  # the engine ended it: they are out of the room
            del self._channels[name], self._numbers[frame["p"]]

    def _row(self, name: str, channel: _Channel, key: str, data: Any) -> None:
        before = channel.rows.pop(key, None)
        if data is not None:
            channel.rows[key] = data
        if data != before:
            self._hear(name, {"k": [key, data, before]})

    def _adopt(self, name: str, result: dict[str, Any]) -> None:
        channel = self._channels.get(name)
        if channel is None:
            return
        self._numbers[result["n"]] = name
        if channel.options.get("mode") == "map":
            state = {key: data for key, data, *_ in result.get("state", [])}
            for key in channel.rows.keys() - state.keys() if "state" in result else ():
                self._row(name, channel, key, None)
            for key, data in state.items():
                self._row(name, channel, key, data)
            return
        channel.place = {"epoch": result["epoch"], "offset": result["offset"]}
        for message in result.get("pubs", []):
            self._hear(name, {"m": message})

    # -- commands -------------------------------------------------------------------------------------

    async def _command(self, verb: str, body: Any, taken: Callable[[Any], None] | None = None) -> Any:
        """Sends one command. Raises CommandError, TimeoutError, or CancelledError when the socket is lost."""
        number = next(self._ids)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[number] = _Waiting(verb, answer, taken)
        self._write({"id": number} | (body if verb == "pos" else {verb: body}))
        return await asyncio.wait_for(answer, COMMAND_S)

    def subscribe(self, name: str, **options: Any) -> None:
        """Follows a channel from now on, over every reconnect."""
        if name not in self._channels:
            self._channels[name] = _Channel(options)
            if self.live.is_set():
                self._soon(self._join(name))

    def unsubscribe(self, name: str) -> None:
        if self._channels.pop(name, None) is not None:
            self._numbers = {number: other for number, other in self._numbers.items() if other != name}
            if self.live.is_set():
                self._soon(self._quietly("unsub", {"ch": name}))

    def position(self, fix: list[Any]) -> None:
        """Sends a fix: latest wins, nothing is repeated."""
        if self.live.is_set():
            self._write({"pos": fix})

    async def confirmed_position(self, fix: list[Any]) -> None:
        """Sends a fix and waits for its answer. Raises CommandError, or TimeoutError where none came."""
        if not self.live.is_set():
            raise TimeoutError
        try:
            await self._command("pos", {"pos": fix})
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise TimeoutError from None

    async def publish(self, name: str, d: Any) -> dict[str, Any]:
        """Publishes durably and answers its ack, however often the connection breaks on the way."""
        body = {"ch": name, "d": d, "cid": uuid.uuid4().hex, "ack": "durable"}
        while True:
            await self.live.wait()
            try:
                ack: dict[str, Any] = await self._command("pub", body)
            except CommandError as refused:
                if not refused.temporary:
                    raise
                await asyncio.sleep(refused.retry_s)
            except TimeoutError:
                pass
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise
                await asyncio.sleep(0.1)
            else:
                return ack

    async def _join(self, name: str) -> None:
        channel = self._channels.get(name)
        if channel is not None:
            body = {"ch": name} | channel.options | channel.place
            await self._quietly("sub", body, lambda result: self._adopt(name, result))

    def _rejoin(self, name: str) -> None:
        self._numbers = {number: other for number, other in self._numbers.items() if other != name}

        async def again() -> None:
            await self._quietly("unsub", {"ch": name})
            await self._join(name)

        self._soon(again())

    async def _quietly(self, verb: str, body: Any, taken: Callable[[Any], None] | None = None) -> None:
        """A command whose failure the next reconnect mends, or nobody can."""
        with contextlib.suppress(CommandError, TimeoutError):
            await self._command(verb, body, taken)

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _first_to_end(*works: Coroutine[Any, Any, None]) -> None:
    """Runs them together until one ends; cancels the others and raises what that one raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
