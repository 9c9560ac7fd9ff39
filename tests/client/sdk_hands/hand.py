"""An SDK as a test drives it: the same commands and the same events, whatever language it is in."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

Event = dict[str, Any]


class SdkError(Exception):
    """What the SDK raised: the name of its class, and its code if it has one."""

    def __init__(self, name: str, code: int | None, message: str) -> None:
        super().__init__(f"{name} {code} {message}")
        self.name = name
        self.code = code


class Hand(ABC):
    """One client. `events` is all that it has told, oldest first, as the vectors write it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._arrival = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    @abstractmethod
    async def __aexit__(self, *_: object) -> None:
        """Ends it, goodbye or not."""

    @abstractmethod
    async def do(self, verb: str, /, **given: Any) -> Any:
        """One command of web/sdk/test/agent.ts. Raises SdkError."""

    async def open(self, url: str, *tokens: str, **options: Any) -> None:
        """Connects, and waits for the welcome; `tokens` are handed out one after the other as new ones are
        asked for."""
        await self.do("open", url=url, tokens=list(tokens), options=options)

    async def follow(self, channel: str, **how: Any) -> None:
        """Subscribes, and waits until it is live."""
        await self.do("subscribe", channel=channel, how=how)
        await self.do("live", channel=channel)

    async def publish(self, channel: str, data: Any, **options: Any) -> Any:
        return await self.do("publish", channel=channel, data=data, **options)

    def told(self, event: Event) -> None:
        self.events.append(event)
        self._arrival.set()

    def of(self, kind: str, channel: str | None = None) -> list[Event]:
        """The events of a kind so far, of a channel or all."""
        found = [event[kind] for event in self.events if kind in event]
        return [event for event in found if channel is None or event["channel"] == channel]

    def said(self, channel: str) -> list[Any]:
        """The data of a channel's publications, in the order in which they were shown."""
        return [event["data"] for event in self.of("publication", channel)]

    def offsets(self, channel: str) -> list[int]:
        return [event["offset"] for event in self.of("publication", channel)]

    async def until(self, holds: Callable[[], bool], timeout_s: float = 15) -> None:
        """Waits for events until it holds."""
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    self._arrival.clear()
                    await self._arrival.wait()
        except TimeoutError:
            raise AssertionError(f"not within {timeout_s} s; the last events: {self.events[-10:]}") from None
