"""A person's own durable streams, `me` and `fences`: read from the log, told to their connections."""

from typing import Any

from actors import messages as wire
from actors.activation import Activation, Waiting
from actors.effects import Send
from actors.host import Hosting
from actors.person import UserState
from actors.protocol import RECOVERY_LIMIT, EngineError, ErrorCode
from actors.stream import WINDOW, Publication, Stream
from storage import streams


class OwnStreams:
    """Of the people of one shard."""

    def __init__(self, shard: Hosting) -> None:
        self._shard = shard

    async def open(self, state: UserState, name: str) -> None:
        """The stream is in the state when this is back."""
        if name in state.streams:
            return
        async with self._shard.pool.acquire() as connection:
            epoch, top = await streams.head(connection, state.user, name)
            newest = await streams.events(
                connection, state.user, name, after=0, before=top + 1, limit=WINDOW, newest_first=True
            )
        stream = Stream(epoch, top)
        stream.window.extend(_publication(event) for event in reversed(newest))
        state.streams[name] = stream

    async def answer(self, state: UserState, name: str, waiting: Waiting) -> None:
        """A page of an open stream. Raises EngineError 112."""
        stream, message = state.streams[name], waiting.message
        assert isinstance(message, wire.History)
        if message.epoch and message.epoch != stream.epoch:
            raise EngineError(ErrorCode.UNRECOVERABLE, "the stream has another epoch")
        waiting.asker.answer(held_page(state, name, message) or await self._page(state, name, message))

    async def _page(self, state: UserState, name: str, message: wire.History) -> dict[str, Any]:
        stream, limit = state.streams[name], max(0, min(message.limit, RECOVERY_LIMIT))
        before, after = stream.top + 1, max(message.offset, 0)
        if message.reverse:
            before, after = (message.offset if message.offset >= 0 else before), 0
        async with self._shard.pool.acquire() as connection:
            found = await streams.events(
                connection,
                state.user,
                name,
                after=after,
                before=before,
                limit=limit + 1,
                newest_first=message.reverse,
            )
        pubs = [_publication(event).seen_by(state.user) for event in found[:limit]]
        return {"pubs": pubs, "epoch": stream.epoch, "offset": stream.top, "more": len(found) > limit > 0}

    async def tail(self, activation: Activation) -> None:
        """Reads what was appended to the streams since, and pushes it."""
        state: UserState = activation.state
        for name, stream in list(state.streams.items()):
            while True:
                async with self._shard.pool.acquire() as connection:
                    new = await streams.events(
                        connection,
                        state.user,
                        name,
                        after=stream.top,
                        before=2**53,
                        limit=RECOVERY_LIMIT,
                        newest_first=False,
                    )
                self._shard.run(list(heard(state, name, [_publication(event) for event in new])))
                if len(new) < RECOVERY_LIMIT:
                    break


def heard(state: UserState, name: str, events: list[Publication]) -> list[Send]:
    """New events of a stream, read from the log in order: pushes them to this person's connections."""
    effects: list[Send] = []
    stream = state.streams[name]
    for event in events:
        if event.offset <= stream.top:
            continue
        stream.append(event)
        push = wire.Push(f"{name}@{state.user}", event.offset, event.wire(), event.user)
        effects += [Send(gateway, push) for gateway in sorted(set(state.listeners[name].values()))]
    return effects


def held_page(state: UserState, name: str, message: wire.History) -> dict[str, Any] | None:
    """A page of a stream from the window; None where the log must be read."""
    stream = state.streams[name]
    if message.reverse or len(stream.window) < stream.top:
        return None
    after = max(message.offset, 0)
    found = stream.after(after) or []
    page = found[: min(message.limit, RECOVERY_LIMIT)]
    pubs = [p.seen_by(state.user) for p in page]
    return {"pubs": pubs, "epoch": stream.epoch, "offset": stream.top, "more": len(found) > len(page)}


def _publication(event: streams.UserEvent) -> Publication:
    return Publication(event.offset, event.at_ms, event.id, "", "", event.body.encode())
