"""The Python SDK, in this process."""

import asyncio
import time
from typing import Any

from hereabouts_client import Client, Gap, HereaboutsError, Lagged, Options, Position, Publication
from hereabouts_client.codec import Encoding
from sdk_hands.hand import Hand, SdkError
from sdk_hands.shown import shown


class PythonHand(Hand):
    """`encoding` is the wire's."""

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        self._encoding = encoding
        self.client: Client | None = None
        self._gaps: dict[str, Gap] = {}

    async def __aexit__(self, *_: object) -> None:
        if self.client is not None:
            await self.client.close()

    async def do(self, verb: str, /, **given: Any) -> Any:
        try:
            return await asyncio.wait_for(getattr(self, f"_{verb}")(**given), 30)
        except HereaboutsError as error:
            raise SdkError(type(error).__name__, getattr(error, "code", None), str(error)) from error

    @property
    def _live_client(self) -> Client:
        assert self.client is not None
        return self.client

    async def _open(self, url: str, tokens: list[str], options: dict[str, Any]) -> Any:
        async def token(fresh: bool) -> str:
            if fresh and len(tokens) > 1:
                del tokens[0]
            return tokens[0]

        self.client = Client(
            url,
            token,
            options=Options(**options),
            encoding=self._encoding,
            proxy=None,
            on_event=lambda event: self.told(shown(event)),
        )
        self.client.start()
        await self.client.online()
        return {"user": self.client.user}

    async def _subscribe(self, channel: str, how: dict[str, Any]) -> None:
        since = how.pop("since", None)
        subscription = self._live_client.subscribe(
            channel, since=Position(**since) if since is not None else None, **how
        )
        subscription.listen(lambda event: self.told(shown(event)))
        subscription.listen(
            lambda event: self._gaps.update({channel: event}) if isinstance(event, Gap) else None
        )

    async def _listen(self, channel: str, buffer: int) -> None:
        subscription = self._live_client.subscribe(channel, buffer=buffer)
        subscription.listen(lambda event: self.told(shown(event)))

    async def _read(self, channel: str, upto: int) -> dict[str, Any]:
        found: list[int] = []
        dropped = 0
        async for event in self._live_client.subscriptions[channel]:
            if isinstance(event, Lagged):
                dropped += event.dropped
                found += [missed.offset async for missed in self._live_client.missed(event)]
            elif isinstance(event, Publication):
                found.append(event.offset)
                if event.offset >= upto:
                    break
        return {"dropped": dropped, "found": found}

    async def _live(self, channel: str) -> None:
        await self._live_client.subscriptions[channel].live()

    async def _leave(self, channel: str) -> None:
        self._live_client.subscriptions[channel].close()

    async def _publish(self, channel: str, data: Any, **options: Any) -> Any:
        published = await self._live_client.publish(channel, data, **options)
        return None if published is None else shown(published)["published"]

    async def _history(self, channel: str, limit: int, **options: Any) -> list[int]:
        page = await self._live_client.history(channel, limit=limit, **options)
        return [publication.offset for publication in page.publications]

    async def _missed(self, channel: str) -> list[int]:
        return [found.offset async for found in self._live_client.missed(self._gaps[channel])]

    async def _presence(self, channel: str) -> Any:
        return (await self._live_client.presence(channel))["count"]

    async def _call(self, name: str, body: Any) -> Any:
        return await self._live_client.call(name, body)

    async def _ephemeral(self, channel: str, data: Any) -> bool:
        return self._live_client.ephemeral(channel, data)

    async def _position(self, lat: float, lon: float, t_ms: int) -> None:
        self._live_client.position(lat, lon, 10, t_ms)

    async def _report(self, lat: float, lon: float, t_ms: int) -> None:
        await self._live_client.report(lat, lon, 10, t_ms)

    async def _rows(self, channel: str) -> dict[str, Any]:
        return dict(self._live_client.subscriptions[channel].rows)

    async def _users(self, channel: str) -> list[str]:
        return list(self._live_client.subscriptions[channel].users)

    async def _flush(self) -> None:
        await self._live_client.flush()

    async def _close(self) -> None:
        await self._live_client.close()


def now_ms() -> int:
    return time.time_ns() // 1_000_000
