"""Publications that are not acknowledged yet, in the order in which the app made them (RT-9)."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hereabouts_client.pace import Pace


@dataclass(slots=True)
class Entry:
    """One publication. `on_the_way`: this connection has sent it."""

    channel: str
    data: Any
    cid: str
    ack: str | None
    on_the_way: bool = False


class Outbox:
    """Bounded at `limit`: the newest is refused, so that what the app was promised keeps its order."""

    def __init__(self, limit: int, window: int, in_flight_limit: int) -> None:
        self._in_flight_limit = in_flight_limit
        self._limit = limit
        self._window = window
        self._channels: dict[str, dict[str, Entry]] = {}
        self._entries: dict[tuple[str, str], Entry] = {}
        self._flying = 0
        self.held_until_ms: dict[str, int] = {}
        """Channel → when to go on after a temporary refusal."""
        self.pace = Pace()
        self.paced_until_ms: int | None = None
        """When what is ready but too fast may go on."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_full(self) -> bool:
        """Whether the next one would be refused."""
        return len(self._entries) >= self._limit

    def has(self, channel: str, cid: str) -> bool:
        """Whether this one waits."""
        return (channel, cid) in self._entries

    def add(self, entry: Entry) -> None:
        """Puts one behind the others of its channel."""
        self._entries[entry.channel, entry.cid] = entry
        self._channels.setdefault(entry.channel, {})[entry.cid] = entry

    def remove(self, entry: Entry) -> None:
        """It is acknowledged, or refused for good."""
        self._landed(entry)
        del self._entries[entry.channel, entry.cid]
        own = self._channels[entry.channel]
        del own[entry.cid]
        if not own:
            del self._channels[entry.channel]
            self.held_until_ms.pop(entry.channel, None)

    def hold(self, entry: Entry, until_ms: int) -> None:
        """It was refused for now: it leaves again then, and nothing behind it before."""
        self._landed(entry)
        self.held_until_ms[entry.channel] = max(until_ms, self.held_until_ms.get(entry.channel, until_ms))

    def _landed(self, entry: Entry) -> None:
        self._flying -= entry.on_the_way
        entry.on_the_way = False

    def lost(self) -> None:
        """The connection is gone: nothing is on the way, nothing is held back."""
        for entry in self._entries.values():
            entry.on_the_way = False
        self._flying = 0
        self.paced_until_ms = None
        self.held_until_ms.clear()

    def clear(self) -> list[Entry]:
        """Lets everything go."""
        entries = list(self._entries.values())
        self.lost()
        self._entries.clear()
        self._channels.clear()
        return entries

    def ready(self, now_ms: int) -> Iterator[Entry]:
        """What may be sent now, each marked as on the way: a channel's oldest, up to its window."""
        self.paced_until_ms = None
        for name, own in self._channels.items():
            until_ms = self.held_until_ms.get(name)
            if until_ms is not None:
                if until_ms > now_ms:
                    continue
                del self.held_until_ms[name]
            for entry in islice(own.values(), self._window):
                if not entry.on_the_way and self._flying < self._in_flight_limit:
                    if not self.pace.take(now_ms):
                        self.paced_until_ms = self.pace.next_ms
                        return
                    entry.on_the_way = True
                    self._flying += 1
                    yield entry
