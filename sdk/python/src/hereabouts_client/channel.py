"""A followed channel: its position, what the app may look at, and the rule for each push (RT-4)."""

from typing import Any, cast

from hereabouts_client.effects import Frame
from hereabouts_client.events import (
    Change,
    Counted,
    Ended,
    Ephemeral,
    Gap,
    Meta,
    Position,
    Presence,
    Rows,
    Sampled,
    Subscribed,
)
from hereabouts_client.events import CoreChannelEvent as Event
from hereabouts_client.history import publication
from hereabouts_client.options import Subscribing

MAPS = ("near", "presence:", "scores", "share:")


class InsufficientError(Exception):
    """A publication is missing: the channel has to be subscribed again from its position."""


class Channel:
    """State of one channel over all connections; `phase` and `n` are of the current one."""

    def __init__(self, name: str, how: Subscribing) -> None:
        self.name = name
        self.how = how
        self._is_presence = name.startswith("presence:")
        self.mode = how.mode or ("map" if name.startswith(MAPS) else "stream")
        self.position = how.since
        self.rows: dict[str, Any] = {}
        self.versions: dict[str, int | None] = {}
        self.metas: dict[str, Meta] = {}
        self.sample: Sampled | None = None
        """What a large room last said of its size."""
        self.phase = "out"
        self.n: int | None = None
        self.turn = 0
        """Rises with each `sub`: an answer to an older one is nobody's."""
        self.cursor: str | None = None
        self.pages: list[Any] = []
        self.retry_at_ms: int | None = None
        self.is_doubled = False
        """The engine says that we are subscribed already: leave first."""
        self.rejoined_at_ms: int | None = None
        """When it was last subscribed again for want of publications."""
        self.behind: tuple[int, int] | None = None
        """The offset that `tops` promised, and until when it may come by itself."""

    def request(self) -> dict[str, Any]:
        """What `sub` says, but for the channel."""
        if self.cursor is not None:
            return {"cursor": self.cursor}
        body = self.how.body()
        is_recoverable = self.mode == "stream" or (self.mode == "map" and not self._is_presence)
        if self.position is not None and is_recoverable:
            body |= {"epoch": self.position.epoch, "offset": self.position.offset}
        if self.how.limit is not None and (self.position is None or self.mode == "map"):
            body["limit"] = self.how.limit
        return body

    def out(self) -> None:
        """The connection is gone, or this subscription of it."""
        self.phase, self.n, self.cursor, self.pages = "out", None, None, []
        self.retry_at_ms = self.behind = None
        self.turn += 1

    # -- the answer to `sub` ------------------------------------------------------------------------------

    def gather(self, result: Frame) -> bool:
        """Keeps a page of a map's state. True: there are more, ask again with the cursor (RT-8)."""
        self.pages += result.get("state") or []
        self.cursor = result.get("cursor") if result.get("phase") == "state" else None
        return self.cursor is not None

    def adopt(self, result: Frame) -> list[Event]:
        """The channel is live now."""
        self.phase, self.n, self.cursor, self.behind = "in", result["n"], None, None
        self.mode = result.get("mode") or self.mode
        pages, self.pages = self.pages, []
        recovered = bool(result.get("recovered")) and "state" not in result
        live = Subscribed(self.name, self.mode, recovered, result.get("epoch"), result.get("offset"))
        if self.mode == "passive":
            return [live, *self._said(result)]
        if self.mode != "map":
            return [live, *self._adopt_stream(result, recovered=recovered)]
        if result.get("epoch"):
            self.position = Position(result["epoch"], result["offset"])
        if self._is_presence:
            return [live, *self._adopt_metas(pages, result)]
        return [live, *self._adopt_rows(pages, result, recovered=recovered)]

    def _adopt_stream(self, result: Frame, *, recovered: bool) -> list[Event]:
        had, epoch, pubs = self.position, result["epoch"], result.get("pubs") or []
        self.position = Position(epoch, result["offset"])
        if had is not None and self.mode == "stream" and not recovered:
            return [Gap(self.name, had, epoch, result["offset"])]
        return [
            publication(self.name, m)
            for m in pubs
            if had is None or had.epoch != epoch or m["o"] > had.offset
        ]

    def _adopt_rows(self, pages: list[Any], result: Frame, *, recovered: bool) -> list[Event]:
        rows, versions = (dict(self.rows), dict(self.versions)) if recovered else ({}, {})
        for key, data, *version in pages:
            rows[key], versions[key] = data, version[0] if version else None
        for key, sign, *rest in result.get("k") or []:
            rows.pop(key, None)
            versions.pop(key, None)
            if sign != "-":
                rows[key], versions[key] = rest[0], rest[1] if len(rest) > 1 else None
        changes = [Change(key, True, before=before) for key, before in self.rows.items() if key not in rows]
        changes += [
            Change(key, False, data, versions[key], self.rows.get(key))
            for key, data in rows.items()
            if key not in self.rows or self.rows[key] != data or self.versions[key] != versions[key]
        ]
        self.rows, self.versions = rows, versions
        return [Rows(self.name, tuple(changes))] if changes else []

    def _adopt_metas(self, pages: list[Any], result: Frame) -> list[Event]:
        before, self.metas = self.metas, {meta["ref"]: meta for meta in pages}
        self._presence(result)
        self.sample = None
        sampled = self._sampled(result)
        replaced = {meta.get("prev") for meta in self.metas.values()}
        joined = tuple(meta for ref, meta in self.metas.items() if ref not in before)
        left = tuple(meta for ref, meta in before.items() if ref not in self.metas and ref not in replaced)
        return [*sampled, *([Presence(self.name, joined, left)] if joined or left else [])]

    # -- pushes -------------------------------------------------------------------------------------------

    def push(self, frame: Frame) -> list[Event]:
        """What the app sees of a push. Raises InsufficientError where publications are missing."""
        if "m" in frame:
            return self._next(frame["m"])
        if "skip" in frame:
            self._skip(frame["skip"])
            return []
        rows = self._delta(frame) if "k" in frame else []
        return [*rows, *self._sampled(frame), *self._presence(frame), *self._said(frame)]

    def _sampled(self, frame: Frame) -> list[Event]:
        if "sampled" not in frame:
            return []
        before, self.sample = self.sample, Sampled(self.name, frame["count"], bool(frame["sampled"]))
        gone: tuple[Meta, ...] = ()
        if before is not None and before.sampled and not self.sample.sampled:
            gone, self.metas = tuple(self.metas.values()), {}
        return [self.sample, *([Presence(self.name, (), gone)] if gone else [])]

    def _said(self, frame: Frame) -> list[Event]:
        if "e" in frame:
            return [Ephemeral(self.name, frame["e"]["u"], frame["e"]["d"])]
        if "unsub" in frame:
            return [Ended(self.name, frame["unsub"]["code"], frame["unsub"].get("reason") or "")]
        return [Counted(self.name, frame["counts"])] if "counts" in frame else []

    def _next(self, m: Frame) -> list[Event]:
        assert self.position is not None
        offset = m["o"]
        if offset <= self.position.offset:
            return []
        if offset != self.position.offset + 1 and self.mode == "stream":
            raise InsufficientError
        self.position = Position(self.position.epoch, offset)
        return [publication(self.name, m)]

    def _skip(self, offset: int) -> None:
        if self.position is not None and offset > self.position.offset:
            self.position = Position(self.position.epoch, offset)

    def _delta(self, frame: Frame) -> list[Event]:
        changes: list[Change] = []
        for key, sign, *rest in frame["k"]:
            before = self.rows.pop(key, None)
            known = self.versions.pop(key, self) is not self
            if sign == "-":
                if known:
                    changes.append(Change(key, True, before=before))
                continue
            self.rows[key], self.versions[key] = rest[0], rest[1] if len(rest) > 1 else None
            changes.append(Change(key, False, rest[0], self.versions[key], before))
        if self.position is not None and "o" in frame:
            self.position = Position(self.position.epoch, max(self.position.offset, frame["o"]))
        return [Rows(self.name, tuple(changes))] if changes else []

    def _presence(self, frame: Frame) -> list[Event]:
        left: list[Meta] = []
        for meta in frame.get("l") or []:
            gone = self.metas.pop(meta["ref"], None)
            if gone is not None:
                left.append(gone)
        joined: list[Meta] = []
        for meta in frame.get("j") or []:
            self.metas.pop(meta.get("prev") or "", None)
            if meta["ref"] not in self.metas:
                joined.append(meta)
            self.metas[meta["ref"]] = cast("Meta", meta)
        return [Presence(self.name, tuple(joined), tuple(left))] if joined or left else []

    def promised(self, top: int, until_ms: int) -> None:
        """`tops` says that the stream is at `top`: what is missing may come until then."""
        if self.behind is None and self.mode == "stream" and self.position and self.position.offset < top:
            self.behind = (top, until_ms)

    def is_behind(self, now_ms: int) -> bool:
        """Whether what `tops` promised is overdue."""
        if self.behind is None or now_ms < self.behind[1]:
            return False
        top, self.behind = self.behind[0], None
        return self.position is not None and self.position.offset < top
