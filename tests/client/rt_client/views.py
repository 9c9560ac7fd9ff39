"""What a client holds of a channel: a stream position, a map, who is present."""

from typing import Any

from cluster.history import AnyLine, Broken, Pub, Skip, Sub
from rt_client.codec import Frame

Publication = dict[str, Any]
Log = list[AnyLine]
"""What a client learned, in that order (docs/histories.md)."""


class StreamView:
    """A followed stream: RT-2, RT-3, RT-4 from the client's side."""

    def __init__(self, client: str, ch: str, log: Log) -> None:
        self.client = client
        self.ch = ch
        self.log = log
        self.epoch = ""
        self.offset = -1
        self.publications: list[Publication] = []
        self.unsettled_from: int | None = None
        """After `recovered:false`: the position from which history has to be paged."""
        self.insufficient = False
        self._held: list[Frame] = []

    def position(self) -> dict[str, Any]:
        """What a resubscription says."""
        if self.offset < 0:
            return {}
        shown = self.offset if self.unsettled_from is None else self.unsettled_from
        return {"epoch": self.epoch, "offset": shown}

    def subscribed(self, result: dict[str, Any]) -> None:
        """The `sub` result."""
        pubs, top, epoch = result["pubs"], result["offset"], result["epoch"]
        self.insufficient = False
        self._held = []
        if self.unsettled_from is not None:
            self.offset, self.unsettled_from = self.unsettled_from, None
        asked = self.offset if self.offset >= 0 else None
        recovered, was_recovering = result["recovered"], result["was_recovering"]
        line = Sub(
            client=self.client, ch=self.ch, epoch=epoch, offset=top,
            asked=asked, recovered=recovered, was_recovering=was_recovering,
        )  # fmt: skip
        self.log.append(line)
        if asked is not None:
            if recovered:
                if epoch != self.epoch:
                    self._broken(f"recovered into another epoch {epoch}")
                for m in pubs:
                    self._show(m, "recovered")
                if self.offset != top:
                    self._broken(f"recovered to {self.offset}, but the top is {top}")
                return
            if pubs:
                self._broken(f"recovered:false with a partial list of {len(pubs)}")
            if epoch == self.epoch:
                self.unsettled_from = self.offset
                self.offset = top
                return
        self.epoch = epoch
        self.offset = pubs[0]["o"] - 1 if pubs else top
        for m in pubs:
            self._show(m, "recovered")
        if self.offset != top:
            self._broken(f"the newest publications end at {self.offset}, the top is {top}")

    def settle(self, page: list[Publication], *, done: bool) -> None:
        """History paged after `recovered:false`; `done` lets what was held meanwhile go on."""
        if self.unsettled_from is None:
            return
        top, self.offset = self.offset, self.unsettled_from
        for m in page:
            if m["o"] <= top:
                self._show(m, "page")
        self.unsettled_from, self.offset = self.offset, top
        if done:
            if self.unsettled_from != top:
                self._broken(f"history paged to {self.unsettled_from}, the top was {top}")
            self.unsettled_from = None
            held, self._held = self._held, []
            for frame in held:
                self.pushed(frame)

    def pushed(self, frame: Frame) -> None:
        """A push of this channel."""
        if self.insufficient:
            return
        if self.unsettled_from is not None:
            self._held.append(frame)
        elif "m" in frame:
            m = frame["m"]
            if m["o"] == self.offset + 1:
                self._show(m, "live")
            elif m["o"] > self.offset:
                self.insufficient = True
            else:
                self._broken(f"push of {m['o']} after {self.offset}")
        elif "skip" in frame:
            self.offset = frame["skip"]
            self.log.append(Skip(client=self.client, ch=self.ch, offset=self.offset))

    def _show(self, m: Publication, via: Any) -> None:
        self.offset = m["o"]
        self.publications.append(m)
        line = Pub(client=self.client, ch=self.ch, epoch=self.epoch, offset=m["o"], id=m["i"], via=via)
        self.log.append(line)

    def _broken(self, what: str) -> None:
        self.log.append(Broken(client=self.client, ch=self.ch, what=what))


class MapView:
    """A followed map channel: key → data."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.versions: dict[str, int] = {}

    def subscribed(self, result: dict[str, Any]) -> None:
        self.rows = {key: data for key, data, _ in result.get("state", [])}
        self.versions = {key: version for key, _, version in result.get("state", [])}

    def pushed(self, frame: Frame) -> None:
        for key, sign, *rest in frame.get("k", []):
            if sign == "-":
                self.rows.pop(key, None)
            else:
                self.rows[key], self.versions[key] = rest


class PresenceView:
    """Who is present: ref → meta."""

    def __init__(self) -> None:
        self.metas: dict[str, dict[str, Any]] = {}

    def subscribed(self, result: dict[str, Any]) -> None:
        self.metas = {meta["ref"]: meta for meta in result.get("state", [])}

    def pushed(self, frame: Frame) -> None:
        for meta in frame.get("l", []):
            self.metas.pop(meta["ref"], None)
        for meta in frame.get("j", []):
            self.metas.pop(meta.get("prev", ""), None)
            self.metas[meta["ref"]] = meta

    def users(self) -> set[str]:
        return {meta["u"] for meta in self.metas.values()}


def view_of(client: str, ch: str, log: Log) -> StreamView | MapView | PresenceView:
    """The view that fits a channel's name (docs/protocol.md §3)."""
    if ch.startswith("presence:"):
        return PresenceView()
    if ch == "near":
        return MapView()
    return StreamView(client, ch, log)
