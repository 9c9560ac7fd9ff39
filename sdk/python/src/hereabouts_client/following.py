"""The channels that an app follows, over all connections (RT-2 to RT-4, RT-8)."""

from typing import Any

from hereabouts_client.channel import Channel, InsufficientError
from hereabouts_client.commands import Refusal, Wire, nothing
from hereabouts_client.effects import Frame
from hereabouts_client.events import Ended
from hereabouts_client.options import Options, Subscribing

ALREADY_SUBSCRIBED = 105
UNRECOVERABLE = 112


class Following:
    """Channels by name, and by their number on the current connection."""

    def __init__(self, wire: Wire, options: Options) -> None:
        self.channels: dict[str, Channel] = {}
        self._wire = wire
        self._options = options
        self._numbers: dict[int, Channel] = {}

    @property
    def deadline_ms(self) -> int | None:
        """When a channel has to be subscribed again."""
        times = [channel.retry_at_ms for channel in self.channels.values()]
        times += [channel.behind[1] for channel in self.channels.values() if channel.behind]
        return min((time for time in times if time is not None), default=None)

    def subscribe(self, name: str, how: Subscribing, now_ms: int) -> Channel:
        """Follows a channel over every connection, until `unsubscribe` or its Ended."""
        channel = self.channels[name] = Channel(name, how)
        if self._wire.is_online:
            self._join(channel, now_ms)
        return channel

    def unsubscribe(self, name: str, now_ms: int) -> None:
        """Leaves a channel."""
        channel = self.channels.get(name)
        if channel is not None:
            if self._wire.is_online and channel.phase != "out":
                self._wire.ask("unsub", {"ch": name}, nothing, now_ms)
            self._forget(channel)

    def _forget(self, channel: Channel) -> None:
        del self.channels[channel.name]
        self._numbers.pop(-1 if channel.n is None else channel.n, None)
        channel.out()

    def greet(self) -> dict[str, Any]:
        """`connect.subs`: everything, each from its position."""
        for channel in self.channels.values():
            channel.phase = "joining"
        return {name: channel.request() for name, channel in self.channels.items()}

    def welcomed(self, results: dict[str, Any], now_ms: int) -> None:
        """The reply's `subs`."""
        for name, result in results.items():
            if name not in self.channels and "err" not in result:  # the session's, left meanwhile
                self._wire.ask("unsub", {"ch": name}, nothing, now_ms)
        for channel in list(self.channels.values()):
            result = results.get(channel.name)
            if result is None or channel.phase == "out":
                self._join(channel, now_ms)
            else:
                refusal = Refusal.of(result["err"]) if "err" in result else None
                self._joined(channel, channel.turn, result, refusal, now_ms)

    def lost(self) -> None:
        """The connection is gone."""
        self._numbers.clear()
        for channel in self.channels.values():
            channel.out()

    def end(self) -> None:
        """No connection comes any more."""
        self.lost()
        self.channels.clear()

    def push(self, frame: Frame, now_ms: int) -> None:
        """A push of a channel; of one that we left it is nobody's."""
        channel = self._numbers.get(frame["p"])
        if channel is None:
            return
        try:
            self._wire.tell(*channel.push(frame))
        except InsufficientError:
            self._recover(channel, now_ms)
        if "unsub" in frame:
            self._forget(channel)

    def promised(self, tops: dict[str, int], now_ms: int) -> None:
        """The newest offset of each stream: what does not come soon is lost."""
        for number, top in tops.items():
            channel = self._numbers.get(int(number))
            if channel is not None:
                channel.promised(top, now_ms + self._options.tops_ms)

    def tick(self, now_ms: int) -> None:
        """Subscribes again what is due."""
        for channel in list(self.channels.values()):
            if channel.retry_at_ms is not None and now_ms >= channel.retry_at_ms:
                if channel.is_doubled:
                    self._rejoin(channel, now_ms)
                else:
                    self._join(channel, now_ms)
            elif channel.is_behind(now_ms):
                self._recover(channel, now_ms)

    def _recover(self, channel: Channel, now_ms: int) -> None:
        """Publications are missing: subscribes again, though not twice in a moment."""
        last_ms, channel.rejoined_at_ms = channel.rejoined_at_ms, now_ms
        if last_ms is None or now_ms - last_ms >= self._options.retry_ms:
            self._rejoin(channel, now_ms)
            return
        self._numbers.pop(-1 if channel.n is None else channel.n, None)
        channel.out()
        channel.is_doubled = True
        channel.retry_at_ms = now_ms + self._options.retry_ms

    def _rejoin(self, channel: Channel, now_ms: int) -> None:
        """Subscribes again from where we are: pushes of the old subscription are nobody's."""
        self._numbers.pop(-1 if channel.n is None else channel.n, None)
        channel.out()
        self._wire.ask("unsub", {"ch": channel.name}, nothing, now_ms)
        self._join(channel, now_ms)

    def _join(self, channel: Channel, now_ms: int) -> None:
        channel.turn += 1
        channel.phase, channel.retry_at_ms, turn = "joining", None, channel.turn

        def settle(result: Any, refusal: Refusal | None, now_ms: int) -> None:
            self._joined(channel, turn, result, refusal, now_ms)

        self._wire.ask("sub", {"ch": channel.name, **channel.request()}, settle, now_ms)

    def _joined(self, channel: Channel, turn: int, result: Any, refusal: Refusal | None, now_ms: int) -> None:
        if self.channels.get(channel.name) is not channel or channel.turn != turn:
            return
        is_stale_page = refusal is not None and refusal.code == UNRECOVERABLE and channel.cursor is not None
        if refusal is None:
            if channel.gather(result):
                self._join(channel, now_ms)
                return
            self._wire.tell(*channel.adopt(result))
            self._numbers[result["n"]] = channel
        elif refusal.temporary or refusal.code == ALREADY_SUBSCRIBED or is_stale_page:
            channel.out()
            channel.is_doubled = refusal.code == ALREADY_SUBSCRIBED
            channel.retry_at_ms = now_ms + (refusal.retry_ms or self._options.retry_ms)
        else:
            self._forget(channel)
            self._wire.tell(Ended(channel.name, refusal.code, refusal.reason))
