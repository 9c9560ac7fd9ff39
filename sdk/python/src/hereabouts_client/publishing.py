"""Publications on their way to an acknowledgement (RT-9): in order, and again after a loss."""

from typing import Any

from hereabouts_client.commands import Refusal, Settle, Wire
from hereabouts_client.effects import Kind, Published, Send, Unpublished
from hereabouts_client.options import Options
from hereabouts_client.outbox import Entry, Outbox


class Publishing:
    """The outbox and its commands."""

    def __init__(self, wire: Wire, options: Options) -> None:
        self._wire = wire
        self._retry_ms = options.retry_ms
        self._box = Outbox(options.queue_limit, options.window, options.in_flight_limit)
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._box)

    @property
    def deadline_ms(self) -> int | None:
        """When something goes on that was refused for now, or is too fast."""
        times = [*self._box.held_until_ms.values(), self._box.paced_until_ms]
        return min((time for time in times if time is not None), default=None)

    def publish(self, name: str, data: Any, cid: str, ack: str | None, now_ms: int) -> None:
        """Without a connection it waits. With ack `none` it leaves now or never, untold."""
        kind: Kind | None = None
        if self.is_closed:
            kind = "closed"
        elif ack == "none":
            kind = None if self._wire.is_online else "offline"
        elif self._box.has(name, cid):
            kind = "duplicate"
        elif self._box.is_full:
            kind = "full"
        body = {"ch": name, "d": data, "cid": cid, "ack": ack}
        if kind is not None:
            self._wire.tell(Unpublished(cid, name, kind))
        elif ack == "none":
            self._wire.tell(Send({"pub": body}))
        else:
            self._box.add(Entry(name, data, cid, ack))
            self.pump(now_ms)

    def welcomed(self, per_s: float | None, now_ms: int) -> None:
        """A connection that takes so many a second: what waits leaves."""
        self._box.pace.begin(per_s, now_ms)
        self.pump(now_ms)

    def pump(self, now_ms: int) -> None:
        """Sends what may leave."""
        if not self._wire.is_online:
            return
        for entry in self._box.ready(now_ms):
            body = {"ch": entry.channel, "d": entry.data, "cid": entry.cid}
            if entry.ack is not None:
                body["ack"] = entry.ack
            self._wire.ask("pub", body, self._landing(entry), now_ms)

    def _landing(self, entry: Entry) -> Settle:
        cid, name = entry.cid, entry.channel

        def settle(result: Any, refusal: Refusal | None, now_ms: int) -> None:
            if refusal is not None and refusal.temporary:
                self._box.hold(entry, now_ms + (refusal.retry_ms or self._retry_ms))
            elif refusal is not None:
                self._box.remove(entry)
                self._wire.tell(Unpublished(cid, name, "refused", refusal.code, refusal.reason))
            else:
                offset, time_ms, dup = result["o"], result["t"], bool(result["dup"])
                self._wire.tell(Published(cid, name, offset, time_ms, result["i"], dup))
                self._box.remove(entry)
            self.pump(now_ms)

        return settle

    def lost(self) -> None:
        """The connection is gone; everything unacknowledged leaves again with the next."""
        self._box.lost()

    def end(self) -> None:
        """No connection comes any more."""
        self.is_closed = True
        self._wire.tell(*(Unpublished(entry.cid, entry.channel, "closed") for entry in self._box.clear()))
