"""A channel as the app holds it: its events in order, and a live view of what it shows."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from hereabouts_client.channel import Channel
from hereabouts_client.effects import Published
from hereabouts_client.errors import ClosedError, HereaboutsError, RefusedError
from hereabouts_client.events import (
    ChannelEvent,
    CoreChannelEvent,
    Ended,
    Gap,
    Lagged,
    Meta,
    Position,
    Publication,
    Subscribed,
)

Event = TypeVar("Event")

if TYPE_CHECKING:
    from hereabouts_client.client import Client


class Subscription:
    """Iterate it for its events, until `Ended` or the client's end. Events that the app does not take wait,
    at most `buffer`; then all that wait are let go and a `Lagged` stands in their place.
    """

    def __init__(self, client: "Client", channel: Channel, buffer: int) -> None:
        self.name = channel.name
        self._client = client
        self._channel = channel
        self._buffer = buffer
        self._events: deque[ChannelEvent] = deque()
        self._arrival = asyncio.Event()
        self._live = asyncio.Event()
        self._end: HereaboutsError | None = None
        self._listeners: list[Callable[[CoreChannelEvent], None]] = []

    # -- what it shows --------------------------------------------------------------------------------------

    @property
    def is_live(self) -> bool:
        """Whether pushes arrive now."""
        return self._channel.phase == "in"

    @property
    def position(self) -> Position | None:
        """Where we are; keep it to continue from there in another run (`since`)."""
        return self._channel.position

    @property
    def rows(self) -> Mapping[str, Any]:
        """A map's rows: key → data, as of now."""
        return MappingProxyType(self._channel.rows)

    @property
    def metas(self) -> Mapping[str, Meta]:
        """Who is present: ref → meta, as of now."""
        return MappingProxyType(self._channel.metas)

    @property
    def count(self) -> int:
        """How many subscriptions are present: of a large room, more than `metas` holds."""
        sample = self._channel.sample
        return sample.count if sample is not None and sample.sampled else len(self._channel.metas)

    @property
    def users(self) -> AbstractSet[str]:
        """Who is present, each once."""
        return {meta["u"] for meta in self._channel.metas.values()}

    async def live(self) -> Self:
        """Waits until pushes arrive. Raises RefusedError if the engine refuses, ClosedError at the end."""
        await self._live.wait()
        if self._end is not None:
            raise self._end
        return self

    def listen(self, listener: Callable[[CoreChannelEvent], None]) -> None:
        """Calls `listener` with each event as it happens, besides keeping it for the iteration."""
        self._listeners.append(listener)

    async def __aiter__(self) -> AsyncIterator[ChannelEvent]:
        """Events in order, each once over all iterations."""
        while True:
            while self._events:
                yield self._events.popleft()
            if self._end is not None:
                return
            self._arrival.clear()
            await self._arrival.wait()

    # -- what the app does ----------------------------------------------------------------------------------

    async def publish(self, data: Any, *, cid: str | None = None, ack: str | None = None) -> Published | None:
        """See `Client.publish`."""
        return await self._client.publish(self.name, data, cid=cid, ack=ack)

    def ephemeral(self, data: Any) -> bool:
        """See `Client.ephemeral`."""
        return self._client.ephemeral(self.name, data)

    def close(self) -> None:
        """Leaves the channel."""
        self._client.unsubscribe(self)

    # -- from the client ------------------------------------------------------------------------------------

    def take(self, event: CoreChannelEvent) -> None:
        """One more event."""
        if len(self._events) >= self._buffer:
            self._lag()
        self._events.append(event)
        if isinstance(event, Ended):
            self.finish(RefusedError(event.code, event.reason))
        elif isinstance(event, Subscribed):
            self._live.set()
        self._arrival.set()
        for listener in self._listeners:
            guarded(listener, event)

    def finish(self, end: HereaboutsError | None = None) -> None:
        """Nothing comes any more."""
        self._end = self._end or end or ClosedError()
        self._live.set()
        self._arrival.set()

    def _lag(self) -> None:
        dropped, since, offset = 0, None, None
        for event in self._events:
            dropped += event.dropped if isinstance(event, Lagged) else 1
            if isinstance(event, Gap | Lagged):
                since = since or event.since
                offset = event.offset if event.offset is not None else offset
            elif isinstance(event, Publication):
                epoch = self._channel.position.epoch if self._channel.position else ""
                since = since or Position(epoch, event.offset - 1)
                offset = event.offset
        self._events.clear()
        self._events.append(Lagged(self.name, dropped, since, offset))


def guarded(listener: Callable[[Event], None], event: Event) -> None:
    """Calls the app's listener; what it raises goes to the loop's handler of errors, and ours goes on."""
    try:
        listener(event)
    except Exception as error:  # noqa: BLE001 - the app's own
        told = {"message": f"a listener failed on {event}", "exception": error}
        asyncio.get_running_loop().call_exception_handler(told)
