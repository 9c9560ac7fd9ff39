"""A stream: epoch, offsets from 1 rising by 1, and a window of the newest publications (RT-1, RT-2).

Pure: no clock, no I/O. Rooms and a person's own channels (`me`, `fences`) share it.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from dataclasses import replace as dataclass_replace
from itertools import islice
from typing import Any

import msgspec

from actors.filters import fits
from actors.protocol import RECOVERY_LIMIT

WINDOW = 2 * RECOVERY_LIMIT
"""Publications kept in memory: always enough for the longest recovery."""

_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Publication:
    """One entry of a stream. `d` is canonical JSON; `user` is empty where nobody in particular spoke."""

    offset: int
    t_ms: int
    id: str
    user: str
    cid: str
    d: bytes

    def wire(self) -> bytes:
        """The `m` object as JSON, without `cid`."""
        return b'{"o":%d,"t":%d,"i":"%s","u":"%s","d":%s}' % (
            self.offset, self.t_ms, self.id.encode(), self.user.encode(), self.d,
        )  # fmt: skip

    def seen_by(self, viewer: str) -> dict[str, Any]:
        """The `m` object for one viewer: the sender's own carries its `cid`."""
        seen: dict[str, Any] = {"o": self.offset, "t": self.t_ms, "i": self.id, "u": self.user}
        seen["d"] = msgspec.json.decode(self.d)
        if self.cid and self.user == viewer:
            seen["cid"] = self.cid
        return seen


@dataclass(slots=True)
class Stream:
    """The newest part of a stream, without a hole: the window ends at `top`."""

    epoch: str
    top: int = 0
    window: deque[Publication] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def append(self, publication: Publication) -> None:
        """Adds the next publication. Raises ValueError if it does not follow `top`."""
        if publication.offset != self.top + 1:
            raise ValueError(f"offset {publication.offset} does not follow {self.top}")
        self.window.append(publication)
        self.top = publication.offset

    def replace(self, offset: int, d: bytes) -> None:
        """A publication says something else from now on, if the window still holds it."""
        place = offset - (self.top - len(self.window) + 1)
        if 0 <= place < len(self.window):
            self.window[place] = dataclass_replace(self.window[place], d=d)

    def after(self, offset: int) -> list[Publication] | None:
        """All publications past `offset`, oldest first; None where the window does not reach back so far."""
        count = self.top - offset
        if count <= 0:
            return []
        if count > len(self.window):
            return None
        return [self.window[i] for i in range(len(self.window) - count, len(self.window))]

    def newest(self, limit: int) -> list[Publication]:
        """The newest `limit` publications that the window holds, oldest first."""
        count = min(limit, len(self.window))
        return [self.window[i] for i in range(len(self.window) - count, len(self.window))]

    def subscribed(
        self,
        viewer: str,
        *,
        epoch: str,
        offset: int,
        limit: int,
        hidden: AbstractSet[str] = _NOBODY,
        wanted: Mapping[str, Any] | None = None,
        mode: str = "stream",
    ) -> dict[str, Any]:
        """The stream part of a `sub` result (RT-2): recovery is whole or it is nothing.

        `epoch` and `offset` are the client's position (empty and -1: none); `hidden` are the users whose
        publications this viewer may not see, `wanted` is a filter. In mode `cache` it is the newest that they
        may see and want, and there is no recovery.
        """
        recovering = epoch != "" and offset >= 0 and mode == "stream"
        recovered = False
        found: Iterable[Publication] = []

        def is_shown(publication: Publication) -> bool:
            if publication.user in hidden:
                return False
            return wanted is None or fits(wanted, msgspec.json.decode(publication.d))

        limit = 1 if mode == "cache" else min(limit, RECOVERY_LIMIT)
        if recovering:
            missed = self.after(offset) if epoch == self.epoch and offset <= self.top else None
            if missed is not None and len(missed) <= RECOVERY_LIMIT:
                recovered, found = True, missed
        elif limit > 0 and (wanted is not None or mode == "cache"):
            found = reversed(list(islice(filter(is_shown, reversed(self.window)), limit)))
        elif limit > 0:
            found = self.newest(limit)
        return {
            "epoch": self.epoch,
            "offset": self.top,
            "recovered": recovered,
            "was_recovering": recovering,
            "pubs": [p.seen_by(viewer) for p in found if is_shown(p)],
            "mode": mode,
        }
