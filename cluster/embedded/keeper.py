"""Keeps one server running: start, wait until it answers, and start again when it ends unasked (STORE-2)."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from typing import Protocol

from cluster import processes
from cluster.errors import OperatorError
from cluster.processes import Child, Identity

FIRST_DELAY_S, LONGEST_DELAY_S = 0.05, 10.0
STEADY_S = 30.0  # a server that ran this long starts again at once


class Server(Protocol):
    """What differs between Postgres and Valkey."""

    name: str
    stop_signal: signal.Signals
    stop_patience_s: float

    async def start(self) -> Child: ...

    async def ready(self) -> None:
        """Return once it answers; called while the child lives, cancelled when it ends."""

    async def clear(self) -> None:
        """After an end that nobody asked for: remove what would block the next start."""

    def log_tail(self) -> str: ...


class Keeper:
    def __init__(self, server: Server, tell: Callable[[str], None], changed: Callable[[], None]) -> None:
        self._server = server
        self._tell = tell
        self._changed = changed
        self._child: Child | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def identity(self) -> Identity | None:
        return self._child.identity if self._child is not None else None

    async def start(self, timeout_s: float = 60.0) -> None:
        """Start the server and wait until it answers. Raises OperatorError with the end of its log."""
        await self._server.clear()
        if not await self._launch(timeout_s):
            problem = f"{self._server.name} did not start"
            raise OperatorError(f"{problem}; the end of its log:\n{self._server.log_tail()}")
        self._task = asyncio.create_task(self._keep())

    async def _launch(self, timeout_s: float) -> bool:
        child = self._child = await self._server.start()
        self._changed()
        ready = asyncio.create_task(self._server.ready())
        child.exited.add_done_callback(lambda _: ready.cancel())
        try:
            await asyncio.wait_for(ready, timeout_s)
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            if not child.exited.done():
                raise  # it is we who are being stopped
        else:
            return True
        await processes.stop([child.identity], signal.SIGKILL, 5.0)
        return False

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        delay_s = FIRST_DELAY_S
        while True:
            assert self._child is not None
            since = loop.time()
            code = await self._child.exited
            if loop.time() - since > STEADY_S:
                delay_s = FIRST_DELAY_S
            self._tell(f"{self._server.name} ended ({_reason(code)}); starting it again")
            while True:
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, LONGEST_DELAY_S)
                await self._server.clear()
                if await self._launch(60.0):
                    self._tell(f"{self._server.name} is back")
                    break
                self._tell(f"{self._server.name} does not start; trying again in {delay_s:g} s")

    async def stop(self) -> None:
        """Stop the server in its orderly way, and by force after its patience."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._child is not None:
            await processes.stop(
                [self._child.identity], self._server.stop_signal, self._server.stop_patience_s
            )
        await self._server.clear()


def _reason(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def tail(text: str, lines: int = 12) -> str:
    return "\n".join("  " + line for line in text.splitlines()[-lines:])
