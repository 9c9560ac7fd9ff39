"""An event loop whose clock jumps to the next timer, and processes that can be killed between two callbacks.

Nothing in it depends on the machine: with the same seed the same callbacks run in the same order.
"""

import asyncio
import contextvars
import inspect
import itertools
from asyncio import events
from collections.abc import Callable, Coroutine
from typing import Any

EPOCH_S = 1_800_000_000.0
"""What the wall clock shows when the loop's says 0."""


class Process:
    """What would be a process of the operating system: killed, none of its callbacks runs any more."""

    def __init__(self, name: str) -> None:
        self.name = name
        loop: Any = asyncio.get_running_loop()
        self.life = f"{name}/{next(loop.lives)}"
        """Its name, and which of all lives this one is."""
        self.alive = True
        self.context = contextvars.copy_context()
        self.context.run(_current.set, self)
        self.when_killed: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return self.life

    def run(self, work: Callable[..., Any], *args: Any) -> Any:
        """Calls `work` as this process."""
        return self.context.copy().run(work, *args)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Runs a coroutine as this process."""
        loop: Any = asyncio.get_running_loop()
        task: asyncio.Task[Any] = self.run(loop.create_task, work)
        task.add_done_callback(loop.ended)
        return task

    def kill(self) -> None:
        """kill -9."""
        self.alive = False
        for work in self.when_killed:
            work()
        self.when_killed.clear()


_current: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


def current() -> Process | None:
    """The process that runs now; None: the world itself."""
    return _current.get()


class _Handle(events.Handle):
    __slots__ = ()

    def _run(self) -> None:
        process = self._context.get(_current)  # type: ignore[attr-defined]
        if process is None or process.alive:
            super()._run()  # type: ignore[misc]


class _TimerHandle(events.TimerHandle):
    __slots__ = ()

    def _run(self) -> None:
        process = self._context.get(_current)  # type: ignore[attr-defined]
        if process is None or process.alive:
            super()._run()  # type: ignore[misc]


class _Task(asyncio.Task):  # type: ignore[type-arg]
    """Sets of tasks are walked in the same order in every run."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class Stalled(Exception):  # noqa: N818 - a fact about a world
    """Nothing will ever happen again, and the work is not done."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Time is what the next timer says. There is no network and no thread but what is put on it."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._clock_resolution = 1e-9
        self._selector = self
        self.network: Any = None
        self.steps = 0
        self.broken: list[str] = []
        """What tasks and callbacks raised that nobody caught."""
        self._tasks_made: list[asyncio.Task[Any]] = []
        self.lives = itertools.count(1)
        self._numbers = itertools.count(1)
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self._now_s

    def wall_s(self) -> float:
        """The wall clock, Unix seconds."""
        return EPOCH_S + self._now_s

    def _make_task(self, _loop: Any, work: Any, context: Any = None) -> "asyncio.Task[Any]":
        task = _Task(work, loop=self, context=context)
        task.number = next(self._numbers)
        self._tasks_made.append(task)  # what the collector would end, ends when nobody looks any more
        return task

    def _note(self, _loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if "was destroyed but it is pending" not in context["message"]:
            self.broken.append(f"{context['message']}: {error!r}")

    def ended(self, task: "asyncio.Task[Any]") -> None:
        """A process's main work has ended: not by an error."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.broken.append(f"{task.get_coro()}: {error!r}")

    # -- asyncio's own hooks ------------------------------------------------------------------------

    def select(self, timeout: float | None) -> list[Any]:
        """Instead of waiting, the clock moves on."""
        if timeout is None:
            raise Stalled
        self._now_s += timeout
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def _call_soon(self, callback: Any, args: Any, context: Any) -> Any:
        self.steps += 1
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        return self._call_soon(callback, args, context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        import heapq  # noqa: PLC0415

        self.steps += 1
        timer = _TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def run_in_executor(self, *_: Any) -> Any:
        raise NotImplementedError("a simulation has no threads")

    async def create_unix_server(self, factory: Any, path: Any = None, **_: Any) -> Any:
        return self.network.listen(str(path), factory)

    async def create_unix_connection(self, factory: Any, path: Any = None, **_: Any) -> Any:
        return await self.network.dial(str(path), factory)

    async def create_server(self, factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:  # type: ignore[override]
        return self.network.listen(f"{host}:{port}", factory)

    async def create_connection(self, factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:  # type: ignore[override]
        return await self.network.dial(f"{host}:{port}", factory)

    def close(self) -> None:
        for task in self._tasks_made:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                work: Any = task.get_coro()
                if inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
                    work.close()
        super().close()
