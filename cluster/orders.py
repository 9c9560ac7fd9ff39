"""How commands give a running supervisor an order: one line of JSON over a socket in its run folder.

The supervisor answers with lines {"say": "…"} while it works, and ends with {"ok": …} or {"error": …}.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.errors import OperatorError
from cluster.layout import Layout

LINE_LIMIT_BYTES = 65_536
CONNECT_TIMEOUT_S = 5.0

Tell = Callable[[str], None]
Handler = Callable[[dict[str, Any], Tell], Awaitable[dict[str, Any]]]


def _socket_of(place: Layout) -> Path:
    return place.run / "supervisor.sock"


class Orders:
    """Takes orders, and hands each to its handler. They wait for each other."""

    def __init__(self, place: Layout, handlers: Mapping[str, Handler]) -> None:
        self._path = _socket_of(place)
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._one_at_a_time = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def listen(self) -> None:
        """Takes orders from here on. The run folder is its user's alone."""
        self._server = await asyncio.start_unix_server(self._serve, self._path, limit=LINE_LIMIT_BYTES)
        os.chmod(self._path, 0o600)  # noqa: PTH101 - one system call

    def close(self) -> None:
        """Takes none any more, and gives up those under way."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)

        def answer(**line: Any) -> None:
            writer.write(json.dumps(line).encode() + b"\n")

        try:
            order: dict[str, Any] = json.loads(await reader.readline())
            handler = self._handlers.get(str(order.get("order")))
            if handler is None:
                answer(error=f"this is no place for `{order.get('order')}`", fix="")
                return
            async with self._one_at_a_time:
                answer(ok=await handler(order, lambda text: answer(say=text)))
        except OperatorError as wrong:
            answer(error=wrong.problem, fix=wrong.fix)
        except (ValueError, ConnectionError, asyncio.LimitOverrunError):
            pass
        except asyncio.CancelledError:
            answer(error="the supervisor is stopping", fix="")
        finally:
            self._tasks.discard(task)
            with suppress(ConnectionError):
                writer.close()


async def give(place: Layout, order: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Give the supervisor of a data folder an order; its answer. Raises OperatorError."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(_socket_of(place), limit=LINE_LIMIT_BYTES)
    except (OSError, TimeoutError):
        raise OperatorError(
            f"no engine or node runs on {place.data}", "say which one with --data, or start it"
        ) from None
    try:
        writer.write(json.dumps(order).encode() + b"\n")
        while line := await reader.readline():
            said: dict[str, Any] = json.loads(line)
            if "say" in said:
                tell(said["say"])
            elif "error" in said:
                raise OperatorError(said["error"], said.get("fix", ""))
            else:
                found: dict[str, Any] = said["ok"]
                return found
    except ConnectionError:
        pass
    finally:
        writer.close()
    raise OperatorError("the supervisor went away", f"look at {place.logs}")
